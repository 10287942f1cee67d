//! What strangers said, in words that may be shown and units that are ours.

use crate::secrets::hide;

/// Bytes of an unexpected answer that are shown.
const EXCERPT: usize = 80;

/// Bytes that are looked through for secrets: one that begins in an excerpt may end behind it.
const LOOKED_AT: usize = 4 * 1024;

/// The first bytes of `content`, printable, without parts of our own addresses.
pub(crate) fn excerpt(content: &[u8]) -> String {
    let shown = hide(&content[..content.len().min(LOOKED_AT)]);
    shown[..shown.len().min(EXCERPT)].escape_ascii().to_string()
}

/// What an error says, without the middle where it quotes much of what was read.
#[cfg(feature = "tempo")]
pub(crate) fn shortened(error: &dyn std::fmt::Display) -> String {
    /// Characters at either end. Where it stands in a file comes last.
    const ENDS: usize = 120;
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let text: Vec<char> = error.to_string().chars().map(plain).collect();
    match text.len() > 2 * ENDS {
        true => text[..ENDS].iter().chain(&['…']).chain(&text[text.len() - ENDS..]).collect(),
        false => text.into_iter().collect(),
    }
}

/// An error with what caused it. Errors of the clients name only the outermost step.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    String::from_utf8_lossy(&hide(text.as_bytes())).into_owned()
}

/// A block's time in milliseconds since the Unix epoch.
///
/// Chains count in seconds, most of them; some in milliseconds, and a few in smaller units. Seconds reach
/// the first bound in the year 5138, and milliseconds passed it in 1973: no chain of either kind is on the
/// other side of it. Each smaller unit is a thousand times further.
#[cfg_attr(not(feature = "rpc"), allow(dead_code, reason = "its certificates carry no time"))]
pub(crate) const fn milliseconds(time: u64) -> u64 {
    const SECONDS: u64 = 100_000_000_000;
    match time {
        0..SECONDS => time * 1_000,
        SECONDS..100_000_000_000_000 => time,
        100_000_000_000_000..100_000_000_000_000_000 => time / 1_000,
        _ => time / 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "tempo")]
    #[test]
    fn an_error_that_quotes_much_is_shortened_in_its_middle() {
        assert_eq!(shortened(&"invalid value\n at line 1"), "invalid value  at line 1");
        let long = format!("invalid value: \"{}\" at line 7", "é".repeat(5_000));
        let short = shortened(&long);
        assert_eq!(short.chars().count(), 241, "{short}");
        assert!(
            short.starts_with("invalid value: \"é") && short.ends_with("é\" at line 7"),
            "{short}"
        );
    }

    #[test]
    fn a_time_is_in_milliseconds_whatever_unit_it_came_in() {
        let table = [
            (0, 0),
            (1_438_269_988, 1_438_269_988_000),
            (99_999_999_999, 99_999_999_999_000),
            (100_000_000_000, 100_000_000_000),
            (1_764_106_000_123, 1_764_106_000_123),
            (1_764_106_000_123_456, 1_764_106_000_123),
            (1_764_106_000_123_456_789, 1_764_106_000_123),
            (u64::MAX, 18_446_744_073_709),
        ];
        for (time, want) in table {
            assert_eq!(milliseconds(time), want, "{time}");
        }
    }
}

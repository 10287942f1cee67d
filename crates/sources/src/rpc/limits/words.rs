//! What the words of an error say about how much, and how often, a node may be asked.

use crate::rpc::RpcError;
use std::time::Duration;

/// What an error says about the amount that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Amount {
    /// It is asked too often.
    Rate,
    /// It is asked for too much at once.
    Size,
}

/// Whether an error refuses a call for how much is asked rather than for what.
pub(in crate::rpc) fn amount(error: &RpcError) -> Option<Amount> {
    const RATES: [&str; 14] = [
        "too many requests",
        "rate limit",
        "ratelimit",
        "rate-limit",
        "request limit",
        "request count",
        "limit exceeded",
        "per second",
        "quota",
        "throttl",
        "compute unit",
        "capacity",
        "slow down",
        "credits",
    ];
    const SIZES: [&str; 12] = [
        "response size",
        "too large",
        "too long",
        "too many calls",
        "exceeds the limit",
        "batch size",
        "batch limit",
        "batch length",
        "batch request",
        "batch is",
        "batch of",
        "batches",
    ];
    let words = error.message.to_ascii_lowercase();
    let has = |all: &[&str]| all.iter().any(|word| words.contains(word));
    match error.code {
        -32003 if has(&SIZES) => Some(Amount::Size),
        429 | -32005 | -32029 | -32097 if !has(&SIZES) || has(&RATES) => Some(Amount::Rate),
        _ if has(&RATES) => Some(Amount::Rate),
        _ if has(&SIZES) => Some(Amount::Size),
        _ => None,
    }
}

/// How long the words of an error ask to wait, if they do.
pub(super) fn after(words: &str) -> Option<Duration> {
    let words = words.to_ascii_lowercase();
    let asks = ["retry after ", "retry in ", "again in ", "again after "];
    let rest = asks.iter().find_map(|ask| Some(words.split_once(ask)?.1))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, unit) = rest.split_at(digits);
    let number: f64 = number.trim_end_matches('.').parse().ok()?;
    let unit = unit.trim_start();
    let factor = match unit {
        _ if unit.starts_with("ms") || unit.starts_with("milli") => 0.001,
        _ if unit.starts_with('m') => 60.0,
        _ if unit.starts_with('h') => 3_600.0,
        _ => 1.0,
    };
    Duration::try_from_secs_f64(number * factor).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32, message: &str) -> RpcError {
        RpcError { code, message: message.into() }
    }

    #[test]
    fn what_is_refused_for_its_amount_says_so_in_many_ways() {
        use Amount::{Rate, Size};
        let table = [
            (429, "the capacity per second is used up", Some(Rate)),
            (429, "", Some(Rate)),
            (-32005, "daily request count exceeded, request rate limited", Some(Rate)),
            (-32005, "batch size is limited to 10", Some(Size)),
            (-32005, "limit exceeded", Some(Rate)),
            (-32000, "Too Many Requests", Some(Rate)),
            (-32016, "over rate limit", Some(Rate)),
            (-32007, "50/second request limit reached - reduce calls per second", Some(Rate)),
            (0, "Your app has exceeded its compute units per second capacity", Some(Rate)),
            (-32003, "response too large", Some(Size)),
            (-32010, "batch too large", Some(Size)),
            (-32600, "too many calls in one request", Some(Size)),
            (-32602, "invalid block tag in batch", None),
            (-32003, "transaction rejected", None),
            (-32601, "the method does not exist", None),
            (-32602, "invalid params", None),
            (-32000, "header not found", None),
            (-32000, "execution timeout", None),
        ];
        for (code, message, want) in table {
            assert_eq!(amount(&error(code, message)), want, "{code} {message}");
        }
    }

    #[test]
    fn a_time_is_read_out_of_words() {
        let table = [
            ("rate limited, retry in 2s", Some(2_000)),
            ("try again in 1.5 seconds.", Some(1_500)),
            ("Retry after 200ms", Some(200)),
            ("try again in 3 minutes", Some(180_000)),
            ("try again in a moment", None),
            ("too many requests", None),
            ("retry in 99999999999999999999999999h", None),
        ];
        for (words, want) in table {
            assert_eq!(after(words), want.map(Duration::from_millis), "{words}");
        }
    }
}

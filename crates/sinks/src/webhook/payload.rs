//! What is sent of an event.

use crate::events::Event;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// An id, and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) id: String,
    pub(super) body: String,
}

/// What is sent of `event`, of that kind, at `now` after the Unix epoch.
pub(super) fn payload(event: &Event, kind: &str, now: Duration) -> Payload {
    // A line has a cursor in it, which no other event of its history has.
    let digest: [u8; 32] = Sha256::digest(&event.line).into();
    let id = digest.iter().take(16).fold("evt_".to_owned(), |id, byte| format!("{id}{byte:02x}"));
    let chain = serde_json::Value::from(event.chain.name.as_str());
    let (time, data) = (time(now.as_secs()), &event.line);
    let body = format!(
        r#"{{"type":"tidewatch.{kind}","timestamp":"{time}","chain":{chain},"data":{data}}}"#
    );
    Payload { id, body }
}

/// Seconds after the Unix epoch as RFC 3339 has them.
fn time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from the first of March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Chain;
    use std::sync::Arc;
    use tidewatch_client::{Block, Tier};

    #[test]
    fn a_time_is_that_of_the_calendar() {
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_614_265_330, "2021-02-25T15:02:10Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(seconds), wanted);
        }
    }

    #[test]
    fn a_payload_is_one_object_with_the_event_as_it_came() {
        let line = r#"{"event":"goodbye","reason":"limit","retry_ms":1,"cursor":"c"}"#;
        let genesis = Block { height: 0, digest: "00".into() };
        let chain = Chain { name: "a \"b\"".into(), genesis, ladder: Tier::ALL };
        let mut event = Event {
            chain: Arc::new(chain),
            after: None,
            cursor: "c".into(),
            message: serde_json::from_str(line).unwrap(),
            line: line.into(),
        };
        let sent = payload(&event, "goodbye", Duration::from_secs(1_614_265_330));
        let body: serde_json::Value = serde_json::from_str(&sent.body).unwrap();
        assert_eq!(body["type"], "tidewatch.goodbye");
        assert_eq!(body["timestamp"], "2021-02-25T15:02:10Z");
        assert_eq!(body["chain"], "a \"b\"");
        assert_eq!(body["data"], serde_json::from_str::<serde_json::Value>(line).unwrap());
        assert!(sent.id.len() == 36 && sent.id.starts_with("evt_"), "{}", sent.id);
        assert_eq!(payload(&event, "goodbye", Duration::ZERO).id, sent.id, "whenever it is sent");
        event.line = line.replace("\"c\"", "\"d\"");
        assert_ne!(payload(&event, "goodbye", Duration::ZERO).id, sent.id);
    }
}

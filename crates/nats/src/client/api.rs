//! JetStream's API: requests and answers as JSON.

use crate::Error;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// There is no such message.
pub(crate) const NO_MESSAGE: u64 = 10_037;
/// There is no such stream.
pub(crate) const NO_STREAM: u64 = 10_059;
/// A stream of this name is there, with another configuration.
pub(crate) const NAME_IN_USE: u64 = 10_058;
/// The stream ends elsewhere than expected.
pub(crate) const ELSEWHERE: [u64; 2] = [10_071, 10_164];

/// There is no such consumer.
#[cfg(feature = "jobs")]
pub(crate) const NO_CONSUMER: u64 = 10_014;
/// A message cannot be stored: the stream is full, and does not drop what it has.
pub(crate) const FULL: u64 = 10_077;

/// Why JetStream refused something.
#[derive(Debug, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) err_code: u64,
    #[serde(default)]
    pub(crate) description: String,
}

/// What was asked for, or why it was refused.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Outcome<T> {
    Refused { error: ApiError },
    Told(T),
}

/// Reads the answer to `what`.
pub(crate) fn read<T: DeserializeOwned>(
    what: &str,
    payload: &[u8],
) -> Result<Result<T, ApiError>, Error> {
    match serde_json::from_slice(payload) {
        Ok(Outcome::Told(told)) => Ok(Ok(told)),
        Ok(Outcome::Refused { error }) => Ok(Err(error)),
        Err(error) => Err(Error::Answer { what: what.into(), why: error.to_string() }),
    }
}

/// What an account has.
#[derive(Debug, Deserialize)]
pub(crate) struct Account {
    #[serde(default)]
    pub(crate) api: Api,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Api {
    #[serde(default)]
    pub(crate) level: u64,
}

/// A stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Stream {
    pub(crate) config: Map<String, Value>,
    pub(crate) state: State,
}

impl Stream {
    pub(crate) fn replicas(&self) -> u32 {
        let replicas = self.config.get("num_replicas").and_then(Value::as_u64).unwrap_or(1);
        u32::try_from(replicas).unwrap_or(1)
    }
}

/// A consumer.
#[cfg(feature = "jobs")]
#[derive(Debug, Deserialize)]
pub(crate) struct Consumer {
    pub(crate) config: Map<String, Value>,
    /// Requests for messages that wait.
    #[serde(default)]
    pub(crate) num_waiting: u64,
    /// Messages that were delivered and not acknowledged.
    #[serde(default)]
    pub(crate) num_ack_pending: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    pub(crate) first_seq: u64,
    #[serde(default)]
    pub(crate) last_seq: u64,
}

/// What the subject says that a delivered message is acknowledged on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivered<'a> {
    /// The stream that it is from.
    pub(crate) stream: &'a str,
    /// The consumer that it was given by.
    pub(crate) consumer: &'a str,
    /// How often it was delivered, with this time.
    pub(crate) times: u64,
    /// Its place in the stream.
    pub(crate) sequence: u64,
    /// Its number among all that the consumer sent.
    pub(crate) number: u64,
}

impl<'a> Delivered<'a> {
    /// Reads nine words, or at least eleven, where domain and account stand before the stream.
    pub(crate) fn read(reply: &'a str) -> Option<Self> {
        let words: Vec<_> = reply.split('.').take(16).collect();
        let at = match words.len() {
            9 => 2,
            11.. => 4,
            _ => return None,
        };
        if words[..2] != ["$JS", "ACK"] {
            return None;
        }
        let number = |at: usize| words[at].parse().ok();
        let (times, sequence, number) = (number(at + 2)?, number(at + 3)?, number(at + 4)?);
        Some(Self { stream: words[at], consumer: words[at + 1], times, sequence, number })
    }
}

/// What a message was answered with.
#[derive(Debug, Deserialize)]
pub(crate) struct Published {
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) duplicate: bool,
}

/// A message that was asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Found {
    pub(crate) message: Stored,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

impl Stored {
    /// What it holds.
    pub(crate) fn payload(&self) -> Option<Bytes> {
        STANDARD.decode(&self.data).ok().map(Bytes::from)
    }

    /// Its headers.
    pub(crate) fn headers(&self) -> Option<Headers> {
        let bytes = STANDARD.decode(&self.hdrs).ok()?;
        Some(Headers::read(&String::from_utf8(bytes).ok()?))
    }
}

/// The headers of a message; of one that comes twice the first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(BTreeMap<String, String>);

impl Headers {
    fn read(text: &str) -> Self {
        let mut headers = BTreeMap::new();
        // The first line is the protocol's version.
        for line in text.split("\r\n").skip(1) {
            if let Some((name, value)) = line.split_once(':') {
                headers.entry(name.trim().into()).or_insert_with(|| value.trim().into());
            }
        }
        Self(headers)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_where_it_is_from_in_both_forms_and_in_no_other() {
        let place = |sequence, number| Some((sequence, number));
        let read = |reply: &str| Delivered::read(reply).map(|read| (read.sequence, read.number));
        for (reply, wanted) in [
            ("$JS.ACK.S.c.1.42.7.1700000000.3", place(42, 7)),
            ("$JS.ACK.hub.acc.S.c.1.42.7.1700000000.3.rnd", place(42, 7)),
            ("$JS.ACK.hub.acc.S.c.1.42.7.1700000000.3", place(42, 7)),
            ("$JS.ACK.S.c.1.42.7.1700000000", None),
            ("$JS.ACK.S.c.1.x.7.1700000000.3", None),
            ("$JS.ACK.S.c.1.-4.7.1700000000.3", None),
            ("_INBOX.S.c.d.1.42.7.1700000000.3", None),
            ("", None),
        ] {
            assert_eq!(read(reply), wanted, "{reply}");
        }
        assert_eq!(read(&"$JS.ACK.".repeat(1_000)), None);
    }

    #[test]
    fn a_refusal_is_told_from_an_answer_and_from_what_is_neither() {
        let read = |text: &str| read::<Published>("a message", text.as_bytes());
        let stored = read(r#"{"stream":"S","seq":3,"duplicate":true}"#).unwrap().unwrap();
        assert!(stored.seq == 3 && stored.duplicate);
        let refused = r#"{"error":{"code":400,"err_code":10071,"description":"wrong"},"seq":0}"#;
        assert_eq!(read(refused).unwrap().unwrap_err().err_code, 10_071);
        for neither in ["", "-ERR", "[]", r#"{"stream":"S"}"#, r#"{"seq":-1}"#] {
            let error = read(neither).unwrap_err().to_string();
            assert!(error.contains("a message"), "{neither}: {error}");
        }
    }

    #[test]
    fn headers_are_read_as_they_are_stored() {
        let stored = Stored {
            subject: "s".into(),
            seq: 1,
            hdrs: STANDARD.encode("NATS/1.0\r\nNats-Msg-Id: a.1.0\r\nX: 1\r\nX: 2\r\n\r\n"),
            data: STANDARD.encode("{}"),
        };
        let headers = stored.headers().unwrap();
        assert_eq!(headers.get("Nats-Msg-Id"), Some("a.1.0"));
        assert_eq!((headers.get("X"), headers.get("Y")), (Some("1"), None));
        assert_eq!(stored.payload().unwrap(), "{}");
        let broken = Stored { hdrs: "?".into(), data: "?".into(), ..stored };
        assert!(broken.headers().is_none() && broken.payload().is_none());
    }
}

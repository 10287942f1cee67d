//! Where a message over a WebSocket belongs.

use super::{Odd, Pushed, first_byte, reply::Reply, unreadable};
use serde::{
    Deserialize as _, Deserializer as _,
    de::{SeqAccess, Visitor},
};
use std::fmt;

/// What a message over a WebSocket is, as far as it says where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Incoming {
    /// To the request that has this id; without one, to whoever waits the longest.
    Answer(Option<u64>),
    /// A head of a subscription.
    Pushed(Pushed),
}

/// Where a message belongs. Of a batch the first element alone is read.
pub(in crate::rpc) fn incoming(message: &[u8]) -> Result<Incoming, Odd> {
    struct First(Option<u64>);

    impl<'de> Visitor<'de> for &mut First {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of answers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut replies: A) -> Result<(), A::Error> {
            self.0 = replies.next_element::<Reply<'de>>()?.and_then(|reply| reply.id);
            Ok(())
        }
    }

    let mut json = serde_json::Deserializer::from_slice(message);
    if first_byte(message) == Some(b'[') {
        let mut first = First(None);
        let read = json.deserialize_seq(&mut first);
        // What follows the first element is read by whoever waits for it.
        return match read {
            Err(error) if first.0.is_none() => Err(unreadable(&error)),
            _ => Ok(Incoming::Answer(first.0)),
        };
    }
    let reply = Reply::deserialize(&mut json).map_err(|error| unreadable(&error))?;
    Ok(match reply.pushed {
        Some(pushed) => Incoming::Pushed(pushed),
        None => Incoming::Answer(reply.id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_where_it_belongs() {
        let pushed = |subscription: &str, height| {
            Incoming::Pushed(Pushed { subscription: subscription.into(), height })
        };
        let table = [
            (r#"{"id":7,"result":5}"#, Incoming::Answer(Some(7))),
            (r#"{"error":{}}"#, Incoming::Answer(None)),
            (r#"[{"id":7,"result":5},{"id":8,"#, Incoming::Answer(Some(7))),
            ("[]", Incoming::Answer(None)),
            (
                r#"{"method":"eth_subscription","params":{"subscription":"0x1","result":{"number":"0xa","x":[{}]}}}"#,
                pushed("\"0x1\"", Some(10)),
            ),
            (r#"{"method":"m","params":{"subscription":3,"result":{}}}"#, pushed("3", None)),
            (
                r#"{"method":"consensus_event","params":{"subscription":3,"result":{"type":"finalized","block":{"header":{"number":"0xb"}}}}}"#,
                pushed("3", Some(11)),
            ),
            (r#"{"params":{"subscription":3,"result":{"block":"0x7"}}}"#, pushed("3", None)),
            (
                r#"{"params":{"subscription":3,"result":{"l1Level":12,"startBlockNumber":"0x1"}}}"#,
                pushed("3", Some(12)),
            ),
            (r#"{"params":{"subscription":3,"result":{"l1Level":-12}}}"#, pushed("3", None)),
        ];
        for (message, want) in table {
            assert_eq!(incoming(message.as_bytes()), Ok(want), "{message}");
        }
        for message in ["<html>", "7", "[7]", r#"{"id":7"#, r#"{"params":7}"#] {
            let read = incoming(message.as_bytes());
            assert!(matches!(read, Err(Odd::Unreadable(_))), "{message}: {read:?}");
        }
    }
}

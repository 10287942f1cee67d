//! JSON-RPC as it is spoken: the text of a request, and what its answer says.
//!
//! One reading for HTTP and for WebSockets, lenient where nodes are known to differ, and bounded by what
//! was asked:
//!
//! | what comes | what it means |
//! |---|---|
//! | a member that is `null` | it is absent |
//! | neither result nor error | the result is `null` |
//! | a member twice | the last that is not `null` |
//! | an error beside a result | the error: nothing is believed of an answer that is unsure of itself |
//! | an id as text | the number in it |
//! | an error that is no object | its words |
//! | one error in place of a batch | the batch as a whole is refused |
//! | fewer answers than calls | those that came; the others were not answered |
//! | more elements than calls, or an answer to no call | refused at that element, with nothing kept |
//!
//! Members that are not known are skipped, not built: an answer costs its text, and the results in it.

mod incoming;
mod reply;

pub(super) use incoming::{Incoming, incoming};
pub(super) use reply::Pushed;

use super::{Answer, Call, NodeError, RpcError};
use crate::words::excerpt;
use reply::Reply;
use serde::{
    Deserialize as _, Deserializer as _, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use std::fmt;

/// The ids of one request: the calls of it, in their order, have the ids from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) first: u64,
    pub(super) calls: usize,
}

impl Ids {
    fn place(&self, id: u64) -> Option<usize> {
        let place = usize::try_from(id.checked_sub(self.first)?).ok()?;
        (place < self.calls).then_some(place)
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.place(id).is_some()
    }
}

#[derive(Serialize)]
struct Request<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    /// Said where there are none, too: not every node takes a request without.
    params: &'a [Value],
}

/// One call by itself, several as a batch.
pub(super) fn request(first: u64, calls: &[Call]) -> Result<String, NodeError> {
    let mut requests = (first..).zip(calls).map(|(id, call)| Request {
        jsonrpc: "2.0",
        id,
        method: call.method,
        params: &call.params,
    });
    let text = match calls {
        [_] => serde_json::to_string(&requests.next()),
        _ => serde_json::to_string(&requests.collect::<Vec<_>>()),
    };
    text.map_err(|error| NodeError::Params(error.to_string()))
}

/// Why a text has no answers to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// An error about the request as a whole, instead of answers to its calls.
    Whole(RpcError),
    /// One answer to a batch.
    OneForAll,
    /// More answers than calls, or one to none of them.
    Strange,
    /// No answer of JSON-RPC, and where reading it ended.
    Unreadable(String),
}

/// What `body` says to the calls of `ids`, in their order; nothing to those that it leaves out.
pub(super) fn answers(body: &[u8], ids: Ids) -> Result<Vec<Option<Answer>>, Odd> {
    let mut replies = Replies { ids, slots: Vec::new(), strange: false };
    replies.slots.resize_with(ids.calls, || None);
    let mut json = serde_json::Deserializer::from_slice(body);
    if first_byte(body) != Some(b'[') {
        let reply = Reply::deserialize(&mut json).and_then(|reply| json.end().map(|()| reply));
        return replies.alone(reply.map_err(|error| unreadable(&error))?);
    }
    let read = json.deserialize_seq(&mut replies).and_then(|()| json.end());
    match read {
        _ if replies.strange => Err(Odd::Strange),
        Err(error) => Err(unreadable(&error)),
        Ok(()) => Ok(replies.slots),
    }
}

fn unreadable(error: &serde_json::Error) -> Odd {
    // The error may repeat what it is about, at any length.
    Odd::Unreadable(excerpt(error.to_string().as_bytes()))
}

/// The first byte that is no white space.
pub(super) fn first_byte(body: &[u8]) -> Option<u8> {
    body.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

struct Replies {
    ids: Ids,
    slots: Vec<Option<Answer>>,
    strange: bool,
}

impl Replies {
    /// The one reply to a request.
    fn alone(mut self, reply: Reply<'_>) -> Result<Vec<Option<Answer>>, Odd> {
        let Reply { id, result, error, .. } = reply;
        let place = id.and_then(|id| self.ids.place(id));
        match (error, place) {
            (Some(error), _) if self.ids.calls > 1 => Err(Odd::Whole(error)),
            // The error says nothing about which request it is about: there is one.
            (Some(error), _) if place.is_some() || id.is_none() => Ok(vec![Some(Err(error))]),
            (None, Some(place)) if self.ids.calls == 1 => {
                self.slots[place] = Some(Ok(owned(result)));
                Ok(self.slots)
            }
            (None, _) if self.ids.calls > 1 => Err(Odd::OneForAll),
            _ => Err(Odd::Strange),
        }
    }
}

fn owned(result: Option<&RawValue>) -> Box<RawValue> {
    result.unwrap_or(RawValue::NULL).to_owned()
}

impl<'de> Visitor<'de> for &mut Replies {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of answers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut replies: A) -> Result<(), A::Error> {
        let mut came = 0;
        while let Some(reply) = replies.next_element::<Reply<'de>>()? {
            came += 1;
            let place = reply.id.and_then(|id| self.ids.place(id));
            // An error without an id is about no call: the request was refused.
            let place =
                place.or_else(|| (reply.id.is_none() && reply.error.is_some()).then_some(0));
            let slot = place.and_then(|place| self.slots.get_mut(place));
            let Some(slot) = slot.filter(|_| came <= self.ids.calls) else {
                self.strange = true;
                return Err(A::Error::custom("an answer to no call"));
            };
            *slot = Some(reply.error.map_or_else(|| Ok(owned(reply.result)), Err));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(body: &str, calls: usize) -> Result<Vec<Option<Result<String, RpcError>>>, Odd> {
        let answers = answers(body.as_bytes(), Ids { first: 7, calls })?;
        Ok(answers.into_iter().map(|it| it.map(|it| it.map(|raw| raw.get().to_owned()))).collect())
    }

    fn error(code: i32, message: &str) -> RpcError {
        RpcError { code, message: message.into() }
    }

    #[test]
    fn a_request_is_one_call_or_a_batch() {
        let call = |params| Call::new("m", params);
        let one = request(3, &[call(vec![])]).unwrap();
        assert_eq!(one, r#"{"jsonrpc":"2.0","id":3,"method":"m","params":[]}"#);
        let two = request(3, &[call(vec![]), call(vec![json!(1)])]).unwrap();
        assert_eq!(two, format!("[{one},{}]", one.replace('3', "4").replace("[]", "[1]")));
    }

    #[test]
    fn one_answer_in_all_the_ways_that_nodes_write_it() {
        let null = Ok("null".to_owned());
        let gone = || Err(error(-32000, "gone"));
        let table = [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"a":[1]}}"#, Ok(r#"{"a":[1]}"#.to_owned())),
            (r#" {"id":7,"result":5,"error":null} "#, Ok("5".into())),
            (r#"{"id":"7","result":5}"#, Ok("5".into())),
            (r#"{"id":7}"#, null.clone()),
            (r#"{"id":7,"result":null,"error":null}"#, null),
            (r#"{"id":7,"result":null,"error":{"code":-32000,"message":"gone"}}"#, gone()),
            (r#"{"id":7,"error":{"code":"-32000","message":"gone","data":[]}}"#, gone()),
            (r#"{"id":7,"result":5,"error":{"code":-32000,"message":"gone"}}"#, gone()),
            (r#"{"id":null,"error":{"code":-32000,"message":"gone"}}"#, gone()),
            (r#"{"id":7,"result":4,"result":5,"result":null}"#, Ok("5".into())),
            (r#"{"error":"unauthorized"}"#, Err(error(0, "unauthorized"))),
            (r#"{"id":7,"error":{"code":9e99}}"#, Err(error(0, r#"{\"code\":9e99}"#))),
            (r#"{"id":7,"error":{"code":3,"message":{"a":1}}}"#, Err(error(3, r#"{\"a\":1}"#))),
            (r#"[{"id":7,"result":5}]"#, Ok("5".into())),
        ];
        for (body, want) in table {
            assert_eq!(said(body, 1), Ok(vec![Some(want)]), "{body}");
        }
    }

    #[test]
    fn a_batch_in_all_the_ways_that_nodes_answer_it() {
        let five = || Some(Ok("5".to_owned()));
        let refused = || error(-32005, "too many");
        let whole = r#"{"id":null,"error":{"code":-32005,"message":"too many"}}"#;
        let table = [
            (r#"[{"id":8,"result":5},{"id":7,"result":5}]"#, Ok(vec![five(), five()])),
            (r#"[{"id":8,"result":5}]"#, Ok(vec![None, five()])),
            ("[]", Ok(vec![None, None])),
            (&format!("[{whole}]"), Ok(vec![Some(Err(refused())), None])),
            (whole, Err(Odd::Whole(refused()))),
            (
                r#"{"id":7,"error":{"code":-32005,"message":"too many"}}"#,
                Err(Odd::Whole(refused())),
            ),
            (r#"{"id":7,"result":5}"#, Err(Odd::OneForAll)),
            (r#"[{"id":9,"result":5}]"#, Err(Odd::Strange)),
            (r#"[{"result":5}]"#, Err(Odd::Strange)),
            ("[{},{}]", Err(Odd::Strange)),
            (r#"[{"id":7,"result":5},{"id":8,"result":5},{"id":8,"result":5}]"#, Err(Odd::Strange)),
        ];
        for (body, want) in table {
            assert_eq!(said(body, 2), want, "{body}");
        }
        for body in ["", "x", "7", "\"x\"", "[7]", "[[]]", r#"[{"id":7,"result":5}"#, "{}x", "[]x"]
        {
            assert!(matches!(said(body, 2), Err(Odd::Unreadable(_))), "{body}");
        }
    }
}

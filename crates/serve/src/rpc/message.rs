//! JSON-RPC 2.0: what is asked, and what is answered. Decisions over values.

use crate::problem::{Code, Problem};
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

/// Calls in one batch.
pub(crate) const BATCH_MAX: usize = 32;

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Error {
    code: i32,
    message: String,
    /// The refusal as it is over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl Error {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    pub(crate) fn method(name: &str) -> Self {
        Self::new(-32601, format!("there is no method {name:?}"))
    }

    pub(crate) fn needs_socket() -> Self {
        Self::new(-32004, "a subscription needs a WebSocket: connect to /rpc with one")
    }

    pub(crate) fn too_many(what: &str) -> Self {
        Self::new(-32005, format!("too many {what}"))
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let code = match problem.code {
            Code::MalformedCursor => -32010,
            Code::WrongChain => -32011,
            Code::Ahead => -32012,
            Code::TooOld => -32013,
            Code::TooMany | Code::Full => -32005,
            Code::InvalidParameter => -32602,
            Code::NotFound | Code::AboveTip | Code::OffChain | Code::Trimmed => -32001,
            _ => -32603,
        };
        let data = serde_json::to_value(&problem).ok();
        Self { code, message: problem.detail, data }
    }
}

/// A call that can be answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// `None` for a notification, which is not answered.
    pub(crate) id: Option<Value>,
    pub(crate) method: String,
    pub(crate) params: Value,
}

/// What a message holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    One(Result<Call, Value>),
    Batch(Vec<Result<Call, Value>>),
}

impl Message {
    /// Reads `text`. What cannot be read is an answer already.
    pub(crate) fn parse(text: &[u8]) -> Self {
        match serde_json::from_slice(text) {
            Err(error) => {
                let error = Error::new(-32700, format!("no JSON: {error}"));
                Self::One(Err(answer(&Value::Null, Err::<(), _>(error))))
            }
            Ok(Value::Array(calls)) if calls.is_empty() || calls.len() > BATCH_MAX => {
                let error = Error::new(-32600, format!("a batch has 1 to {BATCH_MAX} calls"));
                Self::One(Err(answer(&Value::Null, Err::<(), _>(error))))
            }
            Ok(Value::Array(calls)) => Self::Batch(calls.into_iter().map(call).collect()),
            Ok(one) => Self::One(call(one)),
        }
    }
}

fn call(value: Value) -> Result<Call, Value> {
    let refused = |id: &Value, why: &str| answer(id, Err::<(), _>(Error::new(-32600, why)));
    let Value::Object(mut call) = value else {
        return Err(refused(&Value::Null, "a call is an object"));
    };
    let id = call.remove("id");
    let known = id.clone().unwrap_or(Value::Null);
    if !matches!(known, Value::Null | Value::String(_) | Value::Number(_)) {
        return Err(refused(&Value::Null, "an id is a number or a string"));
    }
    if call.get("jsonrpc") != Some(&json!("2.0")) {
        return Err(refused(&known, "jsonrpc is \"2.0\""));
    }
    let Some(Value::String(method)) = call.remove("method") else {
        return Err(refused(&known, "a method is a string"));
    };
    let params = call.remove("params").unwrap_or(Value::Null);
    if !matches!(params, Value::Null | Value::Array(_) | Value::Object(_)) {
        return Err(refused(&known, "params are an array or an object"));
    }
    Ok(Call { id, method, params })
}

/// The answer to the call `id`.
pub(crate) fn answer<T: Serialize>(id: &Value, result: Result<T, Error>) -> Value {
    let result = result.and_then(|result| {
        serde_json::to_value(result).map_err(|error| Error::new(-32603, error.to_string()))
    });
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    }
}

/// The one parameter `name`, by its name or its place.
pub(crate) fn only(params: &Value, name: &str) -> Result<String, Error> {
    let found = match params {
        Value::Object(params) if params.len() == 1 => params.get(name),
        Value::Array(params) if params.len() == 1 => params.first(),
        _ => None,
    };
    let found = found.and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Error::params(format!("one parameter is wanted: {name}, a string")))
}

/// What events are asked for, as the query that asks for them over HTTP.
pub(crate) fn query(params: &Value) -> Result<String, Error> {
    let none = Map::new();
    let named = match params {
        Value::Null => &none,
        Value::Object(named) => named,
        Value::Array(places) => match &places[..] {
            [] => &none,
            [Value::Object(named)] => named,
            _ => return Err(Error::params("one parameter is wanted: an object")),
        },
        _ => return Err(Error::params("params are an object")),
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in named {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(yes) => u8::from(*yes).to_string(),
            Value::Array(words) => {
                let words = words.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
                words.ok_or_else(|| Error::params(format!("{name}: words are wanted")))?.join(",")
            }
            Value::Object(_) => return Err(Error::params(format!("{name}: no object is wanted"))),
        };
        query.append_pair(name, &text);
    }
    Ok(query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(message: &Message) -> i64 {
        let Message::One(Err(answer)) = message else { panic!("{message:?}") };
        answer["error"]["code"].as_i64().unwrap()
    }

    #[test]
    fn what_is_no_call_is_answered_with_why() {
        let table = [
            ("nonsense", -32700),
            ("[]", -32600),
            ("7", -32600),
            (r#"{"method":"a","id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":7}"#, -32600),
        ];
        for (text, wanted) in table {
            assert_eq!(code(&Message::parse(text.as_bytes())), wanted, "{text}");
        }
        let many = format!("[{}]", vec!["{}"; BATCH_MAX + 1].join(","));
        assert_eq!(code(&Message::parse(many.as_bytes())), -32600);
        let call = Message::parse(br#"{"jsonrpc":"2.0","id":"x","method":"a"}"#);
        let wanted = Call { id: Some(json!("x")), method: "a".into(), params: Value::Null };
        assert_eq!(call, Message::One(Ok(wanted)));
    }

    #[test]
    fn parameters_come_by_name_and_by_place() {
        assert_eq!(only(&json!({"cursor": "a"}), "cursor"), Ok("a".into()));
        assert_eq!(only(&json!(["a"]), "cursor"), Ok("a".into()));
        for wrong in [json!(null), json!([]), json!([7]), json!({"tier": "a"}), json!(["a", "b"])] {
            assert!(only(&wrong, "cursor").is_err(), "{wrong}");
        }
        let asked =
            json!({"tiers": ["finalized", "proven"], "limit": 7, "restart": true, "from": null});
        let wanted = "limit=7&restart=1&tiers=finalized%2Cproven";
        assert_eq!(query(&asked).as_deref(), Ok(wanted));
        assert_eq!(query(&json!([asked])).as_deref(), Ok(wanted));
        assert_eq!(query(&json!(null)).as_deref(), Ok(""));
        assert!(query(&json!([7])).is_err() && query(&json!({"limit": {}})).is_err());
    }
}

//! Answers as scripted nodes give them.

use crate::rpc::{Answer, RpcError};
use serde_json::Value;
pub(crate) use tidewatch_testkit::node::Script;
use tidewatch_testkit::node::{self, Refused};

/// An error of a node.
pub(crate) fn error(code: i32, message: impl Into<String>) -> Answer {
    Err(RpcError { code, message: message.into() })
}

/// A result of a node.
pub(crate) fn result(value: &Value) -> Answer {
    Ok(serde_json::value::to_raw_value(value).unwrap())
}

/// What a node answers, as it comes to a source.
pub(crate) fn said(answer: node::Answer) -> Answer {
    match answer {
        Ok(value) => result(&value),
        Err(Refused { code, message }) => error(code, message),
    }
}

impl From<RpcError> for Refused {
    fn from(RpcError { code, message }: RpcError) -> Self {
        Self { code, message }
    }
}

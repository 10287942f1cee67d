//! What there is, for programs: OpenAPI 3.2 of the routes, and OpenRPC of the methods, with the same schemas.
//! A test compares both with what a server answers.

use serde_json::Value;
use std::sync::LazyLock;

static OPENAPI: LazyLock<Value> = LazyLock::new(|| read(include_str!("openapi.json")));

static OPENRPC: LazyLock<Value> = LazyLock::new(|| {
    let mut document = read(include_str!("openrpc.json"));
    document["components"]["schemas"] = OPENAPI["components"]["schemas"].clone();
    document
});

#[expect(clippy::expect_used, reason = "a part of the program, which a test reads")]
fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("the document is JSON")
}

pub(crate) fn openapi() -> &'static Value {
    &OPENAPI
}

pub(crate) fn openrpc() -> &'static Value {
    &OPENRPC
}

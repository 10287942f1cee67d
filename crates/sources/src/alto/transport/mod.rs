//! Requests over HTTP, pushes over a WebSocket.
//!
//! # Why not another client
//!
//! `alto-client` reads a whole response into memory and decodes its block without a limit, in the same step
//! in which it verifies. Here a response is cut off at a limit while it streams in, each refusal is a typed
//! [`Fault`](tidewatch_core::Fault), and only the verifier verifies. Hence `reqwest` and `tokio-tungstenite`, at the versions of `alto-client`.

mod feed;
mod http;

pub use feed::HttpFeed;
pub use http::HttpTransport;

#[cfg(test)]
pub(super) use feed::unframe;

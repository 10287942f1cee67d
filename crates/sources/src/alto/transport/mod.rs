//! HTTP for questions, WebSocket for pushes.

mod feed;
mod http;

pub use feed::HttpFeed;
pub use http::HttpTransport;

#[cfg(test)]
pub(super) use feed::unframe;

//! JSON-RPC to the nodes of a chain: what the sources of this crate that follow a node stand on.
//!
//! # Overview
//!
//! ```text
//!  Ethereum, Optimism, Aztec ──calls──▶ Upstreams ──one of them──▶ Rpc ──▶ HTTP or WebSocket
//!   (what is asked, and what is        budget, deadline,           one request: a call by itself,
//!    believed of the answers)          fail-over, batch size       or several as a batch
//! ```
//!
//! The clients are `jsonrpsee`'s. Fail-over and batching are ours rather than those of alloy's transport
//! layers, because each endpoint has to be identified once per connection (a node of another chain is
//! skipped), and because callers need a typed [`Fault`] for every refusal.
//!
//! | file | what |
//! |---|---|
//! | `endpoint` | addresses, with what is secret in them |
//! | `error` | why a node was refused |
//! | `http`, `guard` | requests over HTTP, and what is refused of their answers before they are parsed |
//! | `ws` | requests over a WebSocket, and the heads that it pushes as doorbell |
//! | `upstreams` | several endpoints as one: who is asked, how often, and until when |
//! | `node` | either of them, by the address |
//! | `budget` | how many requests may be made |
//! | `recent` | blocks that need not be asked for again |
//! | `steady` | snapshots that are of one moment, and not of a node that lags |
//! | `config` | limits |
//! | `metrics` | work and refusals, counted |

mod budget;
mod config;
mod endpoint;
mod error;
mod guard;
mod http;
mod metrics;
mod node;
mod recent;
mod steady;
mod upstreams;
mod ws;

#[cfg(test)]
pub(crate) mod tests;

pub use config::Config;
pub use endpoint::{Endpoint, EndpointError};
pub use error::NodeError;
pub use http::HttpRpc;
pub use metrics::Work;
pub use node::Node;
pub(crate) use recent::Recent;
pub(crate) use steady::Steady;
pub(crate) use upstreams::{Handshake, Upstreams};
pub use ws::WsRpc;

use crate::{error::fault, words::excerpt};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use std::{fmt, future::Future};
use tidewatch_core::{Doorbell, Fault};

/// One call of a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Its parameters, by position.
    pub params: Vec<Value>,
}

impl Call {
    /// A call of `method`.
    pub const fn new(method: &'static str, params: Vec<Value>) -> Self {
        Self { method, params }
    }
}

/// An error that a node answered one call with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (error {code})")]
pub struct RpcError {
    /// The code, as JSON-RPC and the nodes have them.
    pub code: i32,
    /// The words, cut to a bound and printable.
    pub message: String,
}

impl RpcError {
    /// Whether the node refuses because it was asked too often, or for too much, and not for what it was
    /// asked for.
    #[cfg_attr(
        not(feature = "ethereum"),
        allow(dead_code, reason = "others take every error alike")
    )]
    pub(crate) fn is_limit(&self) -> bool {
        const LIMIT_EXCEEDED: i32 = -32005;
        const TOO_MANY_REQUESTS: i32 = 429;
        let message = || self.message.to_ascii_lowercase();
        matches!(self.code, LIMIT_EXCEEDED | TOO_MANY_REQUESTS)
            || ["rate limit", "too many requests", "limit exceeded", "count exceeded"]
                .iter()
                .any(|words| message().contains(words))
    }
}

/// What one call was answered: the result as it came, which is `null` where a node leaves it out.
pub type Answer = Result<Box<RawValue>, RpcError>;

/// Why a request has no answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It had more calls, or asked for larger answers, than the endpoint or we allow in one: fewer may
    /// be answered.
    TooMany(Fault),
    /// Anything else.
    Fault(Fault),
}

impl Unanswered {
    /// The reason alone.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::TooMany(fault) | Self::Fault(fault) => fault,
        }
    }
}

/// A node that answers JSON-RPC.
///
/// # Cancel safety
///
/// Every method may be dropped at any await: callers put deadlines on them.
pub trait Rpc: Send + Sync + 'static {
    /// Names the node in faults and metrics, without credentials.
    fn name(&self) -> &str;

    /// One request: one call by itself, several as one batch. There is one answer for each call, in
    /// their order.
    fn send(&self, calls: &[Call]) -> impl Future<Output = Result<Vec<Answer>, Unanswered>> + Send;

    /// A doorbell for one listener, which rings when the node pushes that its chain moved. A node
    /// without pushes is silent.
    fn doorbell(&self) -> Doorbell {
        Doorbell::silent()
    }
}

/// The result of one call as `T`; an error of the node is `Unavailable`, what does not fit `Malformed`.
/// `what` names what was asked for, in words.
pub(crate) fn read<T: DeserializeOwned>(
    name: &str,
    what: &dyn fmt::Display,
    answer: &Answer,
) -> Result<T, Fault> {
    match answer {
        Ok(raw) => serde_json::from_str(raw.get()).map_err(|error| {
            // The error may repeat what it is about, at any length.
            let error = excerpt(error.to_string().as_bytes());
            let shown = excerpt(raw.get().as_bytes());
            fault(name, NodeError::NotOne { what: what.to_string(), error, shown })
        }),
        Err(error) => {
            Err(fault(name, NodeError::Call { what: what.to_string(), error: error.clone() }))
        }
    }
}

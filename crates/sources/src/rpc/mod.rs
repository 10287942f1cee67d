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
//! What a node says is read here rather than by a JSON-RPC client: nodes differ in how they say it, and a
//! client gives up a batch, or a whole connection, where one member is `null`, left out or about nobody.
//! Fail-over and batching are ours because each endpoint has to be identified once per connection (a node of
//! another chain is skipped), and because callers need a typed [`Fault`] for every refusal.
//!
//! # Bounds
//!
//! An answer is at most as long as what was asked may need, is read without keeping what is not used, and is
//! refused at the first element that answers no call.
//!
//! | file | what |
//! |---|---|
//! | `endpoint` | addresses, with what is secret in them |
//! | `error` | why a node was refused |
//! | `spoken` | JSON-RPC as text: requests, and what is understood of the answers, over either transport |
//! | `http` | requests over HTTP |
//! | `grpc` | gRPC-web over HTTP, for chains whose nodes speak that |
//! | `ws`, `socket` | requests over a WebSocket, and the heads that it pushes as doorbell |
//! | `limits` | what a node says about how much and how often it may be asked |
//! | `upstreams` | several endpoints as one: who is asked, how often, and until when |
//! | `node` | either of them, by the address |
//! | `recent` | blocks that need not be asked for again |
//! | `steady` | snapshots that are of one moment, and not of a node that lags |
//! | `config` | limits |
//! | `metrics` | work and refusals, counted |

mod config;
mod endpoint;
mod error;
#[cfg(feature = "miden")]
pub(crate) mod grpc;
mod http;
mod limits;
mod metrics;
mod node;
mod recent;
mod socket;
mod spoken;
mod steady;
mod upstreams;
mod ws;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::rate::{Rate, Toll};
pub use config::Config;
pub use endpoint::{Endpoint, EndpointError};
pub use error::NodeError;
#[cfg(feature = "miden")]
pub use grpc::{GrpcWeb, Messages, Streams};
pub use http::HttpRpc;
#[cfg(feature = "ethereum")]
pub(crate) use http::{admitted, get};
#[cfg(any(feature = "aztec", feature = "miden"))]
pub(crate) use limits::RangeLimit;
#[cfg(feature = "ethereum")]
pub(crate) use metrics::Metrics;
pub use metrics::Work;
pub use node::Node;
pub(crate) use recent::Recent;
pub(crate) use steady::Steady;
pub(crate) use upstreams::{Handshake, Upstreams};
pub use ws::WsRpc;

use crate::{error::fault, words::excerpt};
use rand::{SeedableRng as _, rngs::SmallRng};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use std::{
    fmt,
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidewatch_core::{Doorbell, Fault};

/// One call of a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Its parameters, by position.
    pub params: Vec<Value>,
    /// The longest answer to it, in bytes.
    pub answer_max: usize,
}

/// The longest answer to a call, in bytes, if nothing else is said: a header with the hashes of 30,000
/// transactions.
const CALL_MAX: usize = 2 * 1024 * 1024;

impl Call {
    /// A call of `method`.
    pub const fn new(method: &'static str, params: Vec<Value>) -> Self {
        Self { method, params, answer_max: CALL_MAX }
    }

    /// The same, where the answer may be `bytes` long.
    #[must_use]
    pub fn answered_by(self, bytes: usize) -> Self {
        Self { answer_max: bytes, ..self }
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
        limits::amount(self).is_some()
    }
}

/// What one call was answered: the result as it came, which is `null` where a node leaves it out.
pub type Answer = Result<Box<RawValue>, RpcError>;

/// Why a request has no answers, or not all of them.
#[derive(Clone, Debug)]
pub enum Unanswered {
    /// It had more calls, or asked for larger answers, than the endpoint or we allow in one: fewer may
    /// be answered.
    TooMany(Fault),
    /// The node does not want to be asked now.
    Busy {
        /// What it said.
        fault: Box<Fault>,
        /// How long it wants to be left alone, if it said that.
        after: Option<Duration>,
    },
    /// Some calls were answered, and others were left out.
    Part {
        /// An answer for each call that has one, in their order.
        answers: Vec<Option<Answer>>,
        /// What was said about the others.
        fault: Box<Fault>,
    },
    /// Anything else.
    Fault(Fault),
}

impl Unanswered {
    /// The reason.
    pub fn fault(&self) -> &Fault {
        match self {
            Self::TooMany(fault) | Self::Fault(fault) => fault,
            Self::Busy { fault, .. } | Self::Part { fault, .. } => fault,
        }
    }

    /// The reason alone.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::TooMany(fault) | Self::Fault(fault) => fault,
            Self::Busy { fault, .. } | Self::Part { fault, .. } => *fault,
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

    /// How often it may be asked.
    fn rate(&self) -> Rate {
        Rate::Usual
    }

    /// One request: one call by itself, several as one batch. There is one answer for each call, in
    /// their order.
    fn send(&self, calls: &[Call]) -> impl Future<Output = Result<Vec<Answer>, Unanswered>> + Send;

    /// A doorbell for one listener, which rings when the node pushes that its chain moved. A node
    /// without pushes is silent. `toll` is awaited before each request that the doorbell makes.
    fn doorbell(&self, _toll: Toll) -> Doorbell {
        Doorbell::silent()
    }

    /// The highest number that the node pushed to its doorbells: a height, or whatever its subscription counts.
    fn pushed(&self) -> Option<u64> {
        None
    }

    /// A tip moved, whoever said so: pushes of this node may have been worth something.
    fn moved(&self) {}
}

/// Draws how long to wait before a node is tried again. Seeded by the clock: what matters is that two followers do not
/// come back together.
pub(crate) fn jitter(now: SystemTime) -> SmallRng {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    SmallRng::seed_from_u64(u64::from(now.subsec_nanos()))
}

/// No deadline of the HTTP client's for the whole of a stream: whoever reads it waits for each part as long as it wants.
#[cfg(any(feature = "ethereum", feature = "miden"))]
pub(crate) const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The result of one call of the node `name` as `T`. `what` names what was asked for, in words.
///
/// # Errors
///
/// An error of the node is `Unavailable`, what does not fit `Malformed`.
pub fn read<T: DeserializeOwned>(
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

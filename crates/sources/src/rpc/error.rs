//! Why a node that answers JSON-RPC was refused.

use super::RpcError;
use std::time::{Duration, SystemTime};
use tidewatch_core::{BlockRef, ChainInfo, FaultKind};

/// What is refused of any node that answers JSON-RPC, and why it was not reached. Texts of others are
/// cut to a bound and printable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// There is no endpoint.
    #[error("there is no endpoint to follow")]
    NoEndpoint,
    /// No TLS can be set up.
    #[error("{0}")]
    Tls(String),
    /// The client takes no such address. What it says of one may repeat it.
    #[error("no client can be made for this address: check it")]
    Address,
    /// A server that answers, and does not speak WebSocket there.
    #[error("no WebSocket there: {status}")]
    NoWebSocket {
        /// The HTTP status.
        status: String,
    },
    /// There is no connection, or it was lost.
    #[error("{0}")]
    Unreachable(String),
    /// The connection was lost while an answer was awaited.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// No answer within the time that one endpoint has.
    #[error("no answer within {limit:?}")]
    NoAnswer {
        /// The deadline.
        limit: Duration,
    },
    /// No answer within the deadline of the client.
    #[error("no answer within the deadline")]
    Late,
    /// The node lets nobody in with these credentials.
    #[error("{status}: check user, password and key in the address")]
    Denied {
        /// The HTTP status.
        status: String,
        /// What its clock says, if it said that.
        at: Option<SystemTime>,
    },
    /// The node takes no more requests now.
    #[error("{status}: the node's request limit is reached")]
    Limited {
        /// The HTTP status.
        status: String,
    },
    /// An HTTP status and no answer to the request.
    #[error("{status}")]
    Status {
        /// The HTTP status.
        status: String,
    },
    /// An error about the request as a whole, instead of answers to its calls.
    #[error("{status}: {said}")]
    Request {
        /// The HTTP status.
        status: String,
        /// The error as it came.
        said: String,
    },
    /// An error that stands for the answers of a whole batch.
    #[error("{0}")]
    Batch(RpcError),
    /// An error in answer to one call.
    #[error("{what}: {error}")]
    Call {
        /// What was asked for.
        what: String,
        /// What the node said instead.
        error: RpcError,
    },
    /// Something else than JSON.
    #[error("{content} instead of JSON: {shown}")]
    NotJson {
        /// Its content type.
        content: String,
        /// How it begins.
        shown: String,
    },
    /// Something else than gRPC-web.
    #[error("{content} instead of gRPC-web: {shown}")]
    NoGrpc {
        /// Its content type.
        content: String,
        /// How it begins.
        shown: String,
    },
    /// Frames that are no answer of gRPC-web.
    #[error("the answer is not gRPC-web: {0}")]
    NotGrpc(String),
    /// JSON that is no answer of JSON-RPC.
    #[error("the answer is not JSON-RPC: {0}")]
    NotJsonRpc(String),
    /// A result that is not what was asked for.
    #[error("{what} is not one ({error}): {shown}")]
    NotOne {
        /// What was asked for.
        what: String,
        /// Where reading it ended.
        error: String,
        /// How it begins.
        shown: String,
    },
    /// An answer above the limit of this client.
    #[error("an answer of more than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// Another number of answers than of calls.
    #[error("{got} answers to {want} calls")]
    AnswerCount {
        /// How many came.
        got: usize,
        /// How many calls were made.
        want: usize,
    },
    /// An answer to none of the calls, or more answers than calls.
    #[error("an answer to no call of the {calls} that were made, or more answers than calls")]
    Strange {
        /// How many calls were made.
        calls: usize,
    },
    /// The node asked to be left alone, and is.
    #[error("it asked to be left alone: it is asked again in {left:?} ({said})")]
    LeftAlone {
        /// For how long, in whole seconds.
        left: Duration,
        /// What it said.
        said: String,
    },
    /// A node of another chain than the one that is followed.
    #[error(
        "it is of chain {} with genesis {}, what is followed is {} with genesis {}",
        theirs.id, theirs.genesis, ours.id, ours.genesis
    )]
    OtherChain {
        /// The chain that is followed.
        ours: ChainInfo,
        /// The node's.
        theirs: ChainInfo,
    },
    /// One answer has another block at height 0 than the node names when it is asked.
    #[error("{} is where the chain begins, in this answer alone", .theirs.map_or("no block".into(), |block| block.to_string()))]
    OtherStart {
        /// What came.
        theirs: Option<BlockRef>,
    },
    /// The node has another chain by now than the one that was asked about.
    #[error("{tip} is no longer on the node's chain")]
    LeftTip {
        /// The tip of that chain.
        tip: BlockRef,
    },
    /// Tips that no chain has at once.
    #[error("tips of two moments")]
    TwoMoments,
    /// A tip that is lower than the one before.
    #[error("a tip below the last")]
    Lower,
    /// A tip at a height that no block could follow.
    #[error("no block can be as high as its tip {tip}")]
    TooHigh {
        /// The tip.
        tip: BlockRef,
    },
    /// An endpoint was asked which chain it is of, and nothing was kept of it.
    #[error("nobody said which chain it is")]
    NoChainInfo,
    /// Answers were lost between the endpoint and the source.
    #[error("{got} answers are left of those to {want} calls")]
    ShortAnswers {
        /// How many are left.
        got: usize,
        /// How many calls were made.
        want: usize,
    },
    /// A call whose parameters cannot be written.
    #[error("{0}")]
    Params(String),
}

impl NodeError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::NoEndpoint | Self::Tls(_) | Self::Address => FaultKind::InvalidConfig,
            Self::Unreachable(_) | Self::Lost(_) => FaultKind::Unreachable,
            Self::NoAnswer { .. } | Self::Late => FaultKind::Timeout,
            Self::NoWebSocket { .. }
            | Self::Denied { .. }
            | Self::Limited { .. }
            | Self::Status { .. }
            | Self::Request { .. }
            | Self::Batch(_)
            | Self::LeftAlone { .. }
            | Self::Call { .. } => FaultKind::Unavailable,
            Self::NotJson { .. } | Self::NoGrpc { .. } => FaultKind::UnexpectedContent,
            Self::NotJsonRpc(_)
            | Self::NotGrpc(_)
            | Self::NotOne { .. }
            | Self::AnswerCount { .. }
            | Self::Strange { .. } => FaultKind::Malformed,
            Self::TooLarge { .. } => FaultKind::Oversized,
            Self::OtherChain { .. } => FaultKind::WrongChain,
            Self::OtherStart { .. } | Self::LeftTip { .. } | Self::TwoMoments => FaultKind::Torn,
            Self::Lower => FaultKind::Behind,
            Self::TooHigh { .. } => FaultKind::WrongPosition,
            Self::NoChainInfo | Self::ShortAnswers { .. } | Self::Params(_) => FaultKind::Bug,
        }
    }
}

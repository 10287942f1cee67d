//! Why an indexer was refused, or not reached.

use alto_types::Identity;
use commonware_codec::{self as codec, FixedSize as _};
use std::time::Duration;
use tidewatch_core::FaultKind;

/// What is refused of an indexer before anything is verified, and why it was not reached.
#[derive(Debug, thiserror::Error)]
pub enum AltoError {
    /// There is no endpoint.
    #[error("there is no endpoint to follow")]
    NoEndpoint,
    /// An endpoint of another certificate mode than the source.
    #[error("the endpoint is of mode {theirs}, it was opened as {ours}")]
    OtherMode {
        /// The endpoint's.
        theirs: &'static str,
        /// The source's.
        ours: &'static str,
    },
    /// The identity is not a group public key.
    #[error(
        "the identity is not a group public key ({0}): it is {size} bytes in hex, as `deploy` printed \
         it for the validators and the indexer was started with",
        size = Identity::SIZE
    )]
    NotAKey(codec::Error),
    /// An epoch of fewer than two blocks.
    #[error("an epoch has at least 2 blocks")]
    EpochLength,
    /// No client can be set up.
    #[error("{0}")]
    Setup(String),
    /// No answer within the deadline.
    #[error("no answer within {limit:?}")]
    NoAnswer {
        /// The deadline.
        limit: Duration,
    },
    /// A request without an answer.
    #[error("{error}")]
    Request {
        /// What the client says, and why.
        error: String,
        /// Its deadline passed.
        late: bool,
    },
    /// An HTTP status that is no answer.
    #[error("{status}{hint}")]
    Status {
        /// The status.
        status: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Whatever answers there is no indexer.
    #[error("answers, but has no /health as an indexer has")]
    NoHealth,
    /// A page instead of bytes.
    #[error("{content} instead of a block: {shown}")]
    NotABlock {
        /// Its content type.
        content: String,
        /// How it begins.
        shown: String,
    },
    /// An answer above the limit.
    #[error("an answer of more than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// No push connection could be opened.
    #[error("no push connection: {error}")]
    NoPush {
        /// What the client says.
        error: String,
        /// The indexer answered, with an HTTP status.
        refused: bool,
    },
    /// There is no push connection any more.
    #[error("the push connection is closed")]
    Closed,
    /// The indexer ended the push connection.
    #[error("the indexer closed the push connection")]
    ClosedByPeer,
    /// The push connection broke.
    #[error("the push connection was lost: {0}")]
    Lost(String),
    /// A pushed frame above the limit.
    #[error("a pushed frame: {0}")]
    FrameTooLarge(String),
    /// A pushed frame without anything in it.
    #[error("an empty frame")]
    EmptyFrame,
    /// A pushed frame of a kind that alto does not have.
    #[error("a frame of unknown kind {kind} and {bytes} bytes")]
    UnknownFrame {
        /// Its first byte.
        kind: u8,
        /// How many follow.
        bytes: usize,
    },
    /// A pushed text.
    #[error("a pushed text instead of a frame: {shown}")]
    Text {
        /// How it begins.
        shown: String,
    },
}

impl AltoError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::NoEndpoint
            | Self::OtherMode { .. }
            | Self::NotAKey(_)
            | Self::EpochLength
            | Self::Setup(_) => FaultKind::InvalidConfig,
            Self::NoAnswer { .. } | Self::Request { late: true, .. } => FaultKind::Timeout,
            Self::Status { .. } | Self::NoPush { refused: true, .. } => FaultKind::Unavailable,
            Self::Request { .. }
            | Self::NoPush { .. }
            | Self::Closed
            | Self::ClosedByPeer
            | Self::Lost(_) => FaultKind::Unreachable,
            Self::NoHealth | Self::NotABlock { .. } | Self::Text { .. } => {
                FaultKind::UnexpectedContent
            }
            Self::TooLarge { .. } | Self::FrameTooLarge(_) => FaultKind::Oversized,
            Self::EmptyFrame | Self::UnknownFrame { .. } => FaultKind::Malformed,
        }
    }
}

//! The port to a remote endpoint: bytes in, nothing believed.

use bytes::Bytes;
use std::{fmt, future::Future};
use tidewatch_core::{Digest, Fault, Height};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The newest finalization certificate, with its block.
    LatestFinalization,
    /// The newest notarization certificate, with its block.
    LatestNotarization,
    /// The finalization certificate of the block at a height, with its block.
    Height(Height),
    /// A block by its digest, without a certificate.
    Digest(Digest),
}

impl Key {
    /// The kinds of keys, in the order of [`Key::kind`].
    pub const KINDS: [&'static str; 4] =
        ["latest_finalization", "latest_notarization", "height", "digest"];

    /// The kind of this key, as a label of metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::LatestFinalization => Self::KINDS[0],
            Self::LatestNotarization => Self::KINDS[1],
            Self::Height(_) => Self::KINDS[2],
            Self::Digest(_) => Self::KINDS[3],
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LatestFinalization => f.write_str("the latest finalization"),
            Self::LatestNotarization => f.write_str("the latest notarization"),
            Self::Height(height) => write!(f, "the block at height {height}"),
            Self::Digest(digest) => write!(f, "the block {digest}"),
        }
    }
}

/// What a push says that it carries. Whether it does is for the verifier to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// A finalization certificate with its block.
    Finalization(Bytes),
    /// A notarization certificate with its block.
    Notarization(Bytes),
    /// Something of the chain that a follower has no use for.
    Irrelevant,
}

/// A remote endpoint. The certificate-and-block answers are the certificate's encoding followed by the
/// block's.
///
/// # Cancel safety
///
/// Every method may be dropped at any await: callers put deadlines on them.
pub trait Transport: Send + Sync + 'static {
    /// An open push connection.
    type Feed: Feed;

    /// Names the endpoint in faults and metrics, without credentials.
    fn name(&self) -> &str;

    /// One request; `None` if the endpoint says that it does not have it.
    fn fetch(&self, key: Key) -> impl Future<Output = Result<Option<Bytes>, Fault>> + Send;

    /// Opens a push connection. Dropping the feed closes it, at once and completely.
    fn listen(&self) -> impl Future<Output = Result<Self::Feed, Fault>> + Send;
}

/// An open push connection.
pub trait Feed: Send + 'static {
    /// The next push. A fault of severity [`Transient`](tidewatch_core::Severity::Transient) ends the
    /// feed; any other one is about one frame, and the feed may go on.
    fn next(&mut self) -> impl Future<Output = Result<Push, Fault>> + Send;
}

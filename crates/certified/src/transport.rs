//! The port to a remote endpoint, which delivers untrusted bytes.

use bytes::Bytes;
use std::{fmt, future::Future, sync::Arc};
use tidewatch_core::{BlockRef, Digest, Fault, Height};

/// What can be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The newest finalization certificate, with its block.
    LatestFinalization,
    /// The newest notarization certificate, with its block.
    LatestNotarization,
    /// The finalization certificate of the block at a height, with its block.
    Height(Height),
    /// A block by its digest, without a certificate.
    Digest(Digest),
    /// The finalization certificate that a range of history can end with, and its block: the highest of a block in
    /// `from..=to`, or the lowest above where there is none. Asked of an endpoint that finds certificates
    /// ([`Config::finds_certificates`](crate::Config::finds_certificates)).
    Certificate {
        /// The lowest height.
        from: Height,
        /// The highest height.
        to: Height,
    },
    /// Blocks from a height upwards on the chain that ends in a block, each behind its length in four bytes, without
    /// certificates. Asked of an endpoint that finds certificates.
    Blocks {
        /// The block that the chain ends in.
        tip: BlockRef,
        /// The lowest height.
        from: Height,
    },
}

impl Key {
    /// The kinds of keys, in the order of [`Key::kind`].
    pub const KINDS: [&'static str; 6] =
        ["latest_finalization", "latest_notarization", "height", "digest", "certificate", "blocks"];

    /// The kind of this key, as a label of metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::LatestFinalization => Self::KINDS[0],
            Self::LatestNotarization => Self::KINDS[1],
            Self::Height(_) => Self::KINDS[2],
            Self::Digest(_) => Self::KINDS[3],
            Self::Certificate { .. } => Self::KINDS[4],
            Self::Blocks { .. } => Self::KINDS[5],
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
            Self::Certificate { from, to } => {
                write!(f, "the certificate of heights {from} to {to}, or above")
            }
            Self::Blocks { tip, from } => write!(f, "the blocks from height {from} up to {tip}"),
        }
    }
}

/// A push, by what it claims to carry. The verifier decides whether the claim is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// A finalization certificate with its block.
    Finalization(Bytes),
    /// A notarization certificate with its block.
    Notarization(Bytes),
    /// A message of the chain that a follower does not need.
    Irrelevant,
}

/// A remote endpoint. An answer of certificate and block is the encoding of the certificate followed by
/// that of the block.
///
/// # Cancel safety
///
/// Every method may be dropped at any await, because callers set deadlines.
pub trait Transport: Send + Sync + 'static {
    /// An open push connection.
    type Feed: Feed;

    /// Name of the endpoint in faults and metrics, without credentials.
    fn name(&self) -> &str;

    /// One request; `None` if the endpoint reports that it does not have the item.
    fn fetch(&self, key: Key) -> impl Future<Output = Result<Option<Bytes>, Fault>> + Send;

    /// Opens a push connection. Dropping the feed closes it, at once and completely.
    fn listen(&self) -> impl Future<Output = Result<Self::Feed, Fault>> + Send;

    /// Notified after each pass whether the view could use what was answered; see
    /// [`Source::judged`](tidewatch_core::Source::judged).
    fn judged(&self, _verdict: Result<(), &Fault>) {}
}

impl<T: Transport> Transport for Arc<T> {
    type Feed = T::Feed;

    fn name(&self) -> &str {
        (**self).name()
    }

    fn fetch(&self, key: Key) -> impl Future<Output = Result<Option<Bytes>, Fault>> + Send {
        (**self).fetch(key)
    }

    fn listen(&self) -> impl Future<Output = Result<T::Feed, Fault>> + Send {
        (**self).listen()
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        (**self).judged(verdict);
    }
}

/// An open push connection.
pub trait Feed: Send + 'static {
    /// The next push. A fault of severity [`Transient`](tidewatch_core::Severity::Transient) ends the
    /// feed; any other fault concerns one frame, and the feed may continue.
    fn next(&mut self) -> impl Future<Output = Result<Push, Fault>> + Send;
}

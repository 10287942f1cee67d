//! The port to a stream that is read.

use crate::Message;
use std::future::Future;
use tidewatch_core::Fault;

/// Which messages a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest sequence that is kept; one after `last` where none is.
    pub first: u64,
    /// The last sequence that was given; 0 in a new stream.
    pub last: u64,
}

/// A stream, to be read.
///
/// # Cancel safety
///
/// Every method may be dropped at any await and called again.
pub trait Stream: Clone + Send + Sync + 'static {
    /// Messages as they come.
    type Feed: Feed;

    /// Which messages there are.
    fn bounds(&self) -> impl Future<Output = Result<Bounds, Fault>> + Send;

    /// The message at `sequence`, as the stream's leader has it; `None` where there is none, or none any more.
    fn at(&self, sequence: u64) -> impl Future<Output = Result<Option<Message>, Fault>> + Send;

    /// The messages from `sequence` on, or from the oldest that is kept where that is later.
    fn feed(&self, sequence: u64) -> impl Future<Output = Result<Self::Feed, Fault>> + Send;
}

/// Messages as they come, each once, in the order of the stream.
pub trait Feed: Send {
    /// The next message; `None` is a sign of life. After an error the feed is at its end.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any await and called again: no message is lost.
    fn next(&mut self) -> impl Future<Output = Result<Option<Message>, Fault>> + Send;

    /// Whether the connection that it began on is there still. One that was made anew has forgotten the feed, without a
    /// word.
    fn connected(&self) -> bool;
}

//! A source that writes down what it is asked.

use commonware_utils::sync::Mutex;
use std::future::Future;
use tidewatch_core::{
    BlockRange, BlockRef, ChainInfo, Digest, Doorbell, Fault, Height, Ladder, Limits, Snapshot,
    Source, Watermarks,
};

/// One source call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Which chain it is.
    ChainInfo,
    /// Its tips.
    Snapshot,
    /// Digests at so many heights.
    Digests(usize),
    /// Blocks from a height.
    Blocks(Height),
}

/// Passes every call on, and writes it down.
#[derive(Debug)]
pub struct Counted<S> {
    inner: S,
    calls: Mutex<Vec<Call>>,
}

impl<S> Counted<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner, calls: Mutex::new(Vec::new()) }
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// The source itself.
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    fn called(&self, call: Call) {
        self.calls.lock().push(call);
    }
}

impl<S: Source> Source for Counted<S> {
    type Block = S::Block;

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn ladder(&self) -> Ladder {
        self.inner.ladder()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn chain_info(&self) -> impl Future<Output = Result<ChainInfo, Fault>> + Send {
        self.called(Call::ChainInfo);
        self.inner.chain_info()
    }

    fn snapshot(&self) -> impl Future<Output = Result<Snapshot, Fault>> + Send {
        self.called(Call::Snapshot);
        self.inner.snapshot()
    }

    fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<Digest>>, Fault>> + Send {
        self.called(Call::Digests(heights.len()));
        self.inner.digests(tip, heights)
    }

    fn blocks(
        &self,
        tip: BlockRef,
        from: Height,
    ) -> impl Future<Output = Result<Vec<Self::Block>, Fault>> + Send {
        self.called(Call::Blocks(from));
        self.inner.blocks(tip, from)
    }

    fn range(
        &self,
        tip: BlockRef,
        from: Height,
    ) -> impl Future<Output = Result<BlockRange<Self::Block>, Fault>> + Send {
        self.called(Call::Blocks(from));
        self.inner.range(tip, from)
    }

    fn doorbell(&self) -> Doorbell {
        self.inner.doorbell()
    }

    fn durable(&self, watermarks: &Watermarks) {
        self.inner.durable(watermarks);
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.inner.judged(verdict);
    }
}

//! Whether `--until` is reached: the height is finalized, on disk, and printed where events are.

use commonware_utils::{channel::oneshot, sync::Mutex};
use std::sync::Arc;
use tidewatch_core::{BlockRef, Height};

#[derive(Debug)]
struct Inner {
    until: Option<Height>,
    kept: bool,
    printed: bool,
    waiter: Option<oneshot::Sender<()>>,
}

/// Remembers how far finality has come. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reached(Arc<Mutex<Inner>>);

impl Reached {
    /// Waits for `until`; without it, for ever. Where events are not printed, that part is done.
    pub(crate) fn new(until: Option<u64>, prints: bool) -> Self {
        let until = until.map(Height::new);
        Self(Arc::new(Mutex::new(Inner { until, kept: false, printed: !prints, waiter: None })))
    }

    /// Finality on disk has come to `block`.
    pub(crate) fn kept(&self, block: Option<BlockRef>) {
        self.note(block, |inner| inner.kept = true);
    }

    /// Finality that was printed has come to `block`.
    pub(crate) fn printed(&self, block: Option<BlockRef>) {
        self.note(block, |inner| inner.printed = true);
    }

    fn note(&self, block: Option<BlockRef>, reached: impl FnOnce(&mut Inner)) {
        let mut inner = self.0.lock();
        let (Some(block), Some(until)) = (block, inner.until) else { return };
        if block.height < until {
            return;
        }
        reached(&mut inner);
        if inner.kept && inner.printed {
            drop(inner.waiter.take());
        }
    }

    /// Resolves when it is reached. One caller at a time.
    pub(crate) async fn wait(&self) {
        let receiver = {
            let mut inner = self.0.lock();
            if inner.kept && inner.printed && inner.until.is_some() {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            inner.waiter = Some(sender);
            receiver
        };
        let _ = receiver.await; // Dropping the sender is the message.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use tidewatch_core::Digest;

    fn at(height: u64) -> Option<BlockRef> {
        Some(BlockRef::new(Height::new(height), Digest([0; 32])))
    }

    #[test]
    fn it_is_reached_when_the_height_is_kept_and_printed() {
        let reached = Reached::new(Some(5), true);
        reached.kept(at(5));
        assert!(reached.wait().now_or_never().is_none());
        reached.printed(at(4));
        assert!(reached.wait().now_or_never().is_none());
        reached.printed(at(6));
        assert!(reached.wait().now_or_never().is_some());
    }

    #[test]
    fn without_a_height_it_is_never_reached() {
        let reached = Reached::new(None, false);
        reached.kept(at(u64::MAX));
        assert!(reached.wait().now_or_never().is_none());
    }
}

//! Whether `--until` is reached: the height is finalized, on disk, and printed where events are.

use std::future::pending;
use tidewatch_core::{BlockRef, Heads, Height, Tier, watch};

/// Remembers how far the finality that was printed has come. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    until: Option<Height>,
    printed: std::sync::Arc<watch::Sender<bool>>,
}

impl Reached {
    /// Waits for `until`; without it, for ever. Where events are not printed, that part is done.
    pub(crate) fn new(until: Option<u64>, prints: bool) -> Self {
        let (printed, _) = watch::watch(!prints);
        Self { until: until.map(Height::new), printed: printed.into() }
    }

    /// Finality that was printed has come to `block`.
    pub(crate) fn printed(&self, block: Option<BlockRef>) {
        let (Some(block), Some(until)) = (block, self.until) else { return };
        if block.height >= until {
            self.printed.change(|printed| !std::mem::replace(printed, true));
        }
    }

    /// Resolves when it is reached: finality has come there in `heads`, which are on disk, and in what
    /// was printed. A driver that ends before that never reaches it.
    pub(crate) async fn wait(&self, heads: &Heads) {
        let Some(until) = self.until else { return pending().await };
        let kept = heads.reached(Tier::Finalized, until).await.is_ok();
        if !kept || self.printed.subscribe().until(|printed| *printed).await.is_err() {
            pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use tidewatch_core::{Digest, HeadSender};

    fn at(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([0; 32]))
    }

    fn finalize(sender: &HeadSender, height: u64) {
        sender.update(|head| head.watermarks.tips.set(Tier::Finalized, Some(at(height).into())));
    }

    #[test]
    fn it_is_reached_when_the_height_is_kept_and_printed() {
        let (reached, (sender, heads)) = (Reached::new(Some(5), true), HeadSender::new());
        finalize(&sender, 5);
        assert!(reached.wait(&heads).now_or_never().is_none());
        reached.printed(Some(at(4)));
        assert!(reached.wait(&heads).now_or_never().is_none());
        reached.printed(Some(at(6)));
        assert!(reached.wait(&heads).now_or_never().is_some());
    }

    #[test]
    fn without_events_it_is_reached_when_the_height_is_kept() {
        let (reached, (sender, heads)) = (Reached::new(Some(5), false), HeadSender::new());
        finalize(&sender, 4);
        assert!(reached.wait(&heads).now_or_never().is_none());
        finalize(&sender, 5);
        assert!(reached.wait(&heads).now_or_never().is_some());
    }

    #[test]
    fn without_a_height_it_is_never_reached() {
        let (reached, (sender, heads)) = (Reached::new(None, false), HeadSender::new());
        finalize(&sender, u64::MAX);
        assert!(reached.wait(&heads).now_or_never().is_none());
    }
}

//! Whether `--until` is reached: the height is finalized or proven, on disk, and printed where events are.

use std::future::pending;
use tidewatch_core::{Cursor, Heads, Height, Tier, watch};

/// Remembers how far the tier that was printed has come. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    until: Option<Height>,
    /// What the height has to be.
    tier: Tier,
    printed: std::sync::Arc<watch::Sender<bool>>,
}

impl Reached {
    /// Waits for `until` to have `tier`; without it, for ever. Where events are not printed, that part is done.
    pub(crate) fn new(until: Option<u64>, tier: Tier, prints: bool) -> Self {
        let (printed, _) = watch::watch(!prints);
        Self { until: until.map(Height::new), tier, printed: printed.into() }
    }

    /// What is before `cursor` was printed.
    pub(crate) fn printed(&self, cursor: &Cursor) {
        let (Some(block), Some(until)) = (cursor.block(self.tier), self.until) else { return };
        if block.height >= until {
            self.printed.change(|printed| !std::mem::replace(printed, true));
        }
    }

    /// Resolves when it is reached: the tier has come there in `heads`, which are on disk, and in what
    /// was printed. A driver that ends before that never reaches it.
    pub(crate) async fn wait(&self, heads: &Heads) {
        let Some(until) = self.until else { return pending().await };
        let kept = heads.reached(self.tier, until).await.is_ok();
        if !kept || self.printed.subscribe().until(|printed| *printed).await.is_err() {
            pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use tidewatch_core::{BlockRef, ChainId, Digest, HeadSender, Watermarks};

    fn at(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([0; 32]))
    }

    /// The position behind what moved `tier` to `height`.
    fn cursor(tier: Tier, height: u64) -> Cursor {
        let tips = tidewatch_core::TipSet::unknown().with(tier, at(height));
        let watermarks = Watermarks { delivered: Some(at(9)), tips };
        Cursor::new(&ChainId::new("test:1").unwrap(), 1, &watermarks, &[])
    }

    fn moved(sender: &HeadSender, tier: Tier, height: u64) {
        sender.update(|head| head.watermarks.tips.set(tier, Some(at(height).into())));
    }

    #[test]
    fn it_is_reached_when_the_height_is_kept_and_printed() {
        for tier in [Tier::Finalized, Tier::Proven] {
            let other = if tier == Tier::Proven { Tier::Finalized } else { Tier::Proven };
            let (reached, (sender, heads)) = (Reached::new(Some(5), tier, true), HeadSender::new());
            moved(&sender, tier, 5);
            assert!(reached.wait(&heads).now_or_never().is_none());
            reached.printed(&cursor(tier, 4));
            reached.printed(&cursor(other, 6));
            assert!(reached.wait(&heads).now_or_never().is_none());
            reached.printed(&cursor(tier, 6));
            assert!(reached.wait(&heads).now_or_never().is_some());
        }
    }

    #[test]
    fn without_events_it_is_reached_when_the_height_is_kept() {
        let (reached, (sender, heads)) =
            (Reached::new(Some(5), Tier::Finalized, false), HeadSender::new());
        moved(&sender, Tier::Finalized, 4);
        assert!(reached.wait(&heads).now_or_never().is_none());
        moved(&sender, Tier::Finalized, 5);
        assert!(reached.wait(&heads).now_or_never().is_some());
    }

    #[test]
    fn without_a_height_it_is_never_reached() {
        let (reached, (sender, heads)) =
            (Reached::new(None, Tier::Finalized, false), HeadSender::new());
        moved(&sender, Tier::Finalized, u64::MAX);
        assert!(reached.wait(&heads).now_or_never().is_none());
    }
}

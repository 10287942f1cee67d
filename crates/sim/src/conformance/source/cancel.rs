//! Calls that are dropped, calls that run together, and the doorbell.

use super::{
    exam::{Exam, Look, lowest, tip, tips_words},
    stage::Stage,
};
use crate::conformance::{DEADLINE, patience::either, report::Flaw};
use commonware_runtime::Clock;
use futures::{FutureExt as _, future::join_all, join, pin_mut};
use std::{
    fmt,
    future::{Future, poll_fn},
    task::Poll,
};
use tidewatch_core::{Block, BlockRef, Fault, Height, Snapshot, Source};

/// Awaits of a call at which it is dropped, at the most.
const AWAITS_MAX: u32 = 8;

/// Calls of each kind that run at the same time.
const TOGETHER: usize = 4;

/// Listeners that leave the doorbell before it rings.
const DROPPED_BELLS: usize = 3;

/// Polls `call` until it has come to its await number `awaits`, and drops it there. False if it ended
/// before.
async fn dropped_at<T>(awaits: u32, call: impl Future<Output = T>) -> bool {
    pin_mut!(call);
    let mut seen = 0;
    poll_fn(|context| match call.poll_unpin(context) {
        Poll::Ready(_) => Poll::Ready(false),
        Poll::Pending => {
            seen += 1;
            if seen < awaits { Poll::Pending } else { Poll::Ready(true) }
        }
    })
    .await
}

fn differ(what: &str, before: impl fmt::Debug, after: impl fmt::Debug) -> Flaw {
    Flaw::broken(format_args!("{what}: {before:?} before, {after:?} after"))
}

impl<E: Clock, S: Source> Exam<'_, E, S> {
    /// Drops `call` at each of its first awaits; after each, `again` must give `before`. Says whether
    /// there was an await.
    async fn drops<T, A, F, G>(
        &self,
        what: &str,
        before: &A,
        call: impl Fn() -> F,
        again: impl Fn() -> G,
    ) -> Look<bool>
    where
        A: PartialEq + fmt::Debug,
        F: Future<Output = Result<T, Fault>>,
        G: Future<Output = Look<A>>,
    {
        for awaits in 1..=AWAITS_MAX {
            let waiting = dropped_at(awaits, call()).await;
            let after = again().await?;
            if after != *before {
                let what = format!("{what} after a call was dropped at await {awaits}");
                return Err(differ(&what, before, after));
            }
            if !waiting {
                return Ok(awaits > 1);
            }
        }
        Ok(true)
    }

    pub(super) async fn calls_may_be_dropped(&self) -> Look {
        let chain_info = self.chain_info().await?;
        let waited = self
            .drops("chain_info", &chain_info, || self.source.chain_info(), || self.chain_info())
            .await?;
        let others = self.steady(async |snapshot| self.drops_under(snapshot).await).await?;
        if waited || others {
            return Ok(());
        }
        Err(Flaw::not_shown("every call was answered at once, without an await"))
    }

    async fn drops_under(&self, snapshot: &Snapshot) -> Look<bool> {
        let tip = tip(snapshot)?;
        let (low, top) = (Height::new(lowest(tip)), tip.height);
        let heights = [top, low];
        let few = &heights[..self.source.limits().digests_max.get().min(2)];
        let numbers: Vec<_> = few.iter().map(|height| height.get()).collect();

        let again = || async { self.snapshot().await.map(|snapshot| tips_words(&snapshot.tips)) };
        let before = tips_words(&snapshot.tips);
        let snapshots = self.drops("snapshot", &before, || self.source.snapshot(), again).await?;

        let before = self.digests(&numbers).await?;
        let again = || self.digests(&numbers);
        let digests = self.drops("digests", &before, || self.source.digests(few), again).await?;

        let before = self.first_block(low.get(), tip).await?;
        let again = || self.first_block(low.get(), tip);
        let blocks = self.drops("blocks", &before, || self.source.blocks(low, tip), again).await?;
        Ok(snapshots || digests || blocks)
    }

    /// The first block of a range: how long a range is may differ from call to call.
    async fn first_block(&self, from: u64, tip: BlockRef) -> Look<Option<BlockRef>> {
        Ok(self.blocks(from, tip).await?.first().map(Block::reference))
    }

    pub(super) async fn calls_agree_together(&self) -> Look {
        self.steady(async |snapshot| {
            let tip = tip(snapshot)?;
            let low = lowest(tip);
            let few = &[tip.height.get(), low];
            let few = &few[..self.source.limits().digests_max.get().min(2)];
            let (digests, first) = (self.digests(few).await?, self.first_block(low, tip).await?);
            let together = (0..TOGETHER).map(|_| async {
                let (tips, named, block) =
                    join!(self.snapshot(), self.digests(few), self.first_block(low, tip));
                Ok((tips?, named?, block?))
            });
            for answers in join_all(together).await {
                let (tips, named, block) = answers?;
                if !tips.tips.same_blocks(&snapshot.tips) {
                    return Err(differ(
                        "snapshot",
                        tips_words(&snapshot.tips),
                        tips_words(&tips.tips),
                    ));
                }
                if named != digests {
                    return Err(differ("digests", digests, named));
                }
                if block != first {
                    return Err(differ("blocks", first, block));
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn doorbell_is_heard_again(&self, stage: &mut impl Stage) -> Look {
        // One listener after the other leaves; what rang before is heard by one of them.
        for _ in 0..DROPPED_BELLS {
            let _ = self.source.doorbell().now_or_never();
        }
        self.snapshot().await?;
        if !stage.rings() {
            return Err(Flaw::not_shown("nothing here makes it ring"));
        }
        let bell = self.source.doorbell();
        pin_mut!(bell);
        if bell.as_mut().now_or_never().is_some() {
            return Ok(());
        }
        if !stage.grow(1).await {
            return Err(Flaw::not_shown("the chain cannot be made to grow here"));
        }
        let late = self.source.clock().sleep(DEADLINE);
        either(bell, late).await.ok_or_else(|| {
            let dropped = DROPPED_BELLS;
            Flaw::broken(format_args!(
                "{dropped} listeners left, the next one heard nothing of a new block in {DEADLINE:?}"
            ))
        })
    }
}

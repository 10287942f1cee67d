//! Calls that are dropped, calls that run together, and the doorbell.

use super::{
    exam::{Exam, Look, digest_words, lowest, tip, tips_words},
    stage::Stage,
};
use crate::{DEADLINE, patience::either, report::Flaw};
use commonware_runtime::Clock;
use futures::{FutureExt as _, future::join_all, join, pin_mut};
use std::{
    fmt,
    future::{Future, poll_fn},
    task::Poll,
};
use tidewatch_core::{Block, BlockRef, Doorbell, Fault, Height, Severity, Snapshot, Source, Tier};

/// Awaits of a call at which it is dropped, at the most.
const AWAITS_MAX: u32 = 8;

/// Calls of each kind that run at the same time.
const TOGETHER: usize = 4;

/// Listeners that leave the doorbell before it rings.
const DROPPED_BELLS: usize = 3;

/// Questions under a tip that was left: before the source has looked at its chain again, and after.
const LEFT_LOOKS: usize = 3;

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

        let before = self.digests(tip, &numbers).await?;
        let again = || self.digests(tip, &numbers);
        let digests =
            self.drops("digests", &before, || self.source.digests(tip, few), again).await?;

        let before = self.first_block(tip, low.get()).await?;
        let again = || self.first_block(tip, low.get());
        let blocks = self.drops("blocks", &before, || self.source.blocks(tip, low), again).await?;
        Ok(snapshots || digests || blocks)
    }

    /// The first block of a range: how long a range is may differ from call to call.
    async fn first_block(&self, tip: BlockRef, from: u64) -> Look<Option<BlockRef>> {
        Ok(self.blocks(tip, from).await?.first().map(Block::reference))
    }

    pub(super) async fn calls_agree_together(&self) -> Look {
        self.steady(async |snapshot| {
            let tip = tip(snapshot)?;
            let low = lowest(tip);
            let few = &[tip.height.get(), low];
            let few = &few[..self.source.limits().digests_max.get().min(2)];
            let (digests, first) =
                (self.digests(tip, few).await?, self.first_block(tip, low).await?);
            let together = (0..TOGETHER).map(|_| async {
                let (tips, named, block) =
                    join!(self.snapshot(), self.digests(tip, few), self.first_block(tip, low));
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

    /// Whether a doorbell that was given up is heard again, and whether another one beside it rings too.
    pub(super) async fn doorbells_ring(&self, stage: &mut impl Stage) -> [Look; 2] {
        // Listeners leave, and those that stay give up waiting.
        for _ in 0..DROPPED_BELLS {
            let _ = self.source.doorbell().rung().now_or_never();
        }
        let mut bells = [self.source.doorbell(), self.source.doorbell()];
        for bell in &mut bells {
            let _ = bell.rung().now_or_never();
        }
        if let Err(flaw) = self.grows_and_rings(stage).await {
            return [Err(flaw.clone()), Err(flaw)];
        }
        let [first, second] = &mut bells;
        let heard = |bell| either(Doorbell::rung(bell), self.source.clock().sleep(DEADLINE));
        let again = heard(first).await.ok_or_else(|| {
            let dropped = DROPPED_BELLS;
            Flaw::broken(format_args!(
                "{dropped} listeners left, the next one heard nothing of a new block in {DEADLINE:?}"
            ))
        });
        let both = heard(second).await.ok_or_else(|| {
            Flaw::broken(format_args!(
                "the second of two heard nothing of a new block in {DEADLINE:?}"
            ))
        });
        [again, both]
    }

    async fn grows_and_rings(&self, stage: &mut impl Stage) -> Look {
        self.snapshot().await?;
        if !stage.rings() {
            return Err(Flaw::not_shown("nothing here makes it ring"));
        }
        if !stage.grow(1).await {
            return Err(Flaw::not_shown("the chain cannot be made to grow here"));
        }
        Ok(())
    }

    /// A tip that the chain left: of its chain the source may know something, of another chain it must
    /// not say anything.
    pub(super) async fn left_tip_is_refused(&self, stage: &mut impl Stage) -> Look {
        // Room for a reorg above what is final.
        let _ = stage.grow(3).await;
        let snapshot = self.snapshot().await?;
        let tip = tip(&snapshot)?;
        let finalized = snapshot.tips.block(Tier::Finalized).map_or(0, |block| block.height.get());
        if tip.height.get() < finalized + 2 {
            return Err(Flaw::not_shown("there are no blocks that could be moved"));
        }
        let heights = [tip.height.get(), tip.height.get() - 1];
        let heights = &heights[..self.source.limits().digests_max.get().min(2)];
        let before = self.digests(tip, heights).await?;
        if !stage.reorg(2, 3).await {
            return Err(Flaw::not_shown("the chain cannot be made to leave a tip"));
        }
        for _ in 0..LEFT_LOOKS {
            let numbers: Vec<_> = heights.iter().copied().map(Height::new).collect();
            match self.source.digests(tip, &numbers).await {
                Ok(after) => {
                    let pairs = before.iter().zip(&after);
                    if let Some((was, is)) =
                        pairs.filter(|(_, is)| is.is_some()).find(|(a, b)| a != b)
                    {
                        let (was, is) = (digest_words(*was), digest_words(*is));
                        return Err(Flaw::broken(format_args!(
                            "asked for the chain of {tip}, which it left, it has {is} in place of {was}"
                        )));
                    }
                }
                Err(fault) if fault.severity() == Severity::Invalid => {
                    return Err(Flaw::broken(format_args!("it answered with a fault: {fault}")));
                }
                Err(_) => {}
            }
            self.snapshot().await?;
        }
        Ok(())
    }
}

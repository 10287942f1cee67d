//! Ranges of blocks, in order, each linked to what is below it.

use super::{Guard, Mode, Pass};
use crate::{
    Error,
    reconcile::{Unlinked, link},
};
use futures::future::{join, ready};
use tidewatch_core::{
    Block, BlockRange, BlockRef, Change, Fault, Height, LocalView, Snapshot, Source, Tier,
    Watermarks,
};

/// `range`, which was linked, as a view takes it in: its blocks, and the certificates of those.
pub(super) fn changes<B: Block>(range: BlockRange<B>) -> Vec<Change<B>> {
    let BlockRange { blocks, mut certificates } = range;
    let Some(first) = blocks.first().map(|first| first.reference().height.get()) else {
        return Vec::new();
    };
    certificates.retain(|certificate| {
        let at = certificate.block.height.get().checked_sub(first);
        let block = at.and_then(|at| blocks.get(usize::try_from(at).ok()?));
        block.is_some_and(|block| block.reference() == certificate.block)
    });
    let certified = certificates.into_iter().map(Change::Certified);
    std::iter::once(Change::Blocks(blocks)).chain(certified).collect()
}

async fn fetch<S: Source, G: Guard>(
    source: &S,
    guard: &G,
    tip: BlockRef,
    from: Height,
) -> Result<BlockRange<S::Block>, Fault> {
    let range = guard.wait(source.range(tip, from)).await?;
    let (got, max) = (range.blocks.len(), source.limits().blocks_max.get());
    if got > max {
        return Err(Fault::new(source.name(), Error::TooManyBlocks { got, from, max }));
    }
    Ok(range)
}

impl<S, V, G> Pass<'_, S, V, G>
where
    S: Source,
    V: LocalView<Block = S::Block>,
    G: Guard,
{
    /// One range from the source, not checked yet but for its length.
    pub(super) async fn range(
        &mut self,
        tip: BlockRef,
        from: Height,
    ) -> Result<BlockRange<S::Block>, Fault> {
        self.cost.download += 1;
        fetch(self.source, &self.guard, tip, from).await
    }

    /// Takes in everything up to the snapshot's proposed tip, starting with `ahead` where the first
    /// range was fetched already. The last range is checked, but not committed: it goes together
    /// with the tiers. Returns where the view stands with it.
    pub(super) async fn download(
        &mut self,
        mut watermarks: Watermarks,
        snapshot: &Snapshot,
        ahead: Option<BlockRange<S::Block>>,
    ) -> Result<(Watermarks, BlockRange<S::Block>), Fault> {
        let nothing = || BlockRange::from(Vec::new());
        let Some(tip) = snapshot.tips.block(Tier::Proposed) else {
            return Ok((watermarks, nothing()));
        };
        if self.mode == Mode::TipsOnly {
            return Ok((watermarks, nothing()));
        }
        let mut from = self.first(watermarks.delivered, &snapshot.tips);
        if from > tip.height {
            return Ok((watermarks, nothing()));
        }
        let mut below = self.below(&watermarks, from);
        let mut range = match ahead {
            Some(range) => range,
            None => self.range(tip, from).await?,
        };
        loop {
            let last = match link(below, from, tip, &range.blocks) {
                Ok(last) => last,
                // Only a chain from genesis has a block below its first one that is not delivered.
                Err(unlinked @ Unlinked::Parent { below, .. })
                    if below == self.chain_info.genesis =>
                {
                    return Err(self.other_genesis(unlinked).await);
                }
                Err(unlinked) => return Err(self.fault(unlinked)),
            };
            if last.height == tip.height {
                return self.finish(watermarks, tip, last, range).await;
            }
            from = last.height.next();
            watermarks.delivered = Some(last);
            self.cost.download += 1;
            let (source, view, monitor) = (self.source, &mut *self.view, self.monitor);
            let commit = async {
                view.commit(changes(range)).await?;
                source.durable(&watermarks);
                monitor.moved(&watermarks);
                Ok::<_, Fault>(())
            };
            // Fetching goes on while the disk is busy.
            let (committed, fetched) = join(commit, fetch(source, &self.guard, tip, from)).await;
            committed?;
            // A stop that came meanwhile comes before the next commit.
            range = self.guard.wait(ready(fetched)).await?;
            below = Some(last);
        }
    }

    /// The block that the one at `from` has to stand on, where it is known.
    fn below(&self, watermarks: &Watermarks, from: Height) -> Option<BlockRef> {
        let follows = |head: &BlockRef| head.height.get().checked_add(1) == Some(from.get());
        if from.get() == 1 {
            return Some(self.chain_info.genesis);
        }
        watermarks.delivered.filter(follows)
    }

    /// The blocks led to the tip's height: they must lead to the tip.
    async fn finish(
        &mut self,
        mut watermarks: Watermarks,
        tip: BlockRef,
        last: BlockRef,
        range: BlockRange<S::Block>,
    ) -> Result<(Watermarks, BlockRange<S::Block>), Fault> {
        if last != tip {
            self.commit(changes(range)).await?;
            return Err(self.fault(Error::OffTip { last, tip }));
        }
        watermarks.delivered = Some(last);
        Ok((watermarks, range))
    }
}

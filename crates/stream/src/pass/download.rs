//! Ranges of blocks, in order, each linked to what is below it.

use super::{Guard, Mode, Pass};
use crate::{
    Error,
    reconcile::{Unlinked, link},
};
use futures::future::{join, ready};
use tidewatch_core::{
    BlockRef, Change, Fault, Height, LocalView, Rule, Snapshot, Source, Tier, Watermarks,
};

async fn fetch<S: Source, G: Guard>(
    source: &S,
    guard: &G,
    tip: BlockRef,
    from: Height,
) -> Result<Vec<S::Block>, Fault> {
    let blocks = guard.wait(source.blocks(tip, from)).await?;
    let (got, max) = (blocks.len(), source.limits().blocks_max.get());
    if got > max {
        return Err(Fault::new(source.name(), Error::TooManyBlocks { got, from, max }));
    }
    Ok(blocks)
}

impl<S, V, G> Pass<'_, S, V, G>
where
    S: Source,
    V: LocalView<Block = S::Block>,
    G: Guard,
{
    /// One range from the source, not checked yet but for its length.
    pub(super) async fn blocks(
        &mut self,
        tip: BlockRef,
        from: Height,
    ) -> Result<Vec<S::Block>, Fault> {
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
        ahead: Option<Vec<S::Block>>,
    ) -> Result<(Watermarks, Vec<S::Block>), Fault> {
        let Some(tip) = snapshot.tips.block(Tier::Proposed) else {
            return Ok((watermarks, Vec::new()));
        };
        if self.mode == Mode::TipsOnly {
            return Ok((watermarks, Vec::new()));
        }
        let mut from = self.first(watermarks.delivered, &snapshot.tips);
        if from > tip.height {
            return Ok((watermarks, Vec::new()));
        }
        let mut below = self.below(&watermarks, from);
        let mut blocks = match ahead {
            Some(blocks) => blocks,
            None => self.blocks(tip, from).await?,
        };
        loop {
            let last = match link(below, from, tip, &blocks) {
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
                return self.finish(watermarks, tip, last, blocks).await;
            }
            from = last.height.next();
            watermarks.delivered = Some(last);
            self.cost.download += 1;
            let (source, view, monitor) = (self.source, &mut *self.view, self.monitor);
            let commit = async {
                view.commit(vec![Change::Blocks(blocks)]).await?;
                source.durable(&watermarks);
                monitor.moved(&watermarks);
                Ok::<_, Fault>(())
            };
            // Fetching goes on while the disk is busy.
            let (committed, fetched) = join(commit, fetch(source, &self.guard, tip, from)).await;
            committed?;
            // A stop that came meanwhile comes before the next commit.
            blocks = self.guard.wait(ready(fetched)).await?;
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
        blocks: Vec<S::Block>,
    ) -> Result<(Watermarks, Vec<S::Block>), Fault> {
        if last != tip && Rule::OwnChain.kept() {
            self.commit(vec![Change::Blocks(blocks)]).await?;
            return Err(self.fault(Error::OffTip { last, tip }));
        }
        watermarks.delivered = Some(last);
        Ok((watermarks, blocks))
    }
}

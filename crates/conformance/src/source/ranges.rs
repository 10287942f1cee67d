//! Checks of ranges of blocks.

use super::exam::{Exam, Look, digest_words, lowest, tip};
use crate::report::Flaw;
use commonware_runtime::Clock;
use tidewatch_core::{Block, BlockRef, Digest, Height, Source};
use tidewatch_stream::reconcile::link;

impl<E: Clock, S: Source> Exam<'_, E, S> {
    /// Ranges from a few heights below the tip.
    async fn ranges(&self, tip: BlockRef) -> Look<Vec<(u64, Vec<S::Block>)>> {
        let (top, low) = (tip.height.get(), lowest(tip));
        let mut froms = vec![low, (low + top) / 2, top.saturating_sub(1).max(low), top];
        froms.dedup();
        let mut ranges = Vec::new();
        for from in froms {
            ranges.push((from, self.blocks(tip, from).await?));
        }
        Ok(ranges)
    }

    pub(super) async fn ranges_are_linked(&self) -> Look {
        let genesis = self.chain_info().await?.genesis;
        self.steady(async |snapshot| {
            let tip = tip(snapshot)?;
            for (from, blocks) in self.ranges(tip).await? {
                let below = (from == 1).then_some(genesis);
                let last = link(below, Height::new(from), tip, &blocks).map_err(Flaw::broken)?;
                if last.height == tip.height && last != tip {
                    return Err(Flaw::broken(format_args!(
                        "the range from {from} leads to {last}, not to the tip {tip}"
                    )));
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn ranges_are_bounded(&self) -> Look {
        let max = self.source.limits().blocks_max.get();
        self.steady(async |snapshot| {
            for (from, blocks) in self.ranges(tip(snapshot)?).await? {
                if blocks.len() > max {
                    let got = blocks.len();
                    return Err(Flaw::broken(format_args!(
                        "{got} blocks from {from}, of {max} at the most"
                    )));
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn blocks_agree_with_digests(&self) -> Look {
        self.steady(async |snapshot| {
            let tip = tip(snapshot)?;
            let blocks = self.walk(tip).await?;
            let heights: Vec<_> = blocks.iter().map(|block| block.height.get()).collect();
            for (block, digest) in blocks.into_iter().zip(self.digests_of(tip, &heights).await?) {
                if digest != Some(block.digest) {
                    let found = digest_words(digest);
                    return Err(Flaw::broken(format_args!(
                        "its block is {block}, its digest there is {found}"
                    )));
                }
            }
            Ok(())
        })
        .await
    }

    /// Every block from [`lowest`] as far up as asking on leads: to the tip, if all is well.
    async fn walk(&self, tip: BlockRef) -> Look<Vec<BlockRef>> {
        let mut walked: Vec<BlockRef> = Vec::new();
        let mut from = lowest(tip);
        while from <= tip.height.get() {
            let blocks = self.blocks(tip, from).await?;
            let Some(last) = blocks.last().map(Block::reference) else { break };
            if last.height.get() < from {
                break;
            }
            from = last.height.next().get();
            walked.extend(blocks.iter().map(Block::reference));
        }
        Ok(walked)
    }

    pub(super) async fn ranges_lead_to_tip(&self) -> Look {
        self.steady(async |snapshot| {
            let tip = tip(snapshot)?;
            match self.walk(tip).await?.last() {
                Some(last) if *last == tip => Ok(()),
                Some(last) => {
                    Err(Flaw::broken(format_args!("its blocks end at {last}, its tip is {tip}")))
                }
                None => {
                    let from = lowest(tip);
                    Err(Flaw::broken(format_args!("no block from {from}, its tip is {tip}")))
                }
            }
        })
        .await
    }

    pub(super) async fn no_block_leads_elsewhere(&self) -> Look {
        self.steady(async |snapshot| {
            let tip = tip(snapshot)?;
            let Digest(mut digest) = tip.digest;
            digest.iter_mut().for_each(|byte| *byte = !*byte);
            let never = BlockRef::new(tip.height, Digest(digest));
            for from in [lowest(tip), tip.height.get()] {
                let answer = self.source.blocks(never, Height::new(from)).await;
                if let Some(first) = answer.ok().and_then(|blocks| blocks.first().cloned()) {
                    let first = first.reference();
                    return Err(Flaw::broken(format_args!(
                        "asked for the chain of {never}, which is none of its own, it gave {first} \
                         of the chain of {tip}"
                    )));
                }
            }
            Ok(())
        })
        .await
    }
}

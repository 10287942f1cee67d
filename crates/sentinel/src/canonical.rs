//! What is canonical, over a source.

#[cfg(test)]
mod tests;

use crate::{AtSlot, Canonical, Landed, Position, Slot, Standing, ValidatorId};
use std::{num::NonZeroU64, ops::RangeInclusive};
use tidewatch_core::{
    Block, BlockRef, CheckpointRef, Digest, Doorbell, Fault, FaultKind, Height, Source, Tier,
};

/// A block that says in which slot it stands.
///
/// Of two blocks, the higher one stands in a later slot: that bounds how far down a slot is searched. Where
/// several blocks make one checkpoint they share its slot, and the last one carries what is judged.
pub trait Slotted: Block {
    /// Its slot.
    fn slot(&self) -> Slot;

    /// What had to be attested to, where it is not the block's own digest.
    fn payload(&self) -> Digest {
        self.reference().digest
    }

    /// Who proposed it, if it says so.
    fn proposer(&self) -> Option<ValidatorId> {
        None
    }

    /// Who attested to it, as far as it carries their signatures: each was verified.
    fn attestors(&self) -> Vec<ValidatorId> {
        Vec::new()
    }

    /// The checkpoint that it ends, on a chain that has them.
    fn checkpoint(&self) -> Option<CheckpointRef> {
        None
    }
}

/// Reads a [`Source`] by slots: one snapshot for each pass, and nothing that outlives it.
#[derive(Debug)]
pub struct FromSource<S> {
    source: S,
    blocks_in_slot: NonZeroU64,
    reach: u64,
}

impl<S> FromSource<S> {
    /// Reads `source`, whose slots have at most `blocks_in_slot` blocks, and looks for a checkpoint at most
    /// `reach` blocks below the tip.
    pub const fn new(source: S, blocks_in_slot: NonZeroU64, reach: u64) -> Self {
        Self { source, blocks_in_slot, reach }
    }
}

impl<S: Source<Block: Slotted>> FromSource<S> {
    /// All blocks from `from` up to the tip of `standing`.
    async fn up_to_tip(&self, standing: &Standing, from: Height) -> Result<Vec<S::Block>, Fault> {
        let tip = standing.tip.block;
        let (mut found, mut next): (Vec<S::Block>, _) = (Vec::new(), from);
        while next <= tip.height {
            let blocks = self.source.blocks(tip, next).await?;
            let Some(last) = blocks.last().map(|block| block.reference().height) else {
                return Err(self.torn(tip));
            };
            for block in blocks {
                let linked =
                    found.last().is_none_or(|below| below.reference().digest == block.parent());
                if block.reference().height != next || !linked {
                    return Err(self.torn(tip));
                }
                next = next.next();
                found.push(block);
            }
            debug_assert_eq!(last.next(), next);
        }
        if found.last().is_some_and(|block| block.reference() != tip) {
            return Err(self.torn(tip));
        }
        Ok(found)
    }

    /// The same as far down as `from`, or as the source keeps blocks.
    async fn kept_up_to_tip(
        &self,
        standing: &Standing,
        from: Height,
    ) -> Result<Vec<S::Block>, Fault> {
        let is_kept = |found: &Result<Vec<S::Block>, Fault>| {
            !found.as_ref().is_err_and(|fault| fault.kind == FaultKind::Missing)
        };
        let found = self.up_to_tip(standing, from).await;
        if is_kept(&found) {
            return found;
        }
        let (mut missing, mut kept) = (from.get(), standing.tip.block.height.get());
        while missing + 1 < kept {
            let middle = missing.midpoint(kept);
            let found = self.source.blocks(standing.tip.block, Height::new(middle)).await;
            *(if is_kept(&found) { &mut kept } else { &mut missing }) = middle;
        }
        self.up_to_tip(standing, Height::new(kept)).await
    }

    /// The highest block of the chain that is not above `up_to`, and the last slot that it is known to have passed;
    /// `None` while that is not known.
    ///
    /// # Errors
    ///
    /// Those of the source.
    pub async fn position(&self, up_to: Height) -> Result<Option<Position>, Fault> {
        let Some(standing) = self.standing().await? else { return Ok(None) };
        if standing.tip.block.height <= up_to {
            return Ok(Some(standing.tip));
        }
        let blocks = self.source.blocks(standing.tip.block, up_to).await?;
        let mut blocks = blocks.iter();
        let at = blocks.next().filter(|block| block.reference().height == up_to);
        let at = at.ok_or_else(|| self.torn(standing.tip.block))?;
        // Up to the next block, every slot has passed without one.
        let before = blocks.next().and_then(|next| next.slot().minus(1));
        let slot = at.slot().max(before.unwrap_or_default());
        Ok(Some(Position { block: at.reference(), slot }))
    }

    fn torn(&self, tip: BlockRef) -> Fault {
        FaultKind::Torn.fault(self.source.name(), format!("its blocks do not lead to {tip}"))
    }
}

impl<S: Source<Block: Slotted>> Canonical for FromSource<S> {
    async fn standing(&self) -> Result<Option<Standing>, Fault> {
        let snapshot = self.source.snapshot().await?;
        let Some(tip) = snapshot.tips.block(Tier::Proposed) else { return Ok(None) };
        let unknown = Standing {
            tip: Position { block: tip, slot: Slot(0) },
            finalized: snapshot.tips.block(Tier::Finalized),
        };
        let blocks = self.up_to_tip(&unknown, tip.height).await?;
        let Some(slot) = blocks.last().map(Slotted::slot) else { return Err(self.torn(tip)) };
        Ok(Some(Standing { tip: Position { block: tip, slot }, ..unknown }))
    }

    async fn at(
        &self,
        standing: &Standing,
        slots: RangeInclusive<Slot>,
    ) -> Result<Vec<AtSlot>, Fault> {
        let Position { block: tip, slot: passed } = standing.tip;
        let (first, last) = (slots.start().get(), slots.end().get().min(passed.get()));
        let blocks = if first <= last {
            // Each slot below the tip's has as many blocks as there may be, at the most.
            let below = (passed.get() - first + 1).saturating_mul(self.blocks_in_slot.get());
            let from = Height::new(tip.height.get().saturating_sub(below));
            self.kept_up_to_tip(standing, from).await?
        } else {
            Vec::new()
        };
        // Slots before that of the lowest block are not empty: nothing is known of them.
        let lowest = blocks.first().filter(|block| !block.reference().height.is_zero());
        let told = lowest.map_or(0, |block| block.slot().get());
        let at = |slot: u64| {
            if slot > passed.get() {
                return AtSlot::NotPassed;
            }
            let in_slot = blocks.iter().rev().find(|block| block.slot().get() == slot);
            let none = if slot < told { AtSlot::Unknown } else { AtSlot::Empty };
            in_slot.map_or(none, |block| {
                AtSlot::Landed(Landed {
                    block: block.reference(),
                    payload: block.payload(),
                    proposer: block.proposer(),
                    attestors: block.attestors(),
                    trimmed: false,
                })
            })
        };
        Ok((slots.start().get()..=slots.end().get()).map(at).collect())
    }

    async fn on_chain(&self, standing: &Standing, blocks: &[BlockRef]) -> Result<Vec<bool>, Fault> {
        let tip = standing.tip.block;
        let mut found = Vec::with_capacity(blocks.len());
        for part in blocks.chunks(self.source.limits().digests_max.get()) {
            let heights: Vec<Height> = part.iter().map(|block| block.height).collect();
            let digests = self.source.digests(tip, &heights).await?;
            if digests.len() != part.len() {
                return Err(self.torn(tip));
            }
            found.extend(part.iter().zip(digests).map(|(block, at)| at == Some(block.digest)));
        }
        Ok(found)
    }

    async fn checkpoint(&self, standing: &Standing, number: u64) -> Result<Option<Digest>, Fault> {
        let from = standing.tip.block.height.get().saturating_sub(self.reach);
        let blocks = self.up_to_tip(standing, Height::new(from)).await?;
        let checkpoint =
            blocks.iter().filter_map(Slotted::checkpoint).find(|at| at.number == number);
        Ok(checkpoint.map(|at| at.digest))
    }

    fn doorbell(&self) -> Doorbell {
        self.source.doorbell()
    }
}

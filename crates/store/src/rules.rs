//! What a view takes in and what it refuses: the invariants of the stream, checked at the door.
//!
//! Pure decisions over values. A driver that keeps to the pass never meets a [`Breach`].

use crate::{Breach, Error};
use tidewatch_core::{
    Block, BlockRef, ChainInfo, Change, Event, Fault, HEIGHT_LIMIT, Height, Tier, TierProof, Tip,
    TipSet, Watermarks,
};

/// The height at which `change` names a block that the view may know already.
pub(crate) fn height_named<B: Block>(change: &Change<B>) -> Option<Height> {
    match change {
        Change::Pruned { to, .. } => Some(to.height),
        Change::Certified(proof) => Some(proof.block.height),
        Change::Advanced { tip, .. } | Change::Regressed { tip, .. } => Some(tip.block.height),
        Change::Blocks(_) => None,
    }
}

/// The target of `change`, if it is a prune that goes below the delivered blocks from `first` on, where the
/// current run began: what it drops is counted from the events before.
pub(crate) fn prunes_across<B: Block>(
    change: &Change<B>,
    delivered: Option<BlockRef>,
    first: Option<Height>,
) -> Option<Height> {
    let Change::Pruned { to, .. } = change else { return None };
    let within = first.is_some_and(|first| to.height.next() >= first);
    (delivered.is_some() && !within).then_some(to.height)
}

/// `event`, of which it is known that it drops `dropped` blocks.
pub(crate) const fn with_depth(event: Event, dropped: u64) -> Event {
    match event {
        Event::Pruned { to, tips, .. } => Event::Pruned { to, depth: dropped, tips },
        other => other,
    }
}

/// The event of `change`, if a view at `watermarks` may take it in; a certificate alone makes none. `ours` is the block that the view
/// holds at [`height_named`], where it holds blocks densely.
pub(crate) fn check<B: Block>(
    chain_info: &ChainInfo,
    watermarks: &Watermarks,
    ours: Option<BlockRef>,
    change: &Change<B>,
) -> Result<Option<Event>, Fault> {
    match change {
        Change::Certified(proof) => {
            is_held(watermarks, ours, proof.block)?;
            return Ok(None);
        }
        Change::Blocks(blocks) => blocks_link(chain_info, watermarks, blocks)?,
        Change::Pruned { to, tips } => pruned_is_below(watermarks, ours, *to, tips)?,
        Change::Advanced { tier, tip, proof } => {
            proof_is_of(*tier, *tip, proof.as_ref())?;
            tier_may_move(watermarks, *tier, *tip, false)?;
            tip_is_ours(ours, *tier, *tip)?;
        }
        Change::Regressed { tier, tip, proof } => {
            proof_is_of(*tier, *tip, proof.as_ref())?;
            tier_may_move(watermarks, *tier, *tip, true)?;
            tip_is_ours(ours, *tier, *tip)?;
        }
    }
    change.event(watermarks).map(Some).ok_or_else(|| Breach::NoBlocks.fault())
}

/// Whether `first` starts a run of its own: it does not stand on what was delivered last.
pub(crate) fn starts_run(watermarks: &Watermarks, first: Height) -> bool {
    watermarks.delivered.is_none_or(|delivered| first.previous() != Some(delivered.height))
}

/// The block that `first` stands on.
pub(crate) fn base_of<B: Block>(first: &B) -> Option<BlockRef> {
    let below = first.reference().height.previous()?;
    Some(BlockRef::new(below, first.parent()))
}

fn proof_is_of(tier: Tier, tip: Tip, proof: Option<&TierProof>) -> Result<(), Fault> {
    if proof.is_some_and(|proof| proof.block != tip.block) {
        return Err(Breach::OtherProof { tier, tip: tip.block }.fault());
    }
    Ok(())
}

/// Refuses the certificate of a block that the view does not hold.
fn is_held(watermarks: &Watermarks, ours: Option<BlockRef>, block: BlockRef) -> Result<(), Fault> {
    let tier = Tier::Finalized;
    let delivered = watermarks.delivered.filter(|delivered| block.height <= delivered.height);
    match (delivered, ours) {
        (None, _) | (_, None) => Err(Breach::NotHeld { block }.fault()),
        (_, Some(ours)) if ours != block => Err(Error::OffChain { tier, tip: block, ours }.fault()),
        _ => Ok(()),
    }
}

/// Refuses a tip beside the block that the view holds at its height.
fn tip_is_ours(ours: Option<BlockRef>, tier: Tier, tip: Tip) -> Result<(), Fault> {
    match ours.filter(|ours| *ours != tip.block) {
        Some(ours) => Err(Error::OffChain { tier, tip: tip.block, ours }.fault()),
        None => Ok(()),
    }
}

fn blocks_link<B: Block>(
    chain_info: &ChainInfo,
    watermarks: &Watermarks,
    blocks: &[B],
) -> Result<(), Fault> {
    let Some(first) = blocks.first() else { return Err(Breach::NoBlocks.fault()) };
    let at = first.reference();
    let mut below = match watermarks.delivered {
        Some(delivered) if at.height <= delivered.height => {
            return Err(Breach::NotAbove { block: at, delivered }.fault());
        }
        Some(delivered) if !starts_run(watermarks, at.height) => Some(delivered),
        _ => base_of(first).map(|base| {
            if base.height == chain_info.genesis.height { chain_info.genesis } else { base }
        }),
    };
    if at.height == chain_info.genesis.height && at != chain_info.genesis {
        return Err(Breach::OtherGenesis { block: at, genesis: chain_info.genesis }.fault());
    }
    for block in blocks {
        let at = block.reference();
        if let Some(below) = below
            && (at.height.previous() != Some(below.height) || below.digest != block.parent())
        {
            return Err(Breach::Unlinked { block: at, parent: block.parent(), below }.fault());
        }
        below = Some(at);
    }
    if below.is_some_and(|last| last.height >= HEIGHT_LIMIT) {
        return Err(Breach::TooHigh.fault());
    }
    Ok(())
}

fn pruned_is_below(
    watermarks: &Watermarks,
    ours: Option<BlockRef>,
    to: BlockRef,
    tips: &TipSet,
) -> Result<(), Fault> {
    if watermarks.head().is_none_or(|head| to.height > head.height) {
        return Err(Breach::PruneUp { to }.fault());
    }
    if let Some(ours) = ours.filter(|ours| *ours != to) {
        return Err(Breach::PruneBeside { to, ours }.fault());
    }
    if tips.version() < watermarks.tips.version() {
        return Err(Breach::PruneOlder { to }.fault());
    }
    for tier in Tier::ALL {
        let above = |tip: &BlockRef| tip.height > to.height;
        if let Some(tip) = tips.block(tier).filter(above) {
            return Err(Breach::PruneBelow { to, tier, tip }.fault());
        }
    }
    if let Some(finalized) = watermarks.tips.block(Tier::Finalized) {
        let after = tips.block(Tier::Finalized);
        if after.is_none_or(|after| !keeps_finalized(finalized, after))
            || !keeps_finalized(finalized, to)
        {
            return Err(Breach::PruneFinalized { to, finalized }.fault());
        }
    }
    Ok(())
}

fn tier_may_move(watermarks: &Watermarks, tier: Tier, tip: Tip, back: bool) -> Result<(), Fault> {
    let to = tip.block;
    if let Some(delivered) = watermarks.delivered.filter(|delivered| to.height > delivered.height) {
        return Err(Breach::TipAbove { tier, tip: to, delivered }.fault());
    }
    let Some(from) = watermarks.tips.block(tier) else { return Ok(()) };
    if tier == Tier::Finalized && (back || !keeps_finalized(from, to)) {
        return Err(Breach::Finalized { from, to }.fault());
    }
    let wrong_way = if back { to.height > from.height } else { to.height < from.height };
    if wrong_way {
        return Err(Breach::WrongWay { tier, back, from, to }.fault());
    }
    Ok(())
}

/// Whether `later` can be finalized, or survive a prune, once `earlier` was finalized.
fn keeps_finalized(earlier: BlockRef, later: BlockRef) -> bool {
    later.height > earlier.height || later == earlier
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::TestBlock;
    use tidewatch_core::Digest;

    fn block(height: u64, fork: u8) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([fork; 32]))
    }

    #[test]
    fn only_a_prune_below_the_run_of_delivered_blocks_is_counted_from_events() {
        let prune = Change::<TestBlock>::Pruned { to: block(6, 1), tips: TipSet::unknown() };
        let delivered = Some(block(9, 1));
        for (delivered, first, across) in [
            (None, None, false),
            (None, Some(8), false),
            (delivered, None, true),
            (delivered, Some(8), true),
            (delivered, Some(7), false),
            (delivered, Some(1), false),
        ] {
            let to = prunes_across(&prune, delivered, first.map(Height::new));
            assert_eq!(to.is_some(), across, "{delivered:?}, from {first:?}");
        }
    }

    #[test]
    fn neither_the_target_of_a_prune_nor_its_tips_may_lose_what_is_final() {
        let stands =
            TipSet::unknown().with(Tier::Proposed, block(9, 1)).with(Tier::Finalized, block(6, 1));
        let watermarks = Watermarks { delivered: None, tips: stands };
        let refused = |to, finalized: Option<BlockRef>| {
            let mut tips = stands.with(Tier::Proposed, block(6, 1));
            tips.set(Tier::Finalized, finalized.map(Into::into));
            let refused = pruned_is_below(&watermarks, None, to, &tips);
            refused.err().map(|fault| fault.to_string())
        };
        assert_eq!(refused(block(6, 1), Some(block(6, 1))), None);
        // Another block at its height, which a view without that block cannot compare.
        let expected = Breach::PruneFinalized { to: block(6, 2), finalized: block(6, 1) };
        assert_eq!(refused(block(6, 2), Some(block(6, 1))), Some(expected.fault().to_string()));
        let expected = Breach::PruneFinalized { to: block(7, 1), finalized: block(6, 1) };
        assert_eq!(refused(block(7, 1), None), Some(expected.fault().to_string()));
    }
}

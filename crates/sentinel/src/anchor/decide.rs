//! What an event does to an anchor.

use tidewatch_core::{BlockRef, Event, Tier};

/// Where an anchor moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// To this block.
    To(BlockRef),
    /// Back, with everything that depends on it.
    Back {
        /// The block of the anchor: the tier's tip.
        to: BlockRef,
        /// The block to which dependents roll back: the highest that survives.
        rolled: BlockRef,
    },
}

/// What `event` does to an anchor of `tier` that stands at `anchor`; `None` if nothing.
pub fn decide(tier: Tier, anchor: Option<BlockRef>, event: &Event) -> Option<Move> {
    match event {
        Event::Blocks { .. } => None,
        Event::Advanced { tier: of, tip } | Event::Regressed { tier: of, tip } => {
            (*of == tier && Some(tip.block) != anchor).then_some(Move::To(tip.block))
        }
        Event::Pruned { to, tips, .. } => {
            let anchor = anchor?;
            let tip = tips.block(tier);
            if anchor.height > to.height {
                return Some(Move::Back { to: tip.unwrap_or(*to), rolled: *to });
            }
            // The tier may have moved back below what survives: no event of its own says so.
            tip.filter(|tip| tip.height < anchor.height).map(Move::To)
        }
    }
}

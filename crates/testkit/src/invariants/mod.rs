//! What every history of events keeps to, whatever the source did.
//!
//! # Overview
//!
//! | function | invariant |
//! |---|---|
//! | [`ladder`] | the tips obey the ladder |
//! | [`finality`] | the finalized tip never goes back, never changes its digest, is never unknown again |
//! | [`delivered`] | no tip is above the delivered head |
//! | [`tiers`] | a tier goes up only by `Advanced`, and down only by `Regressed` or `Pruned`; a prune raises nothing |
//! | [`blocks`] | blocks replace nothing that was not pruned, and a prune goes below the head |
//! | [`link`] | the same of each block, and it is on the one right below it |
//! | [`dense`] | blocks go on right above the delivered head |
//! | [`event`] | all of the above that can be said of one event; it returns where that leads |
//! | [`fold`] | the watermarks of a record are the fold of the events, and its cursor stands there |
//! | [`leads`] | the same of a record of a bridge, by its blocks alone |
//! | [`record`] | [`event`] and [`fold`] |
//!
//! Pure functions, so that whoever checks a history keeps what it has seen in the way that suits it: the
//! simulator has one checker for each, the conformance suites and [`view`](crate::view) check all of them at
//! once. The rules by which the store refuses a commit are written a second time, on purpose: neither is
//! the measure of itself.

use crate::words::{watermarks_words, word, words};
use std::fmt;
use tidewatch_core::{
    Block, BlockRef, Event, Ladder, LadderBroken, Record, Tier, TipSet, Watermarks,
};

/// The invariant that does not hold, and what disagrees. `{:#}` formats blocks and events in the notation of
/// [`words`](crate::words), for test chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The tips violate the ladder.
    Ladder(LadderBroken),
    /// Finality went back, changed its digest, or is unknown again.
    Finality {
        /// The finalized block before.
        was: BlockRef,
        /// The finalized block now.
        is: Option<BlockRef>,
    },
    /// A tip is above the delivered head.
    NotDelivered {
        /// The tip.
        tip: BlockRef,
        /// The delivered head.
        head: BlockRef,
    },
    /// A block replaces one that is still there.
    Replaces {
        /// The block.
        at: BlockRef,
        /// The delivered head.
        below: BlockRef,
    },
    /// A block's parent is not the block right below it.
    NotLinked {
        /// The block.
        at: BlockRef,
        /// The block right below.
        below: BlockRef,
    },
    /// Blocks are missing below a block.
    Hole {
        /// The block.
        at: BlockRef,
        /// The delivered head.
        below: BlockRef,
    },
    /// An event that cannot follow where the view stands.
    Moves(Box<(Event, Watermarks)>),
    /// The event leads elsewhere than its record has.
    Folds(Box<Folds>),
    /// The cursor of a record has other watermarks than the record.
    Cursor,
}

/// Where an event leads, and what its record has instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folds {
    /// The event.
    pub event: Event,
    /// Where it leads.
    pub folded: Watermarks,
    /// What its record has.
    pub recorded: Watermarks,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = f.alternate();
        let at = |block: &BlockRef| if short { word(*block) } else { block.to_string() };
        let told =
            |event: &Event| if short { words(&[*event]).join("") } else { event.to_string() };
        let stands = |watermarks: &Watermarks| {
            if short { watermarks_words(watermarks) } else { format!("{watermarks:?}") }
        };
        match self {
            Self::Ladder(broken) => broken.fmt(f),
            Self::Finality { was, is: Some(is) } => {
                write!(f, "finalized moved from {} to {}", at(was), at(is))
            }
            Self::Finality { was, is: None } => {
                write!(f, "finalized was {}, and is unknown", at(was))
            }
            Self::NotDelivered { tip, head } => {
                write!(
                    f,
                    "{} is announced and was not delivered, the head is {}",
                    at(tip),
                    at(head)
                )
            }
            Self::Replaces { at: block, below } => {
                write!(f, "{} replaces {}, which was not pruned", at(block), at(below))
            }
            Self::NotLinked { at: block, below } => {
                write!(f, "the parent of {} is not {}", at(block), at(below))
            }
            Self::Hole { at: block, below } => {
                write!(f, "{} comes after {}, blocks are missing", at(block), at(below))
            }
            Self::Moves(moves) => write!(f, "{} at {}", told(&moves.0), stands(&moves.1)),
            Self::Folds(folds) => {
                let Folds { event, folded, recorded } = &**folds;
                let (folded, recorded) = (stands(folded), stands(recorded));
                write!(f, "{} leads to {folded}, its record has {recorded}", told(event))
            }
            Self::Cursor => f.write_str("the cursor stands elsewhere"),
        }
    }
}

impl std::error::Error for Breach {}

impl From<Breach> for String {
    /// In the notation of [`words`](crate::words).
    fn from(breach: Breach) -> Self {
        format!("{breach:#}")
    }
}

/// The tips obey the ladder.
pub fn ladder(ladder: Ladder, tips: &TipSet) -> Result<(), Breach> {
    tips.check(ladder).map_err(Breach::Ladder)
}

/// The finalized tip never goes back, never changes its digest and is never unknown again.
pub fn finality(before: &TipSet, after: &TipSet) -> Result<(), Breach> {
    let Some(was) = before.block(Tier::Finalized) else { return Ok(()) };
    let is = after.block(Tier::Finalized);
    let holds = is.is_some_and(|is| is == was || is.height > was.height);
    if holds { Ok(()) } else { Err(Breach::Finality { was, is }) }
}

/// No tip is above the delivered head, where blocks are delivered.
pub fn delivered(watermarks: &Watermarks) -> Result<(), Breach> {
    let Some(head) = watermarks.delivered else { return Ok(()) };
    let mut tips = Tier::ALL.into_iter().filter_map(|tier| watermarks.tips.block(tier));
    let above = tips.find(|tip| tip.height > head.height);
    above.map_or(Ok(()), |tip| Err(Breach::NotDelivered { tip, head }))
}

/// A tier goes up only by `Advanced`, and down only by `Regressed` or `Pruned`; a prune raises nothing.
pub fn tiers(before: &Watermarks, event: &Event) -> Result<(), Breach> {
    let height = |tips: &TipSet, tier| tips.block(tier).map(|tip| tip.height);
    let was = |tier| height(&before.tips, tier);
    let legal = match event {
        Event::Blocks { .. } => true,
        Event::Advanced { tier, tip } => was(*tier).is_none_or(|was| was < tip.block.height),
        Event::Regressed { tier, tip } => was(*tier).is_some_and(|was| tip.block.height <= was),
        Event::Pruned { tips, .. } => {
            Tier::ALL.into_iter().all(|tier| height(tips, tier) <= was(tier))
        }
    };
    if legal { Ok(()) } else { Err(Breach::Moves(Box::new((*event, *before)))) }
}

/// Blocks replace nothing that was not pruned, and a prune goes below the delivered head.
pub fn blocks(before: &Watermarks, event: &Event) -> Result<(), Breach> {
    let legal = match (event, before.delivered) {
        (Event::Blocks { from, .. }, Some(below)) if from.height <= below.height => {
            return Err(Breach::Replaces { at: *from, below });
        }
        (Event::Blocks { from, to }, _) => from.height <= to.height,
        (Event::Pruned { to, .. }, Some(head)) => to.height < head.height,
        (Event::Pruned { .. } | Event::Advanced { .. } | Event::Regressed { .. }, _) => true,
    };
    if legal { Ok(()) } else { Err(Breach::Moves(Box::new((*event, *before)))) }
}

/// `block` replaces nothing that was not pruned, and is on `below` where that is right below it.
pub fn link(below: BlockRef, block: &impl Block) -> Result<(), Breach> {
    let at = block.reference();
    if at.height <= below.height {
        return Err(Breach::Replaces { at, below });
    }
    let linked = at.height > below.height.next() || block.parent() == below.digest;
    if linked { Ok(()) } else { Err(Breach::NotLinked { at, below }) }
}

/// Blocks go on right above the delivered head: none is left out.
pub fn dense(before: &Watermarks, event: &Event) -> Result<(), Breach> {
    match (event, before.delivered) {
        (Event::Blocks { from, .. }, Some(below)) if from.height != below.height.next() => {
            Err(Breach::Hole { at: *from, below })
        }
        _ => Ok(()),
    }
}

/// Every invariant that can be said of one event. Returns where it leads.
pub fn event(order: Ladder, before: &Watermarks, event: &Event) -> Result<Watermarks, Breach> {
    let after = applied(before, event);
    ladder(order, &after.tips)?;
    blocks(before, event)?;
    finality(&before.tips, &after.tips)?;
    tiers(before, event)?;
    delivered(&after)?;
    Ok(after)
}

/// The watermarks of `record` are the fold of the events, and its cursor stands there. Returns where it leads.
pub fn fold(before: &Watermarks, record: &Record) -> Result<Watermarks, Breach> {
    let folded = applied(before, &record.event);
    agrees(folded, record, record.watermarks == folded)?;
    if record.cursor.stands_at(&folded) { Ok(folded) } else { Err(Breach::Cursor) }
}

/// The watermarks of a record of a bridge are the fold of the events, by the blocks alone. Returns where it leads.
pub fn leads(before: &Watermarks, record: &Record) -> Result<Watermarks, Breach> {
    let folded = applied(before, &record.event);
    agrees(folded, record, record.watermarks.same_blocks(&folded))?;
    Ok(folded)
}

/// Every invariant of a record in its place in a history. Returns where it leads.
pub fn record(order: Ladder, before: &Watermarks, record: &Record) -> Result<Watermarks, Breach> {
    fold(before, record)?;
    event(order, before, &record.event)
}

fn applied(before: &Watermarks, event: &Event) -> Watermarks {
    let mut after = *before;
    after.apply(event);
    after
}

fn agrees(folded: Watermarks, record: &Record, holds: bool) -> Result<(), Breach> {
    let (event, recorded) = (record.event, record.watermarks);
    if holds { Ok(()) } else { Err(Breach::Folds(Box::new(Folds { event, folded, recorded }))) }
}

#[cfg(test)]
mod tests;

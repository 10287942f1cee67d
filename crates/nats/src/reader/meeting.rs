//! What becomes of a reader where the stream stands elsewhere.

use tidewatch_core::{BlockRef, Conflict, Event, Tier, Watermarks, ladder_of, tier_moves, undo};

/// The highest block that both have, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Common {
    block: BlockRef,
    /// The first block of the stream above it, where there is one.
    above: Option<BlockRef>,
}

impl Common {
    pub(super) const fn at(block: BlockRef) -> Self {
        Self { block, above: None }
    }
}

/// What both have in common after `event`, which led the stream to `stream`. `knows` says whether a block is of the reader's
/// chain.
pub(super) fn goes_on(
    common: Option<Common>,
    event: &Event,
    stream: &Watermarks,
    knows: impl Fn(&BlockRef) -> bool,
) -> Option<Common> {
    if let Some(head) = stream.head().filter(|head| knows(head)) {
        return Some(Common::at(head));
    }
    let Common { block, above } = common?;
    match event {
        Event::Blocks { from, .. } if above.is_none() => {
            // A run of blocks may begin anew higher up: what lies between is not known.
            let next = block.height.get().checked_add(1) == Some(from.height.get());
            next.then_some(Common { block, above: Some(*from) })
        }
        // Both have what lies below what both have.
        Event::Pruned { to, .. } if to.height <= block.height => Some(Common::at(*to)),
        _ => Some(Common { block, above }),
    }
}

/// What follows from where the two stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    Same,
    /// The stream may still come to where the reader is.
    Behind,
    /// These events lead to where the stream is.
    Led(Vec<Event>),
    /// None do.
    Apart,
    /// Both have another block as final.
    Conflict(Conflict),
}

/// What becomes of a reader at `ours` where the stream is at `theirs`.
pub(super) fn meet(ours: &Watermarks, theirs: &Watermarks, common: Option<Common>) -> Meeting {
    if ours.same_blocks(theirs) {
        return Meeting::Same;
    }
    let finalized = |of: &Watermarks| of.tips.block(Tier::Finalized);
    if let (Some(ours), Some(theirs)) = (finalized(ours), finalized(theirs))
        && ours.height == theirs.height
        && ours != theirs
    {
        return Meeting::Conflict(Conflict { ours, theirs });
    }
    if is_behind(ours, theirs) {
        return Meeting::Behind;
    }
    match common.and_then(|common| led(ours, theirs, common)) {
        Some(events) => Meeting::Led(events),
        None => Meeting::Apart,
    }
}

fn height(block: Option<BlockRef>) -> Option<u64> {
    block.map(|block| block.height.get())
}

fn is_behind(ours: &Watermarks, theirs: &Watermarks) -> bool {
    let finalized = |of: &Watermarks| height(of.tips.block(Tier::Finalized));
    if finalized(theirs) < finalized(ours) || height(theirs.head()) < height(ours.head()) {
        return true;
    }
    let tier = |tier| height(theirs.tips.block(tier)) <= height(ours.tips.block(tier));
    theirs.head() == ours.head()
        && theirs.delivered.is_none() == ours.delivered.is_none()
        && Tier::ALL.into_iter().all(tier)
}

/// The events that lead from `ours` over what is common to `theirs`.
fn led(ours: &Watermarks, theirs: &Watermarks, common: Common) -> Option<Vec<Event>> {
    let Common { block, above } = common;
    if height(ours.tips.block(Tier::Finalized)) > Some(block.height.get()) {
        return None;
    }
    let ladder = ladder_of(&ours.tips, &theirs.tips);
    let (mut at, mut events) = (*ours, Vec::new());
    let mut push = |at: &mut Watermarks, event: Event| {
        at.apply(&event);
        events.push(event);
    };
    if let Some(event) = undo(ladder, &at, theirs, block, None) {
        push(&mut at, event);
    }
    if let Some(to) = theirs.delivered.filter(|to| *to != block) {
        push(&mut at, Event::Blocks { from: above?, to });
    }
    for event in tier_moves(ladder, &at.tips, &theirs.tips) {
        push(&mut at, event);
    }
    at.same_blocks(theirs).then_some(events)
}

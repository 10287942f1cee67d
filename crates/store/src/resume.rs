//! How a consumer goes on from a cursor: five answers, none of which asks a source.
//!
//! ```text
//!  cursor ─▶ of this chain? ──no──▶ WrongChain
//!               │ yes
//!               ▼
//!            is its event kept, and does it leave off where the cursor stands? ──yes──▶ Exact
//!               │ no
//!               ▼
//!            is its event past retention? ──yes──▶ TooOld, with the oldest cursor to start from
//!               │ no: of another log, or of a fork; from here on only content counts
//!               ▼
//!            further on than this log, and not seen to be on another fork? ──yes──▶ Ahead
//!               │ no
//!               ▼
//!            highest common block ──none, or below what it holds finalized──▶ TooOld
//!               └──▶ Forked, with the bridge from the cursor to here
//! ```
//!
//! A cursor is only ever compared. Missing knowledge never counts as agreement: where this log cannot
//! tell, the ancestor lies deeper, never higher.

use std::{cmp::Reverse, future::Future};
use tidewatch_core::{
    BlockRef, ChainInfo, Cursor, Event, Fault, Height, Locator, Record, Resume, ResumeError, Tier,
    TipSet, Watermarks,
};

/// One moment of a log and of the view behind it.
pub(crate) trait History: Sync {
    /// The chain.
    fn chain_info(&self) -> &ChainInfo;

    /// Where the view stands.
    fn watermarks(&self) -> Watermarks;

    /// Sequence of the oldest event that can be read, and of the next to come.
    fn bounds(&self) -> (u64, u64);

    /// Height of the first delivered block that is held.
    fn first(&self) -> Option<Height>;

    /// The record of event `sequence`, also of the one just below the oldest; `None` where it is
    /// not kept.
    fn record(&self, sequence: u64) -> impl Future<Output = Result<Option<Record>, Fault>> + Send;

    /// See [`LocalView::locators`](tidewatch_core::LocalView::locators).
    fn locate(
        &self,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<BlockRef>>, Fault>> + Send;
}

/// How a consumer goes on from `cursor`.
pub(crate) async fn resume<H: History>(
    history: &H,
    cursor: &Cursor,
) -> Result<Resume, ResumeError> {
    let chain = &history.chain_info().id;
    if !cursor.is_of(chain) {
        return Err(ResumeError::WrongChain { ours: chain.clone() });
    }
    let (oldest, end) = history.bounds();
    let handled = cursor.handled();
    if handled < oldest {
        return Err(too_old(history).await?);
    }
    if handled == 0 && cursor.stands_at(&Watermarks::none()) {
        return Ok(Resume::Exact { next: 0 });
    }
    if let Some(sequence) = handled.checked_sub(1).filter(|sequence| *sequence < end) {
        let record = history.record(sequence).await?;
        if record.is_some_and(|record| cursor.stands_at(&record.watermarks)) {
            return Ok(Resume::Exact { next: handled });
        }
    }
    by_content(history, cursor).await
}

async fn too_old<H: History>(history: &H) -> Result<ResumeError, Fault> {
    let (oldest, _) = history.bounds();
    let restart = match oldest.checked_sub(1) {
        Some(below) => history.record(below).await?.map(|record| record.cursor),
        None => None,
    };
    let start = || Cursor::start(&history.chain_info().id);
    Ok(ResumeError::TooOld { restart: Box::new(restart.unwrap_or_else(start)) })
}

async fn by_content<H: History>(history: &H, cursor: &Cursor) -> Result<Resume, ResumeError> {
    let ours = history.watermarks();
    let ahead = || ResumeError::Ahead { theirs: cursor.head(), ours: ours.head() };
    let Some(our_head) = ours.head() else { return Err(ahead()) };
    let above = |theirs: Option<BlockRef>, ours: Option<BlockRef>| {
        theirs.map(|block| block.height) > ours.map(|block| block.height)
    };
    if above(cursor.block(Tier::Finalized), ours.tips.block(Tier::Finalized)) {
        return Err(ahead());
    }
    let (ancestor, disagreed) = ancestor(history, cursor, our_head).await?;
    if above(cursor.head(), Some(our_head)) && !disagreed {
        return Err(ahead());
    }
    let floor = cursor.block(Tier::Finalized);
    let shared = ancestor.filter(|ancestor| !above(floor, Some(*ancestor)));
    let Some(ancestor) = shared else { return Err(too_old(history).await?) };
    let bridge = bridge(history, cursor, ancestor).await?;
    let end = bridge.last().map_or_else(|| standing(cursor), |record| record.watermarks);
    if end.delivered != ours.delivered || !end.tips.same_blocks(&ours.tips) {
        // A consumer of blocks at a log without any, or the other way round: no event says that.
        return Err(too_old(history).await?);
    }
    Ok(Resume::Forked { ancestor, bridge, next: history.bounds().1 })
}

/// The highest block that the cursor and this log both have, and whether the log was seen to
/// disagree with the cursor above it.
async fn ancestor<H: History>(
    history: &H,
    cursor: &Cursor,
    our_head: BlockRef,
) -> Result<(Option<BlockRef>, bool), Fault> {
    let genesis = history.chain_info().genesis;
    let tips = Tier::ALL.into_iter().filter_map(|tier| cursor.block(tier));
    let named = cursor.delivered().into_iter().chain(tips).chain([genesis]);
    let mut theirs: Vec<Locator> =
        named.map(|block| Locator::of(&block)).chain(cursor.locators().iter().copied()).collect();
    theirs.retain(|locator| locator.height <= our_head.height);
    theirs.sort_by_key(|locator| Reverse(locator.height));
    let heights: Vec<_> = theirs.iter().map(|locator| locator.height).collect();
    let ours = history.locate(&heights).await?;
    let mut disagreed = false;
    for (locator, ours) in theirs.iter().zip(ours) {
        match ours.filter(|ours| ours.height == locator.height) {
            Some(ours) if locator.is(&ours) => return Ok((Some(ours), disagreed)),
            Some(_) => disagreed = true,
            None => {}
        }
    }
    Ok((None, disagreed))
}

/// Events that lead from the cursor over `ancestor` to where this log stands.
async fn bridge<H: History>(
    history: &H,
    cursor: &Cursor,
    ancestor: BlockRef,
) -> Result<Vec<Record>, Fault> {
    let ours = history.watermarks();
    let mut watermarks = standing(cursor);
    let mut events = Vec::new();
    let mut push = |watermarks: &mut Watermarks, event: Event| {
        watermarks.apply(&event);
        events.push((event, *watermarks));
    };
    if let Some(event) = undo(&watermarks, &ours, ancestor) {
        push(&mut watermarks, event);
    }
    if let Some(event) = redo(history, &watermarks, &ours, ancestor).await? {
        push(&mut watermarks, event);
    }
    for event in tiers(&watermarks.tips, &ours.tips) {
        push(&mut watermarks, event);
    }
    let mut bridge = Vec::with_capacity(events.len());
    for (event, watermarks) in events {
        bridge.push(Record {
            event,
            watermarks,
            cursor: position(history, &watermarks, &ours, ancestor).await?,
        });
    }
    Ok(bridge)
}

fn standing(cursor: &Cursor) -> Watermarks {
    let mut tips = TipSet::unknown();
    for tier in Tier::ALL {
        tips.set(tier, cursor.block(tier).map(Into::into));
    }
    Watermarks { delivered: cursor.delivered(), tips }
}

/// The prune, if the cursor stands above the ancestor or has a tier that this chain does not have.
fn undo(theirs: &Watermarks, ours: &Watermarks, ancestor: BlockRef) -> Option<Event> {
    let mut tips = theirs.tips;
    let mut gone = false;
    for tier in Tier::ALL {
        let (Some(tip), now) = (tips.get(tier), ours.tips.get(tier)) else { continue };
        gone |= now.is_none();
        if now.is_none() || tip.block.height > ancestor.height {
            // To its own frontier where that survives, otherwise to the highest block that does.
            let clamped = now
                .map(|now| if now.block.height <= ancestor.height { now } else { ancestor.into() });
            tips.set(tier, clamped);
        }
    }
    let head = theirs.head()?;
    if !gone && head == ancestor && theirs.tips.same_blocks(&tips) {
        return None;
    }
    let above = |block: BlockRef| block.height.get().saturating_sub(ancestor.height.get());
    Some(Event::Pruned { to: ancestor, depth: theirs.delivered.map_or(0, above), tips })
}

/// The blocks that the cursor does not have.
async fn redo<H: History>(
    history: &H,
    theirs: &Watermarks,
    ours: &Watermarks,
    ancestor: BlockRef,
) -> Result<Option<Event>, Fault> {
    let (Some(to), Some(first)) = (ours.delivered, history.first()) else { return Ok(None) };
    if theirs.delivered == Some(to) || to.height < first {
        return Ok(None);
    }
    // Who was never given a block is given all that are held.
    let next = ancestor.height.get().saturating_add(1).max(first.get());
    let from = if theirs.delivered.is_some() { Height::new(next) } else { first };
    let known = history.locate(&[from]).await?;
    let from = known.into_iter().next().flatten().filter(|block| block.height == from);
    Ok(from.filter(|from| from.height <= to.height).map(|from| Event::Blocks { from, to }))
}

/// Tier moves from one tip set to another: down from the lowest, then up from the highest, so that
/// no ladder is broken in between.
fn tiers(theirs: &TipSet, ours: &TipSet) -> Vec<Event> {
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for tier in Tier::ALL {
        let Some(tip) = ours.get(tier) else { continue };
        match theirs.block(tier) {
            Some(block) if block == tip.block => {}
            Some(block) if block.height > tip.block.height => down.push((tier, tip)),
            _ => up.push((tier, tip)),
        }
    }
    down.sort_by_key(|(_, tip)| tip.block.height);
    up.sort_by_key(|(_, tip)| Reverse(tip.block.height));
    let down = down.into_iter().map(|(tier, tip)| Event::Regressed { tier, tip });
    let up = up.into_iter().map(|(tier, tip)| Event::Advanced { tier, tip });
    down.chain(up).collect()
}

/// The cursor of a consumer on the bridge. At its end it is an exact position of this log; before, it
/// is resumed from by content.
async fn position<H: History>(
    history: &H,
    watermarks: &Watermarks,
    ours: &Watermarks,
    ancestor: BlockRef,
) -> Result<Cursor, Fault> {
    let head = watermarks.head().map_or(ancestor.height, |head| head.height);
    let heights: Vec<_> = Cursor::heights_below(head).collect();
    let mut below: Vec<_> = history.locate(&heights).await?.into_iter().flatten().collect();
    // This log's blocks above the ancestor are the consumer's only once it was given them.
    let bridged = watermarks.delivered.is_some() && watermarks.delivered == ours.delivered;
    below.retain(|block| bridged || block.height <= ancestor.height);
    let end = history.bounds().1;
    Ok(Cursor::new(&history.chain_info().id, end, watermarks, &below))
}

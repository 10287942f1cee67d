//! How a consumer goes on from a cursor: five answers, none of which asks a source.
//!
//! ```text
//!  cursor ─▶ of this chain? ──no──▶ WrongChain
//!               │ yes
//!               ▼
//!            is its event kept, and does it leave off where the cursor stands? ──yes──▶ Exact
//!               │ no: past retention, of another log, or of a fork; from here on only content counts
//!               ▼
//!            further on than this log, not seen to be on another fork, and not of fewer events than
//!            are past retention here? ──yes──▶ Ahead
//!               │ no
//!               ▼
//!            highest common block ──none, or below what it holds finalized──▶ TooOld
//!               │
//!               ▼
//!            are the blocks above it held? ──no──▶ TooOld, with the oldest cursor to start from
//!               └─yes─▶ Forked, with the bridge from the cursor to here
//! ```
//!
//! Events that are no longer kept cost nobody a block: who fell behind them gets the bridge, like somebody
//! from another log. Only where the blocks are gone too, or where no event leads from one to the other, is
//! the answer [`TooOld`](ResumeError::TooOld).
//!
//! A cursor is only ever compared. Missing knowledge never counts as agreement: where this log cannot
//! tell, the ancestor lies deeper, never higher.

use crate::{
    BlockRef, ChainId, ChainInfo, Cursor, Event, Fault, Height, Locator, Malformed, Record, Tier,
    Watermarks, bridge,
};
use std::{cmp::Reverse, future::Future, ops::Range};

/// Why a cursor cannot be resumed from. Each tells its consumer something else to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// Not a cursor: it was cut, changed or made up.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A cursor of another chain.
    #[error("the cursor belongs to another chain than {ours}")]
    WrongChain {
        /// The chain of this log.
        ours: ChainId,
    },
    /// A cursor from further on than this log has come: try again later, or elsewhere.
    #[error("the cursor is ahead: it stands on {}, this log on {}", named(.theirs), named(.ours))]
    Ahead {
        /// Where the cursor stands.
        theirs: Option<BlockRef>,
        /// Where this log stands.
        ours: Option<BlockRef>,
    },
    /// What is kept does not lead on from the cursor: the blocks above it are no longer held, or this chain
    /// took another way below what the cursor has finalized. Start again from `restart`.
    #[error("the history after the cursor is no longer kept: start again from {restart}")]
    TooOld {
        /// A cursor that can be resumed from.
        restart: Box<Cursor>,
    },
    /// The log could not be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

fn named(block: &Option<BlockRef>) -> String {
    block.map_or_else(|| "no block".into(), |block| format!("block {block}"))
}

/// How a consumer goes on from its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The cursor is one of this log: read on from `next`.
    Exact {
        /// Sequence of the first event that the consumer has not handled.
        next: u64,
    },
    /// The cursor is of another log, of a fork that is gone, or of events that are no longer kept: handle
    /// `bridge` first, which leads from the cursor to where this log stands, then read on from `next`.
    Forked {
        /// The highest block that both sides have; genesis for a cursor that stands on no block.
        ancestor: BlockRef,
        /// Events that are in no log: a prune where one is needed, blocks, tiers.
        bridge: Vec<Record>,
        /// Sequence of the first event after the bridge.
        next: u64,
    },
}

/// Which blocks a history knows, as of one moment.
pub trait Locators: Sync {
    /// The chain.
    fn chain_info(&self) -> &ChainInfo;

    /// Where the history stands.
    fn watermarks(&self) -> Watermarks;

    /// The height of the first delivered block whose digest is known; `None` without blocks.
    fn first(&self) -> Option<Height>;

    /// The height of the oldest delivered block that is held: a bridge does not announce blocks that were
    /// trimmed.
    fn oldest_block(&self) -> Option<Height>;

    /// For each height, the highest block that is known at or below it: see
    /// [`LocalView::locate`](crate::LocalView::locate).
    fn locate(
        &self,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<BlockRef>>, Fault>> + Send;
}

/// The events of a history, as of one moment.
pub trait Records: Sync {
    /// The events that can be read: from the oldest to the next to come.
    fn bounds(&self) -> Range<u64>;

    /// The record of event `sequence`, also of the one just below the oldest where it is kept;
    /// `None` where it is not.
    fn record(&self, sequence: u64) -> impl Future<Output = Result<Option<Record>, Fault>> + Send;

    /// Where event `sequence` left the view; `None` where it is not kept. All that an exact position needs: a
    /// log whose cursors cost something to make answers without one.
    fn watermarks_after(
        &self,
        sequence: u64,
    ) -> impl Future<Output = Result<Option<Watermarks>, Fault>> + Send {
        async move { Ok(self.record(sequence).await?.map(|record| record.watermarks)) }
    }
}

/// How a consumer goes on from `cursor`, wherever the history is kept.
///
/// `locators` and `records` must be of one moment: the bridge leads to where the locators stand, and the
/// consumer reads on from where the records end.
///
/// # Errors
///
/// See [`ResumeError`]: each tells the consumer to do something else.
pub async fn resume(
    locators: &impl Locators,
    records: &impl Records,
    cursor: &Cursor,
) -> Result<Resume, ResumeError> {
    let chain = &locators.chain_info().id;
    if !cursor.is_of(chain) {
        return Err(ResumeError::WrongChain { ours: chain.clone() });
    }
    let Range { start: oldest, end } = records.bounds();
    let handled = cursor.handled();
    if handled == 0 && oldest == 0 && cursor.stands_at(&Watermarks::none()) {
        return Ok(Resume::Exact { next: 0 });
    }
    let kept = |sequence: &u64| oldest <= handled && *sequence < end;
    if let Some(sequence) = handled.checked_sub(1).filter(kept) {
        let watermarks = records.watermarks_after(sequence).await?;
        if watermarks.is_some_and(|watermarks| cursor.stands_at(&watermarks)) {
            return Ok(Resume::Exact { next: handled });
        }
    }
    by_content(locators, records, cursor).await
}

/// The position of a consumer that has handled every event of the history, and where it stands there. Both must
/// be of one moment.
///
/// # Errors
///
/// The history could not be read.
pub async fn newest(
    locators: &impl Locators,
    records: &impl Records,
) -> Result<(Cursor, Watermarks), Fault> {
    let watermarks = locators.watermarks();
    let heights: Vec<_> =
        watermarks.head().into_iter().flat_map(|head| Cursor::heights_below(head.height)).collect();
    let below: Vec<_> = locators.locate(&heights).await?.into_iter().flatten().collect();
    let (chain, end) = (&locators.chain_info().id, records.bounds().end);
    Ok((Cursor::new(chain, end, &watermarks, &below), watermarks))
}

async fn too_old(locators: &impl Locators, records: &impl Records) -> Result<ResumeError, Fault> {
    let restart = match records.bounds().start.checked_sub(1) {
        Some(below) => records.record(below).await?.map(|record| record.cursor),
        None => None,
    };
    let start = || Cursor::start(&locators.chain_info().id);
    Ok(ResumeError::TooOld { restart: Box::new(restart.unwrap_or_else(start)) })
}

async fn by_content(
    locators: &impl Locators,
    records: &impl Records,
    cursor: &Cursor,
) -> Result<Resume, ResumeError> {
    let ours = locators.watermarks();
    let ahead = || ResumeError::Ahead { theirs: cursor.head(), ours: ours.head() };
    let Some(our_head) = ours.head() else { return Err(ahead()) };
    let above = |theirs: Option<BlockRef>, ours: Option<BlockRef>| {
        theirs.map(|block| block.height) > ours.map(|block| block.height)
    };
    if above(cursor.block(Tier::Finalized), ours.tips.block(Tier::Finalized)) {
        return Err(ahead());
    }
    // Who stands nowhere shares all that there was before the first block.
    let nowhere = cursor.stands_at(&Watermarks::none()).then(|| locators.chain_info().genesis);
    let (ancestor, disagreed) = match nowhere {
        Some(genesis) => (Some(genesis), false),
        None => ancestor(locators, cursor, our_head).await?,
    };
    // A log that has come past the count of the cursor is not behind it: its chain became shorter.
    let fewer = cursor.handled() < records.bounds().start;
    if above(cursor.head(), Some(our_head)) && !disagreed && !fewer {
        return Err(ahead());
    }
    let floor = cursor.block(Tier::Finalized);
    let shared = ancestor.filter(|ancestor| !above(floor, Some(*ancestor)));
    let Some(ancestor) = shared else { return Err(too_old(locators, records).await?) };
    let next = records.bounds().end;
    let bridge = lead(locators, cursor, ancestor, next).await?;
    let end = bridge.last().map_or_else(|| cursor.watermarks(), |record| record.watermarks);
    // A consumer of blocks at a log without any, or the other way round: no event says that.
    let leads_here = end.same_blocks(&ours);
    if !leads_here || !are_held(locators, &bridge) {
        return Err(too_old(locators, records).await?);
    }
    Ok(Resume::Forked { ancestor, bridge, next })
}

/// Whether every block that `bridge` announces is held.
fn are_held(locators: &impl Locators, bridge: &[Record]) -> bool {
    bridge.iter().all(|record| match record.event {
        Event::Blocks { from, .. } => {
            locators.oldest_block().is_some_and(|oldest| from.height >= oldest)
        }
        _ => true,
    })
}

/// The highest block that the cursor and this log both have, and whether the log was seen to
/// disagree with the cursor above it.
async fn ancestor(
    locators: &impl Locators,
    cursor: &Cursor,
    our_head: BlockRef,
) -> Result<(Option<BlockRef>, bool), Fault> {
    let genesis = locators.chain_info().genesis;
    let tips = Tier::ALL.into_iter().filter_map(|tier| cursor.block(tier));
    let named = cursor.delivered().into_iter().chain(tips).chain([genesis]);
    let mut theirs: Vec<Locator> =
        named.map(|block| Locator::of(&block)).chain(cursor.locators().iter().copied()).collect();
    theirs.retain(|locator| locator.height <= our_head.height);
    theirs.sort_by_key(|locator| Reverse(locator.height));
    let heights: Vec<_> = theirs.iter().map(|locator| locator.height).collect();
    let ours = locators.locate(&heights).await?;
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
async fn lead(
    locators: &impl Locators,
    cursor: &Cursor,
    ancestor: BlockRef,
    next: u64,
) -> Result<Vec<Record>, Fault> {
    let ours = locators.watermarks();
    let mut watermarks = cursor.watermarks();
    let mut events = Vec::new();
    let mut push = |watermarks: &mut Watermarks, event: Event| {
        watermarks.apply(&event);
        events.push((event, *watermarks));
    };
    let ladder = bridge::ladder_of(&watermarks.tips, &ours.tips);
    if let Some(event) = bridge::undo(ladder, &watermarks, &ours, ancestor, locators.first()) {
        push(&mut watermarks, event);
    }
    if let Some(event) = redo(locators, &watermarks, &ours, ancestor).await? {
        push(&mut watermarks, event);
    }
    for event in bridge::tiers(ladder, &watermarks.tips, &ours.tips) {
        push(&mut watermarks, event);
    }
    let mut bridge = Vec::with_capacity(events.len());
    for (event, watermarks) in events {
        bridge.push(Record {
            event,
            watermarks,
            cursor: position(locators, &watermarks, &ours, ancestor, next).await?,
        });
    }
    Ok(bridge)
}

/// The blocks that the cursor does not have.
async fn redo(
    locators: &impl Locators,
    theirs: &Watermarks,
    ours: &Watermarks,
    ancestor: BlockRef,
) -> Result<Option<Event>, Fault> {
    let (Some(to), Some(first)) = (ours.delivered, locators.first()) else { return Ok(None) };
    // Who was never given a block is given all that there are.
    let next = ancestor.height.get().saturating_add(1).max(first.get());
    let from = if theirs.delivered.is_some() { Height::new(next) } else { first };
    let known = locators.locate(&[from]).await?;
    let from = known.into_iter().next().flatten().filter(|block| block.height == from);
    Ok(from.filter(|from| from.height <= to.height).map(|from| Event::Blocks { from, to }))
}

/// The cursor of a consumer on the bridge. At its end it is an exact position of this log; before, it
/// is resumed from by content.
async fn position(
    locators: &impl Locators,
    watermarks: &Watermarks,
    ours: &Watermarks,
    ancestor: BlockRef,
    next: u64,
) -> Result<Cursor, Fault> {
    let head = watermarks.head().map_or(ancestor.height, |head| head.height);
    let heights: Vec<_> = Cursor::heights_below(head).collect();
    let mut below: Vec<_> = locators.locate(&heights).await?.into_iter().flatten().collect();
    // This log's blocks above the ancestor are the consumer's only once it was given them.
    let bridged = watermarks.delivered.is_some() && watermarks.delivered == ours.delivered;
    below.retain(|block| bridged || block.height <= ancestor.height);
    Ok(Cursor::new(&locators.chain_info().id, next, watermarks, &below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Tip};
    use futures::executor::block_on;

    /// A history that is kept elsewhere: the records that it was sent, and a digest for each height.
    struct Elsewhere {
        chain_info: ChainInfo,
        digests: Vec<Digest>,
        records: Vec<Record>,
        /// Records before this one are gone.
        oldest: usize,
        /// Blocks below this height are gone; nothing where none was ever delivered.
        held: Option<u64>,
    }

    fn digest(height: u64, fork: u8) -> Digest {
        let mut digest = [fork; 32];
        // In the part that locators keep.
        digest[4..8].copy_from_slice(&(height as u32).to_be_bytes());
        Digest(digest)
    }

    fn block(height: u64, fork: u8) -> BlockRef {
        BlockRef::new(Height::new(height), digest(height, if height < 20 { 0 } else { fork }))
    }

    impl Elsewhere {
        /// One block after the other up to `top`, on `fork` from height 20 on.
        fn new(top: u64, fork: u8) -> Self {
            Self::told(top, fork, Some(1), |at| Event::Blocks { from: at, to: at })
        }

        /// The tips alone.
        fn without_blocks(top: u64, fork: u8) -> Self {
            let proposed = |at| Event::Advanced { tier: Tier::Proposed, tip: Tip::from(at) };
            Self::told(top, fork, None, proposed)
        }

        fn told(top: u64, fork: u8, held: Option<u64>, event: fn(BlockRef) -> Event) -> Self {
            let id = ChainId::new("test:1").unwrap();
            let chain_info = ChainInfo { id, genesis: block(0, 0) };
            let mut watermarks = Watermarks::none();
            let mut records = Vec::new();
            for height in 1..=top {
                let at = block(height, fork);
                let event = event(at);
                watermarks.apply(&event);
                let below: Vec<_> = Cursor::heights_below(at.height)
                    .map(|height| block(height.get(), fork))
                    .collect();
                let cursor = Cursor::new(&chain_info.id, height, &watermarks, &below);
                records.push(Record { event, watermarks, cursor });
            }
            let digests = (0..=top).map(|height| block(height, fork).digest).collect();
            Self { chain_info, digests, records, oldest: 0, held }
        }

        fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
            block_on(resume(self, self, cursor))
        }

        /// The cursor of its last event.
        fn newest(&self) -> Cursor {
            block_on(newest(self, self)).unwrap().0
        }
    }

    impl Locators for Elsewhere {
        fn chain_info(&self) -> &ChainInfo {
            &self.chain_info
        }

        fn watermarks(&self) -> Watermarks {
            self.records.last().map_or_else(Watermarks::none, |last| last.watermarks)
        }

        fn first(&self) -> Option<Height> {
            self.held.map(|_| Height::new(1))
        }

        fn oldest_block(&self) -> Option<Height> {
            self.held.map(Height::new)
        }

        async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
            let top = self.digests.len() as u64 - 1;
            let known = heights.iter().map(|height| {
                let at = height.get().min(top);
                Some(BlockRef::new(Height::new(at), self.digests[at as usize]))
            });
            Ok(known.collect())
        }
    }

    impl Records for Elsewhere {
        fn bounds(&self) -> Range<u64> {
            self.oldest as u64..self.records.len() as u64
        }

        async fn record(&self, sequence: u64) -> Result<Option<Record>, Fault> {
            Ok(self.records.get(sequence as usize).cloned())
        }
    }

    #[test]
    fn a_history_kept_elsewhere_is_resumed_in_the_same_way() {
        let ours = Elsewhere::new(50, 1);
        let at = |sequence: usize| ours.records[sequence].cursor.clone();
        assert_eq!(ours.resume(&at(30)), Ok(Resume::Exact { next: 31 }));
        assert_eq!(ours.resume(&Cursor::start(&ours.chain_info.id)), Ok(Resume::Exact { next: 0 }));

        let fork = Elsewhere::new(40, 2).records[39].cursor.clone();
        let Ok(Resume::Forked { ancestor, bridge, next }) = ours.resume(&fork) else {
            panic!("a cursor of a fork is led over")
        };
        // Locators of block 40 stand at 39, 38, 36, 32, 24 and 8.
        assert_eq!((ancestor, next), (block(8, 0), 50));
        let blocks = Event::Blocks { from: block(9, 1), to: block(50, 1) };
        assert_eq!(events(&ours, &fork, &bridge)[1..], [blocks]);
        assert_eq!(ours.resume(&bridge[1].cursor), Ok(Resume::Exact { next: 50 }));
        // Each names the blocks that its consumer was given.
        assert_eq!(named(&bridge[0].cursor), [7, 6, 4, 0]);
        assert_eq!(named(&bridge[1].cursor), [49, 48, 46, 42, 34, 18]);

        let (newest, watermarks) = block_on(newest(&ours, &ours)).unwrap();
        assert_eq!(ours.resume(&newest), Ok(Resume::Exact { next: 50 }));
        assert_eq!((watermarks, newest), (ours.watermarks(), at(49)));

        let ahead = Elsewhere::new(60, 1).records[59].cursor.clone();
        let expected = ResumeError::Ahead { theirs: Some(block(60, 1)), ours: Some(block(50, 1)) };
        assert_eq!(ours.resume(&ahead), Err(expected));
    }

    /// Heights of the locators of `cursor`.
    fn named(cursor: &Cursor) -> Vec<u64> {
        cursor.locators().iter().map(|locator| locator.height.get()).collect()
    }

    #[test]
    fn who_is_ahead_is_told_where_both_stand() {
        let at = |block: BlockRef| format!("block {block}");
        for (ours, stands) in [(0, "no block".into()), (30, at(block(30, 1)))] {
            let refused = Elsewhere::new(ours, 1).resume(&Elsewhere::new(40, 1).newest());
            let told = refused.unwrap_err().to_string();
            let stands = format!("it stands on {}, this log on {stands}", at(block(40, 1)));
            assert_eq!(told, format!("the cursor is ahead: {stands}"));
        }
    }

    #[test]
    fn a_log_that_has_come_past_the_count_of_a_cursor_is_not_behind_it() {
        let mut ours = Elsewhere::new(50, 1);
        ours.oldest = 45;
        let above = |handled| ours.resume(&Elsewhere::new(60, 1).newest().counted(handled));
        assert!(matches!(above(45), Err(ResumeError::Ahead { .. })));
        let Ok(Resume::Forked { ancestor, .. }) = above(44) else { panic!("{:?}", above(44)) };
        assert_eq!(ancestor, block(44, 1));
    }

    #[test]
    fn a_log_of_one_block_is_given_to_who_stands_nowhere() {
        let mut ours = Elsewhere::new(1, 1);
        ours.oldest = 1;
        let nowhere = Cursor::start(&ours.chain_info.id);
        let Ok(Resume::Forked { bridge, .. }) = ours.resume(&nowhere) else { panic!("no bridge") };
        let blocks = Event::Blocks { from: block(1, 1), to: block(1, 1) };
        assert_eq!(events(&ours, &nowhere, &bridge), [blocks]);
    }

    #[test]
    fn no_event_leads_from_blocks_to_a_log_of_tips_alone() {
        let ours = Elsewhere::without_blocks(50, 1);
        let too_old = ResumeError::TooOld { restart: Box::new(Cursor::start(&ours.chain_info.id)) };
        assert_eq!(ours.resume(&Elsewhere::new(40, 1).newest()), Err(too_old));
    }

    #[test]
    fn who_follows_tips_alone_was_given_no_block_above_the_common_one() {
        let ours = Elsewhere::without_blocks(50, 1);
        let fork = Elsewhere::without_blocks(40, 2).newest();
        let Ok(Resume::Forked { ancestor, bridge, .. }) = ours.resume(&fork) else {
            panic!("no bridge")
        };
        assert_eq!(ancestor, block(8, 0));
        let [.., end] = &bridge[..] else { panic!("it has events") };
        assert_eq!(end.watermarks.tips.block(Tier::Proposed), Some(block(50, 1)));
        // Of 49, 48, 46, 42, 34 and 18 none.
        assert!(named(&end.cursor).is_empty(), "{:?}", named(&end.cursor));
    }

    /// The events of `bridge`, which lead from `cursor` to where `ours` stands.
    fn events(ours: &Elsewhere, cursor: &Cursor, bridge: &[Record]) -> Vec<Event> {
        let mut watermarks = cursor.watermarks();
        for record in bridge {
            watermarks.apply(&record.event);
            assert_eq!(watermarks, record.watermarks);
        }
        assert_eq!(watermarks.delivered, ours.watermarks().delivered);
        bridge.iter().map(|record| record.event).collect()
    }

    #[test]
    fn who_fell_behind_the_events_that_are_kept_is_given_every_block_since() {
        let mut ours = Elsewhere::new(50, 1);
        ours.oldest = 45;
        let nowhere = Cursor::start(&ours.chain_info.id);
        for (cursor, from) in [(ours.records[9].cursor.clone(), 11), (nowhere, 1)] {
            let Ok(Resume::Forked { bridge, next: 50, .. }) = ours.resume(&cursor) else {
                panic!("{:?}", ours.resume(&cursor))
            };
            let blocks = Event::Blocks { from: block(from, 1), to: block(50, 1) };
            assert_eq!(events(&ours, &cursor, &bridge), [blocks]);
            let Some(last) = bridge.last() else { panic!("it has an event") };
            assert_eq!(ours.resume(&last.cursor), Ok(Resume::Exact { next: 50 }));
        }
        let kept = ours.records[44].cursor.clone();
        assert_eq!(ours.resume(&kept), Ok(Resume::Exact { next: 45 }));
    }

    /// Its event is past what is kept here, or to come, by number alone: another log counted differently.
    #[test]
    fn a_cursor_of_a_log_that_counted_other_events_is_led_on_from_its_block() {
        let mut ours = Elsewhere::new(50, 1);
        ours.oldest = 45;
        for counted in [3, 60] {
            let foreign = ours.records[39].cursor.clone().counted(counted);
            let Ok(Resume::Forked { ancestor, bridge, next: 50 }) = ours.resume(&foreign) else {
                panic!("{:?}", ours.resume(&foreign))
            };
            assert_eq!(ancestor, block(40, 1));
            let blocks = Event::Blocks { from: block(41, 1), to: block(50, 1) };
            assert_eq!(events(&ours, &foreign, &bridge), [blocks]);
        }
    }

    #[test]
    fn only_where_the_blocks_are_gone_too_is_a_cursor_too_old() {
        let mut ours = Elsewhere::new(50, 1);
        (ours.oldest, ours.held) = (45, Some(30));
        let restart = Box::new(ours.records[44].cursor.clone());
        let at = |height: usize| ours.records[height - 1].cursor.clone();
        let nowhere = Cursor::start(&ours.chain_info.id);
        for cursor in [nowhere, at(1), at(10), at(28)] {
            let refused = ours.resume(&cursor);
            assert_eq!(refused, Err(ResumeError::TooOld { restart: restart.clone() }));
        }
        assert!(matches!(ours.resume(&at(29)), Ok(Resume::Forked { .. })));
        assert_eq!(ours.resume(&restart), Ok(Resume::Exact { next: 45 }));
    }
}

//! The law, by tables and in small worlds.

use super::*;
use crate::{Leader, PublisherId};
use tidewatch_core::{Digest, Height, Tip, TipSet};

const CHAIN: &str = "c";

fn chain() -> ChainId {
    ChainId::new(CHAIN).unwrap()
}

/// Block `height` of `fork`.
fn block(height: u64, fork: u8) -> BlockRef {
    let mut digest = [fork; 32];
    digest[..8].copy_from_slice(&height.to_be_bytes());
    BlockRef::new(Height::new(height), Digest(digest))
}

/// Delivered up to `block`, which is proposed, and final up to `finalized`.
fn stands(block: BlockRef, finalized: Option<BlockRef>) -> Watermarks {
    let mut tips = TipSet::unknown().with(Tier::Proposed, block);
    tips.set(Tier::Finalized, finalized.map(Tip::from));
    Watermarks { delivered: Some(block), tips }
}

fn message(
    leader: u64,
    number: u64,
    after: Option<&Marked>,
    watermarks: &Watermarks,
    below: &[BlockRef],
) -> Marked {
    let leader = Leader { publisher: PublisherId::read("p"), token: leader };
    Marked {
        sequence: number,
        id: MessageId::new(&leader, number),
        after: after.map(|after| after.id.clone()),
        record: None,
        leads: false,
        cursor: Cursor::new(&chain(), number, watermarks, below),
        leader,
    }
}

/// A stream that is written event by event.
struct Written {
    watermarks: Watermarks,
    last: Marked,
    number: u64,
}

impl Written {
    fn lead(leader: u64, watermarks: Watermarks) -> Self {
        let last = message(leader, 0, None, &watermarks, &[]);
        Self { watermarks, last, number: 0 }
    }

    fn event(&mut self, event: Event) -> (Marked, Content) {
        self.number += 1;
        self.watermarks.apply(&event);
        let token = self.last.leader.token;
        let next = message(token, self.number, Some(&self.last), &self.watermarks, &[]);
        self.last = next.clone();
        (next, Content::Event(event))
    }

    fn blocks(&mut self, from: u64, to: u64, fork: u8) -> (Marked, Content) {
        self.event(Event::Blocks { from: block(from, fork), to: block(to, fork) })
    }

    fn tier(&mut self, tier: Tier, tip: BlockRef) -> (Marked, Content) {
        self.event(Event::Advanced { tier, tip: tip.into() })
    }
}

impl Reader {
    fn takes(&mut self, (message, content): &(Marked, Content)) -> Step {
        self.take(message, content).unwrap()
    }

    fn record(&mut self, message: &Marked) -> Step {
        self.take(message, &Content::Lead).unwrap()
    }
}

/// The events of a way back: one prune, and one range of blocks.
fn led(step: &Step) -> (BlockRef, u64, TipSet, BlockRef, BlockRef) {
    let Step::Back(events) = step else { panic!("{step:?}") };
    let [Event::Pruned { to: ancestor, depth, tips }, Event::Blocks { from, to }] = events[..]
    else {
        panic!("{step:?}")
    };
    (ancestor, depth, tips, from, to)
}

/// A reader that took blocks up to `to` one at a time, each proposed, with `finalized` final, and the stream.
fn reader(to: u64, finalized: u64) -> (Reader, Written) {
    let mut written = Written::lead(1, stands(block(1, 0), None));
    let mut reader = Reader::new(chain());
    assert_eq!(reader.record(&written.last), Step::Restart);
    for height in 2..=to {
        assert_eq!(reader.takes(&written.blocks(height, height, 0)), Step::Event);
        let proposed = written.tier(Tier::Proposed, block(height, 0));
        assert_eq!(reader.takes(&proposed), Step::Event);
        if height == finalized {
            let proposed = written.tier(Tier::Finalized, block(height, 0));
            assert_eq!(reader.takes(&proposed), Step::Event);
        }
    }
    (reader, written)
}

#[test]
fn an_event_counts_where_it_follows_and_a_record_where_it_does_not_leads_on() {
    let mut written = Written::lead(1, stands(block(3, 0), None));
    let lead = written.last.clone();
    let first = written.blocks(4, 4, 0);
    let second = written.blocks(5, 5, 0);
    let mut reader = Reader::new(chain());
    assert_eq!(reader.takes(&first), Step::Dropped, "nothing was read before");
    assert_eq!(reader.record(&lead), Step::Restart);
    assert_eq!(reader.takes(&first), Step::Event);
    assert_eq!(reader.takes(&first), Step::Dropped, "twice");
    assert_eq!(reader.takes(&second), Step::Dropped, "what came in between is not known");
    // A leader with another log, at the same place by another number.
    let next = message(2, 7, Some(&second.0), &first.0.cursor.watermarks(), &[]);
    assert_eq!(reader.record(&next), Step::Leads);
    let far = stands(block(9, 0), None);
    let reset = message(2, 8, Some(&next), &far, &[]);
    assert_eq!(reader.take(&reset, &Content::Reset).unwrap(), Step::Restart);
    assert_eq!(reader.position(), Some(&reset.cursor));
}

#[test]
fn what_was_forgotten_and_is_published_again_is_not_given_twice() {
    let (mut reader, _) = reader(10, 6);
    let at = reader.position().unwrap().clone();
    // The cluster forgot blocks 9 and 10; the next leader begins at 8, with them in one event.
    let mut again = Written::lead(2, stands(block(8, 0), Some(block(6, 0))));
    assert_eq!(reader.record(&again.last), Step::Behind);
    assert_eq!(reader.takes(&again.blocks(9, 10, 0)), Step::Behind, "it is not proposed yet");
    assert_eq!(reader.position(), Some(&at));
    assert_eq!(reader.takes(&again.tier(Tier::Proposed, block(10, 0))), Step::Joined);
    assert_eq!(reader.takes(&again.blocks(11, 11, 0)), Step::Event);
}

#[test]
fn a_fork_that_took_the_place_of_what_was_forgotten_is_one_prune_and_blocks() {
    let (mut reader, _) = reader(10, 6);
    let mut other = Written::lead(2, stands(block(8, 0), Some(block(6, 0))));
    assert_eq!(reader.record(&other.last), Step::Behind);
    assert_eq!(reader.takes(&other.blocks(9, 9, 1)), Step::Behind);
    let step = reader.takes(&other.blocks(10, 12, 1));
    let (ancestor, depth, tips, from, to) = led(&step);
    assert_eq!((ancestor, depth), (block(8, 0), 2));
    assert!(tips.same_blocks(&stands(block(8, 0), Some(block(6, 0))).tips));
    assert_eq!((from, to), (block(9, 1), block(12, 1)));
    assert!(reader.is_in_step());
    assert_eq!(reader.takes(&other.tier(Tier::Proposed, block(12, 1))), Step::Event);
}

#[test]
fn a_fork_of_a_fork_leads_back_to_what_both_have() {
    let (mut reader, _) = reader(10, 6);
    let mut other = Written::lead(2, stands(block(8, 0), Some(block(6, 0))));
    assert_eq!(reader.record(&other.last), Step::Behind);
    assert_eq!(reader.takes(&other.blocks(9, 9, 1)), Step::Behind);
    let tips =
        TipSet::unknown().with(Tier::Proposed, block(7, 0)).with(Tier::Finalized, block(6, 0));
    let prune = Event::Pruned { to: block(7, 0), depth: 2, tips };
    assert_eq!(reader.takes(&other.event(prune)), Step::Behind);
    let step = reader.takes(&other.blocks(8, 12, 2));
    let (ancestor, depth, _, from, to) = led(&step);
    assert_eq!((ancestor, depth), (block(7, 0), 3));
    assert_eq!((from, to), (block(8, 2), block(12, 2)));
}

#[test]
fn finality_never_goes_back_also_where_the_cluster_forgot_it() {
    let (mut reader, _) = reader(10, 9);
    // The next leader is higher, and has not heard of finality yet.
    let mut other = Written::lead(2, stands(block(8, 0), Some(block(6, 0))));
    assert_eq!(reader.record(&other.last), Step::Behind);
    assert_eq!(reader.takes(&other.blocks(9, 14, 0)), Step::Behind);
    assert_eq!(reader.takes(&other.tier(Tier::Proposed, block(14, 0))), Step::Behind);
    // Both have 8 for sure, and the reader has 9 as final: no prune to 8 is given.
    assert_eq!(reader.takes(&other.tier(Tier::Finalized, block(9, 0))), Step::Restart);
    let mut other = Written::lead(2, stands(block(8, 0), Some(block(6, 0))));
    let (mut reader, _) = self::reader(10, 9);
    assert_eq!(reader.record(&other.last), Step::Behind);
    let step = reader.take(&other.tier(Tier::Finalized, block(9, 5)).0, &Content::Lead);
    assert!(matches!(step, Err(Refused::Conflict { .. })), "{step:?}");
}

#[test]
fn where_no_event_leads_on_the_reader_starts_again_and_is_told() {
    // Further on, with nothing in between.
    let (mut one, _) = reader(10, 6);
    let ahead = message(2, 0, None, &stands(block(12, 0), Some(block(6, 0))), &[]);
    assert_eq!(one.record(&ahead), Step::Restart);
    assert_eq!(one.position(), Some(&ahead.cursor));
    // At the same height on another fork.
    let (mut one, _) = reader(10, 6);
    let beside = message(2, 0, None, &stands(block(10, 3), Some(block(6, 0))), &[]);
    assert_eq!(one.record(&beside), Step::Restart);
    // A run of blocks that begins higher up.
    let (mut one, _) = reader(10, 6);
    let mut gap = Written::lead(2, stands(block(8, 0), Some(block(6, 0))));
    assert_eq!(one.record(&gap.last), Step::Behind);
    assert_eq!(one.takes(&gap.blocks(20, 25, 0)), Step::Restart);
}

#[test]
fn a_stream_that_was_made_anew_is_joined_where_the_reader_is() {
    let (mut reader, _) = reader(10, 6);
    let at = reader.position().unwrap().clone();
    let mut anew = Written::lead(1, Watermarks::none());
    reader.leave();
    assert_eq!(reader.record(&anew.last), Step::Behind);
    assert_eq!(reader.takes(&anew.blocks(1, 10, 0)), Step::Behind);
    assert_eq!(reader.takes(&anew.tier(Tier::Proposed, block(10, 0))), Step::Behind);
    assert_eq!(reader.takes(&anew.tier(Tier::Finalized, block(6, 0))), Step::Joined);
    assert_eq!(reader.position().unwrap().watermarks(), at.watermarks());
}

#[test]
fn a_reader_with_a_cursor_alone_finds_its_message_and_nothing_before_it() {
    let (mut first, mut written) = reader(5, 3);
    let cursor = written.last.cursor.clone();
    let after = written.blocks(6, 6, 0);
    assert_eq!(first.takes(&after), Step::Event);
    let mut second = Reader::at(chain(), cursor);
    second.leave_for_the_oldest();
    let mut again = Written::lead(1, stands(block(1, 0), None));
    assert_eq!(second.record(&again.last), Step::Behind);
    for height in 2..=5 {
        assert_eq!(second.takes(&again.blocks(height, height, 0)), Step::Behind);
        let step = second.takes(&again.tier(Tier::Proposed, block(height, 0)));
        assert_eq!(step, if height == 5 { Step::Joined } else { Step::Behind }, "{height}");
        if height == 3 {
            let step = second.takes(&again.tier(Tier::Finalized, block(3, 0)));
            assert_eq!(step, Step::Behind);
        }
    }
    assert_eq!(second.takes(&again.blocks(6, 6, 0)), Step::Event);
}

#[test]
fn what_cannot_be_is_refused_and_moves_nobody() {
    let (mut reader, mut written) = reader(10, 6);
    let at = reader.position().unwrap().clone();
    let (mut wrong, content) = written.blocks(11, 11, 0);
    wrong.cursor = Cursor::new(&chain(), 9, &stands(block(11, 7), Some(block(6, 0))), &[]);
    let refused = reader.take(&wrong, &content).unwrap_err();
    assert!(refused.to_string().contains("does not lead to its cursor"), "{refused}");
    wrong.cursor = Cursor::start(&ChainId::new("other").unwrap());
    let refused = reader.take(&wrong, &content).unwrap_err();
    assert!(matches!(refused, Refused::WrongChain { .. }), "{refused}");
    let (mut reader2, mut back) = (reader.clone(), Written { ..written });
    back.last = wrong.clone();
    back.last.id = MessageId::new(&wrong.leader, wrong.sequence - 1);
    let before = at.watermarks();
    back.watermarks = before;
    let down = Event::Regressed { tier: Tier::Finalized, tip: block(5, 0).into() };
    let refused = reader2.take(&back.event(down).0, &Content::Event(down)).unwrap_err();
    assert!(refused.to_string().contains("takes back what is final"), "{refused}");
    assert_eq!(reader.position(), Some(&at));
}

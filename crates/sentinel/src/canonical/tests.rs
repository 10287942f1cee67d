//! A source by slots: a chain whose blocks stand in every second slot, in checkpoints of two blocks, or in gaps.

use super::*;
use crate::{
    Observer as _,
    simplex::{Electorate, Inside, Round, Rounds, Slots, slot_blocks},
};
use commonware_consensus::types::{Epoch as ConsensusEpoch, Round as ConsensusRound, View};
use futures::executor::block_on;
use tidewatch_core::{BlockRange, ChainInfo, Ladder, Limits, Snapshot, TierProof, Watermarks};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::{Answer, Call, Kind, ScriptedSource},
};

/// Which slot a block of each fork stands in, and which checkpoint it ends.
impl Slotted for TestBlock {
    fn slot(&self) -> Slot {
        let BlockRef { height, digest } = self.reference();
        let height = height.get();
        Slot(match digest.0[0] {
            // Two blocks a slot, which are a checkpoint.
            b'c' => height.div_ceil(2),
            // A block in each slot, from slot 10 on.
            b'd' => height + 10,
            // Every second slot is empty.
            _ => 2 * height,
        })
    }

    fn payload(&self) -> Digest {
        self.checkpoint().map_or_else(|| self.reference().digest, |at| at.digest)
    }

    fn checkpoint(&self) -> Option<CheckpointRef> {
        let BlockRef { height, digest } = self.reference();
        let ends = digest.0[0] == b'c' && height.get().is_multiple_of(2);
        ends.then(|| CheckpointRef { number: height.get() / 2, digest: Digest([0xC; 32]) })
    }
}

/// `source` by slots of so many blocks, with checkpoints up to 6 blocks below the tip.
fn by_slots(source: &ScriptedSource, blocks_in_slot: u64) -> FromSource<ScriptedSource> {
    FromSource::new(source.clone(), NonZeroU64::new(blocks_in_slot).unwrap(), 6)
}

/// A chain of `fork` blocks up to height `tip`, of which everything up to `finalized` is final.
fn chain(fork: char, tip: u64, finalized: u64) -> (Chain, ScriptedSource) {
    let chain = Chain::new(fork, tip);
    let source = ScriptedSource::new(&chain, [tip, finalized, finalized, finalized]);
    (chain, source)
}

fn standing(canonical: &impl Canonical) -> Standing {
    block_on(canonical.standing()).unwrap().unwrap()
}

fn at(canonical: &impl Canonical, standing: &Standing, slots: RangeInclusive<u64>) -> Vec<AtSlot> {
    try_at(canonical, standing, slots).unwrap()
}

fn try_at(
    canonical: &impl Canonical,
    standing: &Standing,
    slots: RangeInclusive<u64>,
) -> Result<Vec<AtSlot>, Fault> {
    block_on(canonical.at(standing, Slot(*slots.start())..=Slot(*slots.end())))
}

/// The heights of what landed, or in short what else is said.
fn short(found: &[AtSlot]) -> Vec<Result<u64, char>> {
    let each = |at: &AtSlot| match at {
        AtSlot::Landed(landed) => Ok(landed.block.height.get()),
        AtSlot::Empty => Err('-'),
        AtSlot::NotPassed => Err('>'),
        AtSlot::Unknown => Err('?'),
    };
    found.iter().map(each).collect()
}

#[test]
fn a_standing_is_the_tip_with_its_slot_and_what_is_final() {
    let (chain, source) = chain('a', 9, 4);
    let found = standing(&by_slots(&source, 1));
    let tip = Position { block: chain.at(9), slot: Slot(18) };
    assert_eq!(found, Standing { tip, finalized: Some(chain.at(4)) });
    assert_eq!(source.calls(), [Call::Snapshot, Call::Blocks(9, 9)]);
    let nothing = ScriptedSource::new(&chain, [0, 0, 0, 0]);
    assert_eq!(block_on(by_slots(&nothing, 1).standing()), Ok(None));
}

#[test]
fn each_slot_has_the_block_that_landed_in_it_is_empty_or_has_not_passed() {
    let (chain, source) = chain('a', 9, 4);
    let canonical = by_slots(&source, 1);
    let standing = standing(&canonical);
    let found = at(&canonical, &standing, 13..=20);
    let (e, n) = (Err('-'), Err('>'));
    assert_eq!(short(&found), [e, Ok(7), e, Ok(8), e, Ok(9), n, n]);
    let AtSlot::Landed(landed) = &found[1] else { unreachable!() };
    assert_eq!((landed.block, landed.payload), (chain.at(7), chain.at(7).digest));
    assert_eq!(short(&at(&canonical, &standing, 19..=20)), [n, n], "nothing has passed");
    let all = short(&at(&canonical, &standing, 0..=18));
    let expected: Vec<_> =
        (0..19).map(|slot| if slot % 2 == 0 { Ok(slot / 2) } else { e }).collect();
    assert_eq!(all, expected, "down to genesis, over several answers");
}

#[test]
fn a_checkpoint_is_its_last_block_and_is_found_by_its_number() {
    let (chain, source) = chain('c', 11, 4);
    let canonical = by_slots(&source, 2);
    let standing = standing(&canonical);
    assert_eq!(standing.tip.slot, Slot(6));
    // The first block of slot 6 alone: what it will be is not known, and yet it is the newest that there is.
    let found = at(&canonical, &standing, 3..=6);
    assert_eq!(short(&found), [Ok(6), Ok(8), Ok(10), Ok(11)]);
    let AtSlot::Landed(landed) = &found[0] else { unreachable!() };
    assert_eq!((landed.block, landed.payload), (chain.at(6), Digest([0xC; 32])));
    let checkpoint = |number| block_on(canonical.checkpoint(&standing, number)).unwrap();
    assert_eq!([3, 5].map(checkpoint), [Some(Digest([0xC; 32])); 2]);
    assert_eq!(checkpoint(6), None, "it is not whole");
    assert_eq!(checkpoint(2), None, "it is out of reach");
}

#[test]
fn a_slot_of_more_blocks_than_there_may_be_is_not_told_and_never_empty() {
    let (_, source) = chain('c', 12, 4);
    let canonical = by_slots(&source, 1);
    let standing = standing(&canonical);
    assert_eq!(short(&at(&canonical, &standing, 1..=6))[..2], [Err('?'); 2]);
}

#[test]
fn a_question_is_about_its_standing_and_torn_once_the_source_has_left_it() {
    let (old, source) = chain('a', 9, 4);
    let canonical = by_slots(&source, 1);
    let before = standing(&canonical);
    // Longer, and the same below: the old standing still has its answers.
    let longer = old.fork(10, 'a', 12);
    source.stand(&longer, [12, 4, 4, 4]);
    assert_eq!(short(&at(&canonical, &before, 18..=20)), [Ok(9), Err('>'), Err('>')]);
    let new = old.fork(6, 'b', 9);
    source.stand(&new, [9, 4, 4, 4]);
    let torn = |found: Result<(), Fault>| assert_eq!(found.unwrap_err().kind, FaultKind::Torn);
    torn(try_at(&canonical, &before, 13..=18).map(drop));
    torn(block_on(canonical.on_chain(&before, &[old.at(9)])).map(drop));
    torn(block_on(canonical.checkpoint(&before, 3)).map(drop));
    let after = standing(&canonical);
    let blocks = [old.at(9), new.at(9), old.at(6), new.at(6), old.at(5), old.at(0)];
    let found = block_on(canonical.on_chain(&after, &blocks)).unwrap();
    assert_eq!(found, [false, true, false, true, true, true]);
    let AtSlot::Landed(landed) = &at(&canonical, &after, 14..=14)[0] else { panic!("landed") };
    assert_eq!(landed.block, new.at(7));
}

#[test]
fn a_source_that_moves_between_two_answers_or_does_not_link_is_torn() {
    let (old, source) = chain('a', 30, 4);
    let canonical = by_slots(&source, 1);
    let before = standing(&canonical);
    let other = old.fork(25, 'b', 31);
    source.after(Kind::Blocks, 1, {
        let other = other.clone();
        move |world| world.stand(&other, [31, 4, 4, 4])
    });
    let fault = try_at(&canonical, &before, 20..=60).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Torn, "{fault}");
    // One that answers of whatever it is on now.
    source.change(|world| world.careless = true);
    let fault = try_at(&canonical, &before, 40..=60).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Torn, "{fault}");
    source.change(|world| world.careless = false);
    let now = standing(&canonical);
    let mixed = [old.blocks()[29].clone(), other.blocks()[30].clone(), other.blocks()[31].clone()];
    source.answer(Kind::Blocks, 1, Answer::Blocks(mixed.to_vec()));
    let fault = try_at(&canonical, &now, 60..=62).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Torn, "{fault}");
    source.answer(Kind::Digests, 1, Answer::Digests(vec![]));
    let fault = block_on(canonical.on_chain(&now, &[old.at(3)])).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Torn, "{fault}");
    // An answer of nothing, which is what a source says that has moved away.
    source.answer(Kind::Blocks, 1, Answer::Blocks(vec![]));
    assert_eq!(block_on(canonical.standing()).unwrap_err().kind, FaultKind::Torn);
}

#[test]
fn many_blocks_are_asked_for_in_questions_that_the_source_takes() {
    let (chain, source) = chain('a', 40, 4);
    source.change(|world| world.digests_max = 7);
    let canonical = by_slots(&source, 1);
    let standing = standing(&canonical);
    let blocks: Vec<_> = (10..=40).map(|height| chain.at(height)).collect();
    assert_eq!(block_on(canonical.on_chain(&standing, &blocks)).unwrap(), vec![true; 31]);
    assert_eq!(source.count(Kind::Digests), 5);
}

/// What is below `floor` is gone at `source`.
fn pruned(source: &ScriptedSource, floor: u64) {
    source.chaos(Some(Box::new(move |_, call| match call {
        Call::Blocks(from, _) if *from < floor => Some(FaultKind::Missing),
        _ => None,
    })));
}

#[test]
fn what_a_source_keeps_no_more_is_unknown_and_the_rest_is_told() {
    let (_, source) = chain('a', 40, 4);
    let canonical = by_slots(&source, 1);
    let standing = standing(&canonical);
    pruned(&source, 37);
    let found = short(&at(&canonical, &standing, 70..=81));
    let (e, u) = (Err('-'), Err('?'));
    assert_eq!(found, [u, u, u, u, Ok(37), e, Ok(38), e, Ok(39), e, Ok(40), Err('>')]);
    // Nothing is kept but the tip, and then not even that.
    pruned(&source, 40);
    assert_eq!(short(&at(&canonical, &standing, 78..=80)), [u, u, Ok(40)]);
    pruned(&source, 41);
    assert_eq!(try_at(&canonical, &standing, 78..=80).unwrap_err().kind, FaultKind::Missing);
}

#[test]
fn a_chain_with_empty_slots_is_read_although_nothing_older_is_kept() {
    let (_, source) = chain('a', 40, 4);
    let canonical = by_slots(&source, 1);
    let standing = standing(&canonical);
    // Slot 76 is that of block 38. As many blocks as slots would reach below what is kept.
    pruned(&source, 38);
    assert_eq!(short(&at(&canonical, &standing, 76..=78)), [Ok(38), Err('-'), Ok(39)]);
}

#[test]
fn a_fault_of_the_source_is_that_of_the_answer() {
    let (_, source) = chain('a', 9, 4);
    let canonical = by_slots(&source, 1);
    let standing = standing(&canonical);
    for (kind, nth) in [(Kind::Snapshot, 1), (Kind::Blocks, 1)] {
        source.answer(kind, nth, Answer::Fault(FaultKind::Unavailable));
        assert_eq!(block_on(canonical.standing()).unwrap_err().kind, FaultKind::Unavailable);
    }
    source.answer(Kind::Blocks, 1, Answer::Fault(FaultKind::Timeout));
    assert_eq!(try_at(&canonical, &standing, 10..=18).unwrap_err().kind, FaultKind::Timeout);
}

#[test]
fn a_position_is_a_block_up_to_a_height_with_what_passed_after_it() {
    let (chain, source) = chain('a', 9, 4);
    let canonical = by_slots(&source, 1);
    let position = |up_to| block_on(canonical.position(Height::new(up_to))).unwrap().unwrap();
    assert_eq!(position(9), Position { block: chain.at(9), slot: Slot(18) });
    assert_eq!(position(50), position(9));
    // Block 8 stands in slot 16, block 9 in slot 18: slot 17 has passed without one.
    assert_eq!(position(8), Position { block: chain.at(8), slot: Slot(17) });
    assert_eq!(position(0), Position { block: chain.at(0), slot: Slot(1) });
    source.answer(Kind::Blocks, 2, Answer::Blocks(vec![]));
    let fault = block_on(canonical.position(Height::new(5))).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Torn);
}

/// A source of Simplex blocks, of which each was proposed in view `2 * height`.
fn slots<S: Source<Block = TestBlock> + Clone>(source: &S) -> Slots<S> {
    let (epoch, length) = (ConsensusEpoch::zero(), NonZeroU64::new(8).unwrap());
    let electorate = Electorate::new(Rounds::Fixed { epoch, length });
    slot_blocks(source.clone(), electorate, None, move |block: &TestBlock| {
        let view = View::new(2 * block.reference().height.get());
        let leader = ValidatorId::new(vec![view.get() as u8]).ok();
        Some(Round { round: ConsensusRound::new(epoch, view), leader })
    })
}

#[test]
fn the_blocks_of_a_validator_have_their_slots_and_their_leaders() {
    let (chain, source) = chain('a', 9, 4);
    let canonical = FromSource::new(slots(&source), NonZeroU64::MIN, 0);
    let standing = standing(&canonical);
    let AtSlot::Landed(landed) = &at(&canonical, &standing, 14..=14)[0] else { panic!("landed") };
    assert_eq!(
        (landed.block, landed.proposer.clone()),
        (chain.at(7), ValidatorId::new(vec![14]).ok())
    );
    let (sender, heard) = tidewatch_core::watch::watch(Some(Slot(15)));
    let inside = Inside::new(canonical, heard);
    let position = || block_on(inside.position(Height::new(9))).unwrap();
    assert_eq!(
        position(),
        Some(Position { block: chain.at(9), slot: Slot(15) }),
        "as far as heard"
    );
    sender.change(|heard| {
        *heard = None;
        true
    });
    assert_eq!(position(), None);
}

/// A source that keeps the certificate of each block.
#[derive(Clone)]
struct Certified(ScriptedSource);

impl Source for Certified {
    type Block = TestBlock;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn ladder(&self) -> Ladder {
        self.0.ladder()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.0.chain_info().await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.0.snapshot().await
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        self.0.digests(tip, heights).await
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<TestBlock>, Fault> {
        self.0.blocks(tip, from).await
    }

    async fn range(&self, tip: BlockRef, from: Height) -> Result<BlockRange<TestBlock>, Fault> {
        let blocks = self.0.blocks(tip, from).await?;
        let certificate =
            |block: &TestBlock| TierProof { block: block.reference(), bytes: vec![1].into() };
        Ok(BlockRange { certificates: blocks.iter().map(certificate).collect(), blocks })
    }

    fn durable(&self, watermarks: &Watermarks) {
        Source::durable(&self.0, watermarks);
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        Source::judged(&self.0, verdict);
    }
}

#[test]
fn what_a_source_says_besides_its_blocks_is_not_lost_where_they_get_slots() {
    let (chain, source) = chain('a', 9, 4);
    let slots = slots(&Certified(source.clone()));
    let found = block_on(slots.range(chain.at(9), Height::new(8))).unwrap();
    let found: Vec<_> = found.certificates.iter().map(|certificate| certificate.block).collect();
    assert_eq!(found, [chain.at(8), chain.at(9)]);
    slots.durable(&Watermarks::none());
    slots.judged(Ok(()));
    assert_eq!((source.durable().len(), source.judged().len()), (1, 1));
}

//! SS-1 to SS-9, crashes, damage, other formats.

mod crash;

use super::{record::Record, *};
use crate::{
    Act, Conflict, Contradiction, Error, Lineage, Observation, Proposal, Seen, Signed, Verdict,
    What, bits::Bits,
};
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _, EncodeSize as _};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use commonware_storage::Context;
use std::{future::Future, time::Duration};
use tidewatch_core::{ChainId, Digest, Height};

pub(crate) fn id(n: u8) -> ValidatorId {
    ValidatorId::new(vec![n]).unwrap()
}

fn limits(slots: usize, epochs: usize) -> Limits {
    let limit = |n| NonZeroUsize::new(n).unwrap();
    Limits { slots: limit(slots), epochs: limit(epochs), events: limit(5) }
}

pub(crate) fn empty(kept: usize) -> History {
    History::new(limits(kept, 3))
}

fn tip(height: u64) -> BlockRef {
    BlockRef::new(Height::new(height), Digest([height as u8; 32]))
}

/// The change that files one slot of a committee.
#[expect(clippy::too_many_arguments, reason = "every part of a row, for tables")]
fn filed(
    history: &History,
    slot: u64,
    members: &[ValidatorId],
    proposer: u32,
    proposal: Proposal,
    votes: &[usize],
    expected: bool,
    contradicted: Vec<u32>,
) -> Change {
    let members: Committee = members.into();
    let (committee, known) = history.number(&members);
    let mut attested = Bits::none(members.len());
    votes.iter().filter(|at| **at != proposer as usize).for_each(|at| attested.set(*at));
    let judged = Judged { proposal, attested, expected, contradicted };
    let outcome = Outcome::Judged(Box::new(Filed { committee, proposer, judged }));
    let basis = Some(Box::new(Basis { tip: tip(slot), loose: false, kept: Some(Kept::default()) }));
    Change {
        committees: if known { vec![] } else { vec![(committee, members)] },
        rows: vec![Row { slot: Slot(slot), epoch: Epoch(slot / 8), outcome, basis }],
        processed: Some(Slot(slot)),
        evaluated: history.evaluated(),
        ..Change::default()
    }
}

#[expect(clippy::too_many_arguments, reason = "every part of a row, for tables")]
pub(crate) fn file(
    history: &mut History,
    slot: u64,
    members: &[ValidatorId],
    proposer: u32,
    proposal: Proposal,
    votes: &[usize],
    expected: bool,
    contradicted: Vec<u32>,
) {
    let change = filed(history, slot, members, proposer, proposal, votes, expected, contradicted);
    history.apply(change);
}

/// Validators 1 and 2: what 1 did, beside 2.
fn pair(history: &History, slot: u64, did: Did) -> Change {
    let (proposer, proposal, votes): (_, _, &[usize]) = match did {
        Did::Proposed(proposal) => (0, proposal, &[1]),
        Did::Attested => (1, Proposal::Mined, &[0]),
        Did::AttestationMissed => (1, Proposal::Mined, &[]),
    };
    filed(history, slot, &[id(1), id(2)], proposer, proposal, votes, true, vec![])
}

pub(crate) fn add(history: &mut History, slot: u64, did: Did) {
    let change = pair(history, slot, did);
    history.apply(change);
}

fn chain() -> ChainId {
    ChainId::new("test:1").unwrap()
}

async fn open<E: Context>(context: &E, limits: Limits) -> Result<Disk<E>, Error> {
    Disk::open(context, "sentinel", chain(), limits).await
}

fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(100)).start(test)
}

/// What validator 1 did, slot by slot.
fn did(history: &History) -> Vec<(u64, Did)> {
    let each = |row: &Row| match &row.outcome {
        Outcome::Judged(filed) => History::did(filed, 0).map(|did| (row.slot.get(), did)),
        _ => None,
    };
    history.rows().filter_map(each).collect()
}

fn all_that_can_be_done() -> Vec<Did> {
    let proposed = Proposal::ALL.into_iter().map(Did::Proposed);
    proposed.chain([Did::Attested, Did::AttestationMissed]).collect()
}

#[test]
fn ss_1_and_ss_2_every_status_is_read_back_after_a_restart() {
    simulate(|context| async move {
        let mut disk = open(&context.child("a"), limits(20, 3)).await.unwrap();
        for (slot, did) in (1..).zip(all_that_can_be_done()) {
            let change = pair(&disk.history, slot, did);
            disk.write(change).await.unwrap();
        }
        let before = did(&disk.history);
        assert_eq!(before.iter().map(|(_, did)| *did).collect::<Vec<_>>(), all_that_can_be_done());
        drop(disk);
        let disk = open(&context.child("b"), limits(20, 3)).await.unwrap();
        assert_eq!(did(&disk.history), before);
    });
}

#[test]
fn ss_3_and_ss_6_the_newest_slots_are_kept_and_how_many_that_are_is_known() {
    let mut history = empty(4);
    (1..=10).for_each(|slot| add(&mut history, slot, Did::Attested));
    let slots: Vec<_> = did(&history).iter().map(|(slot, _)| *slot).collect();
    assert_eq!((slots, history.window()), (vec![7, 8, 9, 10], 4));
}

fn epoch(history: &mut History, epoch: u64, missed: u32) {
    let (committee, _) = history.number(&[id(1)].into());
    let record = EpochRecord {
        epoch: Epoch(epoch),
        committee: Some(committee),
        performances: vec![Performance { missed, total: 10 }],
        verdict: None,
    };
    history.apply(Change {
        committees: vec![(committee, [id(1)].into())],
        processed: history.processed(),
        epochs: vec![record],
        evaluated: Some(Epoch(epoch)),
        ..Change::default()
    });
}

fn missed(history: &History) -> Vec<(u64, u32)> {
    let of = |record| history.performance(record, &id(1)).map(|found| found.missed);
    history.epochs().filter_map(|record| Some((record.epoch.get(), of(record)?))).collect()
}

#[test]
fn ss_4_an_epoch_that_is_evaluated_again_is_replaced() {
    let mut history = empty(4);
    for (number, missed) in [(1, 2), (1, 3), (2, 4)] {
        epoch(&mut history, number, missed);
    }
    assert_eq!(missed(&history), [(2, 4), (1, 3)]);
}

#[test]
fn ss_5_and_ss_7_the_newest_epochs_are_kept() {
    for last in [5, 2_000] {
        let mut history = empty(4);
        (1..=last).for_each(|number| epoch(&mut history, number, 1));
        let kept: Vec<_> = missed(&history).iter().map(|(epoch, _)| *epoch).collect();
        assert_eq!(kept, [last, last - 1, last - 2]);
    }
}

#[test]
fn what_is_stale_answers_nothing_and_is_kept_until_it_is_judged_again() {
    let mut history = empty(10);
    (1..=5).for_each(|slot| add(&mut history, slot, Did::Attested));
    history.apply(Change { processed: Some(Slot(2)), ..Change::default() });
    assert_eq!(did(&history).len(), 2);
    assert!(history.row(Slot(4)).is_some() && history.newest() == Some(Slot(5)));
    add(&mut history, 3, Did::AttestationMissed);
    assert_eq!(did(&history).last(), Some(&(3, Did::AttestationMissed)));
    history.apply(Change::default());
    assert!(did(&history).is_empty() && history.newest() == Some(Slot(5)));
}

#[test]
fn committees_that_nothing_is_of_are_forgotten() {
    let mut history = empty(4);
    for slot in 1..=20 {
        let members = [id(1), id(2 + slot as u8)];
        file(&mut history, slot, &members, 0, Proposal::Mined, &[1], true, vec![]);
    }
    assert!(history.committees.len() <= 5, "{}", history.committees.len());
    assert_eq!(did(&history).len(), 4);
}

#[test]
fn a_rewritten_journal_keeps_every_committee_that_something_is_of() {
    simulate(|context| async move {
        let mut disk = open(&context.child("a"), limits(20, 3)).await.unwrap();
        for slot in 1..=4 {
            let members = [id(1), id(1 + slot as u8)];
            let change =
                filed(&disk.history, slot, &members, 0, Proposal::Mined, &[1], true, vec![]);
            disk.write(change).await.unwrap();
        }
        disk.append(&vec![Record::Given(0); 2_100]).await.unwrap();
        let change = pair(&disk.history, 5, Did::Attested);
        disk.write(change).await.unwrap();
        let before = disk.history.committees.clone();
        assert!(disk.len() < 2_100 && before.len() == 4, "{} lines, {before:?}", disk.len());
        drop(disk);
        let disk = open(&context.child("b"), limits(20, 3)).await.unwrap();
        assert_eq!(disk.history.committees, before);
    });
}

fn conflict() -> Conflict {
    let signed = |n| Signed {
        slot: Slot(3),
        validator: id(1),
        act: Act::Attestation(Digest([n; 32])),
        bytes: Bytes::from(vec![n; 5]),
    };
    Conflict { kind: Contradiction::Attestations, first: signed(1), second: signed(2) }
}

fn records() -> Vec<Record> {
    let history = empty(4);
    let mut change = pair(&history, 300, Did::Proposed(Proposal::Orphaned));
    let on = Lineage::On { number: 4, digest: Digest([7; 32]) };
    let mut seen = Seen::default();
    for verdict in [Verdict::Invalid, Verdict::Valid(Some(on)), Verdict::Valid(None)] {
        let payload = Digest([seen.checked.len() as u8; 32]);
        seen.add(Observation::Checked { slot: Slot(300), payload, verdict });
    }
    seen.add(Observation::Conflict(conflict()));
    let stranger = Signed { validator: id(9), act: Act::Skip, ..conflict().first };
    seen.add(Observation::Signed(stranger));
    let basis = Basis { tip: tip(9), loose: true, kept: Kept::of(&seen, &[id(1), id(2)]) };
    change.rows[0].basis = Some(Box::new(basis));
    for outcome in [Outcome::NotJudged(NotJudged::OutOfStep), Outcome::NobodyDue] {
        let slot = change.rows.last().unwrap().slot.plus(1);
        change.rows.push(Row { slot, epoch: Epoch(38), outcome, basis: None });
    }
    let inactive = Inactive {
        validator: id(1),
        performance: Performance { missed: 9, total: 10 },
        penalty: 100,
    };
    change.epochs.push(EpochRecord {
        epoch: Epoch(37),
        committee: Some(0),
        performances: vec![inactive.performance, Performance::default()],
        verdict: Some((1, vec![inactive.clone()])),
    });
    let what = [
        What::Inactive { epoch: Epoch(37), validators: vec![inactive] },
        What::Withdrawn { epoch: Epoch(37), verdict: 1 },
        What::Contradicted(conflict()),
    ];
    change.events = (1..).zip(what).map(|(sequence, what)| Event { sequence, what }).collect();
    let change = Record::Change(Box::new(change));
    vec![Record::Base(chain()), Record::Whole, change, Record::Given(3)]
}

#[test]
fn a_line_decodes_to_itself_and_a_part_of_one_does_not_decode() {
    for record in records() {
        let bytes = record.encode();
        assert_eq!(bytes.len(), record.encode_size());
        assert_eq!(Record::decode(bytes.clone()).unwrap(), record);
        for cut in 0..bytes.len() {
            assert!(Record::decode(bytes.slice(..cut)).is_err(), "{record:?} cut at {cut}");
        }
    }
}

#[test]
fn messages_are_kept_as_positions_and_come_back_as_they_were() {
    let members = [id(1), id(2)];
    let mut seen = Seen::default();
    let acts = [Act::Block(Digest([0; 32])), Act::Proposal(Digest([1; 32])), Act::Skip];
    for validator in [id(1), id(2), id(9)] {
        for act in acts {
            let signed =
                Signed { slot: Slot(3), validator: validator.clone(), act, bytes: Bytes::new() };
            seen.add(Observation::Signed(signed));
        }
    }
    let kept = Kept::of(&seen, &members).unwrap();
    assert_eq!(kept.restore(Slot(3), &members), seen);
    // Under another committee, too.
    let again = Kept::of(&seen, &[id(9)]).unwrap();
    assert_eq!(again.restore(Slot(3), &[id(9)]), seen);
}

#[test]
fn a_journal_is_rewritten_and_says_the_same() {
    simulate(|context| async move {
        let mut disk = open(&context.child("a"), limits(20, 3)).await.unwrap();
        for slot in 1..=6_000 {
            let all = all_that_can_be_done();
            let change = pair(&disk.history, slot, all[slot as usize % all.len()]);
            disk.write(change).await.unwrap();
            assert!(disk.len() < 5_000, "{} lines of 20 slots", disk.len());
        }
        let before = (did(&disk.history), disk.history.newest());
        drop(disk);
        let disk = open(&context.child("b"), limits(20, 3)).await.unwrap();
        assert_eq!((did(&disk.history), disk.history.newest()), before);
    });
}

#[test]
fn a_directory_of_another_chain_or_format_is_refused_in_words_and_left_as_it_is() {
    simulate(|context| async move {
        let mut disk = open(&context.child("a"), limits(20, 3)).await.unwrap();
        let change = pair(&disk.history, 1, Did::Attested);
        disk.write(change).await.unwrap();
        drop(disk);
        let other = ChainId::new("test:2").unwrap();
        let refused = Disk::open(&context.child("b"), "sentinel", other, limits(20, 3)).await;
        let refused = refused.err().unwrap().to_string();
        assert_eq!(
            refused,
            "the sentinel's directory belongs to test:1, not to test:2: use another directory"
        );
        let mut disk = open(&context.child("c"), limits(20, 3)).await.unwrap();
        assert_eq!(did(&disk.history), [(1, Did::Attested)]);
        disk.append(&[Record::Foreign(9)]).await.unwrap();
        drop(disk);
        let refused = open(&context.child("d"), limits(20, 3)).await.err().unwrap().to_string();
        assert_eq!(refused, "the sentinel's directory has format 9, this program reads 2");
    });
}

#[test]
fn changes_without_a_base_are_damage_and_not_a_new_beginning() {
    simulate(|context| async move {
        let mut disk = open(&context.child("a"), limits(20, 3)).await.unwrap();
        let change = pair(&disk.history, 1, Did::Attested);
        disk.write(change).await.unwrap();
        let journal = disk.journal.take().unwrap();
        let journal = journal.rewind(0).await.unwrap();
        disk.journal = Some(journal);
        let change = pair(&disk.history, 2, Did::Attested);
        disk.append(&[Record::Change(Box::new(change))]).await.unwrap();
        drop(disk);
        let refused = open(&context.child("b"), limits(20, 3)).await.err().unwrap();
        assert!(matches!(refused, Error::Damaged(_)), "{refused}");
    });
}

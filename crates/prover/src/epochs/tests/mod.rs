//! The published cases of a prover node (`PN-*`), its sessions (`SM-*`), its checkpoints (`CS-*`), and the ticker.

mod pieces;
mod publishing;
mod sessions;
mod walk;

use super::*;
use std::num::NonZeroU64;
use tidewatch_core::Digest;

fn geometry(epoch_slots: u64) -> Geometry {
    let epoch_slots = NonZeroU64::new(epoch_slots).unwrap();
    Geometry { epoch_slots, submission_epochs: 1 }
}

fn id(number: u64, slot: u64) -> CheckpointId {
    CheckpointId { number, slot, root: Digest([number as u8; 32]) }
}

fn slots(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.slot).collect()
}

/// CS-1, CS-2, CS-3, CS-4.
#[test]
fn a_checkpoint_is_proven_once_and_another_in_its_slot_is_refused_until_it_is_pruned() {
    let mut checkpoints = Checkpoints::new(geometry(1));
    assert_eq!(checkpoints.add(id(5, 5), 5), Ok(true));
    assert_eq!(checkpoints.add(id(5, 5), 5), Ok(false));
    let first = checkpoints.within(0..=9)[0].instance;
    let refused = checkpoints.add(id(6, 5), 5).unwrap_err().to_string();
    assert!(refused.contains("already occupies slot 5"), "{refused}");
    assert_eq!(slots(&checkpoints.prune(0)), [5]);
    assert_eq!(checkpoints.add(id(5, 5), 5), Ok(true));
    assert_ne!(checkpoints.within(0..=9)[0].instance, first, "what was pruned is not used again");
    checkpoints.prune(0);
    assert_eq!(checkpoints.add(id(6, 5), 5), Ok(true));
}

/// CS-5, CS-6, CS-7, CS-8.
#[test]
fn checkpoints_are_pruned_by_block_reaped_by_epoch_and_listed_by_slot() {
    let mut checkpoints = Checkpoints::new(geometry(1));
    for number in 1..=4 {
        checkpoints.add(id(number, number), number).unwrap();
    }
    assert_eq!(slots(&checkpoints.prune(2)), [3, 4]);
    let mut one = Checkpoints::new(geometry(1));
    one.add(id(1, 1), 8).unwrap();
    assert_eq!(slots(&one.prune(6)), [1], "one that the target lies in goes too");
    for number in 3..=3 {
        checkpoints.add(id(number, number), number).unwrap();
    }
    checkpoints.reap(2);
    assert_eq!(slots(&checkpoints.within(0..=9)), [3]);
    checkpoints.add(id(10, 10), 10).unwrap();
    checkpoints.add(id(11, 11), 11).unwrap();
    assert_eq!(slots(&checkpoints.within(10..=10)), [10]);
}

/// PN-28 to PN-40.
#[test]
fn an_epoch_is_proven_once_its_last_block_is() {
    let at = |slot, next, complete| Some(ProvenAt { height: 9, slot, next, complete });
    for (slots, proven, epoch, whole, last) in [
        (1, None, 0, false, None),
        (1, at(5, Some(6), false), 3, true, Some(5)),
        (1, at(5, Some(6), false), 7, false, Some(5)),
        (2, at(5, Some(6), false), 2, true, Some(2)),
        (2, at(4, Some(5), false), 2, false, Some(1)),
        (1, at(5, None, true), 5, true, Some(5)),
        (1, at(5, None, false), 5, false, Some(4)),
        (2, at(0, Some(1), false), 0, false, None),
    ] {
        assert_eq!(geometry(slots).fully_proven(epoch, proven), whole, "{proven:?} {epoch}");
        assert_eq!(geometry(slots).last_fully_proven(proven), last, "{proven:?}");
    }
}

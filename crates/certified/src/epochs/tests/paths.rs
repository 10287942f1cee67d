//! Every way that keys can change over a few epochs, from every start to every target: the walk gets there,
//! and how many checks it costs.

use crate::epochs::{
    Step,
    table::{Learned, Table},
    walk::Walk,
};
use bytes::Bytes;
use commonware_consensus::types::Epoch;
use tidewatch_core::{BlockRef, Conflict, Digest, Height};

fn epoch(value: u64) -> Epoch {
    Epoch::new(value)
}

fn key(value: u8) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(&[value]))
}

fn block(epoch: u64, digest: u8) -> BlockRef {
    BlockRef::new(Height::new(epoch * 10 + 9), Digest([digest; 32]))
}

/// What it cost to get to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    boundaries: u64,
    tries: u64,
}

/// Walks over epochs whose keys are `keys`, from a table that trusts epoch `start`. `bound` schemes have no
/// key: nothing can be tried.
fn walk(keys: &[u8], start: u64, target: u64, bound: bool) -> (Table<u8>, Cost) {
    let of = |epoch: u64| keys[epoch as usize];
    let shown = |epoch: u64| if bound { None } else { key(of(epoch)) };
    let mut table = Table::new(epoch(start), of(start), shown(start));
    let (mut walk, mut cost) = (Walk::new(epoch(target)), Cost::default());
    for _ in 0..1_000 {
        match walk.step(&table).expect("something below is known") {
            Step::Check => {
                cost.tries += 1;
                if table.newest(epoch(target)).unwrap().0 == epoch(target) {
                    return (table, cost);
                }
                let candidate = table.candidate(epoch(target)).expect("a key to try");
                if *candidate == of(target) {
                    table.vouch(epoch(target), block(target, 0));
                    return (table, cost);
                }
                walk.tried();
            }
            Step::Boundary(ends) => {
                cost.boundaries += 1;
                let known = table.newest(ends).is_some_and(|(newest, _)| newest == ends);
                let under = match known {
                    true => of(ends.get()),
                    false => *table.candidate(ends).expect("a boundary further up needs a key"),
                };
                if under != of(ends.get()) {
                    walk.refused(ends);
                    continue;
                }
                if !known {
                    table.vouch(ends, block(ends.get(), 0));
                }
                let next = ends.next().get();
                let learned = table.learn(epoch(next), of(next), shown(next), block(ends.get(), 0));
                assert!(matches!(learned, Learned::New | Learned::Again), "{learned:?}");
            }
        }
    }
    panic!("the walk over {keys:?} from {start} to {target} does not end");
}

/// Number of binary digits: what doubling and halving over `distance` may cost.
const fn digits(distance: u64) -> u64 {
    (u64::BITS - distance.leading_zeros()) as u64
}

#[test]
fn every_change_of_keys_is_walked_and_the_scheme_is_the_right_one() {
    const EPOCHS: u64 = 9;
    for changes in 0_u32..1 << (EPOCHS - 1) {
        let mut keys = vec![0_u8];
        for bit in 0..EPOCHS - 1 {
            let last = keys[bit as usize];
            keys.push(last + u8::from(changes & (1 << bit) != 0));
        }
        for start in 0..EPOCHS {
            for target in start..EPOCHS {
                let (table, cost) = walk(&keys, start, target, false);
                let scheme = *table.get(epoch(target)).expect("known");
                assert_eq!(scheme, keys[target as usize], "{keys:?} from {start} to {target}");
                let far = target - start;
                let spans = u64::from((changes >> start & ((1 << far) - 1)).count_ones()) + 1;
                let most = far.min(spans * (2 * digits(far) + 2)) + digits(far) * 2;
                assert!(
                    cost.boundaries <= most,
                    "{keys:?} {start} to {target}: {cost:?} over {most}"
                );
                assert!(cost.tries <= digits(far) + 1, "{keys:?} {start} to {target}: {cost:?}");
            }
        }
    }
}

#[test]
fn without_a_key_every_epoch_is_walked_once() {
    for far in 0..40 {
        let keys: Vec<u8> = (0..=far).map(|epoch| epoch as u8).collect();
        let (_, cost) = walk(&keys, 0, far, true);
        assert_eq!(cost, Cost { boundaries: far, tries: 1 });
    }
}

#[test]
fn a_key_that_was_kept_makes_any_distance_two_checks() {
    let keys = vec![7; 101];
    for far in 2..=100 {
        let (_, cost) = walk(&keys, 0, far, false);
        assert_eq!(cost, Cost { boundaries: 1, tries: 1 }, "{far}");
    }
}

#[test]
fn of_a_hundred_epochs_the_last_change_is_found_by_doubling_and_halving() {
    for change in 1..100_usize {
        let mut keys = vec![0; 101];
        keys[change..].fill(1);
        let (table, cost) = walk(&keys, 0, 100, false);
        assert_eq!(*table.get(epoch(100)).unwrap(), 1);
        assert!(cost.boundaries + cost.tries <= 14, "a change at {change}: {cost:?}");
    }
}

#[test]
fn a_hundred_changes_are_a_hundred_boundaries_and_the_certificate() {
    let keys: Vec<u8> = (0..=100).collect();
    let (_, cost) = walk(&keys, 0, 100, false);
    assert_eq!(cost, Cost { boundaries: 100, tries: 1 });
}

#[test]
fn a_boundary_is_learned_once_and_one_that_says_otherwise_is_a_contradiction() {
    let mut table = Table::new(epoch(0), 0, key(0));
    let (ours, theirs) = (block(0, 1), block(0, 2));
    assert_eq!(table.learn(epoch(1), 0, key(0), ours), Learned::New);
    assert_eq!(table.learn(epoch(1), 0, key(0), ours), Learned::Again);
    let conflict = Learned::Conflict(Conflict { ours, theirs });
    assert_eq!(table.learn(epoch(1), 5, key(5), theirs), conflict);
    assert_eq!(*table.get(epoch(1)).unwrap(), 0, "the first one stays");

    // The key that was kept vouched for epoch 4; its boundary then names another one.
    table.vouch(epoch(4), block(4, 4));
    let late = block(3, 3);
    let conflict = Learned::Conflict(Conflict { ours: block(4, 4), theirs: late });
    assert_eq!(table.learn(epoch(4), 6, key(6), late), conflict);
    assert_eq!(table.learn(epoch(4), 0, key(0), late), Learned::New, "and one that agrees counts");
    assert_eq!(table.learn(epoch(0), 1, key(1), block(9, 9)), Learned::OtherKey);
}

#[test]
fn gaps_are_named_from_below_until_there_are_none() {
    let mut table = Table::new(epoch(0), 0, key(0));
    assert_eq!(table.gap(), None);
    table.learn(epoch(1), 0, key(0), block(0, 0));
    assert_eq!(table.gap(), None);
    table.vouch(epoch(4), block(4, 4));
    for ends in 1..=3 {
        assert_eq!(table.gap(), Some(epoch(ends)));
        table.learn(epoch(ends + 1), 0, key(0), block(ends, 0));
    }
    assert_eq!(table.gap(), None);
}

#[test]
fn before_one_boundary_kept_the_key_nothing_is_tried() {
    let mut table = Table::new(epoch(3), 3, key(3));
    assert_eq!(table.candidate(epoch(9)), None);
    table.learn(epoch(4), 4, key(4), block(3, 0));
    assert_eq!(table.candidate(epoch(9)), None, "the key was changed");
    table.learn(epoch(5), 4, key(4), block(4, 0));
    assert_eq!(table.candidate(epoch(9)).as_deref(), Some(&4));
    assert_eq!(table.candidate(epoch(1)).as_deref(), Some(&3), "from before the anchor");
}

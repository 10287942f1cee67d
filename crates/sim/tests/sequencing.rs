//! A short run of the worlds of a sequencer, and one rule after the other switched off.

#![allow(clippy::panic, clippy::print_stdout, reason = "a test prints the seed of what it found")]

use tidewatch_sim::sequencing::{
    Mutant,
    world::{Tally, run},
};

/// Worlds of a run; `SEQUENCER_SEEDS` of them, counted from `SEQUENCER_FROM`.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let from = number("SEQUENCER_FROM").unwrap_or(0);
    from..from + number("SEQUENCER_SEEDS").unwrap_or(150)
}

/// PC-28, invariants 6 and 7.
#[test]
fn no_world_of_a_sequencer_breaks_a_rule() {
    let mut all = Tally::default();
    for seed in seeds() {
        let outcome = run(seed, None);
        assert_eq!(outcome.objection, None, "seed {seed}: {:?}", outcome.tally);
        all.add(&outcome.tally);
    }
    println!("{} worlds: {all:?}", seeds().count());
    // Guards against worlds that have become too tame to test anything.
    let worlds = seeds().count() as u64;
    assert!(all.crashes > worlds / 2 && all.proposals > worlds && all.answers > worlds, "{all:?}");
}

#[test]
fn a_world_of_a_sequencer_replays_exactly() {
    for seed in [2, 5, 11] {
        assert_eq!(run(seed, None), run(seed, None), "seed {seed}");
    }
    assert_ne!(run(2, None).audit, run(3, None).audit, "the audit sees what happens");
}

/// Worlds within which a rule that is switched off must be noticed.
const MUTANT_SEEDS: u64 = 300;

#[test]
fn every_rule_of_a_sequencer_that_is_switched_off_is_noticed() {
    for (mutant, checker) in Mutant::ALL {
        let found = (0..MUTANT_SEEDS).find_map(|seed| {
            let objection = run(seed, Some(mutant)).objection?;
            println!("{mutant:?}: {} at seed {seed}: {}", objection.checker, objection.detail);
            Some((seed, objection))
        });
        match found {
            Some((seed, found)) => {
                assert_eq!(found.checker, checker, "{mutant:?} at seed {seed}: {found:?}");
            }
            None => panic!("nobody noticed within {MUTANT_SEEDS} worlds that {mutant:?} is off"),
        }
    }
}

//! A short form of what `tidewatch-sim` does for hours.

use tidewatch_sim::world::{Tally, run};

/// Worlds that run with every test.
const SEEDS: u64 = 40;

#[test]
fn no_world_breaks_a_rule() {
    let mut all = Tally::default();
    for seed in 0..SEEDS {
        let outcome = run(seed, false);
        assert!(outcome.violation.is_none(), "seed {seed}: {:#?}", outcome.violation);
        all.add(&outcome.tally);
    }
    // The worlds are as wild as they are meant to be.
    assert!(all.crashes > 20 && all.events > 2_000 && all.deepest > 100, "{all:?}");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [2, 3, 5] {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!(first.audit, second.audit, "seed {seed}");
        assert_eq!(first.tally, second.tally, "seed {seed}");
    }
    assert_ne!(run(2, false).audit, run(3, false).audit, "the audit sees what happens");
}

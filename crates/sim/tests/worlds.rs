//! A short run of what `tidewatch-sim` does for hours.

use std::thread;
use tidewatch_sim::world::{Mix, Tally, Withholds, run};

/// Number of worlds.
const SEEDS: u64 = 200;

/// Number of threads.
const JOBS: u64 = 2;

fn every(nth: u64) -> Tally {
    let mut all = Tally::default();
    for seed in (nth..SEEDS).step_by(JOBS as usize) {
        let outcome = run(seed, false);
        assert!(outcome.violation.is_none(), "seed {seed}: {:#?}", outcome.violation);
        all.add(&outcome.tally);
    }
    all
}

#[test]
fn no_world_breaks_a_rule() {
    let mut all = Tally::default();
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..JOBS).map(|nth| scope.spawn(move || every(nth))).collect();
        for job in jobs {
            all.add(&job.join().expect("no rule was broken"));
        }
    });
    // Guards against a simulation that has become too tame to test anything.
    assert!(all.crashes > 100 && all.events > 10_000 && all.deepest > 500, "{all:?}");
}

/// Seeds of worlds that broke a rule once.
///
/// - 1755: a disk hung, the clock was set back meanwhile, and a contact of a minute ago was taken for one of now.
/// - 3769: proven, which every upstream had lost, held checkpointed up on its way back.
/// - 4277: a lie alternated with a chain that reorgs, whose many heads pushed the lie's out of memory.
/// - 4483: the world's own fault: of two tips in the wrong order the one that made them so was lost, and the lie was
///   believed.
/// - 12409: the world's own fault: an upstream contradicted finality for ever before a view that had finalized genesis
///   alone, which had no reason not to believe it.
const BROKEN: [u64; 5] = [1755, 3769, 4277, 4483, 12409];

#[test]
fn worlds_that_broke_a_rule_break_none() {
    for seed in BROKEN {
        let violation = run(seed, false).violation;
        assert!(violation.is_none(), "seed {seed}: {violation:#?}");
    }
}

#[test]
fn ends_of_epochs_are_withheld_and_contradicted_in_some_worlds() {
    let plots: Vec<_> =
        (0..1_000).map(Mix::of).filter(|mix| mix.certified).map(|mix| mix.plot).collect();
    let withhold = |what| plots.iter().filter(|plot| plot.withholds == what).count();
    let withheld = [Withholds::Certificates, Withholds::Blocks].map(withhold);
    assert!(withheld.iter().all(|count| *count > 10), "{withheld:?}");
    let contradict = plots.iter().filter(|plot| plot.contradicts).count();
    assert!(contradict > 20, "{contradict}");
}

#[test]
fn a_seed_replays_exactly() {
    assert!(Mix::of(24).certified, "one of them follows a certified chain");
    for seed in [2, 24, 5] {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!(first.audit, second.audit, "seed {seed}");
        assert_eq!(first.tally, second.tally, "seed {seed}");
    }
    assert_ne!(run(2, false).audit, run(3, false).audit, "the audit sees what happens");
}

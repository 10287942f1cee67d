//! Worlds of a sentinel: validators with personalities, a chain that reorgs, an observer that is cut off and killed.
//!
//! # Overview
//!
//! ```text
//!  Truth: who sent what, what is canonical ──▶ Canonical, Observer, Committees ──▶ Sentinel ──▶ Output, queries
//!    │                                                                             production       │
//!    └────────────────────────────────▶ checker: everything once more, another way ◀───────────────┘
//! ```
//!
//! One seed draws the whole world: committees that rotate, epochs in which nobody is due, proposals that land, do not
//! land, or are invalid; reorgs of up to more than two epochs, on which blocks are gone, come back, or give way to others;
//! sources that fail, stand still, and move in the middle of a pass; observers that are away from the chain; processes
//! that are killed in the middle of a write. The checker knows who did what, and compares after every slot: each
//! slot that was judged, each epoch, and the verdicts that hold after every withdrawal.
//!
//! # Personalities
//!
//! | validator | does |
//! |---|---|
//! | honest | proposes and votes in time |
//! | offline | nothing |
//! | away | nothing in one epoch |
//! | late | votes when its slot is judged already |
//! | equivocating | proposes twice, and votes for both forks |
//! | of a fork | votes for the block that rarely lands |
//! | ahead | its clock is: what it signs is about slots to come |

#![allow(clippy::expect_used, reason = "names that are written here are valid")]

mod checker;
mod life;
mod ports;
mod truth;

pub use life::run;

/// A rule that is switched off at a port, to see that the checker objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// The canonical chain is remembered: a slot is what it was when it was first read.
    CanonicalRead,
    /// A slot is judged as soon as it has passed.
    Lag,
    /// The observer always claims to be in step.
    InStep,
    /// Withdrawals reach nobody.
    Withdrawal,
}

/// Outcome of a world.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What the checker objects to: which comparison, and the values that differ.
    pub violation: Option<(&'static str, String)>,
    /// Statistics.
    pub tally: Tally,
}

/// Statistics of one or more worlds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Slots that passed.
    pub slots: u64,
    /// Slots that were compared, as often as they were.
    pub compared: u64,
    /// Among them those that were judged.
    pub judged: u64,
    /// Reorgs.
    pub reorgs: u64,
    /// The deepest, in slots.
    pub deepest: u64,
    /// Processes that were killed.
    pub crashes: u64,
    /// Verdicts that were given.
    pub verdicts: u64,
    /// Verdicts that were withdrawn.
    pub withdrawn: u64,
    /// Contradictions that were reported.
    pub contradictions: u64,
}

impl Tally {
    /// Adds those of `other`.
    pub fn add(&mut self, other: &Self) {
        self.slots += other.slots;
        self.compared += other.compared;
        self.judged += other.judged;
        self.reorgs += other.reorgs;
        self.deepest = self.deepest.max(other.deepest);
        self.crashes += other.crashes;
        self.verdicts += other.verdicts;
        self.withdrawn += other.withdrawn;
        self.contradictions += other.contradictions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_world_of_a_sentinel_breaks_a_rule() {
        let mut all = Tally::default();
        for seed in 0..60 {
            let outcome = run(seed, None);
            assert_eq!(outcome.violation, None, "seed {seed}");
            all.add(&outcome.tally);
        }
        // Guards against worlds that have become too tame to test anything.
        let rich = all.withdrawn > 5 && all.crashes > 50 && all.deepest > 15 && all.reorgs > 100;
        assert!(rich && all.contradictions > 50 && all.judged > 50_000, "{all:?}");
    }

    /// Seeds of worlds that broke a rule once.
    ///
    /// - 147: an observer went away half a second after a reorg, so that what was stale had to wait for it.
    /// - 363, 2192: a process was killed after calls had failed for long, and what waited to be judged was lost with it.
    /// - 645, 1476: a comparison came before the first pass of a life.
    /// - 3537: a watch began after an epoch of nobody, and later by as much as a clock was ahead.
    /// - 3750: an empty slot stood on a newer block than a slot after it, and a reorg between the two left it as it was.
    /// - 4664: a reorg after a restart opened slots again of which the messages were about to be dropped.
    const BROKEN: [u64; 8] = [147, 363, 645, 1476, 2192, 3537, 3750, 4664];

    #[test]
    fn worlds_that_broke_a_rule_break_none() {
        for seed in BROKEN {
            assert_eq!(run(seed, None).violation, None, "seed {seed}");
        }
    }

    /// The first seed whose world objects, and to what.
    fn is_caught(off: Off, by: &[&str]) {
        let found = (0..200).find_map(|seed| Some((seed, run(seed, Some(off)).violation?)));
        let (seed, (what, detail)) = found.unwrap_or_else(|| panic!("nobody notices {off:?}"));
        println!("{off:?}: {what} at seed {seed}: {detail}");
        assert!(by.contains(&what), "{off:?} at seed {seed}: {what}: {detail}");
    }

    #[test]
    fn a_canonical_chain_that_is_remembered_is_caught() {
        is_caught(Off::CanonicalRead, &["slot"]);
    }

    #[test]
    fn a_slot_that_is_judged_at_once_is_caught() {
        is_caught(Off::Lag, &["slot"]);
    }

    #[test]
    fn an_observer_that_always_claims_to_be_in_step_is_caught() {
        is_caught(Off::InStep, &["slot"]);
    }

    #[test]
    fn withdrawals_that_reach_nobody_are_caught() {
        is_caught(Off::Withdrawal, &["verdicts"]);
    }

    #[test]
    fn a_seed_is_one_world() {
        for seed in [3, 4] {
            assert_eq!(run(seed, None).tally, run(seed, None).tally);
        }
    }
}

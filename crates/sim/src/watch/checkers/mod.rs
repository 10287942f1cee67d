//! The rules, each with its own checker.
//!
//! | checker | rule |
//! |---|---|
//! | `ladder` | the announced tips obey the ladder after every event |
//! | `ancestry` | every tip is an ancestor of the next higher one, or equal to it |
//! | `finality` | the finalized tip never regresses, never changes its digest, and never becomes unknown |
//! | `regressions` | a tier moves up only by `Advanced`, and down only by `Regressed` or `Pruned` |
//! | `given` | no tip is above the delivered head |
//! | `looks` | no prune, and no evidence, without a second snapshot after the divergence was found |
//! | `flapping` | no dropped head is delivered again and again |
//! | `announced` | if a prune moves the proposed tip, the proposed tip is announced |
//! | `linked` | delivered blocks link, replace only pruned blocks, and come from the source |
//! | `replay` | folding the events yields the watermarks of the view |
//! | `durability` | a commit that returned survives every crash |
//! | `delivery` | every consumer receives every event, in order, from its durable position |
//! | `bridges` | a position of another log is led on from: no gap, no step that breaks the ladder, no refusal without need |
//! | `acknowledged` | a position becomes durable only by `Ack::Durable`, and is never lost |
//! | `budget` | the number of calls to the source is within the budget of the situation |
//! | `certificates` | no more certificates are verified than were received, and none twice |
//! | `deadlines` | every call to the source ends, and the next pass starts, within its time limit |
//! | `status` | `Live` is reported only when it is true |
//! | `faults` | an external failure is never reported as a bug of the follower |
//!
//! What can be said of a history alone is in [`invariants`](tidewatch_testkit::invariants), which other suites
//! share; a checker has observations of its own.
//!
//! Four rules can only be checked by the runner of the world: `liveness`, `wakes`, `cost` and `leaks`
//! (see [`world`](crate::world)). `tests/mutants.rs` proves that every checker can fail.

mod blocks;
mod bridges;
mod calls;
mod consumers;
mod history;
mod prunes;
mod status;
mod tips;

use super::{Observation, Rules};
use crate::truth::Truth;

/// An independent observer of one rule.
pub trait Checker: Send {
    /// Name of the rule.
    fn name(&self) -> &'static str;

    /// Checks an observation against the current state of the world. An error describes the violation.
    fn see(&mut self, observation: &Observation, truth: &Truth) -> Result<(), String>;
}

/// All checkers.
pub fn all(rules: Rules) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(history::Replay::default()),
        Box::new(history::Durability::default()),
        Box::new(tips::LadderKept(rules)),
        Box::new(tips::Ancestry::new(rules)),
        Box::new(tips::Finality::new(rules)),
        Box::new(tips::Regressions::default()),
        Box::new(tips::Given),
        Box::new(prunes::Looks::new(rules)),
        Box::new(prunes::Flapping::default()),
        Box::new(prunes::Announced::default()),
        Box::new(blocks::Linked::default()),
        Box::new(consumers::Delivered::default()),
        Box::new(consumers::Acknowledged::default()),
        Box::new(bridges::Bridges::new(rules)),
        Box::new(calls::Budget::new(rules)),
        Box::new(calls::Checks),
        Box::new(calls::Deadlines::new(rules)),
        Box::new(status::Honest::new(rules)),
        Box::new(status::Faults),
    ]
}

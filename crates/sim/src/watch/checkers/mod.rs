//! The rules, each with an observer of its own.
//!
//! | checker | rule |
//! |---|---|
//! | `ladder` | what is announced obeys the ladder, after every event |
//! | `ancestry` | every tier is an ancestor-or-self of the next higher one |
//! | `finality` | finalized never moves back, never changes its digest, is never unknown again |
//! | `regressions` | a tier moves up by `Advanced` alone, back by `Regressed` or `Pruned` alone |
//! | `given` | no tier above what was delivered |
//! | `looks` | nothing is pruned before the source was looked at a second time |
//! | `announced` | where a prune moves proposed, proposed is announced |
//! | `linked` | delivered blocks stand on each other, replace nothing, and came from the source |
//! | `replay` | folding the events gives where the view stands |
//! | `durability` | a commit that returned survives every crash |
//! | `delivery` | every consumer is given every event, in order, from its durable position on |
//! | `acknowledged` | a position is durable only by `Ack::Durable`, and never lost |
//! | `budget` | the source is not asked more often than the situation allows |
//! | `certificates` | no certificate is checked that did not come, and none twice |
//! | `deadlines` | no call to the source lasts for ever, and no pass stays away for ever |
//! | `status` | `Live` is said only when it is true |
//! | `faults` | what goes wrong outside is never called a bug of our own |
//!
//! Four rules can only be seen by whoever runs the world: `liveness`, `wakes`, `cost` and `leaks` (see
//! [`world`](crate::world)). That each of all these can fail is shown by `tests/mutants.rs`.

mod blocks;
mod calls;
mod consumers;
mod history;
mod prunes;
mod says;
mod tips;

use super::{Observation, Rules};
use crate::world::Truth;

/// An independent observer of one rule.
pub trait Checker: Send {
    /// The rule that it stands for.
    fn name(&self) -> &'static str;

    /// Takes in an observation, in the world as it is. An error says what is broken.
    fn see(&mut self, observation: &Observation, truth: &Truth) -> Result<(), String>;
}

/// Every checker there is.
pub fn all(rules: Rules) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(history::Replay::default()),
        Box::new(history::Durability::default()),
        Box::new(tips::LadderKept(rules)),
        Box::new(tips::Ancestry::new(rules)),
        Box::new(tips::Finality::new(rules)),
        Box::new(tips::Regressions::default()),
        Box::new(tips::Given),
        Box::new(prunes::Looks::default()),
        Box::new(prunes::Announced::default()),
        Box::new(blocks::Linked::default()),
        Box::new(consumers::Delivered::default()),
        Box::new(consumers::Acknowledged::default()),
        Box::new(calls::Budget::new(rules)),
        Box::new(calls::Checks),
        Box::new(calls::Deadlines::new(rules)),
        Box::new(says::Honest::new(rules)),
        Box::new(says::Faults),
    ]
}

//! What the command prints: events as JSON lines, or progress and one live line for people.
//!
//! Everything goes through one [`Printer`]: a thread that owns standard output, so that a reader who
//! does not read holds up neither the follower nor its end.

mod audience;
mod human;
mod json;
mod printer;
mod reached;
mod repeats;
mod watched;

pub(crate) use audience::Audience;
use human::Human;
pub(crate) use json::CONSUMER;
use json::{Events, Lines};
pub(crate) use printer::Printer;
use reached::Reached;
pub(crate) use watched::Watched;

use crate::Problem;

/// Says on standard error why the command ends.
pub(crate) fn report(problem: &Problem) {
    eprintln!("tidewatch: {problem}");
    if let Some(hint) = &problem.hint {
        eprintln!("  {hint}");
    }
}

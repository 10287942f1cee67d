//! `tidewatch sentinel`: who did their part.
//!
//! | file | what |
//! |---|---|
//! | `args` | options, and what the address says |
//! | `run` | watching, from options to exit code; `run/aztec` of an Aztec chain |
//! | `told` | what is printed of what was judged: tables, CSV, JSON lines |
//! | `report` | one epoch, of what a data directory has |

#[cfg_attr(not(feature = "devnet"), allow(dead_code, reason = "the devnet's address says more"))]
pub(super) mod args;
mod report;
mod run;
mod told;

use crate::Outcome;

/// Does what was asked for.
pub(super) fn run(asked: args::Sentinel) -> Outcome<()> {
    match asked.command {
        Some(args::SentinelCommand::Report(asked)) => report::run(&asked),
        None => run::run(asked.watch),
    }
}

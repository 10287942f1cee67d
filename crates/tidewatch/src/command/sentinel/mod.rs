//! `tidewatch sentinel`: who did their part.
//!
//! | file | what |
//! |---|---|
//! | `args` | options, and what the address says |
//! | `run` | watching, from options to exit code |
//! | `told` | what is printed of what was judged: tables, CSV, JSON lines |
//! | `report` | one epoch, of what a data directory has |

#[cfg_attr(not(feature = "devnet"), allow(dead_code, reason = "only what watches needs all of it"))]
pub(super) mod args;
mod report;
#[cfg(feature = "devnet")]
mod run;
#[cfg_attr(
    not(feature = "devnet"),
    allow(dead_code, reason = "only what watches prints all of it")
)]
mod told;

use crate::Outcome;

/// Does what was asked for.
pub(super) fn run(asked: args::Sentinel) -> Outcome<()> {
    match asked.command {
        Some(args::SentinelCommand::Report(asked)) => report::run(&asked),
        None => watch(&asked.watch),
    }
}

#[cfg(feature = "devnet")]
fn watch(asked: &args::Watch) -> Outcome<()> {
    run::run(asked.clone())
}

#[cfg(not(feature = "devnet"))]
fn watch(asked: &args::Watch) -> Outcome<()> {
    let _ = asked.wanted()?;
    Err(super::Problem::usage("this build has no devnet")
        .hint("build with the feature devnet: it is the only network that is watched from inside"))
}

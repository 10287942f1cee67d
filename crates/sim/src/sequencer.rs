//! Worlds of a sequencer, from the command.

use super::{Args, sweep};
use eyre::{Result, bail};
use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};
use tidewatch_sim::sequencing::world::{Outcome, Tally, run};
use tracing_subscriber::EnvFilter;

/// Runs as many worlds as the arguments say.
pub(super) fn worlds(args: &Args) -> Result<ExitCode> {
    let world = |seed| {
        let outcome = run(seed, None);
        (outcome.tally, outcome.objection.is_some().then_some(outcome))
    };
    sweep(args, world, Tally::add, write_tally, report)
}

/// Runs one world with its events, then again to check that the run is deterministic.
pub(super) fn replay(seed: u64) -> Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("debug"));
    tracing_subscriber::fmt().with_env_filter(filter).without_time().init();
    let outcome = run(seed, None);
    if run(seed, None) != outcome {
        bail!("two runs of seed {seed} differ: the world is not deterministic");
    }
    let mut out = io::stdout().lock();
    write_tally(&mut out, 1, &outcome.tally, None)?;
    Ok(report(&mut out, &outcome)?)
}

fn write_tally(
    out: &mut dyn Write,
    worlds: u64,
    tally: &Tally,
    took: Option<Duration>,
) -> io::Result<()> {
    let Tally { crashes, blocks, transactions, proposals, answers, steps } = tally;
    writeln!(
        out,
        "{worlds} worlds of a sequencer, {blocks} blocks, {transactions} transactions, {proposals} \
         proposals, {crashes} crashes, {answers} answers, {steps} steps"
    )?;
    super::write_rate(out, worlds, took)
}

fn report(out: &mut dyn Write, outcome: &Outcome) -> io::Result<ExitCode> {
    let Some(found) = &outcome.objection else {
        writeln!(out, "seed {}: no rule was broken", outcome.seed)?;
        return Ok(ExitCode::SUCCESS);
    };
    writeln!(out, "\nseed {} breaks {}: {}", outcome.seed, found.checker, found.detail)?;
    writeln!(out, "replay it with: tidewatch-sim --sequencer --seed {}", outcome.seed)?;
    Ok(ExitCode::FAILURE)
}

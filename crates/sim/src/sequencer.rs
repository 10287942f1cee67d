//! Worlds of a sequencer, from the command.

use super::Args;
use eyre::{Result, bail};
use std::{
    io::Write as _,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tidewatch_sim::sequencing::world::{Outcome, Tally, run};
use tracing_subscriber::EnvFilter;

/// Runs as many worlds as the arguments say; the one of `seed` alone twice, with its events.
pub(super) fn sweep(args: &Args, seed: Option<u64>) -> Result<ExitCode> {
    if let Some(seed) = seed {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("debug"));
        tracing_subscriber::fmt().with_env_filter(filter).without_time().init();
        let outcome = run(seed, None);
        if run(seed, None) != outcome {
            bail!("two runs of seed {seed} differ: the world is not deterministic");
        }
        return report(1, &outcome.tally, None, outcome.objection.as_ref().map(|_| &outcome));
    }
    let began = Instant::now();
    let limit = args.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let seeds = if limit.is_some() { u64::MAX } else { args.seeds };
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let standing = Mutex::new((0, Tally::default(), None::<Outcome>));
    let jobs =
        args.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, |n| n.get() as u64));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let over = limit.is_some_and(|limit| began.elapsed() >= limit);
                    if nth >= seeds || over || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run(args.from.wrapping_add(nth), None);
                    let mut standing = standing.lock().unwrap_or_else(PoisonError::into_inner);
                    standing.0 += 1;
                    standing.1.add(&outcome.tally);
                    if outcome.objection.is_some() {
                        stop.store(true, Ordering::Relaxed);
                        standing.2.get_or_insert(outcome);
                    }
                }
            });
        }
    });
    let (worlds, tally, failed) = standing.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(worlds, &tally, Some(began.elapsed()), failed.as_ref())
}

fn report(
    worlds: u64,
    tally: &Tally,
    took: Option<Duration>,
    failed: Option<&Outcome>,
) -> Result<ExitCode> {
    let Tally { crashes, blocks, transactions, proposals, answers, steps } = tally;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{worlds} worlds of a sequencer, {blocks} blocks, {transactions} transactions, {proposals} \
         proposals, {crashes} crashes, {answers} answers, {steps} steps"
    )?;
    if let Some(took) = took {
        let seconds = took.as_secs_f64().max(f64::EPSILON);
        writeln!(out, "{seconds:.1} s: {:.1} worlds a second", worlds as f64 / seconds)?;
    }
    let Some(Outcome { seed, objection: Some(found), .. }) = failed else {
        writeln!(out, "no rule was broken")?;
        return Ok(ExitCode::SUCCESS);
    };
    writeln!(out, "\nseed {seed} breaks {}: {}", found.checker, found.detail)?;
    writeln!(out, "replay it with: tidewatch-sim --sequencer --seed {seed}")?;
    Ok(ExitCode::FAILURE)
}

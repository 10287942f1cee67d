//! `tidewatch-sim`: runs worlds that try to break the follower.

#![allow(clippy::disallowed_types, reason = "throughput is measured in wall-clock time")]

mod sequencer;

use clap::Parser;
use eyre::{Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tidewatch_sim::{
    validators,
    world::{Outcome, Tally, run},
};
use tracing_subscriber::EnvFilter;

/// Runs simulated worlds, one for each seed: a chain that reorgs, upstreams that lie, lag and hang,
/// consumers that fail, a machine that crashes in the middle of a write, and the production follower.
/// Every rule is checked at every step. If a world breaks a rule, its seed is printed; the seed replays
/// the world exactly.
///
/// Examples:
///
///   tidewatch-sim --seeds 1000        the worlds of the seeds 0 to 999
///   tidewatch-sim --minutes 30        as many worlds as fit into half an hour
///   tidewatch-sim --seed 4711         one world, with every observation printed
///   tidewatch-sim --sequencer         worlds of a sequencer
///   tidewatch-sim --sentinel          worlds of a sentinel among validators that fail and cheat
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Run this many worlds.
    #[arg(long, default_value_t = 1_000, conflicts_with_all = ["seed", "minutes"])]
    seeds: u64,

    /// The first seed.
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,

    /// Replay the world of this seed twice, and print every observation.
    #[arg(long)]
    seed: Option<u64>,

    /// Run worlds for this long.
    #[arg(long, conflicts_with = "seed")]
    minutes: Option<u64>,

    /// Worlds that run in parallel. By default one for each core.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: Option<u64>,

    /// Run worlds of a sequencer: a network of key holders that misbehaves, crashes in the middle of writes.
    #[arg(long)]
    sequencer: bool,

    /// Run worlds of a sentinel: validators with personalities, reorgs over epochs, crashes of the observer.
    #[arg(long, conflicts_with = "sequencer")]
    sentinel: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    match (args.sentinel, args.seed) {
        (_, Some(seed)) if args.sequencer => sequencer::replay(seed),
        (_, None) if args.sequencer => sequencer::worlds(&args),
        (false, Some(seed)) => replay(seed),
        (false, None) => sweep(
            &args,
            |seed| {
                let outcome = run(seed, false);
                (outcome.tally, outcome.violation.is_some().then_some(outcome))
            },
            Tally::add,
            write_tally,
            report,
        ),
        (true, Some(seed)) => replay_validators(seed),
        (true, None) => sweep(
            &args,
            |seed| {
                let outcome = validators::run(seed, None);
                (outcome.tally, outcome.violation.is_some().then_some(outcome))
            },
            validators::Tally::add,
            write_validators,
            report_validators,
        ),
    }
}

/// Runs one world with full tracing, then again to check that the run is deterministic.
fn replay(seed: u64) -> Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).without_time().with_target(false).init();
    let outcome = run(seed, true);
    if run(seed, false).audit != outcome.audit {
        bail!("two runs of seed {seed} differ: the world is not deterministic");
    }
    let mut out = std::io::stdout().lock();
    write_tally(&mut out, 1, &outcome.tally, None)?;
    Ok(report(&mut out, &outcome)?)
}

/// Runs one world of a sentinel with full tracing, then again to check that the run is deterministic.
fn replay_validators(seed: u64) -> Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).without_time().with_target(false).init();
    let outcome = validators::run(seed, None);
    if validators::run(seed, None).tally != outcome.tally {
        bail!("two runs of seed {seed} differ: the world is not deterministic");
    }
    let mut out = std::io::stdout().lock();
    write_validators(&mut out, 1, &outcome.tally, None)?;
    Ok(report_validators(&mut out, &outcome)?)
}

/// Progress of a sweep.
struct Standing<T, O> {
    worlds: u64,
    tally: T,
    failed: Option<O>,
}

fn sweep<T: Default + Send, O: Send>(
    args: &Args,
    run: impl Fn(u64) -> (T, Option<O>) + Sync,
    add: impl Fn(&mut T, &T) + Sync,
    write_tally: impl Fn(&mut dyn std::io::Write, u64, &T, Option<Duration>) -> std::io::Result<()>,
    report: impl Fn(&mut dyn std::io::Write, &O) -> std::io::Result<ExitCode>,
) -> Result<ExitCode> {
    let began = Instant::now();
    let limit = args.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let seeds = if limit.is_some() { u64::MAX } else { args.seeds };
    let bar = progress(limit.is_none().then_some(args.seeds));
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let standing = Mutex::new(Standing { worlds: 0, tally: T::default(), failed: None });
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
                    let (tally, failed) = run(args.from.wrapping_add(nth));
                    bar.inc(1);
                    let mut standing = standing.lock().unwrap_or_else(PoisonError::into_inner);
                    standing.worlds += 1;
                    add(&mut standing.tally, &tally);
                    if let Some(failed) = failed {
                        stop.store(true, Ordering::Relaxed);
                        standing.failed.get_or_insert(failed);
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let standing = standing.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut out = std::io::stdout().lock();
    write_tally(&mut out, standing.worlds, &standing.tally, Some(began.elapsed()))?;
    match standing.failed {
        Some(outcome) => Ok(report(&mut out, &outcome)?),
        None => {
            writeln!(out, "no rule was broken")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn progress(seeds: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(seeds, ProgressDrawTarget::hidden());
    }
    let template = match seeds {
        Some(_) => "{elapsed} {wide_bar} {pos}/{len} worlds, {per_sec}, {eta} left",
        None => "{elapsed} {spinner} {pos} worlds, {per_sec}",
    };
    let bar = seeds.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.enable_steady_tick(Duration::from_millis(200));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn write_tally(
    out: &mut dyn std::io::Write,
    worlds: u64,
    tally: &Tally,
    took: Option<Duration>,
) -> std::io::Result<()> {
    let Tally { simulated, blocks, deepest, crashes, events, observations, calls } = tally;
    let hours = simulated.as_secs_f64() / 3_600.0;
    writeln!(
        out,
        "{worlds} worlds, {hours:.1} simulated hours, {blocks} blocks, {crashes} crashes, deepest \
         reorg {deepest}, {calls} source calls, {events} events, {observations} observations"
    )?;
    if let Some(took) = took {
        let seconds = took.as_secs_f64().max(f64::EPSILON);
        let rate = worlds as f64 / seconds;
        writeln!(
            out,
            "{seconds:.1} s: {rate:.1} worlds, {:.2} simulated hours a second",
            hours / seconds
        )?;
    }
    Ok(())
}

fn write_validators(
    out: &mut dyn std::io::Write,
    worlds: u64,
    tally: &validators::Tally,
    took: Option<Duration>,
) -> std::io::Result<()> {
    let validators::Tally { slots, compared, judged, reorgs, deepest, crashes, .. } = tally;
    let validators::Tally { verdicts, withdrawn, contradictions, .. } = tally;
    writeln!(
        out,
        "{worlds} worlds, {slots} slots, {reorgs} reorgs, the deepest of {deepest} slots, {crashes} crashes; \
         {compared} comparisons of a slot, {judged} of judged ones; {verdicts} verdicts, {withdrawn} withdrawn, \
         {contradictions} contradictions"
    )?;
    write_rate(out, worlds, took)
}

/// How fast worlds went by, where that was measured.
fn write_rate(
    out: &mut dyn std::io::Write,
    worlds: u64,
    took: Option<Duration>,
) -> std::io::Result<()> {
    if let Some(took) = took {
        let seconds = took.as_secs_f64().max(f64::EPSILON);
        writeln!(out, "{seconds:.1} s: {:.1} worlds a second", worlds as f64 / seconds)?;
    }
    Ok(())
}

fn report_validators(
    out: &mut dyn std::io::Write,
    outcome: &validators::Outcome,
) -> std::io::Result<ExitCode> {
    let Some((what, detail)) = &outcome.violation else {
        writeln!(out, "seed {}: no rule was broken", outcome.seed)?;
        return Ok(ExitCode::SUCCESS);
    };
    writeln!(out, "\nseed {} breaks {what}: {detail}", outcome.seed)?;
    writeln!(out, "replay it with: tidewatch-sim --sentinel --seed {}", outcome.seed)?;
    Ok(ExitCode::FAILURE)
}

fn report(out: &mut dyn std::io::Write, outcome: &Outcome) -> std::io::Result<ExitCode> {
    let Some(violation) = &outcome.violation else {
        writeln!(out, "seed {}: no rule was broken", outcome.seed)?;
        return Ok(ExitCode::SUCCESS);
    };
    writeln!(out, "\nlast seen:")?;
    for line in &violation.trail {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "\nseed {} breaks {}: {}", outcome.seed, violation.checker, violation.detail)?;
    writeln!(out, "replay it with: tidewatch-sim --seed {}", outcome.seed)?;
    Ok(ExitCode::FAILURE)
}

//! What a seed stands for: a mix of everything that can go wrong, from tame to hostile.

use super::{consumer::Temper, node::Personality, truth::Habits};
use crate::host::Odds;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use std::time::Duration;
use tidewatch_core::{Height, Ladder};
use tidewatch_stream::{Mode, Start, Thresholds};

/// What goes wrong with the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Tasks that are not polled.
    pub starve: Odds,
    /// Slow changes of the disk.
    pub slow_disk: Odds,
    /// How often a life ends in the middle of a write.
    pub crash_at_write: f64,
    /// How often a life ends with a disk that fails.
    pub fail_disk: f64,
    /// How many bytes of what was not synced survive, and whether in pieces.
    pub kept: (f64, bool),
    /// How often the clock jumps, and how far.
    pub jump: Odds,
}

/// Everything that a seed decides.
#[derive(Clone, Debug)]
pub struct Mix {
    /// The seed.
    pub seed: u64,
    /// From 0, where nothing goes wrong, to 1.
    pub hostility: f64,
    /// The order of the tiers.
    pub ladder: Ladder,
    /// Tiers that the chain has.
    pub has: [bool; 4],
    /// Whether tiers are unknown before they first move.
    pub young: bool,
    /// How the chain moves.
    pub habits: Habits,
    /// Whether the chain is followed by certificates, through the certified source.
    pub certified: bool,
    /// The deadline of one request, on a certified chain.
    pub request_timeout: Duration,
    /// How long a push connection may be silent, and memory may answer, on a certified chain.
    pub silence: Duration,
    /// The upstreams.
    pub nodes: Vec<(Personality, f64)>,
    /// Heights in one question.
    pub digests_max: usize,
    /// Blocks in one answer.
    pub blocks_max: usize,
    /// How often a move of the chain rings the doorbell.
    pub rings: f64,
    /// What is delivered.
    pub mode: Mode,
    /// Settings of the driver.
    pub poll: Duration,
    /// The longest wait after a failure.
    pub backoff_max: Duration,
    /// The deadline of a call.
    pub deadline: Duration,
    /// What counts as live.
    pub thresholds: Thresholds,
    /// The consumers.
    pub consumers: Vec<Temper>,
    /// Events handed over at once.
    pub batch_max: usize,
    /// Events that are kept.
    pub retention: u64,
    /// How often the process is started, the last time to its end.
    pub lives: u32,
    /// How long a life lasts at the most.
    pub life: Duration,
    /// The machine.
    pub machine: Machine,
}

impl Mix {
    /// The mix of `seed`.
    pub fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7469_6465);
        let rng = &mut rng;
        // A third of all worlds are tame, so that what is ordinary is tested too.
        let hostility: f64 = if rng.random_bool(0.33) { 0.0 } else { rng.random_range(0.05..1.0) };
        let certified = rng.random_bool(0.15);
        let ladder =
            if certified || rng.random_bool(0.4) { Ladder::Certified } else { Ladder::Rollup };
        let has = if certified {
            [true, false, false, true]
        } else {
            [true, rng.random_bool(0.85), rng.random_bool(0.85), rng.random_bool(0.85)]
        };
        let poll = Duration::from_millis(rng.random_range(200..2_000));
        let seconds = |rng: &mut StdRng, low: u64, high: u64| {
            Duration::from_secs(rng.random_range(low..=high))
        };
        Self {
            seed,
            hostility,
            ladder,
            has,
            young: certified || rng.random_bool(0.5),
            habits: habits(rng, certified),
            certified,
            request_timeout: Duration::from_millis(rng.random_range(300..2_000)),
            silence: seconds(rng, 2, 10),
            nodes: nodes(rng, hostility),
            // The certified source has a limit of its own.
            digests_max: if certified { 16 } else { *[1, 2, 5, 16, 64].choose(rng).unwrap_or(&64) },
            // A stretch needs a certificate somewhere in it, and not every height has one.
            blocks_max: if certified {
                rng.random_range(16..=48)
            } else {
                rng.random_range(1..=32)
            },
            rings: *[0.0, 0.5, 1.0].choose(rng).unwrap_or(&1.0),
            mode: mode(rng, certified),
            poll,
            backoff_max: seconds(rng, 2, 20),
            deadline: seconds(rng, 1, 20),
            thresholds: Thresholds::default(),
            consumers: consumers(rng, hostility),
            batch_max: *[1, 3, 256].choose(rng).unwrap_or(&256),
            retention: *[24, 300, 65_536].choose(rng).unwrap_or(&65_536),
            lives: if hostility > 0.0 { rng.random_range(1..=4) } else { 1 },
            life: if rng.random_bool(0.1) { seconds(rng, 40, 240) } else { seconds(rng, 5, 40) },
            machine: machine(rng, hostility),
        }
    }
}

fn habits(rng: &mut StdRng, certified: bool) -> Habits {
    Habits {
        grow_max: if certified { 4 } else { *[1, 4, 30, 120].choose(rng).unwrap_or(&4) },
        reorg: rng.random_range(0.0..0.4),
        deep: rng.random_range(0.0..1.0),
        epoch: if certified { *[3, 20, 1_000].choose(rng).unwrap_or(&20) } else { u64::MAX },
        unfinalized_max: if certified { rng.random_range(2..=40) } else { u64::MAX },
        swap: if rng.random_bool(0.5) { rng.random_range(0.0..0.2) } else { 0.0 },
        // A notarization never goes away: on a certified chain only a newer one takes its place.
        shrink: if !certified && rng.random_bool(0.5) { rng.random_range(0.0..0.2) } else { 0.0 },
        checkpoint_max: *[1, 4, 12].choose(rng).unwrap_or(&4),
        prove: *[0.0, 0.05, 0.5].choose(rng).unwrap_or(&0.5),
        finalize: rng.random_range(0.02..0.5),
        slip: if !certified && rng.random_bool(0.3) { 0.05 } else { 0.0 },
    }
}

fn nodes(rng: &mut StdRng, hostility: f64) -> Vec<(Personality, f64)> {
    (0..rng.random_range(1..=3))
        .map(|_| {
            if !rng.random_bool(hostility) {
                return (Personality::Honest, 0.0);
            }
            let who = Personality::ALL.choose(rng).copied().unwrap_or(Personality::Honest);
            (who, rng.random_range(0.05..0.6))
        })
        .collect()
}

fn mode(rng: &mut StdRng, certified: bool) -> Mode {
    let start = Height::new(rng.random_range(1..30));
    match rng.random_range(0..6) {
        0 if !certified => Mode::TipsOnly,
        1 => Mode::Blocks { start: Start::Height(start), skip_finalized: false },
        2 => Mode::Blocks { start: Start::Genesis, skip_finalized: true },
        3 => Mode::Blocks { start: Start::Tip, skip_finalized: rng.random_bool(0.3) },
        _ => Mode::GENESIS,
    }
}

fn consumers(rng: &mut StdRng, hostility: f64) -> Vec<Temper> {
    (0..rng.random_range(1..=3))
        .map(|_| {
            if rng.random_bool(hostility) {
                Temper::ALL.choose(rng).copied().unwrap_or(Temper::Prompt)
            } else {
                Temper::Prompt
            }
        })
        .collect()
}

fn machine(rng: &mut StdRng, hostility: f64) -> Machine {
    let mut odds = |share: f64, rate: f64, longest: Duration| {
        if rng.random_bool(share * hostility) {
            Odds { rate: rng.random_range(0.0..rate), longest }
        } else {
            Odds::default()
        }
    };
    let starve = odds(0.5, 0.05, Duration::from_secs(3));
    let slow_disk = odds(0.5, 0.2, Duration::from_millis(150));
    let jump = odds(0.6, 0.2, Duration::from_secs(7_200));
    Machine {
        starve,
        slow_disk,
        jump,
        crash_at_write: if rng.random_bool(hostility) { 0.6 } else { 0.0 },
        fail_disk: if rng.random_bool(hostility * 0.5) { 0.2 } else { 0.0 },
        kept: (*[0.0, 0.5, 1.0].choose(rng).unwrap_or(&0.0), rng.random_bool(0.5)),
    }
}

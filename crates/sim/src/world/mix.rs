//! Parameters of a world, drawn from a seed: anything from fault-free to hostile.

use super::{consumer::Temper, node::Personality, plot::Plot};
use crate::truth::Habits;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use std::{
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};
use tidewatch_core::{Height, Ladder, Tier};
use tidewatch_store::{Keep, Retention};
use tidewatch_stream::{Mode, Start, Thresholds};
use tidewatch_testkit::host::Odds;

/// Faults of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Starved tasks.
    pub starve: Odds,
    /// Delayed disk mutations.
    pub slow_disk: Odds,
    /// Probability that a life ends in the middle of a write.
    pub crash_at_write: f64,
    /// Probability that a life ends with a failing disk.
    pub fail_disk: f64,
    /// Fraction of unsynced bytes that survives a crash, and whether it is an arbitrary subset instead
    /// of a prefix.
    pub kept: (f64, bool),
    /// Clock jumps: probability, and maximum distance.
    pub jump: Odds,
    /// Probability that in a life the disk does not answer once, for longer than contact lasts.
    pub hang: f64,
}

/// A second follower of the chain, whose log a consumer goes to and comes back from.
#[derive(Clone, Debug)]
pub struct Abroad {
    /// Ladder of its source: that of the chain, or the other one where no tier tells them apart.
    pub ladder: Ladder,
    /// Tiers that its source does not know.
    pub lacks: Vec<Tier>,
    /// Delivery mode.
    pub mode: Mode,
    /// What its store keeps.
    pub retention: Retention,
    /// Poll interval of its driver.
    pub poll: Duration,
    /// Maximum number of events in one delivery to the consumer.
    pub batch_max: NonZeroUsize,
}

/// All parameters of a world.
#[derive(Clone, Debug)]
pub struct Mix {
    /// The seed.
    pub seed: u64,
    /// Level of hostility, from 0 (no faults) to 1.
    pub hostility: f64,
    /// Ladder of the chain.
    pub ladder: Ladder,
    /// Tiers that the chain has.
    pub has: [bool; 4],
    /// Whether tiers are unknown until they first move.
    pub young: bool,
    /// How the chain moves.
    pub habits: Habits,
    /// Whether the chain is certified and followed through the certified source.
    pub certified: bool,
    /// Deadline of one request, on a certified chain.
    pub request_timeout: Duration,
    /// Maximum silence of a push connection, and maximum age of a cached tip, on a certified chain.
    pub silence: Duration,
    /// Personality of each upstream, and the probability that it misbehaves in a call.
    pub nodes: Vec<(Personality, f64)>,
    /// Probability that an upstream whose answers are of no use stays so to the end.
    pub stubborn: f64,
    /// A tier that from some moment on no upstream knows any more.
    pub loses: Option<Tier>,
    /// Maximum number of heights in one request.
    pub digests_max: usize,
    /// Maximum number of blocks in one response.
    pub blocks_max: usize,
    /// Probability that a move of the chain rings the doorbell.
    pub rings: f64,
    /// Delivery mode.
    pub mode: Mode,
    /// Poll interval of the driver.
    pub poll: Duration,
    /// Maximum back-off of the driver.
    pub backoff_max: Duration,
    /// Deadline of a call to the source.
    pub deadline: Duration,
    /// Status thresholds of the driver.
    pub thresholds: Thresholds,
    /// Behaviour of each consumer.
    pub consumers: Vec<Temper>,
    /// Maximum number of events in one delivery.
    pub batch_max: usize,
    /// Number of events retained by the store.
    pub retention: u64,
    /// Number of lives of the process; the last one runs to the end of the world.
    pub lives: u32,
    /// Maximum duration of a life.
    pub life: Duration,
    /// Faults of the machine.
    pub machine: Machine,
    /// A second follower, if there is one.
    pub abroad: Option<Abroad>,
    /// What happens where epochs end, on a certified chain.
    pub plot: Plot,
}

impl Mix {
    /// Draws the parameters of the world of `seed`.
    pub fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7469_6465);
        let rng = &mut rng;
        // A third of all worlds are free of faults, so that normal operation is tested too.
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
        // Drawn in this order: what seeds are kept for depends on it.
        let young = certified || rng.random_bool(0.5);
        let habits = habits(rng, certified);
        Self {
            seed,
            hostility,
            ladder,
            has,
            young,
            habits,
            plot: Plot::of(seed, habits.epoch, hostility),
            certified,
            request_timeout: Duration::from_millis(rng.random_range(300..2_000)),
            silence: seconds(rng, 2, 10),
            nodes: nodes(rng, hostility, certified),
            stubborn: if certified { 0.0 } else { 0.7 },
            loses: if certified || rng.random_bool(0.7) {
                None
            } else {
                [Tier::Checkpointed, Tier::Proven].choose(rng).copied()
            },
            // The limit of the certified source is fixed.
            digests_max: if certified { 16 } else { *[1, 2, 5, 16, 64].choose(rng).unwrap_or(&64) },
            // A range must contain a certificate, and not every height has one.
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
            abroad: abroad(seed, ladder),
        }
    }
}

/// Drawn by itself, so that the other worlds stay as they are.
fn abroad(seed: u64, chain: Ladder) -> Option<Abroad> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x6162_726f_6164);
    let rng = &mut rng;
    if !rng.random_bool(0.3) {
        return None;
    }
    let other = if chain == Ladder::Rollup { Ladder::Certified } else { Ladder::Rollup };
    let middle = [Tier::Checkpointed, Tier::Proven];
    let (ladder, lacks) = match rng.random_range(0..4) {
        0 => (other, middle.to_vec()),
        1 => (chain, middle.into_iter().filter(|_| rng.random_bool(0.5)).collect()),
        _ => (chain, Vec::new()),
    };
    let events = *[8, 60, 65_536].choose(rng).unwrap_or(&65_536);
    let blocks = if rng.random_bool(0.5) { NonZeroU64::new(rng.random_range(1..40)) } else { None };
    let mut retention = Retention::events(NonZeroU64::new(events).unwrap_or(NonZeroU64::MIN));
    retention.blocks = Keep { count: blocks, ..Keep::default() };
    Some(Abroad {
        ladder,
        lacks,
        mode: mode(rng, false),
        retention,
        poll: Duration::from_millis(rng.random_range(200..4_000)),
        batch_max: NonZeroUsize::new(rng.random_range(1..20)).unwrap_or(NonZeroUsize::MIN),
    })
}

fn habits(rng: &mut StdRng, certified: bool) -> Habits {
    Habits {
        grow_max: if certified { 4 } else { *[1, 4, 30, 120].choose(rng).unwrap_or(&4) },
        reorg: rng.random_range(0.0..0.4),
        deep: rng.random_range(0.0..1.0),
        epoch: if certified { *[3, 20, 1_000].choose(rng).unwrap_or(&20) } else { u64::MAX },
        unfinalized_max: if certified { rng.random_range(2..=40) } else { u64::MAX },
        swap: if rng.random_bool(0.5) { rng.random_range(0.0..0.2) } else { 0.0 },
        // A notarization is never revoked: a certified chain never shrinks, newer blocks only replace
        // old ones.
        shrink: if !certified && rng.random_bool(0.5) { rng.random_range(0.0..0.2) } else { 0.0 },
        checkpoint_max: *[1, 4, 12].choose(rng).unwrap_or(&4),
        prove: *[0.0, 0.05, 0.5].choose(rng).unwrap_or(&0.5),
        finalize: rng.random_range(0.02..0.5),
        slip: if !certified && rng.random_bool(0.3) { 0.05 } else { 0.0 },
    }
}

fn nodes(rng: &mut StdRng, hostility: f64, certified: bool) -> Vec<(Personality, f64)> {
    let all = if certified { Personality::OF_ENDPOINTS } else { Personality::ALL.as_slice() };
    (0..rng.random_range(1..=3))
        .map(|_| {
            if !rng.random_bool(hostility) {
                return (Personality::Honest, 0.0);
            }
            let who = all.choose(rng).copied().unwrap_or(Personality::Honest);
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
        hang: if rng.random_bool(hostility * 0.5) { 0.3 } else { 0.0 },
        fail_disk: if rng.random_bool(hostility * 0.5) { 0.2 } else { 0.0 },
        kept: (*[0.0, 0.5, 1.0].choose(rng).unwrap_or(&0.0), rng.random_bool(0.5)),
    }
}

//! A simulated day of proving: `cargo bench -p tidewatch-prover --bench day`.
//!
//! A block every 5 s, 8 slots, proving times that are log-normal with a mean of 30 s (every attempt at a block
//! has one of its own, the same in every run). On that draw:
//!
//! * an ideal scheduler: each block in turn at the first free slot, no crash, no bound on anything;
//! * the plan of this crate, with its defaults, with a crash every hour and ten seconds until it is back: with one
//!   prover that has all slots, and with two that have half of them each, of which the other is given a head that is
//!   slow; and these without that (`unhedged`);
//! * the rules of the reference scheduler, with the same crashes: 8 at once, 3 attempts of 240 s at the most, no
//!   delay, finished proofs that wait for a lower one in memory, a block that fails three times ends the node.
//!
//! Prints for each how much of the slots' time was used for proofs that counted, how far the tip was behind, what
//! was held in memory, and what was thrown away. Then what the plan costs a job.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_types, reason = "a benchmark measures real time")]
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot go on must end")]

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::{Duration, Instant},
};
use tidewatch_core::{BlockRef, Digest, Height};
use tidewatch_prover::{
    Failure, Handle, Key, Offer, Plan, Stored,
    plan::{Cancel, Config, Saved, Taken, Token},
};

const DAY: f64 = 86_400.0;
const INTERVAL: f64 = 5.0;
const SLOTS: usize = 8;
const HOUR: f64 = 3_600.0;
const DOWN: f64 = 10.0;

/// How long attempt `nth` at `height` takes.
fn draw(seed: u64, height: u64, nth: u64) -> f64 {
    let mut rng = StdRng::seed_from_u64(seed ^ (height << 8) ^ nth);
    let (u, v): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (30.0_f64.ln() - 0.5 + normal).exp()
}

#[derive(Default)]
struct Report {
    /// Slot time of proofs that counted, within the day.
    useful: f64,
    /// Slot time of everything else.
    thrown: f64,
    /// Lag in blocks: the most, and the sum over looks.
    lag_max: u64,
    lag_sum: f64,
    looks: f64,
    /// Jobs that were attempted, or proofs held in memory, at the most.
    memory_max: usize,
    proven: u64,
    stops: u64,
}

impl Report {
    fn look(&mut self, now: f64, proven: u64) {
        let lag = ((now / INTERVAL) as u64).saturating_sub(proven);
        self.lag_max = self.lag_max.max(lag);
        self.lag_sum += lag as f64;
        self.looks += 1.0;
    }

    fn print(&self, name: &str) {
        let slots = DAY * SLOTS as f64;
        println!(
            "{name:<10} used {:6.2} %  thrown away {:5.2} %  lag mean {:7.1} max {:6} blocks  proven {:6}  \
             proofs in memory {:4}  stops {}",
            100.0 * self.useful / slots,
            100.0 * self.thrown / slots,
            self.lag_sum / self.looks,
            self.lag_max,
            self.proven,
            self.memory_max,
            self.stops
        );
    }
}

fn within_day(from: f64, to: f64) -> f64 {
    (to.min(DAY) - from.min(DAY)).max(0.0)
}

fn ideal(seed: u64) -> Report {
    let mut report = Report::default();
    let mut free = [0.0_f64; SLOTS];
    let (mut done, mut finished) = (BinaryHeap::new(), BTreeSet::new());
    for height in 1..=(DAY / INTERVAL) as u64 {
        let slot = (0..SLOTS).min_by(|a, b| free[*a].total_cmp(&free[*b])).expect("slots");
        let start = free[slot].max(height as f64 * INTERVAL);
        free[slot] = start + draw(seed, height, 0);
        report.useful += within_day(start, free[slot]);
        done.push(Reverse(((free[slot] * 1e6) as u64, height)));
    }
    while let Some(Reverse((at, height))) = done.pop() {
        let now = at as f64 / 1e6;
        if now > DAY {
            break;
        }
        finished.insert(height);
        while finished.remove(&(report.proven + 1)) {
            report.proven += 1;
        }
        report.look(now, report.proven);
    }
    report
}

/// What happens next in a simulated world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Block(u64),
    /// The run of that number ends.
    Ends(u64),
    Crash,
    Up,
    Look,
}

/// Events in the order of their times, in microseconds.
#[derive(Default)]
struct Events(BinaryHeap<Reverse<(u64, Event)>>);

impl Events {
    fn new() -> Self {
        let mut events = Self::default();
        (1..=(DAY / INTERVAL) as u64)
            .for_each(|height| events.at(height as f64 * INTERVAL, Event::Block(height)));
        (1..24).for_each(|hour| events.at(f64::from(hour) * HOUR, Event::Crash));
        (1..=1_440).for_each(|minute| events.at(f64::from(minute) * 60.0 - 0.5, Event::Look));
        events
    }

    fn at(&mut self, time: f64, event: Event) {
        self.0.push(Reverse(((time * 1e6) as u64, event)));
    }

    fn next(&mut self) -> Option<(f64, Event)> {
        let Reverse((at, event)) = self.0.pop()?;
        let now = at as f64 / 1e6;
        (now <= DAY).then_some((now, event))
    }
}

fn key(height: u64) -> Key {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&height.to_be_bytes());
    Key::one(BlockRef::new(Height::new(height), Digest(digest)), Digest([1; 32]))
}

const STORED: Stored = Stored { digest: Digest([0; 32]), bytes: 200_000 };

/// The plan, as a scheduler drives it.
struct Ours {
    plan: Plan,
    config: Config,
    provers: usize,
    rng: StdRng,
    /// Runs at the prover: they go on through a crash.
    runs: BTreeMap<u64, (Key, f64, Option<Token>)>,
    attempts: BTreeMap<u64, u64>,
    up: bool,
    spent: Duration,
}

fn time(now: f64) -> Duration {
    Duration::from_micros((now * 1e6) as u64)
}

/// The names of `provers` provers, which have the slots together.
fn names(provers: usize) -> impl Iterator<Item = String> {
    (0..provers).map(|nth| format!("prover {nth}"))
}

fn fresh(config: &Config, provers: usize, proven: BlockRef) -> Plan {
    let mut plan = Plan::new(config.clone(), proven);
    for name in names(provers) {
        let prover = plan.prover(name);
        plan.advertise(prover, Offer { slots: SLOTS / provers, deadline: None });
    }
    plan
}

impl Ours {
    fn new(config: Config, provers: usize) -> Self {
        Self {
            plan: fresh(&config, provers, key(0).block),
            config,
            provers,
            rng: StdRng::seed_from_u64(1),
            runs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            up: true,
            spent: Duration::ZERO,
        }
    }

    /// A scheduler that was killed is started on what it left.
    fn restart(&mut self, now: f64) {
        let saved = self.plan.jobs(Height::zero()).map(|job| Saved {
            key: job.key,
            inputs: job.inputs,
            state: job.state.clone(),
            logical: job.logical,
            handles: (job.leases().iter())
                .filter_map(|lease| {
                    Some((names(self.provers).nth(lease.prover.0)?, Handle::of(&job.key)))
                })
                .collect(),
        });
        let saved: Vec<_> = saved.collect();
        let mut plan = fresh(&self.config, self.provers, self.plan.proven());
        let mut resumed = plan.restore(saved, time(now)).expect("restores");
        for run in self.runs.values_mut() {
            let ours = resumed.iter().position(|(claim, _)| claim.key == run.0);
            run.2 = ours.map(|at| resumed.remove(at).0.token);
        }
        self.plan = plan;
    }

    fn claim(
        &mut self,
        seed: u64,
        now: f64,
        events: &mut Events,
        numbers: &mut u64,
        report: &mut Report,
    ) {
        let began = Instant::now();
        loop {
            self.claimed(seed, now, events, numbers);
            let Some(cancel) = self.plan.preempt(time(now)) else { break };
            self.drop_runs(&[cancel], now, report);
        }
        self.spent += began.elapsed();
    }

    fn drop_runs(&mut self, cancels: &[Cancel], now: f64, report: &mut Report) {
        self.runs.retain(|_, run| {
            let cancel = cancels.iter().any(|cancel| Some(cancel.token) == run.2);
            report.thrown += if cancel { now - run.1 } else { 0.0 };
            !cancel
        });
    }

    fn claimed(&mut self, seed: u64, now: f64, events: &mut Events, numbers: &mut u64) {
        while let Some(claim) = self.plan.claim(time(now)) {
            let nth = self.attempts.entry(claim.key.height()).or_default();
            *numbers += 1;
            let takes =
                draw(seed, claim.key.height(), *nth).min(self.config.attempt_max.as_secs_f64());
            *nth += 1;
            self.runs.insert(*numbers, (claim.key, now, Some(claim.token)));
            events.at(now + takes, Event::Ends(*numbers));
        }
    }

    fn ends(&mut self, number: u64, now: f64, report: &mut Report) {
        let Some((key, since, token)) = self.runs.remove(&number) else { return };
        let (began, used) = (Instant::now(), now - since);
        if used >= self.config.attempt_max.as_secs_f64() - 1e-3 {
            let failure = Failure::TimedOut(self.config.attempt_max);
            if let Some(token) = token {
                self.plan.failed(token, &failure, time(now), &mut self.rng);
            }
            report.thrown += used;
        } else {
            match self.plan.proved(&key, token, STORED, time(now)) {
                Taken::Proved(cancels) => {
                    report.useful += used;
                    self.drop_runs(&cancels, now, report);
                }
                _ => report.thrown += used,
            }
            while self.plan.commit().is_some() {}
        }
        self.spent += began.elapsed();
    }

    fn day(mut self, seed: u64) -> (Report, Duration) {
        let (mut report, mut events, mut numbers) = (Report::default(), Events::new(), 0);
        // What ends while it is down is found afterwards.
        let mut waiting = Vec::new();
        let mut late: Vec<u64> = Vec::new();
        while let Some((now, event)) = events.next() {
            match event {
                Event::Block(height) if self.up => late.push(height),
                Event::Block(height) => late.push(height),
                Event::Ends(number) if self.up => self.ends(number, now, &mut report),
                Event::Ends(number) => waiting.push(number),
                Event::Crash => {
                    self.up = false;
                    events.at(now + DOWN, Event::Up);
                }
                Event::Up => {
                    self.up = true;
                    self.restart(now);
                    report.stops += 1;
                    let ended = std::mem::take(&mut waiting);
                    ended.into_iter().for_each(|number| self.ends(number, now, &mut report));
                }
                Event::Look => report.look(now, self.plan.proven().height.get()),
            }
            if self.up {
                let began = Instant::now();
                for height in late.drain(..) {
                    self.plan.add(key(height), STORED, None, time(now)).expect("is added");
                }
                self.spent += began.elapsed();
                self.claim(seed, now, &mut events, &mut numbers, &mut report);
            }
        }
        report.useful += self.runs.values().map(|run| DAY - run.1).sum::<f64>();
        report.proven = self.plan.proven().height.get();
        (report, self.spent)
    }
}

/// The reference scheduler's rules.
fn reference(seed: u64) -> Report {
    let (mut report, mut events) = (Report::default(), Events::new());
    let (mut committed, mut next, mut up, mut numbers) = (0_u64, 1_u64, true, 0_u64);
    let mut running: BTreeMap<u64, (u64, f64, f64, u64)> = BTreeMap::new();
    let mut buffered: BTreeMap<u64, f64> = BTreeMap::new();
    let mut draws: BTreeMap<u64, u64> = BTreeMap::new();
    let crash = |running: &mut BTreeMap<u64, (u64, f64, f64, u64)>,
                 buffered: &mut BTreeMap<u64, f64>,
                 report: &mut Report,
                 now: f64| {
        report.thrown += running.values().map(|run| now - run.2).sum::<f64>();
        report.thrown += buffered.values().sum::<f64>();
        running.clear();
        buffered.clear();
        report.stops += 1;
    };
    while let Some((now, event)) = events.next() {
        let mut stops = false;
        match event {
            // A node that is down makes no block: its chain is behind, which is not counted against it here.
            Event::Block(height) => committed = height,
            Event::Look => report.look(now, report.proven),
            Event::Up => {
                up = true;
                next = report.proven + 1;
            }
            Event::Crash => stops = up,
            Event::Ends(number) => {
                if let Some((height, since, first, attempt)) = running.remove(&number) {
                    if now - since < 240.0 - 1e-3 {
                        buffered.insert(height, now - since);
                        report.thrown += since - first;
                        report.memory_max = report.memory_max.max(buffered.len());
                        while let Some(used) = buffered.remove(&(report.proven + 1)) {
                            report.useful += used;
                            report.proven += 1;
                        }
                    } else if attempt < 3 {
                        numbers += 1;
                        let nth = draws.entry(height).or_default();
                        events.at(now + draw(seed, height, *nth).min(240.0), Event::Ends(numbers));
                        *nth += 1;
                        running.insert(numbers, (height, now, first, attempt + 1));
                    } else {
                        report.thrown += now - first;
                        stops = true;
                    }
                }
            }
        }
        if stops {
            crash(&mut running, &mut buffered, &mut report, now);
            up = false;
            events.at(now + DOWN, Event::Up);
        }
        while up && running.len() < SLOTS && next <= committed {
            numbers += 1;
            let nth = draws.entry(next).or_default();
            events.at(now + draw(seed, next, *nth).min(240.0), Event::Ends(numbers));
            *nth += 1;
            running.insert(numbers, (next, now, now, 1));
            next += 1;
        }
    }
    report.useful += running.values().map(|run| DAY - run.1).sum::<f64>();
    report.useful += buffered.values().sum::<f64>();
    report
}

fn main() {
    for seed in [1, 2, 3].map(|seed: u64| seed << 40) {
        println!("draw {}", seed >> 40);
        ideal(seed).print("ideal");
        let config = Config { lease: Duration::from_secs(599), ..Config::default() };
        let (report, spent) = Ours::new(config.clone(), 1).day(seed);
        report.print("tidewatch");
        Ours::new(config.clone(), 2).day(seed).0.print("  of two");
        let never = Config { hedge: None, ..config };
        Ours::new(never, 2).day(seed).0.print("  unhedged");
        reference(seed).print("reference");
        println!("the plan costs {:.1} µs a job", spent.as_secs_f64() * 1e6 / report.proven as f64);
    }
}

//! What a sentinel costs: `cargo bench -p tidewatch-sentinel --bench history`.
//!
//! 1,000 validators, all of whom are due in each of 100,000 slots, and all of these slots are kept: on a real disk, through
//! the actor and its mailbox, each vote handed in by itself. The chain is in memory and answers at once. Every
//! twentieth validator votes rarely, every fiftieth slot is empty, and one validator is replaced every 32 epochs. Most of
//! the history is recorded 32 slots at a time, the last slots one at a time. `-- SLOTS VALIDATORS` are other numbers.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures real time")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on must end")]

use bytes::Bytes;
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_runtime::{Clock as _, Handle, Runner as _, Supervisor as _, tokio};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tidewatch_core::{BlockRef, ChainId, Digest, Fault, Height};
use tidewatch_sentinel::{
    Act, Asked, AtSlot, Canonical, Committee, Committees, Config, Epoch, Event, Landed, Mailbox,
    Observation, Observer, Output, Parts, Position, Sentinel, Signed, Slot, Standing, ValidatorId,
};

const EPOCH: u64 = 32;
/// Slots that are recorded at once, until the last ones.
const AT_ONCE: u64 = 32;
/// Slots that are recorded one at a time.
const ALONE: u64 = 1_000;
/// Slots before watching begins.
const BEFORE: u64 = 8;
/// After a ring, a pass waits for an eighth of this.
const INTERVAL: Duration = Duration::from_millis(4);

fn payload(slot: u64) -> Digest {
    Sha256::hash(&[&slot.to_be_bytes()])
}

const fn is_empty(slot: u64) -> bool {
    slot % 50 == 49
}

/// A chain that has passed a slot.
struct Chain {
    passed: u64,
    validators: u64,
    /// The newest committee, and how many of them were replaced before it.
    committee: (u64, Committee),
}

impl Chain {
    fn members(&mut self, epoch: u64) -> Committee {
        let replaced = epoch / 32;
        if self.committee.0 != replaced || self.committee.1.is_empty() {
            let nth = |n: u64| n + if n < replaced { self.validators } else { 0 };
            let id = |n: u64| {
                let key = Bytes::copy_from_slice(&Sha256::hash(&[&nth(n).to_be_bytes()]).0);
                ValidatorId::new(key).expect("32 bytes")
            };
            self.committee = (replaced, (0..self.validators).map(id).collect());
        }
        self.committee.1.clone()
    }
}

#[derive(Clone)]
struct Ports(Arc<Mutex<Chain>>);

impl Ports {
    fn position(&self) -> Position {
        let slot = self.0.lock().passed;
        let landed = if is_empty(slot) { slot - 1 } else { slot };
        Position { block: BlockRef::new(Height::new(landed), payload(landed)), slot: Slot(slot) }
    }
}

impl Canonical for Ports {
    async fn standing(&self) -> Result<Option<Standing>, Fault> {
        let tip = self.position();
        let finalized = tip.slot.get().saturating_sub(64);
        let finalized = finalized - u64::from(is_empty(finalized));
        let finalized = Some(BlockRef::new(Height::new(finalized), payload(finalized)));
        Ok(Some(Standing { tip, finalized }))
    }

    async fn at(&self, _: &Standing, slots: RangeInclusive<Slot>) -> Result<Vec<AtSlot>, Fault> {
        let passed = self.0.lock().passed;
        let at = |slot: u64| match slot {
            _ if slot > passed => AtSlot::NotPassed,
            _ if is_empty(slot) => AtSlot::Empty,
            _ => AtSlot::Landed(Landed {
                block: BlockRef::new(Height::new(slot), payload(slot)),
                payload: payload(slot),
                proposer: None,
                attestors: vec![],
                trimmed: false,
            }),
        };
        Ok((slots.start().get()..=slots.end().get()).map(at).collect())
    }

    async fn on_chain(&self, _: &Standing, blocks: &[BlockRef]) -> Result<Vec<bool>, Fault> {
        Ok(vec![true; blocks.len()])
    }

    async fn checkpoint(&self, _: &Standing, _: u64) -> Result<Option<Digest>, Fault> {
        Ok(None)
    }
}

impl Observer for Ports {
    async fn position(&self, _: Height) -> Result<Option<Position>, Fault> {
        Ok(Some(self.position()))
    }
}

impl Committees for Ports {
    fn epoch(&self, slot: Slot) -> Epoch {
        Epoch(slot.get() / EPOCH)
    }

    fn slots(&self, epoch: Epoch) -> Option<RangeInclusive<Slot>> {
        let first = epoch.get() * EPOCH;
        Some(Slot(first)..=Slot(first + EPOCH - 1))
    }

    async fn committee(&self, epoch: Epoch) -> Result<Option<Committee>, Fault> {
        Ok(Some(self.0.lock().members(epoch.get())))
    }

    async fn proposer(&self, slot: Slot) -> Result<Option<ValidatorId>, Fault> {
        let members = self.0.lock().members(slot.get() / EPOCH);
        Ok(members.get(slot.get() as usize % members.len()).cloned())
    }
}

impl Output for Ports {
    async fn give(&mut self, _: &Event) -> Result<(), Fault> {
        Ok(())
    }
}

fn kilobytes(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn megabytes(field: &str) -> f64 {
    kilobytes(field) / 1024.0
}

fn disk(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).expect("a directory").filter_map(Result::ok);
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(of) if of.is_dir() => disk(&entry.path()),
        // A file that is removed meanwhile has no size.
        of => of.map_or(0, |of| of.len()),
    };
    entries.map(size).sum()
}

fn milliseconds(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", at(0.5), at(0.99), at(1.0))
}

struct Bench {
    ports: Ports,
    mailbox: Mailbox,
    directory: tempfile::TempDir,
    handle: Handle<Result<(), Fault>>,
}

impl Bench {
    /// Hands in every vote of `slot`, and waits until they are taken in.
    async fn votes(&self, slot: u64) {
        let members = self.ports.0.lock().members(slot / EPOCH);
        let act = if is_empty(slot) { Act::Skip } else { Act::Attestation(payload(slot)) };
        for (nth, validator) in members.iter().enumerate() {
            // Every twentieth is seldom there.
            if nth.is_multiple_of(20) && !slot.is_multiple_of(20) {
                continue;
            }
            let validator = validator.clone();
            // As long as a vote with its signature is.
            let bytes = Bytes::copy_from_slice(&[nth as u8; 140]);
            let signed = Signed { slot: Slot(slot), validator, act, bytes };
            self.mailbox.observe(Observation::Signed(signed));
        }
        self.mailbox.status().await.expect("it runs");
    }

    /// The chain passes `slot`; waits until everything that is due then is recorded.
    async fn pass(&self, slot: u64) {
        self.ports.0.lock().passed = slot;
        self.mailbox.ring();
        let due = Some(Slot(slot - 2));
        while self.mailbox.status().await.expect("it runs").processed < due {}
    }
}

async fn open(
    context: &tokio::Context,
    ports: &Ports,
    slots: u64,
) -> (Mailbox, Handle<Result<(), Fault>>) {
    let parts = Parts {
        observer: ports.clone(),
        canonical: ports.clone(),
        committees: ports.clone(),
        output: ports.clone(),
    };
    let chain = ChainId::new("bench").expect("a chain id");
    let epoch = NonZeroUsize::new(EPOCH as usize).expect("not zero");
    let config = Config {
        interval: INTERVAL,
        history: NonZeroUsize::new(slots as usize).expect("slots"),
        epochs: NonZeroUsize::new((slots / EPOCH) as usize + 1).expect("epochs"),
        ahead: 2 * AT_ONCE,
        mailbox_size: NZUsize!(8_192),
        ..Config::new(chain, "sentinel", epoch)
    };
    let opened = Sentinel::open(context.child("sentinel"), parts, config).await;
    let (sentinel, mailbox) = opened.expect("opens");
    (mailbox, sentinel.start())
}

fn main() {
    let words: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let slots = words.first().copied().unwrap_or(100_000).max(2 * ALONE);
    let validators = words.get(1).copied().unwrap_or(1_000);
    let directory = tempfile::tempdir().expect("a directory");
    let config = tokio::Config::new().with_storage_directory(directory.path());
    tokio::Runner::new(config).start(|context| async move {
        let chain = Chain { passed: 3, validators, committee: (0, [].into()) };
        let ports = Ports(Arc::new(Mutex::new(chain)));
        let (mailbox, handle) = open(&context, &ports, slots).await;
        let bench = Bench { ports, mailbox, directory, handle };
        measure(context, bench, slots, validators).await;
    });
}

async fn measure(context: tokio::Context, bench: Bench, slots: u64, validators: u64) {
    let before = megabytes("VmRSS:");
    for slot in 4..BEFORE {
        bench.votes(slot).await;
        bench.ports.0.lock().passed = slot;
        bench.mailbox.ring();
        context.sleep(2 * INTERVAL).await;
    }
    let began = Instant::now();
    let (mut at_once, mut disk_max) = (Vec::new(), 0);
    let alone = BEFORE + slots - ALONE;
    let mut next = BEFORE;
    while next < alone {
        let end = (next + AT_ONCE).min(alone);
        for slot in next..end {
            bench.votes(slot).await;
        }
        let passes = Instant::now();
        bench.pass(end - 1).await;
        at_once.push(passes.elapsed());
        disk_max = disk_max.max(disk(bench.directory.path()));
        next = end;
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / (slots - ALONE) as f64;
    println!("{validators} validators, {slots} slots");
    println!("{AT_ONCE} slots at a time: {each:.0} µs a slot with all of its votes");
    println!("  from the chain to the disk, for {AT_ONCE} slots: {}", milliseconds(at_once));
    let (mut voted, mut judged) = (Vec::new(), Vec::new());
    for slot in alone..BEFORE + slots {
        let votes = Instant::now();
        bench.votes(slot).await;
        voted.push(votes.elapsed());
        let passes = Instant::now();
        bench.pass(slot).await;
        judged.push(passes.elapsed());
    }
    println!("one slot at a time: its votes are taken in: {}", milliseconds(voted));
    let waits = INTERVAL.as_secs_f64() * 1e3 / 8.0;
    println!("  from the chain to the disk ({waits} ms of it waits): {}", milliseconds(judged));
    let (now, peak) = (megabytes("VmRSS:"), megabytes("VmHWM:"));
    println!("memory: {before:.0} MB before, {now:.0} MB at the end, {peak:.0} MB at the most");
    let now = disk(bench.directory.path()) as f64 / 1e6;
    println!("disk: {now:.0} MB at the end, {:.0} MB at the most", disk_max as f64 / 1e6);
    queries(&bench).await;
    let Bench { ports, mailbox, directory, handle } = bench;
    mailbox.stop();
    handle.await.expect("joins").expect("ends");
    let began = Instant::now();
    let (mailbox, handle) = open(&context, &ports, slots).await;
    let status = mailbox.status().await.expect("it runs");
    let took = began.elapsed().as_secs_f64();
    println!("a start on it, up to slot {}: {took:.2} s", status.processed.unwrap_or_default());
    mailbox.stop();
    handle.await.expect("joins").expect("ends");
    drop(directory);
}

/// What is asked of a history that is full.
async fn queries(bench: &Bench) {
    let mailbox = &bench.mailbox;
    let everybody = mailbox.all(Asked::default()).await.expect("answers").validators;
    let everybody: Vec<_> = everybody.into_iter().map(|report| report.validator).collect();
    let (mut all, mut several, mut one, mut epoch) = (vec![], vec![], vec![], vec![]);
    for nth in 0..20 {
        let began = Instant::now();
        let found = mailbox.all(Asked::default()).await.expect("answers");
        all.push(began.elapsed());
        assert_eq!(found.validators.len(), everybody.len());
        let began = Instant::now();
        let found = mailbox.validators(everybody.clone(), Asked::default()).await;
        several.push(began.elapsed());
        assert!(found.expect("answers").iter().all(Option::is_some));
        let began = Instant::now();
        let asked = everybody[nth % everybody.len()].clone();
        mailbox.validator(asked, Asked::default()).await.expect("answers").expect("is known");
        one.push(began.elapsed());
        let newest = mailbox.status().await.expect("it runs").epoch.unwrap_or_default();
        let began = Instant::now();
        mailbox.epoch(newest).await.expect("answers").expect("was evaluated");
        epoch.push(began.elapsed());
    }
    println!("statistics of all {}: {}", everybody.len(), milliseconds(all));
    println!("  the same, each asked for by name: {}", milliseconds(several));
    println!("  of one, with what it did in each slot: {}", milliseconds(one));
    println!("  of all in one epoch: {}", milliseconds(epoch));
    let began = Instant::now();
    let last = mailbox.status().await.expect("it runs").processed.unwrap_or_default();
    let first = last.minus(99).unwrap_or_default();
    let found = mailbox.slots((first..=last).into()).await.expect("answers");
    println!(
        "who did what in the newest slots: {} in {:.1} ms",
        found.len(),
        began.elapsed().as_secs_f64() * 1e3
    );
}

//! The lives of one world.

use super::{
    Off, Outcome, Tally,
    checker::{Checker, TARGET},
    ports::World,
    truth::{PASSES_MS, SLOT_MS, Truth},
};
use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use commonware_utils::sync::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tidewatch_core::ChainId;
use tidewatch_sentinel::{Config, Mailbox, Observation, Parts, Sentinel, Slot};
use tidewatch_testkit::host::Host;

/// Milliseconds of a step.
const STEP_MS: u64 = 250;
/// Slots ahead of the chain whose messages are taken in.
const AHEAD: u64 = 12;
/// Within this, a sentinel that can read has judged what is due: three passes.
const SETTLED_MS: u64 = 3_000;
/// Slots of the last life that nothing disturbs.
const CALM: u64 = 40;

/// What happens beside the chain, for some slots.
enum Trouble {
    /// Nothing, until this slot.
    None(u64),
    /// Calls fail, until the end of this slot.
    Fails(u64),
    /// The source stands still.
    Still(u64),
    /// The observer is away from the chain, since and until these slots.
    Away(u64, u64),
}

/// Everything that outlives a process.
struct Story {
    world: World,
    checker: Checker,
    tally: Tally,
    rng: StdRng,
    violation: Option<(&'static str, String)>,
    /// Steps since the world began.
    now_ms: u64,
    trouble: Trouble,
    /// In which slot calls began to fail the last time, and when they did no more.
    failed: Option<(u64, u64)>,
    /// The slot after which the newest reorg came, and its depth.
    reorg: Option<(u64, u64)>,
    /// When the newest life began.
    begun_ms: u64,
    /// Nothing new disturbs it.
    calm: bool,
}

fn config(truth: &Truth, off: Option<Off>) -> Config {
    let slots = NonZeroUsize::new(truth.epoch_slots as usize).unwrap_or(NonZeroUsize::MIN);
    let chain = ChainId::new("sim:validators").expect("a chain id");
    Config {
        interval: Duration::from_secs(1),
        call: Duration::from_secs(1),
        lag: if off == Some(Off::Lag) { 0 } else { 2 },
        ahead: AHEAD,
        history: slots.saturating_mul(NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN)),
        reorg_max: slots.saturating_mul(NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN)),
        target: TARGET,
        threshold: NonZeroUsize::new(truth.threshold).unwrap_or(NonZeroUsize::MIN),
        penalty: 1,
        ..Config::new(chain, "sentinel", slots)
    }
}

/// Runs the world of `seed`, with one rule switched off or none.
pub fn run(seed: u64, off: Option<Off>) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let truth = Truth::new(seed);
    let lives = rng.random_range(1..=4);
    let story = Story {
        world: World::new(truth, StdRng::seed_from_u64(seed ^ 0xCA11), off),
        checker: Checker::default(),
        tally: Tally::default(),
        rng,
        violation: None,
        now_ms: 0,
        trouble: Trouble::None(6),
        failed: None,
        reorg: None,
        begun_ms: 0,
        calm: false,
    };
    let story = Arc::new(Mutex::new(story));
    let config = deterministic::Config::new()
        .with_seed(seed)
        .with_start_time(UNIX_EPOCH + Duration::from_secs(1_000_000));
    let mut runner = deterministic::Runner::new(config);
    for life in 0..lives {
        let last = life + 1 == lives;
        // A process is killed with its runtime: the story is taken out of it first.
        let shared = story.clone();
        let (_, left) = runner.start_and_recover(move |context| live(context, shared, last));
        let mut story = story.lock();
        if story.violation.is_some() {
            break;
        }
        if !last {
            story.tally.crashes += 1;
            story.down();
        }
        runner = deterministic::Runner::from(left);
    }
    let story = story.lock();
    Outcome { seed, violation: story.violation.clone(), tally: story.tally }
}

impl Story {
    const fn slot(&self) -> u64 {
        self.now_ms / SLOT_MS
    }

    /// Time passes while nobody watches.
    fn down(&mut self) {
        let from = self.slot();
        // What no pass could judge while calls failed was not judged, unless a pass came after that.
        let now_ms = self.now_ms;
        let failed = self.failed.filter(|(_, until)| now_ms < until + SETTLED_MS);
        let steps = self.rng.random_range(1..15 * SLOT_MS / STEP_MS);
        for _ in 0..steps {
            self.step(None);
        }
        let to = self.slot();
        let from = failed.map_or(from, |(since, _)| from.min(since));
        // Messages of slots that were not judged are lost, and those that are on their way at the start prove nothing.
        self.checker.disturbed(from.saturating_sub(6), to + AHEAD + 3);
    }

    /// One step of the world. Returns whether this is the moment to compare.
    fn step(&mut self, mailbox: Option<&Mailbox>) -> bool {
        let (slot, at) = (self.slot(), self.now_ms % SLOT_MS);
        if at == 0 {
            self.world.truth.lock().begin(slot, self.now_ms);
            self.tally.slots += 1;
            self.troubles(slot, mailbox);
        }
        self.deliver(mailbox);
        if at == PASSES_MS {
            self.pass(slot);
        }
        self.now_ms += STEP_MS;
        // Just before the chain moves, when the sentinel had three seconds without it.
        let settled = self.now_ms >= self.begun_ms + SETTLED_MS;
        let moves = at + STEP_MS == PASSES_MS;
        moves && settled && matches!(self.trouble, Trouble::None(until) if slot >= until)
    }

    fn deliver(&mut self, mailbox: Option<&Mailbox>) {
        let mut truth = self.world.truth.lock();
        let rest = truth.sent.split_off(&(self.now_ms + 1));
        let due = std::mem::replace(&mut truth.sent, rest);
        drop(truth);
        let away = matches!(self.trouble, Trouble::Away(..));
        if let Some(mailbox) = mailbox.filter(|_| !away) {
            for observation in due.into_values().flatten() {
                mailbox.observe(observation);
            }
        }
    }

    fn pass(&mut self, slot: u64) {
        let mut truth = self.world.truth.lock();
        truth.pass(slot);
        if self.rng.random_bool(0.06) {
            let depth_max = truth.depth_max.min(slot);
            let depth = if self.rng.random_bool(0.5) { depth_max.min(4) } else { depth_max };
            if depth > 0 {
                let depth = self.rng.random_range(1..=depth);
                truth.reorg(depth);
                tracing::debug!(slot, depth, "a reorg of the chain");
                if matches!(self.trouble, Trouble::Away(..)) {
                    // What is judged again has to wait for an observer that is away.
                    self.checker.disturbed(slot.saturating_sub(depth + 6), slot);
                }
                self.reorg = Some((slot, depth));
                self.tally.reorgs += 1;
                self.tally.deepest = self.tally.deepest.max(depth);
            }
        }
        drop(truth);
        self.world.show();
    }

    /// Slot `slot` begins: what ends, and what begins.
    fn troubles(&mut self, slot: u64, mailbox: Option<&Mailbox>) {
        let shown = self.world.shown.clone();
        match self.trouble {
            Trouble::None(until) if slot > until && !self.calm && self.rng.random_bool(0.12) => {
                let length = self.rng.random_range(1..=6);
                let end = slot + length;
                tracing::debug!(slot, end, "something disturbs the world");
                self.trouble = match self.rng.random_range(0..3) {
                    0 => {
                        shown.lock().fails = 0.5;
                        // A pass that failed for long judges late.
                        self.checker.waited(slot, end + 3);
                        self.failed = Some((slot, (end + 1) * SLOT_MS));
                        Trouble::Fails(end)
                    }
                    1 => {
                        shown.lock().still = true;
                        let long = if self.rng.random_bool(0.3) { 2 * AHEAD } else { 0 };
                        self.checker.disturbed(slot.saturating_sub(6), end + long + AHEAD + 3);
                        Trouble::Still(end + long)
                    }
                    _ => {
                        let away = {
                            let shown = shown.lock();
                            let mut position = tidewatch_sentinel::Position {
                                block: shown.chain[shown.chain.len() - 1].1,
                                slot: Slot(shown.passed),
                            };
                            // Behind, or on a fork.
                            if self.rng.random_bool(0.5) {
                                position.block.digest.0[0] ^= 1;
                            }
                            position
                        };
                        shown.lock().away = Some(away);
                        // What the chain left half a second ago had no pass yet: it has to wait as well.
                        let reorg = self.reorg.filter(|(before, _)| before + 1 == slot);
                        let depth = reorg.map_or(0, |(_, depth)| depth + 1);
                        self.checker.disturbed(slot.saturating_sub(depth + 6), end + 3);
                        Trouble::Away(slot, end)
                    }
                };
            }
            Trouble::Fails(end) if slot > end => {
                shown.lock().fails = 0.0;
                self.trouble = Trouble::None(slot + 1);
            }
            Trouble::Still(end) if slot > end => {
                shown.lock().still = false;
                self.world.show();
                self.trouble = Trouble::None(slot + 1);
            }
            Trouble::Away(from, end) if slot > end => {
                // It knows that it was away, and says so before it is back.
                if let Some(mailbox) = mailbox {
                    for missed in from.saturating_sub(2)..=slot {
                        mailbox.observe(Observation::Missed(Slot(missed)));
                    }
                }
                shown.lock().away = None;
                self.trouble = Trouble::None(slot + 1);
            }
            _ => {}
        }
    }

    /// Nothing disturbs the world any more.
    fn calm(&mut self) {
        self.calm = true;
    }
}

/// One life of a process.
async fn live(context: deterministic::Context, story: Arc<Mutex<Story>>, last: bool) {
    let (world, settings, slots, crash_after, seed) = {
        let mut story = story.lock();
        let config = config(&story.world.truth.lock(), story.world.off);
        let slots = story.rng.random_range(10..45);
        let crash = (!last && story.rng.random_bool(0.7)).then(|| story.rng.random_range(0..120));
        (story.world.clone(), config, slots, crash, story.rng.random())
    };
    let (host, trouble) = Host::new(context.child("host"), seed);
    if let Some(changes) = crash_after {
        trouble.crash_after(changes);
    }
    let ports = world.ports(context.child("ports"));
    let parts = Parts {
        observer: ports.clone(),
        canonical: ports.clone(),
        committees: ports.clone(),
        output: ports,
    };
    // Where a crash comes before it is open, nothing was ever watched.
    let opening = Sentinel::open(host, parts, settings);
    let opened = commonware_macros::select! {
        opened = opening => opened,
        () = trouble.crashed() => return,
    };
    let (sentinel, mailbox) = match opened {
        Ok(opened) => opened,
        Err(fault) => {
            story.lock().violation = Some(("open", fault.to_string()));
            return;
        }
    };
    let handle = sentinel.start();
    let begun = {
        let mut story = story.lock();
        let slot = story.slot();
        story.begun_ms = story.now_ms;
        // Watching begins when enough of a committee were heard: while nobody has to vote, it does not. And one whose
        // clock is ahead may put it off by as much.
        let heard = {
            let truth = story.world.truth.lock();
            (slot..).find(|slot| !truth.nobody.contains(&truth.epoch(*slot))).unwrap_or(slot)
        };
        story.checker.disturbed(slot.saturating_sub(6), heard + 2 * AHEAD);
        tracing::debug!(slot, "a process starts");
        slot
    };
    let end = begun + slots;
    loop {
        let compares = {
            let mut story = story.lock();
            if last && story.slot() == end {
                story.calm();
            }
            story.step(Some(&mailbox))
        };
        let crashed = commonware_macros::select! {
            () = trouble.crashed() => true,
            () = context.sleep(Duration::from_millis(STEP_MS)) => false,
        };
        if crashed {
            break;
        }
        if compares && !compare(&context, &story, &world, &mailbox, &trouble).await {
            break;
        }
        let slot = story.lock().slot();
        if slot > end + if last { CALM } else { 0 } {
            break;
        }
    }
    if last && story.lock().violation.is_none() {
        finished(&story, &mailbox).await;
    }
    handle.abort();
}

/// Compares, unless the process was killed. Returns whether the world goes on.
async fn compare(
    context: &deterministic::Context,
    story: &Arc<Mutex<Story>>,
    world: &World,
    mailbox: &Mailbox,
    trouble: &tidewatch_testkit::host::Trouble,
) -> bool {
    let (checker, mut tally) = {
        let mut story = story.lock();
        (std::mem::take(&mut story.checker), story.tally)
    };
    let found = commonware_macros::select! {
        found = checker.compare(world, mailbox, &mut tally) => Some(found),
        () = trouble.crashed() => None,
        () = context.sleep(Duration::from_secs(600)) => Some(Err(("query", "no answer".into()))),
    };
    let mut story = story.lock();
    story.checker = checker;
    story.tally = tally;
    match found {
        None => false,
        Some(Ok(())) => true,
        Some(Err(violation)) => {
            let (what, detail) = violation;
            let at = format!("in slot {}, after {} crashes", story.slot(), story.tally.crashes);
            story.violation = Some((what, format!("{at}: {detail}")));
            false
        }
    }
}

/// In a calm world, everything is judged and evaluated in the end.
async fn finished(story: &Arc<Mutex<Story>>, mailbox: &Mailbox) {
    let status = mailbox.status().await.unwrap_or_default();
    let mut story = story.lock();
    let (passed, length) = {
        let truth = story.world.truth.lock();
        (truth.passed, truth.epoch_slots)
    };
    let judged = status.processed.is_some_and(|slot| slot.get() + 3 >= passed);
    // The last epoch that is over, unless watching began in it or after it.
    let over = (passed.saturating_sub(4) + 1) / length;
    let watched = status.initial.is_some_and(|initial| initial.get() / length + 1 < over);
    let evaluated = !watched || status.epoch.is_some_and(|last| last.get() + 1 >= over);
    if !judged || !evaluated {
        story.violation = Some(("liveness", format!("{status:?}, and the chain is at {passed}")));
    }
}

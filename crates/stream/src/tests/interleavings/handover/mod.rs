//! Every interleaving of a delivery with a writer, a consumer, a log and a process.
//!
//! # Overview
//!
//! The world can act wherever the delivery meets the log or the consumer: before it resumes and waits, while
//! it waits, at a read, when events are handed over, when the consumer is asked to start again, and at the
//! acknowledgement (see [`world::Act`]). A process that dies, or whose log failed, is followed by a new one;
//! so is one that waits and to which nothing happens, which is told to stop.
//!
//! The log is the one in memory, which answers exactly as the one on disk, and outlives the process. What
//! the consumer took in for good outlives it too; what it only accepted does not.
//!
//! Not among the acts: a consumer that is slow or never comes back, a stop while events are handed over,
//! and a log that lost events that were acknowledged. The tests of the delivery have these one by one.
//!
//! # What holds
//!
//! - What is handed over is what was written, in batches of bounded size; it begins where the last batch
//!   that was taken in ended, or, in a new process, after the last durable acknowledgement.
//! - What the consumer takes in folds to the watermarks of every event: there is no hole, and no crash makes one.
//! - Where its next event is no longer kept, it is given a bridge from there to an event that was written,
//!   whatever it took in since; where the blocks of that bridge are gone too, it is asked to start again.
//! - The log is given no position that the consumer would not have after a crash, and none twice.
//! - Every failure of the consumer, and nothing else, is told to the monitor.
//! - At the end of the path, one process without disturbances hands over the rest, and another one nothing.

mod ports;
mod world;

use super::choices::{Budget, Choices};
use crate::{
    Stopper,
    delivery::{Config, Delivery, Parts},
};
use commonware_runtime::{Clock as _, Handle, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU64, NZUsize, sync::Mutex};
use futures::FutureExt as _;
use ports::{Log, READER, Reader, Said};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tidewatch_core::{Fault, Positions as _};
use tidewatch_store::{Keep, Retention};
use world::{Act, BATCH_MAX, Menu, Shared, World};

/// Paths in one runtime.
const PATHS: usize = 64;

/// What is the same on all paths.
#[derive(Clone, Copy, Debug)]
struct Setting {
    menu: Menu,
    retention: Retention,
}

/// What happened on all paths of a test.
#[derive(Debug, Default, PartialEq, Eq)]
struct Happened {
    paths: usize,
    lives: usize,
    deaths: usize,
    batches: usize,
    failures: usize,
    bridges: usize,
    restarts: usize,
}

/// One path.
struct Walk<'a> {
    setting: Setting,
    context: &'a deterministic::Context,
    world: Shared,
    said: Said,
    happened: &'a mut Happened,
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let world = self.world.lock();
        eprintln!("{:?}, along {:?}:", self.setting, world.choices.picks());
        for act in world.choices.acts() {
            eprintln!("  {act}");
        }
        let (now, durable, position) = (world.now.next, world.durable.next, world.position);
        eprintln!("  written: {:?}", world.words());
        eprintln!("  the consumer is at {now}, for good at {durable}, acknowledged at {position}");
    }
}

impl<'a> Walk<'a> {
    fn new(
        setting: Setting,
        choices: Choices,
        context: &'a deterministic::Context,
        happened: &'a mut Happened,
    ) -> Self {
        let world = World::new(choices, setting.menu, setting.retention);
        let world = Arc::new(Mutex::new(world));
        Self { setting, context, world, said: Said::default(), happened }
    }

    /// Goes the whole path.
    async fn go(&mut self) {
        self.world.lock().peace = false;
        while !self.world.lock().choices.spent() {
            self.live().await;
        }
        self.world.lock().peace = true;
        self.live().await;
        let (batches, memory) = {
            let world = self.world.lock();
            let end = world.history.len() as u64;
            assert_eq!((world.now.next, world.durable.next, world.position), (end, end, end));
            (world.batches, world.memory.clone())
        };
        let kept = memory.load(READER).await.expect("open").expect("acknowledged");
        let watermarks = memory.watermarks().expect("open");
        assert_eq!(kept.handled(), self.world.lock().position);
        assert!(self.world.lock().now.watermarks.same_blocks(&watermarks));
        self.live().await;
        let world = self.world.lock();
        assert_eq!(
            world.batches, batches,
            "everything was acknowledged, and some of it came again"
        );
        assert_eq!(self.said.0.load(Ordering::Relaxed), world.failures, "failures are told");
        self.happened.paths += 1;
        self.happened.batches += world.batches;
        self.happened.failures += world.failures;
        self.happened.bridges += world.bridges;
        self.happened.restarts += world.restarts;
    }

    fn start(&self) -> (Handle<Result<(), Fault>>, Stopper) {
        let backoff = Duration::from_millis(1);
        let config = Config {
            batch_max: NZUsize!(BATCH_MAX),
            backoff,
            backoff_max: backoff,
            ..Config::default()
        };
        let context = self.context.child("delivery").with_attribute("life", self.happened.lives);
        let (log, reader) = (Log(self.world.clone()), Reader(self.world.clone()));
        let parts = Parts { log, consumer: reader, monitor: self.said.clone() };
        let (delivery, mailbox) = Delivery::new(context, parts, config);
        (delivery.start(), mailbox.stopper())
    }

    /// One process, until it dies, fails, or has nothing to do and is stopped.
    async fn live(&mut self) {
        self.world.lock().begin();
        self.happened.lives += 1;
        let (mut handle, stopper) = self.start();
        loop {
            // Everything that goes on by itself has, back-offs included.
            self.context.sleep(Duration::from_secs(1)).await;
            match self.after(&mut handle) {
                After::Works => {}
                After::Dead => break,
                After::Failed => return,
                After::Idle => {
                    stopper.stop();
                    handle.await.expect("joins").expect("was stopped");
                    return;
                }
            }
        }
        self.happened.deaths += 1;
        handle.abort();
        assert!(handle.await.is_err(), "it was dead");
    }

    /// What became of a process that has done all that it can.
    fn after(&self, handle: &mut Handle<Result<(), Fault>>) -> After {
        let mut world = self.world.lock();
        if let Some(rule) = &world.broken {
            panic!("{rule}");
        }
        if world.dead {
            return After::Dead;
        }
        if let Some(ended) = handle.now_or_never() {
            let fault = ended.expect("joins").expect_err("nobody stopped it");
            assert_eq!(fault.about, "log", "it ends because its log fails: {fault}");
            return After::Failed;
        }
        let (expected, end) = (world.expected, world.history.len() as u64);
        assert_eq!(expected, end, "it waits, and there is something to hand over");
        let act = world.choose("while it waits", &[Act::DiesAfter]);
        act.map_or(After::Idle, |_| After::Works)
    }
}

/// What became of a process.
enum After {
    Dead,
    /// Its log failed.
    Failed,
    /// Nothing happens to it.
    Idle,
    /// Something happened to it.
    Works,
}

/// Goes every path of `setting` within `budget`.
fn explore(setting: Setting, budget: Budget, happened: &mut Happened) {
    let mut choices = Some(Choices::new(budget));
    while choices.is_some() {
        let config = deterministic::Config::new().with_timeout(None);
        deterministic::Runner::new(config).start(|context| {
            let (happened, choices) = (&mut *happened, &mut choices);
            async move {
                for _ in 0..PATHS {
                    let Some(path) = choices.take() else { return };
                    let mut walk = Walk::new(setting, path, &context, happened);
                    walk.go().await;
                    let world = &mut *walk.world.lock();
                    let mut path = std::mem::replace(&mut world.choices, Choices::new(budget));
                    *choices = path.turn().then_some(path);
                }
            }
        });
    }
}

/// Nothing that is written here is ever forgotten.
const ALL: Retention = Retention::events(NZU64!(1000));

/// Fewer events than there are at first, and a few more than that: some are gone before they are read.
const FEW: [Retention; 2] = [Retention::events(NZU64!(3)), Retention::events(NZU64!(5))];

/// Finalized blocks are forgotten too.
const TRIMMED: Retention = {
    let one = Keep { count: Some(NZU64!(1)), bytes: None, age: None };
    Retention { blocks: one, ..FEW[0] }
};

#[test]
fn whatever_three_things_happen_a_consumer_is_given_every_event_and_loses_none() {
    let mut happened = Happened::default();
    let setting = Setting { menu: Menu::Long, retention: ALL };
    explore(setting, Budget { points: 10, acts: 3 }, &mut happened);
    let (paths, lives, deaths) = (20_001, 73_141, 15_181);
    let (batches, failures, bridges, restarts) = (82_395, 8187, 0, 0);
    let expected = Happened { paths, lives, deaths, batches, failures, bridges, restarts };
    assert_eq!(happened, expected);
}

#[test]
fn whatever_three_things_happen_a_consumer_that_falls_behind_is_led_on_and_comes_up() {
    let mut happened = Happened::default();
    for retention in [FEW[0], FEW[1], TRIMMED] {
        let setting = Setting { menu: Menu::Long, retention };
        explore(setting, Budget { points: 8, acts: 3 }, &mut happened);
    }
    let (paths, lives, deaths) = (22_836, 83_189, 16_351);
    let (batches, failures, bridges, restarts) = (58_843, 7479, 21_145, 2101);
    let expected = Happened { paths, lives, deaths, batches, failures, bridges, restarts };
    assert_eq!(happened, expected);
}

#[test]
fn whatever_happens_at_each_of_seven_points_a_consumer_comes_to_have_every_event() {
    let mut happened = Happened::default();
    for retention in [ALL, FEW[0], FEW[1]] {
        let setting = Setting { menu: Menu::Short, retention };
        explore(setting, Budget { points: 7, acts: 7 }, &mut happened);
    }
    let (paths, lives, deaths) = (13_075, 68_016, 25_713);
    let (batches, failures, bridges, restarts) = (33_958, 3039, 8030, 0);
    let expected = Happened { paths, lives, deaths, batches, failures, bridges, restarts };
    assert_eq!(happened, expected);
}

//! `kill -9`, over and over, of a follower of a live chain whose validators reshare their key.
//!
//! The chain runs in this process, the command in one of its own. Each life ends at a random moment: one in
//! five while it starts, the others some time after it was ready. After each, a copy of what is on disk is
//! opened, to see the position that the kill left there: the next life has to begin right behind it.

#![allow(clippy::disallowed_types, reason = "how long a restart takes is real time")]
#![allow(clippy::print_stdout, reason = "how long it was is printed, not tested")]

use crate::support::run::{Command, Fold, Run, signal};
use commonware_runtime::{
    Runner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Runner},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use std::{
    fs,
    ops::Range,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tidewatch_core::{AnyBlock, Cursor, Height, Positions as _};
use tidewatch_devnet::epochs::{Config, Devnet};
use tidewatch_sources::registry::{self, Settings};
use tidewatch_store::{Config as StoreConfig, Store};

const LENGTH: u64 = 16;
const BLOCK_TIME: Duration = Duration::from_millis(50);
/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// When lives end that end while they start, from their first moment.
const STARTING_MS: Range<u64> = 0..250;
/// When the others end, from when they are ready.
const READY_MS: Range<u64> = 0..500;

/// One life of the command.
struct Life<'a> {
    run: Run,
    began: Instant,
    fold: &'a mut Fold,
    /// Events handled when it ended before: the durable position, then that of the last event.
    handled: u64,
    /// When the first line came that shows that it is ready: an event, or a status that says what is
    /// verified.
    ready: Option<Duration>,
    /// When the first event came that is not a repetition.
    news: Option<Duration>,
}

impl<'a> Life<'a> {
    fn start(command: Command, fold: &'a mut Fold, position: u64) -> Self {
        let began = Instant::now();
        Self { run: command.start(), began, fold, handled: position, ready: None, news: None }
    }

    /// Takes in a line. Within a life, events come without a gap, the first one right after the position.
    fn line(&mut self, line: &str) {
        let elapsed = self.began.elapsed();
        let before = self.fold.handled;
        self.fold.line(line);
        let value: Value = serde_json::from_str(line).unwrap();
        if value["verification"].is_object() {
            self.ready.get_or_insert(elapsed);
        }
        if let Some(cursor) = value["cursor"].as_str() {
            let handled = cursor.parse::<Cursor>().unwrap().handled();
            assert_eq!(handled, self.handled + 1, "a gap, or below the position: {value}");
            self.handled = handled;
            self.ready.get_or_insert(elapsed);
            if handled > before {
                self.news.get_or_insert(elapsed);
            }
        }
    }

    /// Takes in lines until it is ready and has printed that `height` is final.
    fn until(&mut self, height: u64) {
        while self.ready.is_none() || self.fold.finalized() < height {
            let line = self.run.line(LIMIT);
            self.line(&line.unwrap_or_else(|error| panic!("{error} after {:?}", self.fold)));
        }
    }

    /// Takes in lines for some time, or until it has ended.
    fn during(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now())
            && let Ok(line) = self.run.line(left)
        {
            self.line(&line);
        }
    }

    /// Kills it. Returns when it was ready, and when there was news.
    fn kill(mut self) -> [Option<Duration>; 2] {
        signal(&self.run, "KILL");
        // What was printed before; a line may be torn.
        while let Ok(line) = self.run.line(LIMIT) {
            if serde_json::from_str::<Value>(&line).is_ok() {
                self.line(&line);
            }
        }
        let output = self.run.end(LIMIT);
        assert_eq!((output.code, output.errors.as_str()), (None, ""), "only the kill ends it");
        [self.ready, self.news]
    }
}

/// The position of standard output on disk, as the next process will find it.
fn position(data: &Path, source: &str, identity: &str) -> u64 {
    let copied = tempfile::tempdir().unwrap();
    copy(&data.join("storage"), copied.path());
    let target = registry::parse(&[source], Some(identity)).unwrap();
    let runtime = RuntimeConfig::default().with_storage_directory(copied.path());
    let read = thread::spawn(move || {
        Runner::new(runtime).start(|context| async move {
            let source = context.child("source");
            let opened = target.open(source, Arc::new(()), Settings::default()).await.unwrap();
            let config = StoreConfig::new(opened.chain_info().await.unwrap(), opened.decoder);
            let store = Store::open::<_, AnyBlock>(context.child("store"), config).await;
            let stored = store.unwrap().1.load("stdout").await.unwrap();
            stored.map_or(0, |cursor| cursor.handled())
        })
    });
    read.join().unwrap()
}

fn copy(from: &Path, to: &Path) {
    // A life may have ended before it had a directory.
    for entry in fs::read_dir(from).into_iter().flatten() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Median and maximum.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let Some(max) = times.last() else { return "never".into() };
    format!("p50 {:?}, max {max:?} ({} times)", times[times.len() / 2], times.len())
}

/// Kills a follower `kills` times, spread over at least `epochs` epochs.
fn killed(kills: u64, epochs: u64, seed: u64) {
    let (validators, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = RuntimeConfig::default().with_storage_directory(validators.path());
    Runner::new(runtime).start(|context| async move {
        let config = Config { epoch_length: LENGTH, block_time: BLOCK_TIME, ..Config::default() };
        let devnet = Devnet::start(context.child("devnet"), config).await.unwrap();
        let (identity, url) = (devnet.identity(), devnet.url());
        let source = format!("alto+{url}?mode=standard&epoch_length={LENGTH}");
        let command = || {
            Command::follow().with(["--source", &source, "--identity", &identity]).with([
                "--data-dir",
                data.path().to_str().unwrap(),
                "--format",
                "json",
            ])
        };
        let mut rng = StdRng::seed_from_u64(seed);
        let mut fold = Fold::default();
        fold.reorgs = true;
        let (mut position_before, mut starts) = (0, Vec::new());
        for kill in 0..kills {
            let mut life = Life::start(command(), &mut fold, position_before);
            if kill % 5 == 2 {
                life.during(Duration::from_millis(rng.random_range(STARTING_MS)));
            } else {
                life.until(kill * epochs * LENGTH / kills);
                life.during(Duration::from_millis(rng.random_range(READY_MS)));
            }
            let start = life.kill();
            // The first start waits for the chain's first block.
            starts.extend((kill > 0).then_some(start));
            let position = position(data.path(), &source, &identity);
            assert!(position >= position_before, "it went back from {position_before}");
            assert!(position <= fold.handled, "{position} was not printed: {fold:?}");
            position_before = position;
        }

        assert_ne!(position_before, 0, "no position was kept");
        devnet.reach(Height::new(epochs * LENGTH + 1), LIMIT).await.unwrap();
        // Above what was printed: one that has nothing to do may end before it is ready.
        let height = devnet.tip().get().max(fold.finalized()) + 2;
        let last = command().with(["--until", &height.to_string()]);
        let mut life = Life::start(last, &mut fold, position_before);
        life.until(height);
        starts.push([life.ready, life.news]);
        let output = life.run.end(LIMIT);
        assert_eq!((output.code, output.errors.as_str()), (Some(0), ""));
        output.lines.iter().for_each(|line| fold.line(line));
        assert_eq!(fold.first, Some(1));
        let [ready, news] = [0, 1].map(|of| spread(starts.iter().filter_map(|s| s[of]).collect()));
        let (crossed, repeated) = (height / LENGTH, fold.repeated);
        println!("{kills} kills, {crossed} epochs, {height} blocks, {} events", fold.handled);
        println!("{repeated} lines were printed again, all above the cursor");
        println!("restarts: ready after {ready}; the first new event after {news}");
        devnet.stop().await;
    });
}

#[test]
fn a_follower_that_is_killed_across_epochs_loses_nothing_and_repeats_nothing_below_its_cursor() {
    killed(5, 2, 1);
}

#[test]
#[ignore = "takes minutes: CONTRIBUTING says how to run it"]
fn fifty_kills_across_ten_epochs() {
    killed(50, 10, 2);
}

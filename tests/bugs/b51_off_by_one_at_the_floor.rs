//! B51. At the transition from catching up to following, the first block above the floor was lost, or
//! the one at the floor was delivered twice.
//!
//! For a consumer that has durably handled the first `f` events, the next event that it receives is
//! event `f`, counted from 0: never an earlier one again, and never a later one first. That holds for
//! `f` from 0 to 3, and for a crash between any two disk mutations.

use crate::support::{OnDisk, Sink, grow, hand_over, history, millis, open_with, secs};
use commonware_runtime::{
    Clock as _, Runner as _, Supervisor as _,
    deterministic::{self, Checkpoint, PartialWriteMode},
};
use commonware_utils::{Probability, probability, sync::Mutex};
use futures::future::{Either, select};
use std::{pin::pin, sync::Arc};
use tidewatch_core::{Fault, Positions as _, Watermarks};
use tidewatch_store::Config;
use tidewatch_stream::delivery;
use tidewatch_testkit::{
    chain::Chain,
    host::{Host, crash},
};

/// Total number of events, one per block.
const EVENTS: u64 = 5;

/// Progress of the scenario: events committed, and the floor, if the acknowledgement returned.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    committed: u64,
    acknowledging: bool,
    floor: Option<u64>,
    done: bool,
}

async fn open(
    host: &Host<deterministic::Context>,
) -> Result<OnDisk<Host<deterministic::Context>>, Fault> {
    let config = Config::new(Chain::new('a', 0).chain_info(), ());
    open_with(host.child("store"), config).await
}

/// Commits `floor` events, acknowledges them, and commits the rest.
async fn story(host: &Host<deterministic::Context>, floor: u64, reached: &Mutex<Reached>) {
    let chain = Chain::new('a', EVENTS);
    let mut store = open(host).await.unwrap();
    for height in 1..=EVENTS {
        if height == floor + 1 && floor > 0 {
            let last = history(&*store).await.pop().unwrap();
            reached.lock().acknowledging = true;
            store.store("bridge", &last.cursor).await.unwrap();
            reached.lock().floor = Some(floor);
        }
        grow(&mut store, &chain, height..=height).await;
        reached.lock().committed = height;
    }
    reached.lock().done = true;
}

/// Runs the scenario until disk mutation `n`, at which the process crashes.
fn die_at(floor: u64, n: u64, left: Probability) -> (Reached, Checkpoint) {
    let config = deterministic::Config::new().with_seed(n).with_timeout(Some(secs(60)));
    deterministic::Runner::new(config).start_and_recover(|context| async move {
        let left = (PartialWriteMode::Prefix, left);
        *context.storage_fault_config().write() = crash::faults(left);
        let (host, trouble) = Host::new(context, 0);
        trouble.crash_after(n);
        let reached = Arc::new(Mutex::new(Reached::default()));
        match select(pin!(story(&host, floor, &reached)), pin!(trouble.crashed())).await {
            Either::Left(_) | Either::Right(_) => {}
        }
        *reached.lock()
    })
}

/// The consumer receives every event after its floor, from the first one on, and then new ones.
fn goes_on(floor: u64, reached: Reached, disk: Checkpoint) {
    deterministic::Runner::from(disk).start(|context| async move {
        let (host, _) = Host::new(context.child("host"), 0);
        let mut store = open(&host).await.unwrap();
        let events = history(&*store).await.len() as u64;
        assert!(events >= reached.committed, "{reached:?}: {events} events");
        let position = store.load("bridge").await.unwrap().map_or(0, |c| c.handled());
        match reached.floor {
            Some(floor) => assert_eq!(position, floor),
            None if reached.acknowledging => assert!([0, floor].contains(&position)),
            None => assert_eq!(position, 0),
        }
        let sink = Sink::new("bridge");
        let config = delivery::Config::default();
        let (taken, stopper, handle) = hand_over(&context, store.clone(), sink, (), config);
        context.sleep(millis(10)).await;
        assert_eq!(taken.sequences(), (position..events).collect::<Vec<_>>(), "{reached:?}");
        grow(&mut store, &Chain::new('a', EVENTS), events + 1..=EVENTS).await;
        context.sleep(millis(10)).await;
        assert_eq!(taken.sequences(), (position..EVENTS).collect::<Vec<_>>(), "{reached:?}");
        let watermarks =
            taken.records().last().map_or(Watermarks::none(), |record| record.watermarks);
        assert_eq!(watermarks.delivered, Some(Chain::new('a', EVENTS).at(EVENTS)));
        stopper.stop();
        handle.await.unwrap().unwrap();
    });
}

fn everywhere(left: Probability) {
    for floor in 0..=3 {
        let end = (0..2_000).find(|n| {
            let (reached, disk) = die_at(floor, *n, left);
            goes_on(floor, reached, disk);
            reached.done
        });
        let end = end.expect("the story ends");
        assert!(end > 30, "floor {floor}: {end} changes of the disk");
    }
}

#[test]
fn the_event_after_the_floor_is_the_first_and_the_floor_never_comes_again_when_writes_are_lost() {
    everywhere(probability!(0.0));
}

#[test]
fn the_event_after_the_floor_is_the_first_and_the_floor_never_comes_again_when_writes_are_torn() {
    everywhere(probability!(0.5));
}

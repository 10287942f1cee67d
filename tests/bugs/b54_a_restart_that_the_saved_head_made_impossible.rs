//! B54. A restart failed because the saved head was not in the log, or because the log was ahead of the
//! node that it followed.
//!
//! Here every combination of a saved position and the available state has a defined outcome. The first
//! table covers a consumer's cursor and a store, the second a view and its source. The outcome for a
//! cursor may be to retry later, if this log is behind it; a start never fails because of it.

use crate::support::{Disk, Live, announced, history, memory, open_with, secs, simulate, told};
use commonware_runtime::{Supervisor as _, deterministic};
use futures::FutureExt as _;
use tidewatch_core::{Change, Cursor, Event, History, LocalView, Resume, ResumeError, Tier};
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::ScriptedSource,
};

/// `chain` up to `height`, block by block, block 10 final.
async fn follow<V: LocalView<Block = TestBlock>>(mut view: V, chain: &Chain, height: u64) -> V {
    for height in 1..=height {
        let moved = |tier| announced(tier, chain.at(height));
        let blocks = Change::Blocks(chain.range(height, height));
        let mut changes = vec![blocks, moved(Tier::Proposed)];
        if height == 10 {
            changes.push(moved(Tier::Finalized));
        }
        view.commit(changes).await.unwrap();
    }
    view
}

/// The position of a consumer that followed `chain` up to `height`, from this store or another.
async fn left_off(chain: &Chain, height: u64) -> Cursor {
    let log = follow(memory(chain.chain_info()), chain, height).await;
    history(&*log).await.pop().unwrap().cursor
}

/// The `nth` store, which followed `chain` up to `height`, after a restart.
async fn restarted(context: &deterministic::Context, nth: u64, chain: &Chain, height: u64) -> Disk {
    let config = || tidewatch_store::Config {
        partition: format!("store-{nth}"),
        ..tidewatch_store::Config::new(chain.chain_info(), ())
    };
    let context = context.child("store").with_attribute("nth", nth);
    let before = open_with(context.child("before"), config()).await.unwrap();
    drop(follow(before, chain, height).await);
    open_with(context.child("after"), config()).await.unwrap()
}

async fn answer(log: &impl History, cursor: &Cursor) -> &'static str {
    match log.resume(cursor).await {
        Ok(Resume::Exact { .. }) => "goes on",
        Ok(Resume::Forked { bridge, .. }) => match bridge.first().map(|record| record.event) {
            Some(Event::Pruned { .. }) => "led back, then on",
            _ => "led on",
        },
        Err(ResumeError::Ahead { .. }) => "not yet",
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_cursor_meets_every_store_with_a_documented_answer() {
    simulate(|context| async move {
        let chain = Chain::new('a', 60);
        let stores = [
            restarted(&context, 0, &chain, 0).await,
            restarted(&context, 1, &chain, 20).await,
            restarted(&context, 2, &chain, 40).await,
        ];
        let table = [
            ("behind", left_off(&chain, 15).await, ["not yet", "goes on", "goes on"]),
            ("equal", left_off(&chain, 40).await, ["not yet", "not yet", "goes on"]),
            ("ahead", left_off(&chain, 60).await, ["not yet"; 3]),
            (
                "on another fork",
                left_off(&chain.fork(13, 'b', 18), 18).await,
                ["not yet", "led back, then on", "led back, then on"],
            ),
        ];
        for (case, cursor, answers) in table {
            for (store, expected) in stores.iter().zip(answers) {
                assert_eq!(answer(&**store, &cursor).await, expected, "{case}");
            }
        }
    });
}

#[test]
fn every_view_meets_every_source_and_comes_to_stand_where_it_does() {
    simulate(|context| async move {
        let chain = Chain::new('a', 60);
        let fork = chain.fork(13, 'b', 45);
        let behind = (&chain, 15);
        let (ahead, forked) = ((&chain, 60), (&fork, 45));
        // The first event after the start, if one is needed.
        let table = [
            (0, behind, "blocks 1a"),
            (0, ahead, "blocks 1a"),
            (0, forked, "blocks 1a"),
            (20, behind, "prune 15a: 5 dropped"),
            (20, (&chain, 20), ""),
            (20, ahead, "blocks 21a"),
            (20, forked, "prune 12a: 8 dropped"),
            (40, behind, "prune 15a: 25 dropped"),
            (40, (&chain, 40), ""),
            (40, ahead, "blocks 41a"),
            (40, forked, "prune 12a: 28 dropped"),
        ];
        for (nth, (height, (theirs, tip), first)) in (0..).zip(table) {
            let case = format!("{height} blocks here, {tip} there");
            let store = restarted(&context, nth, &chain, height).await;
            let before = history(&*store).await.len();
            let source = ScriptedSource::new(theirs, [tip, 0, 0, 10]);
            let log = store.clone();
            let mut live = Live::on(&context, &source, store, Config::default());
            live.sleep(secs(5)).await;
            assert!((&mut live.handle).now_or_never().is_none(), "{case}: it ended");
            let events = told(&history(&log).await[before..]);
            match first {
                "" => assert!(events.is_empty(), "{case}: {events:?}"),
                first => assert!(events[0].starts_with(first), "{case}: {events:?}"),
            }
            assert_eq!(log.watermarks().unwrap().delivered, Some(theirs.at(tip)), "{case}");
            assert!(live.recorder.kinds().is_empty(), "{case}");
            live.stop().await;
        }
    });
}

//! B33. After a reorg the canonical chain was temporarily shorter. The follower reported nothing until
//! it was longer again, and stayed on dropped blocks meanwhile.
//!
//! Here a lower tip is a change like any other. The first pass that observes it announces the prune and
//! the tip, whether the shorter chain is a prefix of the local one or a different one.

use crate::support::{Live, Steps, millis, simulate};
use tidewatch_core::{Event, Tier};
use tidewatch_stream::driver;
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

#[test]
fn a_shorter_fork_is_followed_down_at_once() {
    let chain = Chain::new('a', 10);
    let mut steps = Steps::synced(&chain, [10, 0, 0, 3]);
    steps.source.stand(&chain.fork(8, 'b', 8), [8, 0, 0, 3]);
    let events = ["prune 7a: 3 dropped, 7a - - 3a/3", "blocks 8b-8b", "proposed 8b"];
    assert_eq!(steps.pass().events, events);
}

#[test]
fn it_is_said_within_one_poll_and_once_while_the_chain_stays_short() {
    simulate(|context| async move {
        let chain = Chain::new('a', 10);
        let source = ScriptedSource::new(&chain, [10, 0, 0, 3]);
        let live = Live::new(&context, &source, driver::Config::default());
        live.sleep(millis(4_500)).await;
        let before = live.view.words().len();
        source.stand(&chain.fork(9, 'a', 8), [8, 0, 0, 3]);
        live.sleep(driver::Config::default().poll + millis(10)).await;
        let events = ["prune 8a: 2 dropped, 8a - - 3a/3", "back proposed 8a"];
        assert_eq!(live.view.words()[before..], events);
        live.sleep(millis(60_000)).await;
        assert_eq!(live.view.words().len(), before + events.len(), "and nothing for a minute");
        live.stop().await;
    });
}

/// Every shorter chain, with a fork anywhere above finalized: one pass converges on the tip.
#[test]
fn every_shorter_chain_is_taken_in_by_one_pass() {
    let chain = Chain::new('a', 10);
    for tip in 3..10 {
        for fork in 4..=tip + 1 {
            let theirs = chain.fork(fork, 'b', tip);
            let mut steps = Steps::synced(&chain, [10, 0, 0, 3]);
            let before = steps.view.events().len();
            steps.source.stand(&theirs, [tip, 0, 0, 3]);
            steps.pass();
            let events = steps.view.events();
            let Event::Pruned { to, depth, .. } = events[before] else {
                panic!("{:?}", steps.view.words());
            };
            assert_eq!((to, depth), (chain.at(fork - 1), 11 - fork));
            assert_eq!(steps.view.stands().tips.block(Tier::Proposed), Some(theirs.at(tip)));
            assert_eq!(steps.view.stands().delivered, Some(theirs.at(tip)));
        }
    }
}

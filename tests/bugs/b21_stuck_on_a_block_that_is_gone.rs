//! B21. A follower restarted on a block that had been replaced meanwhile: it requested the children of
//! a block that no node had any more, forever.
//!
//! Here the digests of delivered blocks survive a crash. The first pass of the next process finds the
//! highest common block, and the prune to it precedes everything else, also for a consumer that had
//! acknowledged the old block.

use crate::support::{
    ALL, Live, Sink, crash, hand_over, history, millis, open, pass, restart, secs, told,
};
use tidewatch_core::Positions as _;
use tidewatch_stream::{delivery, driver};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource, words::word};

#[test]
fn after_a_crash_the_prune_comes_first_whatever_was_replaced() {
    let chain = Chain::new('a', 10);
    for fork in 1..=10 {
        let chain_info = chain.chain_info();
        let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
        let (_, checkpoint) = crash(|context| async move {
            let mut store = open(&context, &chain_info).await.unwrap();
            pass(&source, &mut store, &chain_info, ALL).await.unwrap();
        });
        let chain_info = chain.chain_info();
        let source = ScriptedSource::new(&chain.fork(fork, 'b', 10), [10, 0, 0, 0]);
        let events = restart(checkpoint, |context| async move {
            let mut store = open(&context, &chain_info).await.unwrap();
            pass(&source, &mut store, &chain_info, ALL).await.unwrap();
            told(&history(&*store).await).split_off(2)
        });
        let (to, dropped) = (fork - 1, 11 - fork);
        let to = if to == 0 { "0g".to_owned() } else { format!("{to}a") };
        assert_eq!(events[0], format!("prune {to}: {dropped} dropped, {to} - - -"));
        assert_eq!(events[1..], [format!("blocks {fork}b-10b"), "proposed 10b".into()]);
    }
}

#[test]
fn a_consumer_that_acknowledged_the_old_block_is_given_the_prune_next() {
    let chain = Chain::new('a', 10);
    let chain_info = chain.chain_info();
    let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
    let (_, checkpoint) = crash(|context| async move {
        let opened = open(&context, &chain_info).await.unwrap();
        let store = opened.clone();
        let live = Live::on(&context, &source, opened, driver::Config::default());
        let config = delivery::Config::default();
        let (taken, _stopper, _delivery) =
            hand_over(&context, store.clone(), Sink::new("sink"), (), config);
        live.sleep(secs(2)).await;
        assert_eq!(taken.words(), ["blocks 1a-10a", "proposed 10a"]);
        let position = store.load("sink").await.unwrap().unwrap();
        assert_eq!(position.head().map(word), Some("10a".into()));
    });
    let chain_info = chain.chain_info();
    let source = ScriptedSource::new(&chain.fork(10, 'b', 10), [10, 0, 0, 0]);
    restart(checkpoint, |context| async move {
        let store = open(&context, &chain_info).await.unwrap();
        let config = delivery::Config::default();
        let (taken, _stopper, _delivery) =
            hand_over(&context, store.clone(), Sink::new("sink"), (), config);
        let live = Live::on(&context, &source, store, driver::Config::default());
        live.sleep(millis(500)).await;
        let events = ["prune 9a: 1 dropped, 9a - - -", "blocks 10b-10b", "proposed 10b"];
        assert_eq!(taken.words(), events);
    });
}

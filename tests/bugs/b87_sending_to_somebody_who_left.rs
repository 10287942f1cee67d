//! B87. A message was sent to a receiver that had been dropped, and the failed send ended the sender.
//!
//! Here every receiver is optional. Without any receivers the rest continues, and a receiver that joins
//! later finds everything.

use crate::{
    certified::{Endpoint, push, source},
    support::{Live, Sink, hand_over, secs, simulate},
};
use commonware_runtime::{Clock as _, Supervisor as _};
use futures::FutureExt as _;
use std::sync::Arc;
use tidewatch_certified::Config as Certified;
use tidewatch_core::{Source as _, Tier};
use tidewatch_store::Memory;
use tidewatch_stream::{
    Driver, delivery,
    driver::{Config, Parts},
};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

#[test]
fn a_driver_without_mailbox_monitor_or_consumers_goes_on() {
    simulate(|context| async move {
        let chain = Chain::new('a', 50);
        let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
        let (view, log) = Memory::new(chain.chain_info());
        let (driver, mailbox) = Driver::new(
            context.child("driver"),
            Parts { source: Arc::new(source.clone()), view, monitor: () },
            Config::default(),
        );
        let mut handle = driver.start();
        // The callers are dropped before they receive a response.
        for _ in 0..100 {
            assert!(mailbox.sync().now_or_never().is_none());
        }
        drop(mailbox);
        for height in 11..=50 {
            source.stand(&chain, [height, 0, 0, 0]);
            context.sleep(secs(2)).await;
        }
        assert!((&mut handle).now_or_never().is_none());
        let (taken, _, _) =
            hand_over(&context, log, Sink::new("late"), (), delivery::Config::default());
        context.sleep(secs(1)).await;
        assert_eq!(taken.words().last().unwrap(), "proposed 50a");
        handle.abort();
    });
}

#[test]
fn an_upstream_whose_source_nobody_reads_goes_on_and_one_without_a_source_too() {
    simulate(|context| async move {
        let chain = Chain::new('a', 60);
        let endpoint = Endpoint::new(&context, &chain, 1);
        let (unread, upstream, _) =
            source(&context.child("unread"), endpoint.clone(), Certified::default());
        let mut unread_upstream = upstream.start();
        let (dropped, upstream, _) =
            source(&context.child("dropped"), endpoint.clone(), Certified::default());
        let mut sourceless = upstream.start();
        drop(dropped);
        context.sleep(secs(1)).await;
        for height in 2..=60 {
            endpoint.stand(&chain, height);
            endpoint.push(&Ok(push(&chain, height)));
            context.sleep(secs(1)).await;
        }
        assert!((&mut unread_upstream).now_or_never().is_none());
        assert!((&mut sourceless).now_or_never().is_none());
        assert_eq!(endpoint.listened().len(), 2, "both kept their connection");
        let tips = unread.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(chain.at(60)));
    });
}

#[test]
fn one_consumer_that_leaves_is_not_missed_by_the_others() {
    simulate(|context| async move {
        let chain = Chain::new('a', 20);
        let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
        let live = Live::new(&context, &source, Config::default());
        let log = live.view.log().clone();
        let to = |name| {
            hand_over(&context, log.clone(), Sink::new(name), (), delivery::Config::default())
        };
        let (left, stayed) = (to("left"), to("stayed"));
        live.settle().await;
        left.2.abort();
        source.stand(&chain, [20, 0, 0, 0]);
        live.sleep(secs(2)).await;
        assert_eq!(left.0.words().last().unwrap(), "proposed 10a");
        assert_eq!(stayed.0.words().last().unwrap(), "proposed 20a");
        live.stop().await;
    });
}

//! Where a driver stands now, and that it stands on the right chain.

use super::{Running, millis, patient, secs, simulate};
use crate::{
    driver::Config,
    tests::{
        chain::Chain,
        source::{Answer, Call, Kind, ScriptedSource},
    },
};
use futures::FutureExt as _;
use tidewatch_core::{FaultKind, Head, Height, State, Tier, watch::Closed};

#[test]
fn a_head_has_what_the_view_has_what_the_source_has_and_the_status() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [9, 7, 5, 3]);
        let gate = source.hold(Kind::Blocks, 1);
        let driver = Running::new(&context, &source, patient());
        let mut heads = driver.mailbox.heads();
        assert_eq!(heads.current(), Head::unknown());
        gate.entered().await;
        let head = heads.changed().await.unwrap();
        assert_eq!(head.tips.block(Tier::Proposed), Some(chain.at(9)));
        assert_eq!((head.delivered(), head.status.state), (None, State::CatchingUp));
        gate.open();
        let head = heads.until(|head| head.status.state == State::Live).await.unwrap();
        assert_eq!(head.delivered(), Some(chain.at(9)));
        assert_eq!(head.block(Tier::Finalized), Some(chain.at(3)));
        assert_eq!(head.watermarks.tips.block(Tier::Proven), head.tips.block(Tier::Proven));
        assert_eq!(Some(head.status), *driver.monitor.last.lock());
        driver.stop().await;
    });
}

#[test]
fn a_head_is_awaited_and_ends_with_the_driver() {
    simulate(|context| async move {
        let (chain, source) =
            (Chain::new('a', 20), ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 2]));
        let driver = Running::new(&context, &source, patient());
        let heads = driver.mailbox.heads();
        let mut waits = heads.reached(Tier::Finalized, Height::new(15)).boxed();
        let mut never = heads.reached(Tier::Finalized, Height::new(16)).boxed();
        driver.settle().await;
        assert!((&mut waits).now_or_never().is_none());
        source.stand(&chain, [20, 0, 0, 15]);
        source.ring();
        let head = waits.await.unwrap();
        assert_eq!(head.block(Tier::Finalized), Some(chain.at(15)));
        driver.settle().await;
        assert!((&mut never).now_or_never().is_none());
        driver.stop().await;
        assert_eq!(never.await, Err(Closed));
        assert_eq!(heads.current().delivered(), Some(chain.at(20)), "the last one stays");
    });
}

#[test]
fn a_head_that_nobody_reads_costs_no_wake_and_the_newest_is_what_is_read() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        let driver = Running::new(&context, &source, Config::default());
        let mut heads = driver.mailbox.heads();
        for height in 6..=9 {
            source.stand(&Chain::new('a', height), [height, 0, 0, 0]);
            driver.mailbox.sync().await.unwrap();
        }
        assert_eq!(heads.changed().await.unwrap().delivered().unwrap().height, Height::new(9));
        assert!(heads.changed().now_or_never().is_none(), "the older ones are skipped");
        driver.stop().await;
    });
}

#[test]
fn a_source_of_another_chain_than_the_views_ends_the_driver_before_it_reads_anything() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::of_network('z', 'a', 5), [5, 0, 0, 0]);
        let driver = Running::new(&context, &source, Config::default());
        let fault = driver.handle.await.unwrap().unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongChain);
        assert_eq!(source.calls(), [Call::ChainInfo]);
    });
}

#[test]
fn a_source_that_cannot_say_which_chain_it_is_of_is_asked_again_like_after_any_other_failure() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        for nth in 1..=3 {
            source.answer(Kind::ChainInfo, nth, Answer::Fault(FaultKind::Unreachable));
        }
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(60)).await;
        driver.sleep(millis(5)).await;
        assert_eq!(driver.view.words().last().unwrap(), "proposed 5a");
        assert_eq!(driver.faults()[0], FaultKind::Unreachable);
        driver.stop().await;
    });
}

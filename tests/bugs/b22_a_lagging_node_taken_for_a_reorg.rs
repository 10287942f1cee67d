//! B22. A node that was behind, or resyncing, reported an old tip of the same chain. That was taken for
//! a deep reorg, and everything above it was deleted.
//!
//! What is guaranteed here, and what is not:
//!
//! - *A certified source never reports a tip below a verified certificate.* An older response is
//!   counted and ignored; no event follows, and with several endpoints the newest response wins.
//! - *Finalized never regresses,* whatever the source. A source whose whole chain is below the local
//!   finalized tip is `Behind`: nothing is dropped, and it is polled again.
//! - *A lagging node is distinguished from another chain by digest,* not by height: only a digest that
//!   differs starts a search.
//! - Not guaranteed: an older tip of the same chain, above finalized, from a plain source is accepted.
//!   A pass cannot distinguish a lagging node from a chain that shrank (see B33, which requires the
//!   opposite). The view is pruned to that tip, nothing below it is dropped, and the rest is fetched
//!   again when the source has caught up. A source that can make the distinction must make it itself.

use crate::{
    certified::{Endpoint, Followed},
    support::{Live, Steps, secs, simulate},
};
use commonware_runtime::Clock as _;
use tidewatch_certified::Failover;
use tidewatch_core::{Event, FaultKind, State, Tier};
use tidewatch_stream::driver;
use tidewatch_testkit::{
    chain::Chain,
    source::{Call, ScriptedSource},
};

#[test]
fn a_certified_source_never_goes_back_below_a_certificate() {
    simulate(|context| async move {
        let chain = Chain::new('a', 50);
        let endpoint = Endpoint::new(&context, &chain, 50);
        let followed = Followed::start(&context, endpoint.clone(), driver::Config::default()).await;
        context.sleep(secs(5)).await;
        let (events, stands) = (followed.view.words(), followed.view.stands());
        assert_eq!(stands.tips.block(Tier::Finalized), Some(chain.at(50)));
        for older in [49, 20, 1, 0] {
            endpoint.stand(&chain, older);
            endpoint.hang_up(); // A reconnection makes the source request the tip at once.
            context.sleep(secs(20)).await;
            assert_eq!(followed.view.words(), events, "at {older}");
            assert_eq!(followed.view.stands(), stands);
        }
        assert!(followed.source.work().stale >= 4);
        followed.mailbox.stop();
        followed.driver.await.unwrap().unwrap();
        followed.upstream.abort();
    });
}

#[test]
fn of_two_endpoints_the_one_that_lags_holds_up_nothing_and_undoes_nothing() {
    simulate(|context| async move {
        let chain = Chain::new('a', 50);
        let lagging = Endpoint::named(&context, "lagging", &chain, 10);
        let current = Endpoint::named(&context, "current", &chain, 20);
        let both = Failover::new(lagging.clone(), vec![current.clone()]);
        let followed = Followed::start(&context, both, driver::Config::default()).await;
        for tip in 20..=50 {
            current.stand(&chain, tip);
            context.sleep(secs(2)).await;
        }
        context.sleep(secs(30)).await;
        assert_eq!(followed.delivered(), Some(50));
        let undone =
            |event: &Event| matches!(event, Event::Pruned { .. } | Event::Regressed { .. });
        assert!(!followed.view.events().iter().any(undone), "{:?}", followed.view.words());
        followed.mailbox.stop();
        followed.driver.await.unwrap().unwrap();
        followed.upstream.abort();
    });
}

#[test]
fn a_source_that_ends_below_finalized_is_behind_and_nothing_is_dropped() {
    simulate(|context| async move {
        let chain = Chain::new('a', 1_000);
        let source = ScriptedSource::new(&chain, [1_000, 950, 0, 900]);
        source.change(|world| world.blocks_max = 1_000);
        let live = Live::new(&context, &source, driver::Config::default());
        live.sleep(secs(5)).await;
        let events = live.view.words();
        source.stand(&chain.fork(401, 'a', 400), [400, 390, 0, 300]);
        live.sleep(secs(60)).await;
        assert_eq!(live.view.words(), events);
        assert!(live.recorder.kinds().iter().all(|kind| *kind == FaultKind::Behind));
        assert!(live.recorder.kinds().len() >= 50, "it is asked again, and says so each time");
        assert_ne!(live.recorder.state(), Some(State::Live));
        source.stand(&chain, [1_000, 960, 0, 910]);
        live.sleep(secs(2)).await;
        assert_eq!(
            live.view.words()[events.len()..],
            ["checkpointed 960a/960", "finalized 910a/910"]
        );
        assert_eq!(live.recorder.state(), Some(State::Live));
        live.stop().await;
    });
}

/// Exactly how far a plain source is trusted: no further than its report, at the cost of one pass.
#[test]
fn a_plain_source_that_falls_back_is_pruned_to_and_nothing_below_its_tip_is_touched() {
    let chain = Chain::new('a', 1_000);
    let mut steps = Steps::new(&chain, [1_000, 0, 0, 300]);
    steps.source.change(|world| world.blocks_max = 1_000);
    steps.settle();
    steps.source.stand(&chain.fork(401, 'a', 400), [400, 0, 0, 300]);
    let pass = steps.pass();
    let events = ["prune 400a: 600 dropped, 400a - - 300a/300", "back proposed 400a"];
    assert_eq!(pass.events, events);
    assert_eq!(pass.calls, [Call::Snapshot, Call::Snapshot], "two looks, and no search");
    steps.source.stand(&chain, [1_000, 0, 0, 300]);
    let pass = steps.pass();
    assert_eq!(pass.events, ["blocks 401a-1000a", "proposed 1000a"], "nothing below comes again");
}

#[test]
fn another_digest_at_the_older_tip_and_nothing_else_starts_a_search() {
    let chain = Chain::new('a', 1_000);
    let mut steps = Steps::new(&chain, [1_000, 0, 0, 300]);
    steps.source.change(|world| world.blocks_max = 1_000);
    steps.settle();
    steps.source.stand(&chain.fork(396, 'b', 400), [400, 0, 0, 300]);
    let pass = steps.pass();
    assert_eq!(pass.events[0], "prune 395a: 605 dropped, 395a - - 300a/300");
    assert!(pass.calls.iter().any(|call| matches!(call, Call::Digests(_))), "{:?}", pass.calls);
}

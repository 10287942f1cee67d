//! B30. A cache in front of an upstream returned a tip that was minutes old; each response rolled the
//! follower back a little further, until history had to be rebuilt.
//!
//! The guarantees are those of B22: a certified source never reports an old tip, and no old tip moves
//! finalized. An old tip above finalized from a plain source is accepted; it costs one prune to that
//! tip, however often it is repeated, and one refetch of the blocks above it. It does not cascade: the
//! same response a second time yields no event.

use crate::{
    certified::{Endpoint, Followed},
    support::{Steps, secs, simulate},
};
use commonware_runtime::Clock as _;
use tidewatch_core::{FaultKind, Tier};
use tidewatch_stream::{Ended, driver};
use tidewatch_testkit::chain::Chain;

#[test]
fn three_polls_of_a_cached_tip_move_no_certified_follower() {
    simulate(|context| async move {
        let chain = Chain::new('a', 40);
        let endpoint = Endpoint::new(&context, &chain, 30);
        // Nothing is pushed: every poll sends a request.
        endpoint.listening(false);
        let followed = Followed::start(&context, endpoint.clone(), driver::Config::default()).await;
        context.sleep(secs(10)).await;
        let events = followed.view.words();
        let stale = followed.source.work().stale;
        endpoint.stand(&chain, 12);
        while followed.source.work().stale < stale + 3 {
            context.sleep(secs(1)).await;
        }
        assert_eq!(followed.view.words(), events);
        endpoint.stand(&chain, 40);
        context.sleep(secs(20)).await;
        let came = ["blocks 31a-40a", "proposed 40a", "finalized 40a"];
        assert_eq!(followed.view.words()[events.len()..], came);
        followed.mailbox.stop();
        followed.driver.await.unwrap().unwrap();
        followed.upstream.abort();
    });
}

#[test]
fn a_cached_tip_below_finalized_drops_nothing() {
    let chain = Chain::new('a', 100);
    let mut steps = Steps::synced(&chain, [100, 98, 90, 80]);
    let stands = steps.stands();
    steps.source.stand(&chain.fork(71, 'a', 70), [70, 68, 60, 50]);
    for _ in 0..3 {
        let pass = steps.pass();
        assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::Behind), 0));
    }
    steps.source.stand(&chain, [100, 98, 90, 80]);
    assert_eq!(steps.pass().ended(), Ended::Quiet);
    assert_eq!(steps.stands(), stands);
}

#[test]
fn a_cached_tip_above_finalized_costs_one_prune_and_does_not_cascade() {
    let chain = Chain::new('a', 100);
    let mut steps = Steps::synced(&chain, [100, 98, 0, 80]);
    steps.source.stand(&chain.fork(91, 'a', 90), [90, 88, 0, 75]);
    let pass = steps.pass();
    assert_eq!(pass.events, ["prune 90a: 10 dropped, 90a 88a/88 - 80a/80", "back proposed 90a"]);
    for _ in 0..2 {
        let pass = steps.pass();
        assert_eq!((pass.ended(), pass.events.len()), (Ended::Complete, 0));
    }
    steps.source.stand(&chain, [100, 98, 0, 80]);
    assert_eq!(steps.settle(), ["blocks 91a-100a", "proposed 100a", "checkpointed 98a/98"]);
    assert_eq!(steps.view.stands().tips.block(Tier::Finalized), Some(chain.at(80)));
}

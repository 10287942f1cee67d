//! B77. An upstream accepted a request and never responded, and the repair that waited for it stalled.
//!
//! Here every request ends by its deadline, the next one goes to another upstream, and an upstream that
//! failed is deprioritised for a while: a stall lasts at most two deadlines.

use crate::{
    certified::{Endpoint, Followed, push},
    support::{Live, millis, secs, simulate},
};
use commonware_runtime::Clock as _;
use tidewatch_certified::{Config as Certified, Failover};
use tidewatch_core::{FaultKind, Tier};
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{
    chain::Chain,
    source::{Answer, Kind, ScriptedSource},
};

#[test]
fn with_one_silent_upstream_of_two_the_stall_is_at_most_two_deadlines() {
    simulate(|context| async move {
        let chain = Chain::new('a', 400);
        let deadline = Certified::default().request_timeout;
        // A client of a real endpoint times out early enough to try the other endpoint.
        let endpoint =
            |name| Endpoint::named(&context, name, &chain, 300).patient_for(deadline / 2);
        let (silent, other) = (endpoint("silent"), endpoint("other"));
        // The push connection is to the other endpoint.
        silent.listening(false);
        let both = Failover::new(silent.clone(), vec![other.clone()]);
        let followed = Followed::start(&context, both, Config::default()).await;
        context.sleep(secs(2)).await;
        assert_eq!(followed.delivered(), Some(300));

        silent.silent(true);
        let before = silent.fetched().len();
        other.stand(&chain, 400);
        other.push(&Ok(push(&chain, 400)));
        let since = context.current();
        while followed.delivered() != Some(400) {
            context.sleep(millis(10)).await;
        }
        let stall = context.current().duration_since(since).unwrap();
        assert!(stall <= deadline * 2, "{stall:?} of {deadline:?}");
        assert!(stall >= deadline / 2, "{stall:?}: it was never in the way");
        assert!(silent.fetched().len() > before, "it was asked");
        assert_eq!(followed.view.stands().tips.block(Tier::Finalized), Some(chain.at(400)));
    });
}

#[test]
fn a_source_call_that_is_never_answered_ends_by_the_drivers_deadline() {
    let calls = [(Kind::Snapshot, 1), (Kind::Digests, 1), (Kind::Blocks, 1), (Kind::Blocks, 2)];
    for (kind, nth) in calls {
        simulate(|context| async move {
            let chain = Chain::new('a', 60);
            let source = ScriptedSource::new(&chain, [20, 0, 0, 5]);
            let config = Config { deadline: secs(10), ..Config::default() };
            let limit = config.deadline + config.poll * 2;
            let live = Live::new(&context, &source, config);
            live.sleep(millis(500)).await;
            // A fork requires every kind of call.
            let fork = chain.fork(15, 'b', 60);
            source.answer(kind, nth, Answer::Hang);
            source.stand(&fork, [60, 0, 0, 5]);
            live.sleep(millis(500) + limit).await;
            assert_eq!(live.recorder.kinds(), [FaultKind::Timeout], "{kind:?} {nth}");
            assert_eq!(live.view.stands().delivered, Some(fork.at(60)), "{kind:?} {nth}");
            live.stop().await;
        });
    }
}

//! B86. One failed request ended the loop that made it by an early return, and with it the actor.
//!
//! Here a fault ends its pass and nothing else. With one request in a hundred failing for an hour,
//! every actor is alive at the end, and everything has arrived.

use crate::{
    certified::{Endpoint, Followed, push},
    support::{Live, Sink, hand_over, secs, simulate},
};
use commonware_runtime::{Clock as _, telemetry::metrics::count_running_tasks};
use futures::FutureExt as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidewatch_certified::Config as Certified;
use tidewatch_core::{Ack, FaultKind, State};
use tidewatch_stream::{delivery, driver::Config};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

/// Faults that a request may fail with.
const KINDS: [FaultKind; 6] = [
    FaultKind::Unreachable,
    FaultKind::Timeout,
    FaultKind::Unavailable,
    FaultKind::Malformed,
    FaultKind::Missing,
    FaultKind::UnexpectedContent,
];

/// One fault in a hundred draws.
fn one_percent(rng: &mut StdRng) -> Option<FaultKind> {
    rng.random_bool(0.01).then(|| KINDS[rng.random_range(0..KINDS.len())])
}

#[test]
fn after_an_hour_of_one_percent_failures_driver_and_consumer_are_alive() {
    simulate(|context| async move {
        let chain = Chain::new('a', 3_600);
        let source = ScriptedSource::new(&chain, [1, 0, 0, 0]);
        let mut rng = StdRng::seed_from_u64(86);
        source.chaos(Some(Box::new(move |_, _| one_percent(&mut rng))));
        let mut live = Live::new(&context, &source, Config::default());
        let mut rng = StdRng::seed_from_u64(87);
        let sink = Sink::with("consumer", move |_| {
            let failed = one_percent(&mut rng);
            failed.map_or(Ok(Ack::Durable), |_| Err(FaultKind::Consumer.fault("consumer", "told")))
        });
        let log = live.view.log().clone();
        let (taken, _, mut delivery) =
            hand_over(&context, log, sink, live.recorder.clone(), delivery::Config::default());
        live.settle().await;
        let tasks = count_running_tasks(&context, "");
        for height in 2..=3_600_u64 {
            source.stand(&chain, [height, 0, 0, height.saturating_sub(20)]);
            source.ring();
            live.sleep(secs(1)).await;
        }
        live.sleep(secs(60)).await;
        assert!(live.recorder.kinds().len() > 20, "{} failures", live.recorder.kinds().len());
        assert!((&mut live.handle).now_or_never().is_none());
        assert!((&mut delivery).now_or_never().is_none());
        assert_eq!(count_running_tasks(&context, ""), tasks);
        assert_eq!(live.view.stands().delivered, Some(chain.at(3_600)));
        assert_eq!(live.recorder.state(), Some(State::Live));
        assert_eq!(taken.records().last().unwrap().watermarks, live.view.stands());
        live.stop().await;
    });
}

#[test]
fn so_is_the_upstream_of_an_endpoint_that_fails_and_hangs_up() {
    simulate(|context| async move {
        let chain = Chain::new('a', 360);
        let endpoint = Endpoint::new(&context, &chain, 1);
        let mut rng = StdRng::seed_from_u64(88);
        endpoint.trouble(move |_| one_percent(&mut rng));
        let mut followed = Followed::start(&context, endpoint.clone(), Config::default()).await;
        context.sleep(secs(1)).await;
        let tasks = count_running_tasks(&context, "");
        let mut rng = StdRng::seed_from_u64(89);
        for height in 2..=360 {
            endpoint.stand(&chain, height);
            match one_percent(&mut rng) {
                Some(kind) => endpoint.push(&Err(kind.fault("endpoint", "as told"))),
                None => endpoint.push(&Ok(push(&chain, height))),
            }
            context.sleep(secs(10)).await;
        }
        context.sleep(secs(60)).await;
        assert!((&mut followed.driver).now_or_never().is_none());
        assert!((&mut followed.upstream).now_or_never().is_none());
        assert_eq!(count_running_tasks(&context, ""), tasks);
        assert_eq!(followed.delivered(), Some(360));
        // A connection that delivers nothing new is replaced after a delay, so there may be none now.
        let (since, longest) = (context.current(), Certified::default().backoff_cap);
        while endpoint.open().0 == 0 {
            context.sleep(secs(1)).await;
            assert!(context.current().duration_since(since).unwrap() <= longest + secs(1));
        }
    });
}

//! B82. A follower whose upstream was down at its start ended permanently; another one kept running
//! forever after its user had gone.
//!
//! Here only a local failure ends a driver: an upstream may be down for an hour, and is followed when
//! it returns. An actor whose last user has gone ends at once.

use crate::{
    certified::{Endpoint, Followed},
    support::{Live, Sink, hand_over, millis, open, secs, simulate},
};
use commonware_runtime::{Clock as _, telemetry::metrics::count_running_tasks};
use futures::FutureExt as _;
use std::time::Duration;
use tidewatch_core::{Change, FaultKind, LocalView as _, State};
use tidewatch_stream::{delivery, driver::Config};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

/// Long enough for every runnable task to run.
const TICK: Duration = millis(5);

#[test]
fn a_source_that_is_down_for_the_first_hour_is_followed_when_it_comes_up() {
    simulate(|context| async move {
        let chain = Chain::new('a', 50);
        let source = ScriptedSource::new(&chain, [50, 0, 0, 0]);
        source.chaos(Some(Box::new(|_, _| Some(FaultKind::Unreachable))));
        let config = Config::default();
        let longest = config.backoff_max;
        let mut live = Live::new(&context, &source, config);
        for _ in 0..360 {
            live.sleep(secs(10)).await;
            assert!((&mut live.handle).now_or_never().is_none(), "it lives");
            assert_eq!(live.recorder.state(), Some(State::Blind), "and is not ready");
        }
        source.chaos(None);
        live.sleep(longest + secs(2)).await;
        assert_eq!(live.view.stands().delivered, Some(chain.at(50)));
        assert_eq!(live.recorder.state(), Some(State::Live));
        live.stop().await;
    });
}

#[test]
fn so_is_a_certified_endpoint_with_its_push_connection() {
    simulate(|context| async move {
        let chain = Chain::new('a', 50);
        let endpoint = Endpoint::new(&context, &chain, 50);
        endpoint.listening(false);
        endpoint.trouble(|_| Some(FaultKind::Unreachable));
        let mut followed = Followed::start(&context, endpoint.clone(), Config::default()).await;
        context.sleep(secs(3_600)).await;
        assert!((&mut followed.driver).now_or_never().is_none());
        assert!((&mut followed.upstream).now_or_never().is_none());
        endpoint.trouble(|_| None);
        endpoint.listening(true);
        context.sleep(secs(40)).await;
        assert_eq!((followed.delivered(), endpoint.open().1), (Some(50), 1));
        assert_eq!(followed.recorder.state(), Some(State::Live));
    });
}

#[test]
fn a_delivery_whose_log_is_gone_and_an_upstream_that_is_not_wanted_any_more_end_within_a_tick() {
    simulate(|context| async move {
        let chain = Chain::new('a', 3);
        let mut store = open(&context, &chain.chain_info()).await.unwrap();
        store.commit(vec![Change::Blocks(chain.range(1, 3))]).await.unwrap();
        let config = delivery::Config::default();
        let (taken, _stopper, handle) =
            hand_over(&context, store.clone(), Sink::new("consumer"), (), config);
        context.sleep(millis(10)).await;
        assert_eq!(taken.sequences(), [0]);
        store.writer.close().await.unwrap();
        context.sleep(TICK).await;
        // Only the end matters here, not the result.
        let ended = handle.now_or_never().expect("it has ended");
        assert!(ended.is_ok(), "without a panic");

        let endpoint = Endpoint::new(&context, &chain, 3);
        let followed = Followed::start(&context, endpoint.clone(), Config::default()).await;
        context.sleep(secs(1)).await;
        assert!(count_running_tasks(&context, "certified") > 0);
        assert_eq!(endpoint.open().0, 1);
        followed.upstream.abort();
        followed.mailbox.stop();
        drop(followed.source);
        context.sleep(TICK).await;
        assert_eq!(endpoint.open().0, 0);
        assert_eq!(count_running_tasks(&context, "certified"), 0);
        followed.driver.now_or_never().expect("it has ended").unwrap().unwrap();
    });
}

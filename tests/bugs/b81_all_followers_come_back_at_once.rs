//! B81. All followers of one server lost it at the same moment, and all of them reconnected at the same
//! moment too.
//!
//! Here even the first delay has jitter over half its length, and every failure doubles the delay. A
//! thousand followers of a server that restarts reconnect spread over that half, and the longer the
//! outage, the wider the spread.

use crate::{
    certified::{Endpoint, push, source},
    support::{secs, simulate},
};
use commonware_runtime::{Clock as _, Supervisor as _};
use std::time::{Duration, SystemTime};
use tidewatch_certified::Config;
use tidewatch_testkit::chain::Chain;

const FOLLOWERS: usize = 1_000;

/// Maximum number of `times` within any interval of length `window`.
fn densest(times: &[SystemTime], window: Duration) -> usize {
    let mut times = times.to_vec();
    times.sort_unstable();
    let count = |(at, first): (usize, &SystemTime)| {
        times[at..].partition_point(|time| time.duration_since(*first).unwrap() < window)
    };
    times.iter().enumerate().map(count).max().unwrap_or_default()
}

#[test]
fn a_thousand_followers_of_a_server_that_restarts_are_spread_over_the_jitter() {
    simulate(|context| async move {
        let chain = Chain::new('a', 3);
        let server = Endpoint::new(&context, &chain, 1);
        let config = Config { silence: secs(3_600), ..Config::default() };
        let followers: Vec<_> = (0..FOLLOWERS)
            .map(|nth| {
                let context = context.child("follower").with_attribute("nth", nth);
                let (source, upstream, _) = source(&context, server.clone(), config.clone());
                (source, upstream.start())
            })
            .collect();
        context.sleep(secs(1)).await;
        assert_eq!(server.open().0, FOLLOWERS);
        // Each has received an event, so the next failure starts a new back-off.
        server.push(&Ok(push(&chain, 2)));
        context.sleep(secs(1)).await;

        let since = server.listened().len();
        server.listening(false);
        context.sleep(secs(120)).await;
        let attempts = server.listened().split_off(since);

        // The first delays lie between half of the base and the base.
        let jitter = config.backoff_base / 2;
        let first = densest(&attempts[..FOLLOWERS], jitter / 10);
        assert!(first <= FOLLOWERS / 10 * 3 / 2, "{first} in a tenth of {jitter:?}");

        // At the end they are spread over half of the maximum delay.
        let limit = config.backoff_cap / 2;
        let late = context.current() - secs(40);
        let late: Vec<_> = attempts.into_iter().filter(|at| *at >= late).collect();
        let most = densest(&late, secs(1));
        let allowed = FOLLOWERS as f64 / limit.as_secs_f64();
        assert!((most as f64) <= allowed * 1.5, "{most} in a second, of {allowed} allowed");

        server.listening(true);
        context.sleep(config.backoff_cap).await;
        assert_eq!(server.open().0, FOLLOWERS, "all of them are back");
        drop(followers);
    });
}

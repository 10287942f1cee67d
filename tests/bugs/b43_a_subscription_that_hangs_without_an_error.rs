//! B43. A subscription stayed open, responded to pings, and delivered no more heads; because there was
//! no error, the failure was not detected.
//!
//! Here the absence of pushes means nothing: the tip is requested at least every `ask_interval`,
//! whatever the connection does, and a connection that delivers nothing new is replaced after
//! `silence`, and counted.

use crate::{
    certified::{Endpoint, Followed},
    support::{Live, millis, simulate},
};
use commonware_runtime::{Clock as _, Metrics as _};
use tidewatch_certified::{Config as Certified, Push};
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

#[test]
fn heads_that_are_never_pushed_are_found_by_asking_and_the_silence_is_counted() {
    simulate(|context| async move {
        let chain = Chain::new('a', 60);
        let endpoint = Endpoint::new(&context, &chain, 10);
        let followed = Followed::start(&context, endpoint.clone(), Config::default()).await;
        context.sleep(millis(500)).await;
        assert_eq!((followed.delivered(), endpoint.open()), (Some(10), (1, 1)));
        let limit = Certified::default().ask_interval + Config::default().poll;
        for height in 11..=20 {
            endpoint.stand(&chain, height);
            // The connection is alive, but delivers no heads.
            endpoint.push(&Ok(Push::Irrelevant));
            context.sleep(limit + millis(100)).await;
            assert_eq!(followed.delivered(), Some(height));
        }
        let work = followed.source.work();
        assert!(work.silences >= 5, "{work:?}");
        assert_eq!(work.pushes, 0);
        assert!(endpoint.open().1 <= 1, "one connection at a time");
        let metric = format!("certified_push_silent_total {}", work.silences);
        assert!(context.encode().contains(&metric), "{metric} is not in {}", context.encode());
    });
}

#[test]
fn a_source_whose_doorbell_never_rings_is_polled() {
    simulate(|context| async move {
        let chain = Chain::new('a', 30);
        let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
        let live = Live::new(&context, &source, Config::default());
        live.sleep(millis(500)).await;
        for height in 11..=30 {
            source.stand(&chain, [height, 0, 0, 0]);
            live.sleep(Config::default().poll + millis(10)).await;
            assert_eq!(live.view.words().last(), Some(&format!("proposed {height}a")));
        }
        live.stop().await;
    });
}

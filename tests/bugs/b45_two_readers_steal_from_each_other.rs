//! B45. Two readers of one shared connection each consumed heads that the other one then never
//! received.
//!
//! Here two followers of one endpoint each have their own connection, and two drivers of one source
//! each send their own requests: whatever one of them receives, the other one observes every head too,
//! within a poll. Not guaranteed: a ring of the doorbell wakes one listener, so of two drivers of one
//! source each is woken by some of the rings.

use crate::support::Watched;
use crate::{
    certified::{Endpoint, Followed, drive, push, source},
    support::{millis, patient, secs, simulate},
};
use commonware_runtime::{Clock as _, Supervisor as _};
use std::sync::Arc;
use tidewatch_certified::Config as Certified;
use tidewatch_core::{Ladder, Source as _};
use tidewatch_store::Memory;
use tidewatch_stream::driver::Config;
use tidewatch_testkit::chain::Chain;

#[test]
fn two_followers_of_one_endpoint_both_see_every_head() {
    simulate(|context| async move {
        let chain = Chain::new('a', 30);
        let endpoint = Endpoint::new(&context, &chain, 10);
        let one = Followed::start(&context.child("one"), endpoint.clone(), patient()).await;
        let two = Followed::start(&context.child("two"), endpoint.clone(), patient()).await;
        context.sleep(secs(1)).await;
        assert_eq!(endpoint.open().0, 2);
        for height in 11..=30 {
            endpoint.stand(&chain, height);
            endpoint.push(&Ok(push(&chain, height)));
            context.sleep(millis(100)).await;
            for followed in [&one, &two] {
                assert_eq!(followed.delivered(), Some(height));
            }
        }
        assert_eq!(one.view.words(), two.view.words());
    });
}

#[test]
fn two_drivers_of_one_source_both_see_every_head_within_a_poll() {
    simulate(|context| async move {
        let chain = Chain::new('a', 30);
        let endpoint = Endpoint::new(&context, &chain, 10);
        let (source, upstream, _) = source(&context, endpoint.clone(), Certified::default());
        let _upstream = upstream.start();
        let source = Arc::new(source);
        let chain_info = source.chain_info().await.unwrap();
        let views = ["one", "two"]
            .map(|_| Watched::new(Memory::new(chain_info.clone()), Ladder::Certified));
        let config = Config { poll: secs(1), ..Config::default() };
        let labels = ["one", "two"].map(|label| context.child(label));
        let _drivers: Vec<_> = labels
            .iter()
            .zip(&views)
            .map(|(context, view)| drive(context, &source, view.clone(), config.clone()))
            .collect();
        context.sleep(secs(2)).await;
        for height in 11..=30 {
            endpoint.stand(&chain, height);
            endpoint.push(&Ok(push(&chain, height)));
            context.sleep(millis(1_100)).await;
            let heads = [0, 1].map(|at| views[at].stands().delivered.map(|b| b.height.get()));
            assert_eq!(heads, [Some(height); 2]);
        }
    });
}

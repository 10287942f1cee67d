//! B35. The tip moved between the last response of the catch-up and the first push of the new
//! subscription, and was not polled again: the block was never delivered.
//!
//! Here every connection that opens rings the doorbell, and the following snapshot requests the tip
//! even if it was requested before; a ring during a pass is kept for the next pass.

use crate::{
    certified::{Endpoint, Followed},
    support::{Live, patient, secs, simulate},
};
use commonware_runtime::Clock as _;
use tidewatch_core::Tier;
use tidewatch_testkit::{
    chain::Chain,
    source::{Kind, ScriptedSource},
};

#[test]
fn what_comes_between_the_last_answer_and_the_subscription_is_asked_for_when_that_opens() {
    simulate(|context| async move {
        let chain = Chain::new('a', 101);
        let endpoint = Endpoint::new(&context, &chain, 100);
        endpoint.listening(false);
        let followed = Followed::start(&context, endpoint.clone(), patient()).await;
        context.sleep(secs(1)).await;
        assert_eq!(followed.delivered(), Some(100), "caught up");

        endpoint.stand(&chain, 101);
        endpoint.listening(true);
        context.sleep(secs(5)).await;

        assert_eq!(endpoint.open().0, 1, "subscribed, and nothing was pushed");
        assert_eq!(followed.delivered(), Some(101));
        assert_eq!(followed.view.stands().tips.block(Tier::Finalized), Some(chain.at(101)));
    });
}

#[test]
fn the_same_holds_for_every_later_subscription() {
    simulate(|context| async move {
        let chain = Chain::new('a', 110);
        let endpoint = Endpoint::new(&context, &chain, 100);
        let followed = Followed::start(&context, endpoint.clone(), patient()).await;
        for height in 101..=110 {
            context.sleep(secs(1)).await;
            // The tip moves while no follower is connected, and nothing is pushed after it connects.
            endpoint.hang_up();
            endpoint.stand(&chain, height);
            context.sleep(secs(30)).await;
            assert_eq!(followed.delivered(), Some(height));
        }
    });
}

#[test]
fn a_move_at_the_end_of_a_pass_is_followed_by_one_more_pass() {
    simulate(|context| async move {
        let chain = Chain::new('a', 101);
        let source = ScriptedSource::new(&chain, [100, 0, 0, 0]);
        // The tenth range is the last one of a hundred blocks.
        let gate = source.hold(Kind::Blocks, 10);
        let live = Live::new(&context, &source, patient());
        gate.entered().await;
        source.stand(&chain, [101, 0, 0, 0]);
        source.ring();
        gate.open();
        live.sleep(secs(1)).await;
        assert_eq!(live.view.words().last().unwrap(), "proposed 101a");
        live.stop().await;
    });
}

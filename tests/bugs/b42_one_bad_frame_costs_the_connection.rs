//! B42. A frame that did not decode killed the whole connection, or was taken for its end, and events
//! were lost silently.
//!
//! Here a rejected frame is counted by its reason, and the connection is kept. Nothing has to be
//! requested again: the next valid push, or the next response, contains what the frame carried.

use crate::{
    certified::{Endpoint, Followed, push},
    support::{millis, patient, secs, simulate, whole_up_to},
};
use bytes::Bytes;
use commonware_runtime::Clock as _;
use tidewatch_certified::{Config as Certified, Push};
use tidewatch_core::FaultKind;
use tidewatch_stream::driver::Config;
use tidewatch_testkit::chain::Chain;

fn undecodable() -> Push {
    Push::Finalization(Bytes::from_static(b"\xff no certificate"))
}

#[test]
fn one_undecodable_frame_among_a_thousand_is_one_count_and_no_lost_event() {
    simulate(|context| async move {
        let chain = Chain::new('a', 40);
        let endpoint = Endpoint::new(&context, &chain, 1);
        let followed = Followed::start(&context, endpoint.clone(), patient()).await;
        context.sleep(secs(1)).await;
        for frame in 1..=1_000 {
            let height = frame / 25;
            let sent = match frame % 25 {
                // The certificate of block 20 does not decode.
                0 if height == 20 => undecodable(),
                0 => {
                    endpoint.stand(&chain, height);
                    push(&chain, height)
                }
                _ => Push::Irrelevant,
            };
            endpoint.push(&Ok(sent));
            context.sleep(millis(2)).await;
        }
        context.sleep(secs(1)).await;
        assert_eq!(followed.source.work().refusals["malformed"], 1);
        assert_eq!(followed.refused.kinds(), [FaultKind::Malformed]);
        assert_eq!(endpoint.listened().len(), 1, "the connection was kept");
        assert_eq!(whole_up_to(&followed.view.events()), 40);
    });
}

#[test]
fn if_it_was_the_last_frame_the_tip_is_asked_for_within_the_interval() {
    simulate(|context| async move {
        let chain = Chain::new('a', 7);
        let endpoint = Endpoint::new(&context, &chain, 6);
        let followed = Followed::start(&context, endpoint.clone(), Config::default()).await;
        context.sleep(secs(1)).await;
        endpoint.stand(&chain, 7);
        endpoint.push(&Ok(undecodable()));
        let (interval, poll) = (Certified::default().ask_interval, Config::default().poll);
        context.sleep(interval + poll + millis(100)).await;
        assert_eq!(followed.delivered(), Some(7));
    });
}

//! B46. After a reconnection the server replayed its last messages, and they were delivered again: the
//! delivery watermark had been discarded when the queue ran empty.
//!
//! Here the delivered head is in the view, not in a queue. A replayed certificate is outdated: it is
//! counted without being verified, and yields no event.

use crate::{
    certified::{Endpoint, Followed, push},
    support::{secs, simulate},
};
use commonware_runtime::Clock as _;
use tidewatch_stream::driver::Config;
use tidewatch_testkit::chain::Chain;

#[test]
fn a_reconnection_that_replays_8_9_and_10_makes_no_event() {
    simulate(|context| async move {
        let chain = Chain::new('a', 11);
        let endpoint = Endpoint::new(&context, &chain, 7);
        let followed = Followed::start(&context, endpoint.clone(), Config::default()).await;
        context.sleep(secs(1)).await;
        for height in 8..=10 {
            endpoint.stand(&chain, height);
            endpoint.push(&Ok(push(&chain, height)));
            context.sleep(secs(1)).await;
        }
        let (before, checks) = (followed.view.words(), followed.source.work().checks_total());
        assert_eq!(before.last().unwrap(), "finalized 10a");

        endpoint.hang_up();
        context.sleep(secs(5)).await;
        assert_eq!(endpoint.listened().len(), 2);
        for height in 8..=10 {
            endpoint.push(&Ok(push(&chain, height)));
        }
        context.sleep(secs(5)).await;
        assert_eq!(followed.view.words(), before, "zero duplicates");
        let work = followed.source.work();
        assert_eq!(work.checks_total(), checks, "none was checked again");
        assert!(work.stale >= 2, "{work:?}");

        endpoint.stand(&chain, 11);
        endpoint.push(&Ok(push(&chain, 11)));
        context.sleep(secs(1)).await;
        let news = ["blocks 11a-11a", "proposed 11a", "finalized 11a"];
        assert_eq!(followed.view.words()[before.len()..], news);
    });
}

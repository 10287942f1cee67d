//! B37. Some nodes announce only the last head of a batch that they imported: a client that counts
//! announcements assumes a single block, and misses the others.
//!
//! Here an announcement is only a hint: blocks are delivered in contiguous ranges, and a tier event
//! carries the tip, which covers everything below it.

use crate::{
    certified::{Endpoint, Followed, push},
    support::{Steps, patient, secs, simulate},
};
use commonware_runtime::Clock as _;
use tidewatch_core::Ladder;
use tidewatch_stream::Mode;
use tidewatch_testkit::chain::Chain;

#[test]
fn from_100_to_105_the_event_is_the_range_of_101_to_105() {
    let chain = Chain::new('a', 105);
    let mut steps = Steps::synced(&chain, [100, 0, 0, 0]);
    steps.source.stand(&chain, [105, 0, 0, 0]);
    assert_eq!(steps.pass().events, ["blocks 101a-105a", "proposed 105a"]);
}

#[test]
fn without_blocks_the_newest_tip_says_everything() {
    let chain = Chain::new('a', 105);
    let mut steps = Steps::on(Ladder::Rollup, Mode::TipsOnly, &chain, [100, 90, 0, 80]);
    steps.settle();
    steps.source.stand(&chain, [105, 104, 0, 101]);
    assert_eq!(
        steps.pass().events,
        ["proposed 105a", "checkpointed 104a/104", "finalized 101a/101"]
    );
}

#[test]
fn two_pushes_five_blocks_apart_lose_none_in_between() {
    simulate(|context| async move {
        let chain = Chain::new('a', 105);
        let endpoint = Endpoint::new(&context, &chain, 99);
        let followed = Followed::start(&context, endpoint.clone(), patient()).await;
        context.sleep(secs(1)).await;
        for height in [100, 105] {
            endpoint.stand(&chain, height);
            endpoint.push(&Ok(push(&chain, height)));
            context.sleep(secs(1)).await;
        }
        let words = followed.view.words();
        let announced = ["proposed 99a", "finalized 99a", "proposed 100a", "finalized 100a"];
        assert_eq!(
            words,
            [
                &["blocks 1a-99a"][..],
                &announced[..2],
                &["blocks 100a-100a"],
                &announced[2..],
                &["blocks 101a-105a", "proposed 105a", "finalized 105a"],
            ]
            .concat()
        );
    });
}

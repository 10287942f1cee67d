//! B06. A bounded queue of updates kept the newest and the oldest and dropped those in between, among
//! them the only finality update. Finality then got stuck.
//!
//! Here no queue carries values. However many doorbells ring during a pass, one pass follows and reads
//! the current tips, so that the newest value of a tier cannot be dropped.

use crate::support::{Live, Sink, hand_over, millis, secs, simulate};
use commonware_utils::NZUsize;
use tidewatch_core::Tier;
use tidewatch_stream::{delivery, driver};
use tidewatch_testkit::{
    chain::Chain,
    source::{Kind, ScriptedSource},
};

#[test]
fn of_a_thousand_updates_through_a_queue_of_ten_the_newest_of_every_tier_arrives_at_once() {
    simulate(|context| async move {
        let chain = Chain::new('a', 2_000);
        let source = ScriptedSource::new(&chain, [1_000, 0, 0, 0]);
        source.change(|world| world.blocks_max = 1_000);
        let config = driver::Config {
            poll: secs(3_600), // Only doorbells wake passes.
            mailbox_size: NZUsize!(10),
            ..driver::Config::default()
        };
        let pace = config.pace;
        let live = Live::new(&context, &source, config);
        let log = live.view.log().clone();
        let (taken, stopper, delivery) =
            hand_over(&context, log, Sink::new("bridge"), (), delivery::Config::default());
        live.sleep(secs(1)).await;
        let busy = source.hold(Kind::Snapshot, 1);
        source.ring();
        busy.entered().await;
        let mut heights = [1_000, 1, 1, 1];
        for update in 0..1_000 {
            // One tier per update, and finality only in the middle.
            let tier = if update == 500 { 3 } else { update % 3 };
            heights[tier] = if tier == 3 { 42 } else { 1_000 + update as u64 / (tier as u64 + 1) };
            heights[0] = heights[0].max(heights[1]);
            heights[1] = heights[1].max(heights[2]);
            source.stand(&chain, heights);
            source.ring();
            let _ = live.mailbox.ring();
        }
        // The busy pass ends with the state at its start.
        source.change(|world| world.say = Some(chain.tips([1_000, 0, 0, 0])));
        busy.open();
        live.sleep(pace + millis(5)).await;
        let last = taken.records().last().unwrap().watermarks;
        for (tier, height) in Tier::ALL.into_iter().zip(heights) {
            assert_eq!(last.tips.block(tier), Some(chain.at(height)), "{tier}");
        }
        assert_eq!(live.passes(), 3, "one pass serves all doorbells");
        stopper.stop();
        delivery.await.unwrap().unwrap();
        live.stop().await;
    });
}

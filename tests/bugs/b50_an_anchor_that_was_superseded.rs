//! B50. A target was replaced by a newer one before it was reached. The repair of the gap below it was
//! not resumed, and nothing was emitted any more.
//!
//! Here no target outlives its pass: every pass starts from the current state of the view and of the
//! source. However often the tip is replaced while it is being fetched, the next one that stays is
//! reached.

use crate::support::{Live, secs, simulate};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tidewatch_core::Tier;
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{
    chain::Chain,
    source::{Call, Gate, Kind, ScriptedSource, World},
};

#[test]
fn when_another_tip_comes_before_the_first_was_reached_the_second_is_reached() {
    simulate(|context| async move {
        let chain = Chain::new('a', 40);
        let source = ScriptedSource::new(&chain, [40, 0, 0, 5]);
        let gate: Gate = source.hold(Kind::Blocks, 3);
        let live = Live::new(&context, &source, Config::default());
        gate.entered().await;
        let other = chain.fork(15, 'b', 33);
        source.stand(&other, [33, 0, 0, 7]);
        gate.open();
        live.sleep(secs(5)).await;
        assert_eq!(
            live.view.words()[live.view.words().len() - 2..],
            ["proposed 33b", "finalized 7a/7"]
        );
        live.stop().await;
    });
}

/// Replaces the tip by one on another fork, or moves it up, above the finalized tip.
fn supersede(world: &mut World, rng: &mut StdRng, nth: u64) {
    let (tip, finalized) = (world.chain.tip(), world.tips.block(Tier::Finalized));
    let finalized = finalized.map_or(0, |block| block.height.get());
    let stays = rng.random_range(0..4) == 0;
    let at = if stays { tip + 1 } else { (tip - rng.random_range(0..8)).max(finalized + 1) };
    let fork = char::from(b'b' + (nth % 20) as u8);
    let chain = world.chain.fork(at, fork, at + rng.random_range(0..8));
    let finalized = finalized.max(at.saturating_sub(12));
    world.stand(&chain, [chain.tip(), 0, 0, finalized]);
}

#[test]
fn after_a_thousand_tips_that_were_replaced_while_they_were_fetched_the_last_one_is_reached() {
    for seed in 0..4 {
        simulate(|context| async move {
            let source = ScriptedSource::new(&Chain::new('a', 30), [30, 0, 0, 5]);
            let superseded = Arc::new(AtomicU64::new(0));
            let (count, mut rng) = (superseded.clone(), StdRng::seed_from_u64(seed));
            source.chaos(Some(Box::new(move |world, call| {
                if matches!(call, Call::Blocks(..)) && count.load(Ordering::Relaxed) < 1_000 {
                    supersede(world, &mut rng, count.fetch_add(1, Ordering::Relaxed));
                }
                None
            })));
            let live = Live::new(&context, &source, Config::default());
            while superseded.load(Ordering::Relaxed) < 1_000 {
                live.sleep(secs(1)).await;
            }
            let passes = live.passes();
            live.sleep(secs(10)).await;
            let mut tip = None;
            source.change(|world| tip = world.chain.get(world.chain.tip()));
            assert_eq!(live.view.stands().delivered, tip, "seed {seed}");
            assert_eq!(live.view.stands().tips.block(Tier::Proposed), tip);
            assert!(live.passes() - passes <= 12, "one a poll");
            live.stop().await;
        });
    }
}

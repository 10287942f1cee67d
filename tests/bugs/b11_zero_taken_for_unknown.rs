//! B11. Height 0 meant "not set": on a brand-new chain tips never advanced, and a proxy took a healthy
//! backend out of service.
//!
//! Here unknown is `None`, and genesis is a block like any other. A chain at block 0 has all its tiers,
//! they are announced once, and the follower is live.

use crate::{
    certified::{Endpoint, Followed},
    support::{ALL, Live, Steps, crash, history, open, pass, restart, secs, simulate, told},
};
use tidewatch_core::{LocalView as _, State, Tier, TipSet};
use tidewatch_stream::{Ended, Mode, driver};
use tidewatch_testkit::{
    chain::Chain,
    source::{Call, ScriptedSource},
};

const AT_GENESIS: [&str; 4] = ["proposed 0g", "checkpointed 0g/0", "proven 0g/0", "finalized 0g/0"];

fn at_genesis(chain: &Chain) -> ScriptedSource {
    let source = ScriptedSource::new(chain, [0; 4]);
    source.change(|world| world.tips = chain.tips_at([Some(0); 4]));
    source
}

#[test]
fn a_chain_at_block_zero_has_all_its_tiers_and_its_follower_is_live() {
    simulate(|context| async move {
        let chain = Chain::new('a', 0);
        let live = Live::new(&context, &at_genesis(&chain), driver::Config::default());
        live.sleep(secs(10)).await;
        assert_eq!(live.view.words(), AT_GENESIS, "once");
        for tier in Tier::ALL {
            assert_eq!(live.view.stands().tips.block(tier), Some(chain.at(0)));
        }
        let status = live.recorder.status().unwrap();
        assert_eq!((status.state, status.lag), (State::Live, 0));
        assert_eq!(status.source_height, Some(chain.at(0).height));
        live.stop().await;
    });
}

#[test]
fn from_block_zero_every_tier_advances_like_from_any_other() {
    let chain = Chain::new('a', 3);
    for mode in [ALL, Mode::TipsOnly] {
        let mut steps = Steps::on(tidewatch_core::Ladder::Rollup, mode, &chain, [0; 4]);
        for tip in 0..=3_u64 {
            for tier in 0..4 {
                let mut heights = [tip; 4];
                heights[tier..].fill(tip.saturating_sub(1));
                steps.source.change(|world| {
                    world.chain = chain.fork(tip + 1, 'z', tip);
                    world.tips = chain.tips_at(heights.map(Some));
                });
                steps.settle();
                for (tier, height) in Tier::ALL.into_iter().zip(heights) {
                    assert_eq!(steps.view.stands().tips.block(tier), Some(chain.at(height)));
                }
            }
        }
    }
}

#[test]
fn what_was_announced_at_genesis_is_not_announced_again_by_the_next_process() {
    let chain = Chain::new('a', 0);
    let (_, checkpoint) = crash(|context| async move {
        let mut store = open(&context, &chain.chain_info()).await.unwrap();
        pass(&at_genesis(&chain), &mut store, &chain.chain_info(), ALL).await.unwrap();
    });
    restart(checkpoint, |context| async move {
        let chain = Chain::new('a', 0);
        let source = at_genesis(&chain);
        let mut store = open(&context, &chain.chain_info()).await.unwrap();
        let report = pass(&source, &mut store, &chain.chain_info(), ALL).await.unwrap();
        assert_eq!((report.ended, source.calls()), (Ended::Quiet, vec![Call::Snapshot]));
        assert_eq!(told(&history(&*store).await), AT_GENESIS);
        assert_eq!(
            store.watermarks().await.unwrap().tips.block(Tier::Finalized),
            Some(chain.at(0))
        );
    });
}

/// Genesis is known here without an endpoint: before the first certificate nothing shows that there is a
/// chain, so the follower says that it is blind, and follows as soon as there is one.
#[test]
fn a_certified_chain_that_has_certified_nothing_yet_is_not_live_and_followed_from_its_first_block()
{
    simulate(|context| async move {
        let chain = Chain::new('a', 1);
        let endpoint = Endpoint::new(&context, &chain, 0);
        let config = driver::Config::default();
        let followed = Followed::start(&context, endpoint.clone(), config).await;
        let clock = context;
        commonware_runtime::Clock::sleep(&clock, secs(5)).await;
        assert_eq!(followed.view.words(), [""; 0]);
        assert_eq!(followed.recorder.state(), Some(State::Blind));
        endpoint.stand(&chain, 1);
        commonware_runtime::Clock::sleep(&clock, secs(15)).await;
        assert_eq!(followed.view.words(), ["blocks 1a-1a", "proposed 1a", "finalized 1a"]);
        assert_eq!(followed.recorder.state(), Some(State::Live));
        followed.mailbox.stop();
        followed.driver.await.unwrap().unwrap();
        followed.upstream.abort();
    });
}

#[test]
fn unknown_is_not_genesis() {
    let chain = Chain::new('a', 2);
    assert!(!TipSet::unknown().same_blocks(&chain.tips_at([Some(0); 4])));
    let mut steps = Steps::new(&chain, [0; 4]);
    steps.source.change(|world| world.tips = chain.tips_at([Some(2), None, Some(0), None]));
    assert_eq!(steps.settle(), ["blocks 1a-2a", "proposed 2a", "proven 0g/0"]);
}

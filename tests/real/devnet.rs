//! Following validators that make blocks.

use commonware_runtime::{Supervisor as _, tokio::Context};
use std::time::Duration;
use tidewatch_core::{Event, Height, State, Tier};
use tidewatch_devnet::{Config, Devnet};
use tidewatch_sources::alto::{CertificateMode, Scheme, StandardScheme, VrfScheme};
use tidewatch_stream::Start;
use tidewatch_tests::{
    Call, DEADLINE, Node, Settings, assert_kept, assert_lawful, block_at, history, run,
};

/// Blocks to follow: more than one term of a stable leader takes at the default pace.
const BLOCKS: u64 = 15;

async fn devnet(context: &Context, mode: CertificateMode) -> Devnet {
    let block_time = Duration::from_millis(100);
    let config = Config { mode, block_time, ..Config::default() };
    Devnet::start(context.child("devnet"), config).await.expect("starts")
}

fn followed_from_genesis<S: Scheme>() {
    let directory = tempfile::tempdir().expect("a directory");
    run(directory.path(), |context| async move {
        let devnet = devnet(&context, S::MODE).await;
        let settings = Settings::devnet(&devnet);
        let node = Node::<S>::start(&context, &settings).await;
        let seen = node.recorder.until_final(BLOCKS).await;
        let proposed = seen.watermarks.tips.block(Tier::Proposed).expect("is known");
        assert!(proposed.height >= seen.finalized().expect("is known").height);
        node.recorder.until("live", |seen| seen.state() == Some(State::Live)).await;
        let (identity, work) = (node.identity.clone(), node.work());
        let store = node.stop().await;
        devnet.stop().await;

        let records = history(&store).await;
        assert_lawful(&records, &identity);
        for tier in [Tier::Proposed, Tier::Finalized] {
            let moved =
                |event: &Event| matches!(event, Event::Advanced { tier: of, .. } if *of == tier);
            let moves = records.iter().filter(|record| moved(&record.event)).count();
            assert!(moves >= 3, "{tier} moved {moves} times");
        }
        let last = records.last().expect("events").watermarks;
        assert_eq!(last.tips.block(Tier::Checkpointed), None);
        let delivered = last.delivered.expect("blocks").height;
        assert!(delivered >= Height::new(BLOCKS));
        assert_kept::<S>(&store, &settings.identity, 1, delivered.get()).await;
        // Nothing is verified before the network's first certificate.
        let expected = ["missing", "unavailable"];
        assert!(work.refusals.keys().all(|kind| expected.contains(kind)), "{work:?}");
    });
}

#[test]
fn a_standard_devnet_is_followed_from_genesis_tier_by_tier() {
    followed_from_genesis::<StandardScheme>();
}

#[test]
fn a_vrf_devnet_is_followed_from_genesis_tier_by_tier() {
    followed_from_genesis::<VrfScheme>();
}

#[test]
fn a_follower_that_starts_at_the_tip_has_nothing_below_and_everything_above() {
    let directory = tempfile::tempdir().expect("a directory");
    run(directory.path(), |context| async move {
        let devnet = devnet(&context, CertificateMode::Standard).await;
        devnet.reach(Height::new(10), DEADLINE).await.expect("the chain grows");
        let settings = Settings::devnet(&devnet).with_start(Start::Tip);
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        let first = node.recorder.until("a block", |seen| seen.delivered().is_some()).await;
        let beyond = first.delivered().expect("a block").get() + BLOCKS;
        node.recorder.until_final(beyond).await;
        let (identity, calls) = (node.identity.clone(), node.source.calls());
        let store = node.stop().await;
        devnet.stop().await;

        let records = history(&store).await;
        assert_lawful(&records, &identity);
        let Event::Blocks { from, .. } = records[0].event else { panic!("{:?}", records[0]) };
        assert!(from.height >= Height::new(9), "started at {from}");
        assert_eq!(block_at(&store, from.height.previous().expect("above")).await, None);
        assert!(calls.iter().all(|call| !matches!(call, Call::Blocks(at) if *at < from.height)));
        assert_kept::<StandardScheme>(&store, &settings.identity, from.height.get(), beyond).await;
    });
}

/// Makes the chain stand still, and waits until the follower has all of it.
async fn stand_still(devnet: &Devnet, node: &Node<StandardScheme>) -> Height {
    devnet.pause();
    loop {
        let tip = devnet.tip();
        node.recorder.until_final(tip.get()).await;
        let more = devnet.reach(tip.next(), Duration::from_millis(500)).await;
        if more.is_err() {
            return tip;
        }
    }
}

/// Follows across an indexer that loses its memory, while the chain makes `blocks` without it.
fn across_an_indexer_restart(blocks: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    run(directory.path(), |context| async move {
        let mut devnet = devnet(&context, CertificateMode::Standard).await;
        let settings = Settings::devnet(&devnet)
            .with_thresholds(|thresholds| thresholds.contact = Duration::from_millis(400));
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        node.recorder.until_final(5).await;
        node.recorder.until("live", |seen| seen.state() == Some(State::Live)).await;
        // A block that only the old indexer had would be lost to everybody.
        let before = stand_still(&devnet, &node).await;
        let connects = node.work().connects;
        devnet.stop_indexer().await;
        node.recorder.until("blind", |seen| seen.state() == Some(State::Blind)).await;
        devnet.resume();
        let away = Height::new(before.get() + blocks);
        devnet.reach(away, DEADLINE).await.expect("the chain goes on");
        devnet.start_indexer().expect("the port is free");

        let after = devnet.tip().get() + 5;
        node.recorder.until_final(after).await;
        node.recorder.until("live again", |seen| seen.state() == Some(State::Live)).await;
        assert!(node.work().connects > connects, "{:?}", node.work());
        let identity = node.identity.clone();
        let store = node.stop().await;
        devnet.stop().await;
        assert_lawful(&history(&store).await, &identity);
        assert_kept::<StandardScheme>(&store, &settings.identity, 1, after).await;
    });
}

#[test]
fn an_indexer_that_restarts_without_its_memory_is_followed_on() {
    across_an_indexer_restart(0);
}

#[test]
fn blocks_that_were_made_while_the_indexer_was_away_are_followed_through_their_digests() {
    across_an_indexer_restart(12);
}

//! Reorgs of every depth.

use super::{assert_is_chain, caught_up, delivered, epoch, prunes, with_anvil};
use tidewatch_core::{FaultKind, Record, State, Tier};
use tidewatch_tests::{Anvil, EthereumNode, EthereumSettings, history};

/// Reorgs `depth` blocks between two passes. Returns what the second one told.
async fn reorg(node: &EthereumNode, anvil: &Anvil, depth: u64) -> Vec<Record> {
    let before = history(&node.store).await.len();
    anvil.reorg(depth).await;
    node.follower.sync().await.expect("a pass");
    caught_up(node, anvil).await;
    history(&node.store).await.split_off(before)
}

#[test]
fn reorgs_are_followed_down_to_where_they_began_and_no_further() {
    // Finalized is 64 blocks down: all but the last stay above it, and the last goes down to it.
    with_anvil(epoch(32), async |context, anvil| {
        anvil.mine(100).await;
        let settings = EthereumSettings::http(&anvil).unpolled();
        let node = EthereumNode::start(&context, &settings).await;
        caught_up(&node, &anvil).await;
        for depth in [1, 2, 7, 40, 64] {
            let before = anvil.chain().await;
            let tags = anvil.tags().await;
            let told = reorg(&node, &anvil, depth).await;
            let ancestor = before[before.len() - 1 - depth as usize];
            assert_eq!(prunes(&told), [(ancestor, depth)]);
            assert_eq!(delivered(&told), depth);
            // Safe blocks go with the others, finalized ones stay.
            let safe_stays = depth <= 32;
            assert_eq!(anvil.tags().await.safe == tags.safe, safe_stays);
            assert_eq!(node.recorder.seen().finalized(), Some(tags.finalized));
            anvil.mine(3).await;
            node.follower.sync().await.expect("a pass");
        }
        assert_eq!(node.recorder.seen().count(FaultKind::FinalityConflict), 0);
        assert_is_chain(node, &anvil).await;
    });
}

#[test]
fn a_tip_that_is_swapped_at_its_height_is_followed() {
    with_anvil(epoch(8), async |context, anvil| {
        anvil.mine(20).await;
        let node = EthereumNode::start(&context, &EthereumSettings::http(&anvil)).await;
        let first = caught_up(&node, &anvil).await;
        for _ in 0..5 {
            anvil.reorg(1).await;
            let seen = caught_up(&node, &anvil).await;
            assert_eq!(seen.delivered(), first.delivered());
        }
        let records = assert_is_chain(node, &anvil).await;
        let below = records.last().expect("events").watermarks.tips.block(Tier::Proposed);
        let below = below.expect("is known").height.previous();
        assert_eq!(prunes(&records).len(), 5);
        assert!(prunes(&records).iter().all(|(to, depth)| (Some(to.height), *depth) == (below, 1)));
    });
}

#[test]
fn safe_and_finalized_move_without_a_block() {
    with_anvil(epoch(16), async |context, mut anvil| {
        anvil.mine(60).await;
        let node = EthereumNode::start(&context, &EthereumSettings::http(&anvil)).await;
        let before = caught_up(&node, &anvil).await;
        anvil.restart(epoch(4)).await;
        let after = caught_up(&node, &anvil).await;
        assert_eq!(before.watermarks.delivered, after.watermarks.delivered);
        assert_ne!(before.finalized(), after.finalized());
        // What is final by now stays when a block right above it is the first to be replaced.
        anvil.reorg(8).await;
        caught_up(&node, &anvil).await;
        assert_eq!(node.recorder.seen().finalized(), after.finalized());
        assert_is_chain(node, &anvil).await;
    });
}

#[test]
fn a_reorg_below_the_finalized_block_is_a_conflict_with_evidence() {
    with_anvil(epoch(8), async |context, anvil| {
        anvil.mine(60).await;
        let node = EthereumNode::start(&context, &EthereumSettings::http(&anvil)).await;
        let seen = caught_up(&node, &anvil).await;
        let finalized = seen.finalized().expect("is known");
        anvil.reorg(20).await;
        let conflict =
            node.recorder.until("a contradiction", |seen| seen.state() == Some(State::Conflicted));
        conflict.await;
        // Its own word for final is what it takes back, block by block: evidence has both.
        let evidence = node.store.evidence().expect("reads");
        assert_eq!(evidence.len(), 1);
        assert_eq!(evidence[0].ours, finalized);
        assert_eq!(Some(evidence[0].theirs), anvil.block(finalized.height.get()).await);
        let seen = node.recorder.seen();
        assert_eq!(seen.finalized(), Some(finalized), "it is held");
        assert_eq!(seen.watermarks.delivered, Some(finalized), "and nothing is put on top");
        node.stop().await;
    });
}

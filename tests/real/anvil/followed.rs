//! A chain that grows, becomes shorter, and does both and more while it is followed.

use super::{assert_is_chain, caught_up, epoch, prunes, stands_at, with_anvil};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidewatch_core::{State, Tier};
use tidewatch_tests::{EthereumNode, EthereumSettings, Seen};

#[test]
fn a_chain_is_followed_from_genesis_with_all_of_its_tags() {
    with_anvil(epoch(8), async |context, anvil| {
        let node = EthereumNode::start(&context, &EthereumSettings::http(&anvil)).await;
        caught_up_at_genesis(&node).await;
        // From no block that is safe, over the first one, to many that are finalized.
        for blocks in [1, 7, 1, 7, 1, 1, 150, 1] {
            anvil.mine(blocks).await;
            caught_up(&node, &anvil).await;
        }
        node.recorder.until("live", |seen| seen.state() == Some(State::Live)).await;
        assert_eq!(node.recorder.seen().faults, []);
        let records = assert_is_chain(node, &anvil).await;
        assert_eq!(prunes(&records), []);
    });
}

/// At genesis every tier is there, and no block is delivered.
async fn caught_up_at_genesis(node: &EthereumNode) {
    let genesis = node.identity.genesis;
    let tiers = [Tier::Proposed, Tier::Checkpointed, Tier::Finalized];
    let known =
        |seen: &Seen| tiers.map(|tier| seen.watermarks.tips.block(tier)) == [Some(genesis); 3];
    let seen = node.recorder.until("genesis", known).await;
    assert_eq!(seen.watermarks.tips.block(Tier::Proven), None, "Ethereum proves nothing");
}

#[test]
fn a_chain_with_history_is_caught_up_with() {
    with_anvil(epoch(8), async |context, anvil| {
        anvil.mine(350).await;
        let node = EthereumNode::start(&context, &EthereumSettings::http(&anvil)).await;
        caught_up(&node, &anvil).await;
        assert_is_chain(node, &anvil).await;
    });
}

#[test]
fn new_heads_over_a_websocket_are_followed_without_a_poll() {
    with_anvil(epoch(32), async |context, mut anvil| {
        anvil.mine(80).await;
        let settings = EthereumSettings::ws(&anvil).unpolled();
        let node = EthereumNode::start(&context, &settings).await;
        caught_up(&node, &anvil).await;
        for blocks in [1, 5, 120] {
            anvil.mine(blocks).await;
            caught_up(&node, &anvil).await;
        }
        for depth in [1, 2, 7, 40] {
            anvil.reorg(depth).await;
            caught_up(&node, &anvil).await;
        }
        // The connection is lost, and what was missed meanwhile is made up for.
        anvil.restart(epoch(32)).await;
        anvil.mine(3).await;
        caught_up(&node, &anvil).await;
        assert_is_chain(node, &anvil).await;
    });
}

#[test]
fn a_chain_that_becomes_shorter_is_followed_and_finality_stays() {
    with_anvil(epoch(16), async |context, anvil| {
        anvil.mine(60).await;
        let node = EthereumNode::start(&context, &EthereumSettings::http(&anvil)).await;
        let before = caught_up(&node, &anvil).await;
        for depth in [1, 4] {
            anvil.roll_back(depth).await;
            // Counted from the top, the node's own finalized block goes back. What is final stays it.
            let mut tags = anvil.tags().await;
            assert!(Some(tags.finalized.height) < before.finalized().map(|block| block.height));
            tags.finalized = before.finalized().expect("is known");
            node.recorder.until("the shorter chain", |seen| stands_at(seen, &tags)).await;
        }
        anvil.mine(10).await;
        caught_up(&node, &anvil).await;
        let records = assert_is_chain(node, &anvil).await;
        let depths: Vec<_> = prunes(&records).into_iter().map(|(_, depth)| depth).collect();
        assert_eq!(depths, [1, 4]);
    });
}

#[test]
fn whatever_a_node_does_while_it_is_followed_the_history_obeys_the_law() {
    with_anvil(epoch(16), async |context, anvil| {
        anvil.mine(40).await;
        let settings = EthereumSettings::http(&anvil);
        let node = EthereumNode::start(&context, &settings).await;
        // However busy the machine is: what it stands on now is gone in the end.
        caught_up(&node, &anvil).await;
        let mut rng = StdRng::seed_from_u64(7);
        // Nobody waits for the follower: its passes see chains of several moments.
        for _ in 0..150 {
            let most = rng.random_range(1..=12);
            let blocks = rng.random_range(1..=most);
            match rng.random_range(0..3) {
                0 => anvil.mine(blocks).await,
                1 => anvil.reorg(blocks).await,
                _ => {
                    anvil.roll_back(blocks).await;
                    anvil.mine(blocks + 1).await;
                }
            }
        }
        caught_up(&node, &anvil).await;
        let records = assert_is_chain(node, &anvil).await;
        assert!(!prunes(&records).is_empty());
    });
}

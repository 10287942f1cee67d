//! What following costs, in requests that the node gets.

use super::{assert_is_chain, caught_up, epoch, with_anvil};
use tidewatch_sources::rpc::Config;
use tidewatch_tests::{EthereumNode, EthereumSettings};

/// Requests of one pass.
async fn pass(node: &EthereumNode) -> u64 {
    let before = node.work().requests;
    node.follower.sync().await.expect("a pass");
    node.work().requests - before
}

#[test]
fn a_pass_costs_one_request_a_new_block_two_and_a_reorg_the_logarithm_of_its_depth() {
    with_anvil(epoch(32), async |context, anvil| {
        anvil.mine(100).await;
        let settings = EthereumSettings::http(&anvil).unpolled();
        let node = EthereumNode::start(&context, &settings).await;
        caught_up(&node, &anvil).await;
        for depth in [1_u64, 2, 7, 40, 64] {
            assert_eq!(pass(&node).await, 1, "quiet");
            anvil.mine(1).await;
            let block = pass(&node).await;
            assert!(block <= 2, "{block} requests for one block");
            anvil.reorg(depth).await;
            let reorged = pass(&node).await;
            let most = u64::from(depth.next_power_of_two().ilog2()) + 3;
            assert!(reorged <= most, "{reorged} requests for a depth of {depth}");
            caught_up(&node, &anvil).await;
        }
        assert_eq!(node.work().refusals.len(), 0, "{:?}", node.work());
        assert_is_chain(node, &anvil).await;
    });
}

#[test]
fn catching_up_costs_a_request_a_batch() {
    const BLOCKS: u64 = 450;
    with_anvil(epoch(32), async |context, anvil| {
        anvil.mine(BLOCKS).await;
        let settings = EthereumSettings::http(&anvil).unpolled();
        let node = EthereumNode::start(&context, &settings).await;
        caught_up(&node, &anvil).await;
        let batch = Config::default().batch_max.get() as u64;
        let work = node.work();
        // Besides the blocks, in ranges of one batch, two and then four, each with a call for the tip: the
        // tips, and which chain it is, for the store's opener and for the driver.
        assert!(work.requests <= (BLOCKS + 3).div_ceil(batch) + 3, "{work:?}");
        assert_is_chain(node, &anvil).await;
    });
}

//! Validators that go away and come again.

use super::{assert_is_chain, caught_up, finalized_above, settings, with_chain};
use tidewatch_core::{FaultKind, State};
use tidewatch_tests::{EthereumNode, consensus::EPOCH};

#[test]
#[ignore = "takes some five minutes"]
fn finality_stalls_while_a_third_does_not_attest_blocks_go_on_and_it_comes_again() {
    with_chain(async |context, mut chain| {
        let node = EthereumNode::start(&context, &settings(&chain, &chain)).await;
        finalized_above(&node, &chain, 0).await;
        chain.stop_validators().await;
        // What was attested before may still become final.
        let height = caught_up(&node, &chain).await.delivered().expect("blocks").get();
        chain.until_height(height + EPOCH).await;
        let stalled = caught_up(&node, &chain).await;
        let top = stalled.delivered().expect("blocks").get();
        chain.until_height(top + 2 * EPOCH).await;
        let seen = caught_up(&node, &chain).await;
        assert_eq!(seen.finalized(), stalled.finalized(), "less than two thirds attest");
        assert!(seen.delivered().expect("blocks").get() >= top + 2 * EPOCH, "blocks go on");
        assert_eq!(
            seen.state(),
            Some(State::Live),
            "the tip is fresh: finality is the chain's affair"
        );

        chain.start_validators();
        let stalled = stalled.finalized().map_or(0, |block| block.height.get());
        let again = finalized_above(&node, &chain, stalled).await;
        assert!(again > stalled);

        // The whole consensus client: nothing comes, and nothing moves.
        chain.hold(true);
        let held = caught_up(&node, &chain).await.watermarks;
        for _ in 0..3 {
            node.follower.sync().await.expect("a pass");
        }
        assert_eq!(node.recorder.seen().watermarks, held);
        chain.hold(false);
        finalized_above(&node, &chain, again).await;
        let seen = caught_up(&node, &chain).await;
        assert_eq!(seen.count(FaultKind::Disputed), 0, "{:?}", seen.faults);
        assert_is_chain(node, &chain).await;
    });
}

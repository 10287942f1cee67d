//! An execution client that dies, goes back, and falls behind.

use super::{
    assert_is_chain, caught_up, finalized_above, prunes, settings, stands_at, with_chains,
};
use std::time::Duration;
use tidewatch_core::{FaultKind, State};
use tidewatch_tests::{
    EthereumNode, Seen,
    consensus::{Chain, LONG_SLOT},
};

#[test]
#[ignore = "takes some five minutes"]
fn an_execution_client_that_is_killed_rolled_back_or_put_behind_is_followed_on() {
    with_chains(LONG_SLOT, async |context, [mut chain]: [Chain; 1]| {
        let mut settings = settings(&chain, &chain);
        settings.driver.thresholds.contact = Duration::from_millis(500);
        let node = EthereumNode::start(&context, &settings).await;
        finalized_above(&node, &chain, 0).await;

        for _ in 0..2 {
            let before = caught_up(&node, &chain).await;
            chain.kill_execution().await;
            let blind = |seen: &Seen| seen.state() == Some(State::Blind);
            let seen = node.recorder.until("blind", blind).await;
            assert!(height(&seen) >= height(&before), "silence moves nothing");
            chain.start_execution().await;
            let height = seen.delivered().expect("blocks").get();
            chain.until_height(height + 2).await;
            caught_up(&node, &chain).await;
        }

        // Back, to what is final at the lowest, while the consensus client stands still.
        chain.hold(true);
        let before = caught_up(&node, &chain).await;
        let (top, floor) =
            (before.delivered().expect("blocks"), before.finalized().expect("final"));
        let depth = 3.min(top.get() - floor.height.get());
        let head = chain.roll_back(depth).await;
        assert!(depth < 2 || head.height < top, "{head} is below {top}");
        let tips = chain.tips().await;
        node.recorder.until("the lower head", |seen| stands_at(seen, &tips)).await;
        chain.hold(false);
        chain.until_height(top.get() + 2).await;
        caught_up(&node, &chain).await;

        behind(&node, &mut chain).await;

        let disputed = node.recorder.seen().count(FaultKind::Disputed);
        assert_eq!(disputed, 0, "{:?}", node.recorder.seen().faults);
        let records = assert_is_chain(node, &chain).await;
        assert!(prunes(&records).contains(&depth), "{depth}: {:?}", prunes(&records));
    });
}

/// What is final.
fn height(seen: &Seen) -> u64 {
    seen.finalized().map_or(0, |block| block.height.get())
}

/// The client is put back to what it had on disk before blocks that are final by now.
async fn behind(node: &EthereumNode, chain: &mut Chain) {
    let before = caught_up(node, chain).await;
    let height = before.delivered().expect("blocks").get();
    chain.stop_execution().await;
    chain.copy_execution(Chain::EXECUTION, "older");
    chain.start_execution().await;
    chain.until_height(height + 2).await;
    let finalized = finalized_above(node, chain, height + 1).await;

    chain.hold(true);
    chain.stop_execution().await;
    chain.copy_execution(Chain::EXECUTION, "newest");
    chain.copy_execution("older", Chain::EXECUTION);
    let held = node.recorder.seen();
    let faults = held.count(FaultKind::Behind);
    chain.start_execution().await;
    let latest = chain.tips().await.latest;
    assert!(latest.height.get() < finalized, "{latest} is behind {finalized}");
    let behind = |seen: &Seen| seen.count(FaultKind::Behind) > faults + 1;
    let seen = node.recorder.until("the fault", behind).await;
    assert_eq!(seen.watermarks.tips, held.watermarks.tips, "nothing is taken back");
    assert_eq!(seen.watermarks.delivered, held.watermarks.delivered);

    chain.stop_execution().await;
    chain.copy_execution("newest", Chain::EXECUTION);
    chain.start_execution().await;
    chain.hold(false);
    chain.until_height(held.delivered().expect("blocks").get() + 2).await;
    caught_up(node, chain).await;
}

//! What following costs, in requests.

use super::*;
use tidewatch_core::{ChainInfo, LocalView as _};
use tidewatch_store::{Memory as Views, MemoryWriter as View};
use tidewatch_stream::{Ended, Mode, Pass, Unguarded};

/// A view, the source that it follows, and the node behind that.
struct Follower {
    node: Node,
    source: MidenSource<deterministic::Context, Node>,
    view: View<MidenBlock>,
    chain_info: ChainInfo,
    mode: Mode,
}

impl Follower {
    /// A follower of a chain of `length` blocks that has asked which one it is, and who signs it.
    async fn new(context: &deterministic::Context, length: u64, mode: Mode) -> Self {
        let node = Node::new(length);
        let source = source(context, node.clone(), Finalized::Committed);
        let chain_info = source.chain_info().await.unwrap();
        assert_eq!(node.take_requests().len(), 1);
        source.snapshot().await.unwrap();
        assert_eq!(node.take_requests().len(), 3, "the key that genesis names, and the tips");
        Self { node, source, view: Views::new(chain_info.clone()).0, chain_info, mode }
    }

    /// Makes one pass that must lead to the tip; the requests that it took, by method.
    async fn pass(&mut self) -> Vec<&'static str> {
        self.node.take_requests();
        let (source, chain_info) = (&self.source, &self.chain_info);
        let report = Pass::new(source, &mut self.view, chain_info, self.mode, Unguarded, &())
            .run()
            .await
            .unwrap();
        assert!(matches!(report.ended, Ended::Quiet | Ended::Complete), "{report:?}");
        assert!(report.faults.is_empty(), "{report:?}");
        let tips = self.view.watermarks().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Proposed), Some(self.node.tip()));
        self.node.take_requests().iter().map(|call| call.method).collect()
    }

    async fn settled(context: &deterministic::Context, length: u64) -> Self {
        let mut follower = Self::new(context, length, Mode::GENESIS).await;
        follower.pass().await;
        follower
    }
}

const TIPS: [&str; 2] = ["SyncChainMmr"; 2];

#[test]
fn a_quiet_pass_is_two_requests_and_so_is_one_in_which_a_tier_moves() {
    run(|context| async move {
        let mut follower = Follower::settled(&context, 10).await;
        assert_eq!(follower.pass().await, TIPS);
        follower.node.prove(7);
        assert_eq!(follower.pass().await, TIPS);
    });
}

#[test]
fn one_new_block_is_two_requests_for_it_comes_with_the_tip() {
    run(|context| async move {
        let mut follower = Follower::settled(&context, 10).await;
        for _ in 0..3 {
            follower.node.grow_by(1);
            assert_eq!(follower.pass().await, TIPS);
        }
    });
}

#[test]
fn more_new_blocks_are_one_request_more() {
    run(|context| async move {
        let mut follower = Follower::settled(&context, 10).await;
        follower.node.grow_by(2);
        assert_eq!(follower.pass().await, [TIPS[0], TIPS[1], "GetBlockByNumber"]);
        follower.node.grow_by(3);
        assert_eq!(follower.pass().await, [TIPS[0], TIPS[1], "BlockSubscription"]);
    });
}

#[test]
fn catching_up_is_two_requests_for_each_range_and_two_more() {
    run(|context| async move {
        for length in [1, 2, 255, 256, 257, 600] {
            let mut follower = Follower::new(&context, length, Mode::GENESIS).await;
            let budget = 2 * (length as usize).div_ceil(256) + 2;
            let requests = follower.pass().await;
            assert!(requests.len() <= budget, "{length}: {requests:?}");
            // Once more after a restart, when nothing is remembered.
            follower.source = source(&context, follower.node.clone(), Finalized::Committed);
            follower.source.chain_info().await.unwrap();
            follower.source.snapshot().await.unwrap();
            follower.node.grow_by(length);
            let requests = follower.pass().await;
            assert!(requests.len() <= budget, "{length} after a restart: {requests:?}");
        }
    });
}

#[test]
fn for_the_tips_alone_no_block_is_fetched() {
    run(|context| async move {
        let mut follower = Follower::new(&context, 20, Mode::TipsOnly).await;
        assert_eq!(follower.pass().await, TIPS);
        follower.node.grow_by(2);
        let requests = follower.pass().await;
        assert!(!requests.contains(&"BlockSubscription"), "{requests:?}");
        assert!(requests.len() <= 5, "{requests:?}");
    });
}

#[test]
fn where_the_node_gives_no_streams_blocks_come_one_by_one() {
    run(|context| async move {
        let mut follower = Follower::new(&context, 40, Mode::GENESIS).await;
        follower.node.0.lock().streams = false;
        let requests = follower.pass().await;
        // 39 blocks and the tip, which is there; each range of 16 begins with a look for the stream.
        assert!(requests.len() <= 2 + 39 + 2 * 3, "{requests:?}");
    });
}

//! What following costs, in requests.

use super::*;
use crate::rpc::Config;
use tidewatch_core::{ChainInfo, LocalView as _, Snapshot};
use tidewatch_store::{Memory as Views, MemoryWriter as View};
use tidewatch_stream::{Ended, Mode, Pass, Unguarded};

/// A view, the source that it follows, and the node behind that.
struct Follower {
    node: Node,
    source: AztecSource<deterministic::Context, Node>,
    view: View<AztecBlock>,
    chain_info: ChainInfo,
    mode: Mode,
}

impl Follower {
    /// A follower of a chain of `length` blocks that has asked which one it is, and nothing else.
    async fn new(context: &deterministic::Context, length: u64, mode: Mode) -> Self {
        let node = Node::new(length);
        let source = source(context, node.clone());
        let chain_info = source.chain_info().await.unwrap();
        assert_eq!(node.take_requests().len(), 1, "one request for the chain_info");
        Self { node, source, view: Views::new(chain_info.clone()).0, chain_info, mode }
    }

    /// One that is at the tip.
    async fn settled(context: &deterministic::Context, length: u64) -> Self {
        let mut follower = Self::new(context, length, Mode::GENESIS).await;
        follower.pass().await;
        follower
    }

    /// Makes one pass that must lead to the tip; the requests that it took.
    async fn pass(&mut self) -> usize {
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
        self.node.requests()
    }

    async fn snapshot(&self) -> Snapshot {
        self.source.snapshot().await.unwrap()
    }
}

#[test]
fn a_quiet_pass_is_one_request() {
    run(|context| async move {
        let mut follower = Follower::settled(&context, 10).await;
        assert_eq!(follower.pass().await, 1);
        assert_eq!(follower.pass().await, 1);
        let time = follower.snapshot().await.time_ms;
        assert_eq!(time, Some((1_795_240_661 + 10 * 72) * 1_000));
    });
}

#[test]
fn a_tier_that_moves_is_one_request() {
    run(|context| async move {
        let mut follower = Follower::settled(&context, 10).await;
        follower.node.settle([8, 6, 4]);
        assert_eq!(follower.pass().await, 1);
    });
}

#[test]
fn one_new_block_is_two_requests_and_the_block_alone() {
    run(|context| async move {
        let mut follower = Follower::settled(&context, 10).await;
        for _ in 0..3 {
            follower.node.grow_by(1);
            assert_eq!(follower.pass().await, 2);
            let requests = follower.node.take_requests();
            let height = follower.node.tip().height.get();
            assert_eq!(requests[1], [calls::blocks(height, 1)]);
        }
    });
}

#[test]
fn catching_up_is_a_request_for_each_range_and_two_more() {
    run(|context| async move {
        for length in [1, 49, 50, 51, 100, 240] {
            let mut follower = Follower::new(&context, length, Mode::GENESIS).await;
            let requests = follower.pass().await;
            assert!(requests <= length as usize / 50 + 2, "{length}: {requests}");
            // Once more after a restart, when nothing is remembered.
            follower.source = source(&context, follower.node.clone());
            follower.source.chain_info().await.unwrap();
            follower.node.grow_by(length);
            let requests = follower.pass().await;
            assert!(requests <= length as usize / 50 + 2, "{length} after a restart: {requests}");
        }
    });
}

#[test]
fn a_limit_below_50_costs_one_request_once() {
    run(|context| async move {
        let mut follower = Follower::new(&context, 100, Mode::GENESIS).await;
        follower.node.world.lock().limit = 20;
        assert_eq!(follower.pass().await, 1 + 1 + 5);
        assert_eq!(follower.source.limits().blocks_max.get(), 20);
        follower.node.grow_by(100);
        assert_eq!(follower.pass().await, 1 + 5);
    });
}

/// The base-2 logarithm, rounded up.
const fn log2(depth: u64) -> usize {
    depth.next_power_of_two().trailing_zeros() as usize
}

#[test]
fn a_reorg_costs_the_logarithm_of_its_depth_and_three() {
    run(|context| async move {
        for depth in [1, 2, 3, 4, 7, 8, 40, 63, 64, 100] {
            let mut follower = Follower::settled(&context, 120).await;
            follower.node.settle([12, 11, 10]);
            follower.pass().await;
            follower.node.fork(depth, depth);
            let requests = follower.pass().await;
            assert!(requests <= log2(depth) + 3, "depth {depth}: {requests} requests");
        }
    });
}

#[test]
fn a_reorg_onto_a_longer_chain_costs_at_most_one_request_more() {
    run(|context| async move {
        for depth in [1, 2, 3, 4, 5, 8, 40, 64, 100] {
            let mut follower = Follower::settled(&context, 120).await;
            follower.node.settle([12, 11, 10]);
            follower.pass().await;
            follower.node.fork(depth, depth + 1);
            let requests = follower.pass().await;
            // The block that was replaced below the new one has to be fetched by itself.
            let more = usize::from(depth == 1);
            assert!(requests <= log2(depth) + 3 + more, "depth {depth}: {requests} requests");
        }
    });
}

#[test]
fn a_chain_that_becomes_shorter_costs_two_snapshots_and_the_looks_that_make_sure_of_it() {
    run(|context| async move {
        let mut follower = Follower::settled(&context, 20).await;
        follower.node.fork(5, 0);
        let looks = Config::default().lower_max as usize;
        assert_eq!(follower.pass().await, looks + 2);
    });
}

#[test]
fn for_the_tips_alone_no_block_is_fetched() {
    run(|context| async move {
        let mut follower = Follower::new(&context, 20, Mode::TipsOnly).await;
        assert_eq!(follower.pass().await, 1);
        follower.node.grow_by(2);
        assert!(follower.pass().await <= 2);
        follower.node.fork(1, 1);
        assert!(follower.pass().await <= 3);
        follower.node.fork(2, 5);
        assert!(follower.pass().await <= 4);
        let requests = follower.node.take_requests().concat();
        assert!(requests.iter().all(|call| call.method != "node_getBlocks"), "{requests:?}");
        assert_eq!(
            follower.snapshot().await.time_ms,
            Some((1_795_240_661 + follower.node.tip().height.get() * 72) * 1_000)
        );
    });
}

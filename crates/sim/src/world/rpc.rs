//! A source over several trusted upstreams, as for a chain without certificates.

use super::node::Node;
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use futures::{pin_mut, stream::poll_fn};
use std::{
    future::Future as _,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};
use tidewatch_core::{
    BlockRef, ChainInfo, Digest, Doorbell, Fault, Height, Ladder, Limits, Snapshot, Source,
};
use tidewatch_testkit::chain::TestBlock;

use super::node::{Health, Personality};
use crate::truth::Truth;

/// Sends requests to one upstream at a time, and switches to the next one after a failure, or when its
/// answers turn out to be of no use.
#[derive(Debug)]
pub struct RpcSource<E> {
    nodes: Arc<[Arc<Node<E>>]>,
    current: Arc<AtomicUsize>,
    /// Whether the last call failed or was dropped.
    suspect: AtomicBool,
    truth: Arc<Mutex<Truth>>,
    chain_info: ChainInfo,
    ladder: Ladder,
    limits: Limits,
}

impl<E: Clock> RpcSource<E> {
    /// A source over `nodes`, which must not be empty.
    pub fn new(
        nodes: Vec<Arc<Node<E>>>,
        truth: Arc<Mutex<Truth>>,
        ladder: Ladder,
        digests_max: usize,
        blocks_max: usize,
    ) -> Self {
        let at_least_one = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        let limits =
            Limits { digests_max: at_least_one(digests_max), blocks_max: at_least_one(blocks_max) };
        let chain_info = truth.lock().now().chain.chain_info();
        let (current, suspect) = (Arc::default(), AtomicBool::new(false));
        let nodes = nodes.into();
        Self { nodes, current, suspect, truth, chain_info, ladder, limits }
    }

    fn node(&self) -> &Node<E> {
        if self.suspect.swap(true, Ordering::Relaxed) {
            self.current.fetch_add(1, Ordering::Relaxed);
        }
        &self.nodes[self.current.load(Ordering::Relaxed) % self.nodes.len()]
    }

    fn settle<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        self.suspect.store(answer.is_err(), Ordering::Relaxed);
        answer
    }
}

impl<E: Clock> Source for RpcSource<E> {
    type Block = TestBlock;

    fn name(&self) -> &str {
        "rpc"
    }

    fn ladder(&self) -> Ladder {
        self.ladder
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        Ok(self.chain_info.clone())
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let told = self.node().tips(self.ladder.tiers()).await;
        let (tips, time_ms) = self.settle(told)?;
        Ok(Snapshot { time_ms: Some(time_ms), ..tips.into() })
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let told = self.node().digests(tip, heights).await;
        self.settle(told)
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<TestBlock>, Fault> {
        let told = self.node().blocks(tip, from, self.limits.blocks_max.get()).await;
        self.settle(told)
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        if verdict.is_err() {
            self.suspect.store(true, Ordering::Relaxed);
        }
    }

    fn doorbell(&self) -> Doorbell {
        let (nodes, current) = (self.nodes.clone(), self.current.clone());
        let mut rings = self.truth.lock().bell();
        Doorbell::new(poll_fn(move |context| {
            let node = &nodes[current.load(Ordering::Relaxed) % nodes.len()];
            if node.personality() == Personality::Flapping && node.health() == Health::Wild {
                return Poll::Ready(Some(()));
            }
            let rung = rings.rung();
            pin_mut!(rung);
            rung.poll(context).map(Some)
        }))
    }
}

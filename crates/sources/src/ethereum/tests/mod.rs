//! The source over a scripted node, in the deterministic runtime.

mod cost;
mod headers;
mod hostile;
pub(crate) mod node;
mod nodes;
mod several;
mod spoken;
mod unfit;
mod worlds;

use super::{EthBlock, EthereumSource};
use crate::rpc::{Config, Rpc};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use commonware_utils::NZUsize;
use node::Node;
use std::{future::Future, sync::Arc, time::Duration};
use tidewatch_conformance::{Verdict, source, source_checks};
use tidewatch_core::{ChainInfo, Fault, LocalView as _, Source, Tier, Watermarks};
use tidewatch_store::{Memory, MemoryWriter};
use tidewatch_stream::{Mode, Pass, Report, Start, Unguarded};

pub(crate) const ID: u64 = 31_337;

pub(crate) fn simulate<F: Future>(
    seed: u64,
    test: impl FnOnce(deterministic::Context) -> F,
) -> F::Output {
    let config = deterministic::Config::new()
        .with_seed(seed)
        .with_timeout(Some(Duration::from_secs(86_400)));
    deterministic::Runner::new(config).start(test)
}

type Scripted = EthereumSource<deterministic::Context, Node>;

/// A node with `blocks` blocks, and a source over it.
fn scripted(context: &deterministic::Context, blocks: u64, config: &Config) -> (Node, Scripted) {
    let node = Node::new(context.child("node"), "node", ID, blocks);
    let source = over(context, vec![node.clone()], config);
    (node, source)
}

fn over(context: &deterministic::Context, nodes: Vec<Node>, config: &Config) -> Scripted {
    EthereumSource::new(context.child("source"), nodes, Arc::new(()), config).unwrap()
}

/// What a source asked so far.
pub(crate) trait Asks {
    fn requests(&self) -> u64;
}

impl<E: commonware_runtime::Clock + commonware_runtime::Spawner, R: Rpc> Asks
    for EthereumSource<E, R>
{
    fn requests(&self) -> u64 {
        self.work().requests
    }
}

/// A view, and passes over a source for it.
pub(crate) struct Follower<S> {
    pub(crate) source: S,
    pub(crate) view: MemoryWriter<EthBlock>,
    chain_info: ChainInfo,
    start: Start,
}

impl<S: Source<Block = EthBlock> + Asks> Follower<S> {
    pub(crate) async fn start(source: S) -> Self {
        Self::start_at(Start::Genesis, source).await
    }

    pub(crate) async fn start_at(start: Start, source: S) -> Self {
        let chain_info = source.chain_info().await.unwrap();
        Self { view: Memory::new(chain_info.clone()).0, source, chain_info, start }
    }

    async fn run(&mut self) -> Result<Report, Fault> {
        let mode = Mode::Blocks { start: self.start, skip_finalized: false };
        let (source, chain_info) = (&self.source, &self.chain_info);
        Pass::new(source, &mut self.view, chain_info, mode, Unguarded, &()).run().await
    }

    /// One pass; the requests that it cost.
    pub(crate) async fn pass(&mut self) -> u64 {
        let before = self.source.requests();
        assert_eq!(self.run().await.unwrap().faults, []);
        self.source.requests() - before
    }

    /// One pass, which a fault ends.
    pub(crate) async fn refused(&mut self) -> Fault {
        self.run().await.unwrap_err()
    }

    pub(crate) async fn watermarks(&self) -> Watermarks {
        self.view.watermarks().await.unwrap()
    }

    /// The view stands where the node does, with every tier.
    pub(crate) async fn assert_at(&self, node: &Node) {
        let watermarks = self.watermarks().await;
        let at = |height: Option<u64>| height.map(|height| node.at(height));
        let (safe, finalized) = node.change(|world| (world.safe, world.finalized));
        assert_eq!(watermarks.delivered, Some(node.tip()));
        assert_eq!(watermarks.tips.block(Tier::Proposed), Some(node.tip()));
        assert_eq!(watermarks.tips.block(Tier::Checkpointed), at(safe));
        assert_eq!(watermarks.tips.block(Tier::Finalized), at(finalized));
    }
}

#[test]
fn it_holds_in_every_check_of_a_source_whatever_it_remembers_and_however_it_is_asked() {
    let (little, small) = (NZUsize!(2), NZUsize!(3));
    let table = [
        Config::default(),
        Config { recent_max: little, ..Config::default() },
        Config { batch_max: small, ..Config::default() },
    ];
    for (seed, config) in table.iter().enumerate() {
        let report = simulate(seed as u64, |context| async move {
            let (mut node, scripted) = scripted(&context, 20, config);
            node.change(|world| (world.safe, world.finalized) = (Some(9), Some(4)));
            source(context, Arc::new(scripted), &mut node).await
        });
        report.assert();
        let other = report.checks().iter().filter(|check| check.verdict != Verdict::Held);
        let other: Vec<_> = other.map(|check| check.name).collect();
        assert_eq!(other, [source_checks::PROOF], "{config:?}\n{report}");
    }
}

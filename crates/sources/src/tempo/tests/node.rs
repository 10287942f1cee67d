//! Nodes of a network, in the deterministic runtime.

use super::chain::World;
use crate::{
    rpc::tests::node,
    tempo::{Config, SourceOver, TempoSchemes, UpstreamOver, over, schemes},
};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use std::{sync::Arc, time::Duration};
use tidewatch_testkit::monitor::Faults;

/// A node that lives in the test.
pub(super) type Node = node::Node<World>;

impl Node {
    pub(super) fn new(context: &deterministic::Context, name: &str, world: World) -> Self {
        Self::of(context.child("node"), name, world)
    }
}

pub(super) fn simulate<F: Future>(
    seed: u64,
    test: impl FnOnce(deterministic::Context) -> F,
) -> F::Output {
    let config = deterministic::Config::new()
        .with_seed(seed)
        .with_timeout(Some(Duration::from_secs(86_400)));
    deterministic::Runner::new(config).start(test)
}

pub(super) type Source = SourceOver<deterministic::Context, Node>;
pub(super) type Upstream = UpstreamOver<deterministic::Context, Node>;

/// A source over `nodes`, under `schemes` of their network.
pub(super) fn follow(
    context: &deterministic::Context,
    nodes: &[&Node],
    pushes: bool,
    config: &Config,
) -> (Source, Upstream, TempoSchemes, Faults) {
    let network = nodes[0].world.lock().network.clone();
    let (schemes, recorder) = (schemes(&network), Faults::default());
    let nodes = nodes.iter().map(|node| ((*node).clone(), pushes)).collect();
    let context = context.child("tempo");
    let (source, upstream) =
        over(context, nodes, &network, schemes.clone(), Arc::new(recorder.clone()), config)
            .unwrap();
    (source, upstream, schemes, recorder)
}

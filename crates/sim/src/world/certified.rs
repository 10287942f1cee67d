//! Follows a certified chain through the certified source, and counts the certificates.

use super::{
    World,
    endpoint::{Endpoint, Network, Traffic},
    node::Node,
};
use crate::{
    host::Host,
    scripted::{chain::TestBlock, committee::Terms},
    watch::{Certificates, Told},
};
use commonware_runtime::{Supervisor as _, deterministic, reschedule};
use commonware_utils::sync::Mutex;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_certified::{CertifiedSource, Check, Config, Failover, Parts, Work, open};
use tidewatch_core::Running;

/// The certified source of a world.
pub(super) type Source = CertifiedSource<
    Host<deterministic::Context>,
    Failover<Endpoint<deterministic::Context>>,
    Terms,
    TestBlock,
>;

/// The upstream actor of the source, with its traffic.
pub(super) struct Upstream {
    source: Arc<Source>,
    traffic: Arc<Mutex<Traffic>>,
}

impl Upstream {
    /// Certificates that the source has received and verified so far.
    pub(super) fn certificates(&self) -> Certificates {
        let (Work { checks, .. }, Traffic { tips, heights, pushes, new, .. }) =
            (self.source.work(), *self.traffic.lock());
        let checked = |check: Check| checks.get(check.as_str()).copied().unwrap_or_default();
        Certificates {
            tips: (checked(Check::Tip), tips),
            pushes: (checked(Check::Push), pushes),
            heights: (checked(Check::Range) + checked(Check::Digest), heights),
            new,
        }
    }

    /// The traffic that remains once the follower was stopped.
    pub(super) async fn end(self) -> Traffic {
        drop(self.source);
        // The signature verifier ends when its last mailbox is dropped, one scheduler turn later.
        reschedule().await;
        reschedule().await;
        *self.traffic.lock()
    }
}

impl World {
    /// Opens the source over one endpoint for each of `nodes`, and starts its upstream actor.
    pub(super) fn certified(
        &self,
        host: &Host<deterministic::Context>,
        nodes: &[Arc<Node<deterministic::Context>>],
        told: Told,
    ) -> (Arc<Source>, Upstream, Running) {
        let network = Network {
            validators: self.validators.clone(),
            truth: self.truth.clone(),
            traffic: Arc::default(),
            sent: Arc::default(),
        };
        let traffic = network.traffic.clone();
        let mut endpoints = nodes
            .iter()
            .map(|node| Endpoint::new(node.clone(), network.clone()))
            .collect::<Vec<_>>();
        let first = endpoints.remove(0);
        let truth = self.truth.lock();
        let chain = &truth.now().chain;
        let parts = Parts {
            chain: chain.chain_info().id,
            genesis: chain.blocks()[0].clone(),
            codec: (),
            epochs: self.validators.terms().clone(),
            transport: Failover::new(first, endpoints),
            monitor: Arc::new(told),
        };
        let config = Config {
            request_timeout: self.mix.request_timeout,
            silence: self.mix.silence,
            ask_interval: self.mix.silence,
            blocks_max: NonZeroUsize::new(self.mix.blocks_max).unwrap_or(NonZeroUsize::MIN),
            backoff_cap: Duration::from_secs(4),
            ..Config::default()
        };
        let (source, upstream) = open(host.child("certified"), parts, config);
        let source = Arc::new(source);
        let running = Running::start(upstream);
        (source.clone(), Upstream { source, traffic }, running)
    }
}

//! Follows a certified chain through the certified source, and counts the certificates.

use super::committees::Committees;
use super::{
    World,
    endpoint::{Endpoint, Network, Traffic},
    node::Node,
};
use crate::{
    flaw::Flaw,
    watch::{Certificates, Told},
};
use commonware_consensus::types::FixedEpocher;
use commonware_runtime::{Supervisor as _, deterministic, reschedule};
use commonware_utils::sync::Mutex;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_certified::{
    CertifiedSource, Check, Config, Failover, Keeper, Parts, Schemes, Work, epochs::keeper, open,
};
use tidewatch_core::{Fault, FaultKind, Running};
use tidewatch_testkit::{chain::TestBlock, host::Host};

/// The certified source of a world.
pub(super) type Source = CertifiedSource<
    Host<deterministic::Context>,
    Failover<Endpoint<deterministic::Context>>,
    Schemes<FixedEpocher, Committees, TestBlock>,
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
        let (Work { checks, refusals, .. }, Traffic { tips, heights, pushes, new, .. }) =
            (self.source.work(), *self.traffic.lock());
        let checked = |check: Check| checks.get(check.as_str()).copied().unwrap_or_default();
        // One of an unknown epoch may be checked twice: under the key that was kept so far, and under its own.
        let unknown = FaultKind::UnknownEpoch.as_str();
        let tries = refusals.get(unknown).copied().unwrap_or_default();
        let by_height = [Check::Range, Check::Digest, Check::Epoch].map(checked).iter().sum();
        Certificates {
            tips: (checked(Check::Tip), tips + tries),
            pushes: (checked(Check::Push), pushes + tries),
            heights: (by_height, heights + tries),
            new: new + tries,
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
    ///
    /// # Errors
    ///
    /// The disk fails on which the epochs are kept.
    pub(super) async fn certified(
        &self,
        host: &Host<deterministic::Context>,
        nodes: &[Arc<Node<deterministic::Context>>],
        told: Told,
    ) -> Result<(Arc<Source>, Upstream, [Running; 2]), Fault> {
        let network = Network {
            validators: self.validators.clone(),
            truth: self.truth.clone(),
            scene: self.scene.clone(),
            traffic: Arc::default(),
            sent: Arc::default(),
            makes_up: self.flaw == Some(Flaw::MadeUpCertificate),
        };
        let traffic = network.traffic.clone();
        let mut endpoints = nodes
            .iter()
            .map(|node| Endpoint::new(node.clone(), network.clone()))
            .collect::<Vec<_>>();
        let first = endpoints.remove(0);
        let chain = self.truth.lock().now().chain.clone();
        let id = chain.chain_info().id;
        let schemes = self.validators.schemes();
        let kept = keeper::Config { chain: id.clone(), partition: "epochs".into() };
        let keeper = Keeper::open(host.child("epochs"), kept, &schemes).await?;
        let parts = Parts {
            chain: id,
            genesis: chain.blocks()[0].clone(),
            codec: (),
            epochs: schemes,
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
        let running = [Running::start(keeper), Running::start(upstream)];
        Ok((source.clone(), Upstream { source, traffic }, running))
    }
}

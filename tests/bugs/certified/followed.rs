//! A source over a transport, its upstream, and a driver over both.

use super::ours;
use crate::support::Recorder;
use crate::support::Watched;
use commonware_consensus::types::Epoch;
use commonware_runtime::{Handle, Supervisor as _, deterministic};
use std::sync::Arc;
use tidewatch_certified::{
    CertifiedSource, Config, Epochs, OneEpoch, Parts, Transport, Upstream, open,
};
use tidewatch_core::{ChainId, Fault, Ladder, LocalView, Source as _};
use tidewatch_store::Memory;
use tidewatch_stream::{Driver, Mailbox, driver};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    committee::Scheme,
};

/// A source of the scripted chain.
pub(crate) type CertSource<T, X = OneEpoch<Scheme>> =
    CertifiedSource<deterministic::Context, T, X, TestBlock>;

/// The upstream actor of such a source.
pub(crate) type CertUpstream<T, X = OneEpoch<Scheme>> =
    Upstream<deterministic::Context, T, X, TestBlock>;

/// A source of the scripted chain over `transport`, and its upstream actor.
pub(crate) fn source<T: Transport>(
    context: &deterministic::Context,
    transport: T,
    config: Config,
) -> (CertSource<T>, CertUpstream<T>, Arc<Recorder>) {
    let epochs = OneEpoch::new(Epoch::zero(), Scheme::clone(&ours().verifier()));
    source_under(context, epochs, transport, config)
}

/// The same, with a table of epochs of its own.
pub(crate) fn source_under<T: Transport, X: Epochs>(
    context: &deterministic::Context,
    epochs: X,
    transport: T,
    config: Config,
) -> (CertSource<T, X>, CertUpstream<T, X>, Arc<Recorder>) {
    let recorder = Recorder::new(context);
    let genesis = Chain::new('a', 0).blocks()[0].clone();
    let parts = Parts {
        chain: ChainId::new("test:certified").unwrap(),
        genesis,
        codec: (),
        epochs,
        transport,
        monitor: recorder.clone(),
    };
    let (source, upstream) = open(context.child("certified"), parts, config);
    (source, upstream, recorder)
}

/// A driver over a certified source and a watched view, with the source's upstream actor.
pub(crate) struct Followed<T: Transport> {
    pub(crate) source: Arc<CertSource<T>>,
    pub(crate) view: Watched,
    pub(crate) mailbox: Mailbox,
    /// What the source refused without failing.
    pub(crate) refused: Arc<Recorder>,
    /// Reports of the driver.
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) upstream: Handle<Result<(), Fault>>,
    pub(crate) driver: Handle<Result<(), Fault>>,
}

impl<T: Transport> Followed<T> {
    /// Starts to follow over `transport`.
    pub(crate) async fn start(
        context: &deterministic::Context,
        transport: T,
        config: driver::Config,
    ) -> Self {
        let (source, upstream, refused) = source(context, transport, Config::default());
        let upstream = upstream.start();
        let source = Arc::new(source);
        let chain_info = source.chain_info().await.unwrap();
        let view = Watched::new(Memory::new(chain_info), Ladder::Certified);
        let (driver, mailbox, recorder) = drive(context, &source, view.clone(), config);
        Self { source, view, mailbox, refused, recorder, upstream, driver }
    }

    /// Height of the last block that was delivered.
    pub(crate) fn delivered(&self) -> Option<u64> {
        self.view.stands().delivered.map(|block| block.height.get())
    }
}

/// A driver of `source` over `view`.
pub(crate) fn drive<T: Transport, X: Epochs>(
    context: &deterministic::Context,
    source: &Arc<CertSource<T, X>>,
    view: impl LocalView<Block = TestBlock>,
    config: driver::Config,
) -> (Handle<Result<(), Fault>>, Mailbox, Arc<Recorder>) {
    let recorder = Recorder::new(context);
    let (driver, mailbox) = Driver::new(
        context.child("driver"),
        driver::Parts { source: source.clone(), view, monitor: recorder.clone() },
        config,
    );
    (driver.start(), mailbox, recorder)
}

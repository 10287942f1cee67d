//! B63. After a jump over history and a restart the boundary block of an earlier epoch was not in the
//! store, and without it there was no certificate scheme for the current epoch: every start failed.
//!
//! Here the hash chain below a certificate proves history, so that the scheme of an earlier epoch is
//! never needed: the pinned scheme of the tip's epoch is enough to catch up from genesis and to restart.
//! A certificate of an epoch that the schedule does not contain yet is skipped, and not counted as
//! invalid; the follower continues as soon as the schedule contains the epoch. What extends it from
//! boundary to boundary is `tidewatch_certified::Schemes`, with tests of its own.

use crate::{
    certified::{Endpoint, certify, drive, ours, source_under, strangers},
    support::{Disk, Recorder, crash, open, restart, secs, simulate},
};
use commonware_consensus::types::Epoch;
use commonware_runtime::{Clock as _, Handle, Supervisor as _, deterministic};
use futures::FutureExt as _;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tidewatch_certified::{CertificateKind, Config as Certified, EpochScheme, Epochs};
use tidewatch_core::{Fault, FaultKind, Height, Severity, Source as _, Tier};
use tidewatch_store::Reader;
use tidewatch_stream::{Mailbox, driver::Config};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    committee::{Committee, Scheme},
};

/// Blocks of an epoch, and the epoch that is pinned.
const EPOCH: u64 = 10;
const PINNED: u64 = 7;

/// The validators of an epoch: those of every other one are others.
fn committee(epoch: u64) -> &'static Committee {
    if epoch == PINNED { ours() } else { strangers() }
}

/// The epochs from the pinned one up to the last one that is known. There is nothing below.
#[derive(Clone, Debug)]
struct Table {
    last: Arc<AtomicU64>,
}

impl Table {
    fn pinned() -> Self {
        Self { last: Arc::new(AtomicU64::new(PINNED)) }
    }
}

impl Epochs for Table {
    type Scheme = Scheme;

    fn codec(&self) {}

    fn at(&self, height: Height) -> Option<EpochScheme<Scheme>> {
        let epoch = height.get() / EPOCH;
        let known = (PINNED..=self.last.load(Ordering::Relaxed)).contains(&epoch);
        let scheme = || committee(epoch).verifier();
        known.then(|| EpochScheme { epoch: Epoch::new(epoch), scheme: scheme() })
    }
}

/// An endpoint of `chain` up to `finalized`, every block certified by the validators of its epoch.
fn endpoint(context: &deterministic::Context, chain: &Chain, finalized: u64) -> Endpoint {
    let endpoint = Endpoint::new(context, chain, finalized);
    for (height, block) in (0..).zip(chain.blocks()).skip(1) {
        let epoch = height / EPOCH;
        let by = committee(epoch);
        endpoint.certify(height, certify(by, CertificateKind::Finalized, Epoch::new(epoch), block));
    }
    endpoint
}

/// A follower of `endpoint` with `table`, over `store`.
struct Running {
    store: Reader<deterministic::Context, TestBlock>,
    driver: Handle<Result<(), Fault>>,
    /// What the source refused without failing, and what the driver was told.
    heard: [Arc<Recorder>; 2],
    _upstream: Handle<Result<(), Fault>>,
    _mailbox: Mailbox,
}

impl Running {
    async fn start(context: &deterministic::Context, endpoint: &Endpoint, table: &Table) -> Self {
        let context = context.child("follower");
        let (source, upstream, refused) =
            source_under(&context, table.clone(), endpoint.clone(), Certified::default());
        let (source, upstream) = (Arc::new(source), upstream.start());
        let chain_info = source.chain_info().await.unwrap();
        let Disk { writer, reader: store } = open(&context, &chain_info).await.unwrap();
        let (driver, mailbox, told) = drive(&context, &source, writer, Config::default());
        Self { store, driver, heard: [refused, told], _upstream: upstream, _mailbox: mailbox }
    }

    /// Heights of the last block that was delivered and of the last one that is final.
    async fn stands(&self) -> [Option<u64>; 2] {
        let watermarks = self.store.watermarks().unwrap();
        let finalized = watermarks.tips.block(Tier::Finalized);
        [watermarks.delivered, finalized].map(|block| block.map(|block| block.height.get()))
    }

    fn refusals(&self) -> Vec<FaultKind> {
        self.heard.iter().flat_map(|recorder| recorder.kinds()).collect()
    }
}

#[test]
fn with_the_epoch_of_the_tip_alone_it_catches_up_from_genesis_and_starts_again() {
    let (table, after) = (Table::pinned(), Table::pinned());
    let (_, disk) = crash(|context| async move {
        let endpoint = endpoint(&context, &Chain::new('a', 79), 75);
        let running = Running::start(&context, &endpoint, &table).await;
        context.sleep(secs(5)).await;
        assert_eq!(running.stands().await, [Some(75); 2]);
        assert_eq!(running.refusals(), []);
    });
    restart(disk, |context| async move {
        let endpoint = endpoint(&context, &Chain::new('a', 79), 79);
        let running = Running::start(&context, &endpoint, &after).await;
        assert_eq!(running.stands().await, [Some(75); 2], "as it was left");
        context.sleep(secs(5)).await;
        assert_eq!(running.stands().await, [Some(79); 2]);
        assert_eq!(running.refusals(), []);
    });
}

#[test]
fn an_epoch_that_is_not_known_yet_is_no_lie_and_is_followed_once_somebody_fills_the_table() {
    simulate(|context| async move {
        let chain = Chain::new('a', 85);
        let endpoint = endpoint(&context, &chain, 79);
        let table = Table::pinned();
        let mut running = Running::start(&context, &endpoint, &table).await;
        context.sleep(secs(5)).await;
        endpoint.stand(&chain, 85);
        context.sleep(secs(60)).await;
        assert_eq!(running.stands().await, [Some(79); 2]);
        let mut refusals = running.refusals();
        // This endpoint pushes nothing at all, for which its connections are replaced.
        refusals.retain(|kind| *kind != FaultKind::Timeout);
        assert_eq!(refusals, [FaultKind::UnknownEpoch], "reported once, and nothing else");
        assert!((&mut running.driver).now_or_never().is_none(), "it lives");

        table.last.store(PINNED + 1, Ordering::Relaxed);
        context.sleep(secs(2)).await;
        assert_eq!(running.stands().await, [Some(85); 2]);
    });
}

#[test]
fn a_start_in_an_unknown_epoch_goes_on_once_somebody_fills_the_table() {
    simulate(|context| async move {
        let chain = Chain::new('a', 85);
        let endpoint = endpoint(&context, &chain, 85);
        let table = Table::pinned();
        let running = Running::start(&context, &endpoint, &table).await;
        context.sleep(secs(60)).await;
        assert_eq!(running.stands().await, [None; 2]);
        let refusals = running.refusals();
        assert!(refusals.contains(&FaultKind::UnknownEpoch), "{refusals:?}");
        assert!(!refusals.iter().any(|kind| kind.severity() == Severity::Invalid), "{refusals:?}");

        table.last.store(PINNED + 1, Ordering::Relaxed);
        context.sleep(secs(2)).await;
        assert_eq!(running.stands().await, [Some(85); 2]);
    });
}

//! A source over a chain whose validators change.

use super::world::{Epoched, TestSchemes, follow, height};
use crate::{
    CertificateKind, Config, Epochs as _, Key, Known, Push,
    mocks::{Answer, Scripted},
};
use commonware_consensus::types::Epoch;
use commonware_cryptography::certificate::Provider as _;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use commonware_utils::sync::Mutex;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{BlockRef, Fault, FaultKind, Source as _, Tier};
use tidewatch_testkit::monitor::Faults;

type Source = super::world::Source;

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(600)).start(test);
}

struct Followed {
    source: Source,
    transport: Arc<Scripted>,
    recorder: Faults,
    schemes: TestSchemes,
}

impl Followed {
    fn new(
        context: &deterministic::Context,
        chain: &Epoched,
        anchor: u64,
        script: impl FnMut(Key) -> Answer + Send + 'static,
    ) -> Self {
        let transport = Arc::new(Scripted::new(context, script));
        let schemes = chain.schemes(anchor);
        let (source, _, recorder) = follow(context, &schemes, &transport, Config::default());
        Self { source, transport, recorder, schemes }
    }

    async fn finalized(&self) -> Result<BlockRef, Fault> {
        let tips = self.source.snapshot().await?.tips;
        Ok(tips.block(Tier::Finalized).expect("known"))
    }

    fn checks(&self, reason: &str) -> u64 {
        self.source.work().checks.get(reason).copied().unwrap_or_default()
    }

    fn known(&self, epoch: u64) -> Option<Known> {
        self.schemes.known(Epoch::new(epoch))
    }
}

type Script = Box<dyn FnMut(Key) -> Answer + Send>;

/// As `script`, and the times at which it answered: what was asked together is answered together.
fn round_trips(
    context: &deterministic::Context,
    mut script: impl FnMut(Key) -> Answer + Send + 'static,
) -> (Script, Arc<Mutex<BTreeSet<SystemTime>>>) {
    let (clock, times) = (context.child("trips"), Arc::new(Mutex::new(BTreeSet::new())));
    let seen = times.clone();
    let counted = move |key| {
        seen.lock().insert(clock.current());
        script(key)
    };
    (Box::new(counted), times)
}

#[test]
fn a_million_blocks_and_a_hundred_changes_of_the_key_are_a_hundred_checks_and_the_tips_own() {
    let chain = Epoched::new(10_000, (0..=100).collect(), 1_005_000, true);
    run(|context| async move {
        let (script, trips) = round_trips(&context, chain.answers());
        let followed = Followed::new(&context, &chain, 0, script);
        assert_eq!(followed.finalized().await.unwrap(), chain.reference(1_005_000));
        assert_eq!((followed.checks("tip"), followed.checks("epoch")), (1, 100));
        // Boundaries are requested 2, 4, 8 and then 16 at once.
        assert_eq!(trips.lock().len(), 1 + 3 + 6);
        assert_eq!(followed.transport.calls().len(), 2 + 100, "both tips, and each boundary once");
        assert_eq!(followed.recorder.kinds(), []);
        for epoch in 1..=100 {
            let boundary = chain.reference(epoch * 10_000 - 1);
            assert_eq!(followed.known(epoch), Some(Known::Boundary(boundary)));
        }
    });
}

#[test]
fn where_the_key_is_kept_a_million_blocks_are_three_round_trips_and_two_checks() {
    let chain = Epoched::new(10_000, vec![0; 101], 1_005_000, true);
    run(|context| async move {
        let (script, trips) = round_trips(&context, chain.answers());
        let followed = Followed::new(&context, &chain, 0, script);
        assert_eq!(followed.finalized().await.unwrap(), chain.reference(1_005_000));
        // The tip; one boundary, which shows that the key is kept; one that was passed over.
        assert_eq!((trips.lock().len(), followed.checks("tip")), (3, 1));
        assert_eq!(followed.checks("epoch"), 2);
        assert_eq!(followed.known(100), Some(Known::Key(chain.reference(1_005_000))));
        let by_boundary = |epoch: &u64| matches!(followed.known(*epoch), Some(Known::Boundary(_)));
        assert_eq!((1..=100).filter(by_boundary).collect::<Vec<_>>(), [1, 2]);
        assert!(followed.schemes.scoped(Epoch::new(2)).is_some());
        assert!(
            followed.schemes.scoped(Epoch::new(100)).is_none(),
            "the key alone is for us alone"
        );
    });
}

#[test]
fn boundaries_that_were_passed_over_are_filled_in_one_at_a_time() {
    let chain = Epoched::new(10, vec![0; 10], 95, false);
    run(|context| async move {
        let followed = Followed::new(&context, &chain, 0, chain.answers());
        for _ in 0..12 {
            followed.finalized().await.unwrap();
            context.sleep(Duration::from_secs(11)).await;
        }
        for epoch in 1..=9 {
            let boundary = chain.reference(epoch * 10 - 1);
            assert_eq!(followed.known(epoch), Some(Known::Boundary(boundary)));
        }
        assert_eq!(followed.checks("epoch"), 9, "each boundary once");
    });
}

#[test]
fn history_fills_the_epochs_by_hashing_alone() {
    let chain = Epoched::new(10, vec![0; 10], 95, false);
    run(|context| async move {
        let followed = Followed::new(&context, &chain, 0, chain.answers());
        let tip = followed.finalized().await.unwrap();
        let before = followed.source.work().checks_total();
        let blocks = followed.source.blocks(tip, tidewatch_core::Height::new(1)).await.unwrap();
        assert_eq!(blocks.len(), 95);
        for epoch in 1..=9 {
            let boundary = chain.reference(epoch * 10 - 1);
            assert_eq!(followed.known(epoch), Some(Known::Boundary(boundary)));
        }
        assert_eq!(followed.source.work().checks_total(), before, "no signature was checked");
    });
}

#[test]
fn a_certificate_of_an_unknown_epoch_is_needed_and_not_invalid() {
    let chain = Epoched::new(10, vec![0, 1, 2, 3], 35, false);
    run(|context| async move {
        let mut honest = chain.answers();
        let withheld = move |key| match key {
            key if key == height(19) => Answer::Missing,
            key => honest(key),
        };
        let followed = Followed::new(&context, &chain, 0, withheld);
        let fault = followed.finalized().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Missing);
        assert!(fault.detail.contains("epoch 2 is needed"), "{fault}");
        assert!(fault.detail.contains("block 19"), "{fault}");
        assert!(matches!(followed.known(1), Some(Known::Boundary(_))), "what was learned stays");
        // Once the boundary is there, it goes on from where it was.
        followed.transport.rescript(chain.answers());
        followed.transport.calls();
        assert_eq!(followed.finalized().await.unwrap(), chain.reference(35));
        assert!(!followed.transport.calls().contains(&height(9)), "epoch 1 is not walked again");
        let refusals = followed.source.work().refusals;
        assert_eq!(refusals.get("invalid_certificate"), None, "{refusals:?}");
    });
}

#[test]
fn a_forged_tip_of_an_epoch_far_ahead_is_found_out_by_the_boundaries() {
    // Whether the key is kept or changed, strangers can sign neither.
    for keys in [vec![0; 10], (0..10).collect()] {
        let chain = Epoched::new(10, keys, 95, false);
        run(|context| async move {
            let (mut honest, forged) = (chain.answers(), chain.forged(77, 95));
            let lying = move |key| match key {
                Key::LatestFinalization => Answer::Bytes(forged.clone()),
                key => honest(key),
            };
            let followed = Followed::new(&context, &chain, 0, lying);
            let fault = followed.finalized().await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::InvalidCertificate);
            let checks = followed.source.work().checks_total();
            assert!(checks <= 9 + 3, "{checks} checks");
        });
    }
}

#[test]
fn a_forged_boundary_is_blamed_where_the_scheme_of_its_epoch_is_known() {
    let chain = Epoched::new(10, vec![0, 1, 2, 3], 35, false);
    run(|context| async move {
        let (mut honest, forged) = (chain.answers(), chain.forged(77, 19));
        let lying = move |key| match key {
            key if key == height(19) => Answer::Bytes(forged.clone()),
            key => honest(key),
        };
        let followed = Followed::new(&context, &chain, 0, lying);
        let fault = followed.finalized().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidCertificate);
        assert_eq!(followed.known(2), None);
    });
}

#[test]
fn a_boundary_that_contradicts_the_key_that_was_kept_is_reported_once_and_nothing_moves() {
    let chain = Epoched::new(10, vec![0; 10], 95, false);
    // The same chain up to the boundary of epoch 5, which gives the key away there.
    let other = chain.with_key(5, 1);
    run(|context| async move {
        let followed = Followed::new(&context, &chain, 0, chain.answers());
        let tip = followed.finalized().await.unwrap();
        let (mut honest, boundary) =
            (chain.answers(), other.certified(CertificateKind::Finalized, 59));
        // The tip stays where it is; the boundaries below are filled in one by one.
        followed.transport.rescript(move |key| match key {
            key if key == height(59) => Answer::Bytes(boundary.clone()),
            key => honest(key),
        });
        // Epoch 6 is vouched for by its key, before its boundary is filled in.
        followed.source.digests(tip, &[tidewatch_core::Height::new(62)]).await.unwrap();
        let mut conflicts = Vec::new();
        for _ in 0..12 {
            context.sleep(Duration::from_secs(11)).await;
            match followed.finalized().await {
                Ok(finalized) => assert_eq!(finalized, tip),
                Err(fault) => conflicts.extend(fault.conflict),
            }
        }
        let [conflict] = conflicts[..] else { panic!("{conflicts:?}") };
        assert_eq!(conflict.ours, chain.reference(62));
        assert_eq!(conflict.theirs, other.reference(59));
    });
}

#[test]
fn a_pushed_boundary_gives_the_next_epoch_before_its_first_certificate() {
    let chain = Epoched::new(10, vec![0, 1, 2], 25, false);
    run(|context| async move {
        let mut early = chain.clone();
        early.tip = 8;
        let transport = Arc::new(Scripted::new(&context, early.answers()));
        let schemes = chain.schemes(0);
        let (source, upstream, recorder) =
            follow(&context, &schemes, &transport, Config::default());
        let pushes = transport.accept();
        let mut bell = source.doorbell();
        let _handle = upstream.start();
        bell.rung().await;
        source.snapshot().await.unwrap();
        transport.calls();
        for at in 9..=25 {
            let push = Push::Finalization(chain.certified(CertificateKind::Finalized, at));
            pushes.send(Ok(push)).await.unwrap();
            bell.rung().await;
            let tips = source.snapshot().await.unwrap().tips;
            assert_eq!(tips.block(Tier::Finalized), Some(chain.reference(at)));
        }
        assert_eq!(transport.calls(), [], "nothing had to be asked");
        assert_eq!(source.work().checks["push"], 17);
        assert_eq!(recorder.kinds(), []);
    });
}

#[test]
fn a_push_of_an_epoch_whose_boundary_was_missed_has_it_fetched_at_once() {
    let chain = Epoched::new(10, vec![0, 1, 2], 25, false);
    run(|context| async move {
        let mut early = chain.clone();
        early.tip = 8;
        let transport = Arc::new(Scripted::new(&context, early.answers()));
        let schemes = chain.schemes(0);
        let (source, upstream, _) = follow(&context, &schemes, &transport, Config::default());
        let pushes = transport.accept();
        let mut bell = source.doorbell();
        let _handle = upstream.start();
        bell.rung().await;
        source.snapshot().await.unwrap();
        context.sleep(Duration::from_secs(2)).await;
        transport.rescript(chain.answers());
        let push = Push::Finalization(chain.certified(CertificateKind::Finalized, 24));
        pushes.send(Ok(push)).await.unwrap();
        bell.rung().await;
        let tips = source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(chain.reference(25)), "without a wait");
        assert_eq!(source.work().checks["epoch"], 2);
    });
}

#[test]
fn an_old_anchor_and_a_late_one_lead_to_the_same_schemes() {
    let chain = Epoched::new(10, vec![0, 0, 1, 1, 2, 3, 3, 3], 75, false);
    for anchor in 0..8 {
        let chain = chain.clone();
        run(move |context| async move {
            let followed = Followed::new(&context, &chain, anchor, chain.answers());
            assert_eq!(followed.finalized().await.unwrap(), chain.reference(75));
            let scheme = followed.schemes.at(tidewatch_core::Height::new(75)).unwrap();
            assert_eq!(scheme.epoch, Epoch::new(7));
        });
    }
}

//! B65. A certificate that did not verify ended the process by a panic, and an empty frame ended the
//! task that read it.
//!
//! Here all external input is decoded with bounds and rejected with a reason. A million frames that are
//! random, truncated or changed in one place are each rejected with one of the known reasons, and
//! nothing of them is kept.

use crate::{
    certified::{Endpoint, Followed, finalization, ours, push},
    support::{Recorder, millis, secs, simulate},
};
use bytes::Bytes;
use commonware_consensus::types::Epoch;
use commonware_runtime::{Clock as _, Supervisor as _, telemetry::metrics::count_running_tasks};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use std::collections::BTreeMap;
use tidewatch_certified::{
    CertificateKind, Check, Checker, Metrics, OneEpoch, Push, Verifier, checker,
};
use tidewatch_core::FaultKind;
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    committee::Scheme,
};

const FRAMES: u32 = 1_000_000;

/// Signatures to verify: a verification takes a millisecond.
const CHECKS: u32 = 200;

/// A frame that differs from `good`: random, truncated, or changed in one place.
fn bad(good: &Bytes, rng: &mut StdRng) -> Bytes {
    let mut frame = good.to_vec();
    match rng.random_range(0..3) {
        0 => {
            frame = vec![0; rng.random_range(0..300)];
            rng.fill_bytes(&mut frame);
        }
        1 => frame.truncate(rng.random_range(0..good.len())),
        _ => {
            // A scripted block hashes only one byte of the last field, the fork.
            let at = rng.random_range(0..frame.len() - 4);
            frame[at] ^= rng.random_range(1..=255_u8);
        }
    }
    frame.into()
}

#[test]
fn a_million_bad_frames_are_refused_each_for_a_reason() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let good = finalization(&chain, 9);
        let metrics = Metrics::new(&context, "endpoint", Recorder::new(&context));
        let epochs = OneEpoch::new(Epoch::zero(), Scheme::clone(&ours().verifier()));
        let genesis = chain.blocks()[0].clone();
        let (checker, mailbox) = Checker::new(context.child("checker"), checker::Config::default());
        checker.start();
        let verifier = Verifier::<_, TestBlock>::new(epochs, genesis, (), metrics, mailbox);
        let mut rng = StdRng::seed_from_u64(65);
        let mut reasons: BTreeMap<FaultKind, u32> = BTreeMap::new();
        let (mut decoded, mut checked) = (0, 0);
        for _ in 0..FRAMES {
            let kind =
                if rng.random() { CertificateKind::Finalized } else { CertificateKind::Notarized };
            let refused = match verifier.claim(kind, bad(&good, &mut rng)) {
                Err(fault) => fault,
                Ok(_) if checked == CHECKS => {
                    decoded += 1;
                    continue;
                }
                Ok(claim) => {
                    (decoded, checked) = (decoded + 1, checked + 1);
                    verifier.check(claim, Check::Push).await.unwrap_err()
                }
            };
            *reasons.entry(refused.kind).or_default() += 1;
        }
        assert_eq!(checked, CHECKS);
        let of = |kind| reasons.get(&kind).copied().unwrap_or_default();
        use FaultKind::{InvalidCertificate, Malformed, WrongDigest};
        assert_eq!(of(InvalidCertificate), CHECKS);
        assert!(of(Malformed) > 500_000 && of(WrongDigest) > 1_000, "{reasons:?}");
        let total = of(Malformed) + of(WrongDigest) + decoded;
        assert_eq!(total, FRAMES, "there is no other reason: {reasons:?}");
    });
}

#[test]
fn a_follower_that_is_pushed_bad_frames_and_empty_ones_goes_on() {
    simulate(|context| async move {
        let chain = Chain::new('a', 12);
        let endpoint = Endpoint::new(&context, &chain, 10);
        let followed = Followed::start(&context, endpoint.clone(), Config::default()).await;
        context.sleep(secs(1)).await;
        let tasks = count_running_tasks(&context, "");
        let good = finalization(&chain, 11);
        let mut rng = StdRng::seed_from_u64(66);
        for nth in 0..5_000 {
            let frame = if nth % 7 == 0 { Bytes::new() } else { bad(&good, &mut rng) };
            endpoint.push(&Ok(match nth % 2 {
                0 => Push::Finalization(frame),
                _ => Push::Notarization(frame),
            }));
            context.sleep(millis(20)).await;
        }
        assert_eq!(followed.delivered(), Some(10), "nothing of it moved anything");
        assert_eq!(count_running_tasks(&context, ""), tasks);
        assert!(endpoint.open().1 <= 1);
        context.sleep(secs(60)).await;
        endpoint.stand(&chain, 12);
        endpoint.push(&Ok(push(&chain, 12)));
        context.sleep(secs(12)).await;
        assert_eq!(followed.delivered(), Some(12));
    });
}

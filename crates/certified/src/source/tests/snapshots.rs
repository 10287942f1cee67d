use super::*;
use crate::{
    CertificateKind,
    mocks::{certify, honest, round, schemes},
};
use bytes::Bytes;
use commonware_runtime::Clock as _;
use tidewatch_core::{Block as _, Conflict, FaultKind, Ladder, Severity, TierProof};

#[test]
fn a_server_that_has_nothing_is_not_a_chain() {
    run(|context| async move {
        let chain = Chain::new(0);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, 0));
        for _ in 0..3 {
            let fault = source.snapshot().await.unwrap_err();
            assert_eq!(
                (fault.kind, fault.severity()),
                (FaultKind::Unavailable, Severity::Transient)
            );
            assert!(fault.detail.contains("indexer of this network"), "{fault}");
            let mut calls = transport.calls();
            calls.sort_by_key(Key::kind);
            assert_eq!(calls, [Key::LatestFinalization, Key::LatestNotarization]);
        }
        assert_eq!(source.chain_info().await.unwrap().genesis, chain.reference(0));
        transport.rescript(honest(&Chain::new(2), 2));
        assert_eq!(tips(&source).await, at(&Chain::new(2), 2, 2), "and then it has");
    });
}

/// An open push connection is no answer either, and the tip is asked for until there is one.
#[test]
fn a_server_that_takes_subscriptions_and_has_nothing_is_not_a_chain() {
    run(|context| async move {
        let transport = Arc::new(Scripted::new(&context, |_| Answer::Missing));
        let (source, upstream, _) = follow(&context, &transport, Config::default());
        let _pushes = transport.accept();
        let _handle = upstream.start();
        source.doorbell().rung().await;
        for _ in 0..2 {
            assert_eq!(source.snapshot().await.unwrap_err().kind, FaultKind::Unavailable);
            assert_eq!(transport.calls().len(), 2);
        }
    });
}

#[test]
fn before_the_first_finalization_the_finalized_tier_is_at_genesis() {
    run(|context| async move {
        let chain = Chain::new(2);
        let (source, _, _) = source(&context, Config::default(), honest(&chain, 0));
        let snapshot = source.snapshot().await.unwrap();
        assert_eq!(both(snapshot.tips), at(&chain, 2, 0));
        assert_eq!((snapshot.proofs.get(Tier::Finalized), snapshot.time_ms), (None, Some(200)));
        assert_eq!(snapshot.tips.block(Tier::Proven), None);
        assert_eq!(snapshot.tips.block(Tier::Checkpointed), None);
    });
}

#[test]
fn a_snapshot_is_one_verified_picture_with_its_proof() {
    run(|context| async move {
        let chain = Chain::new(5);
        let (source, _, _) = source(&context, Config::default(), honest(&chain, 3));
        let snapshot = source.snapshot().await.unwrap();
        assert_eq!(both(snapshot.tips), at(&chain, 5, 3));
        assert!(snapshot.tips.check(Ladder::Certified).is_ok());
        let certified = chain.certified(CertificateKind::Finalized, 3);
        let TierProof { block, bytes } = snapshot.proofs.get(Tier::Finalized).unwrap();
        assert_eq!((*block, true), (chain.reference(3), certified.starts_with(bytes)));
        let notarized = chain.certified(CertificateKind::Notarized, 5);
        let TierProof { block, bytes } = snapshot.proofs.get(Tier::Proposed).unwrap();
        assert_eq!((*block, true), (chain.reference(5), notarized.starts_with(bytes)));
        assert_eq!(snapshot.time_ms, Some(500), "the proposed block's own time");
        assert_eq!(source.work().checks["tip"], 2);
        assert_eq!(source.work().requests["digest"], 1, "the ancestor between the two");
    });
}

#[test]
fn a_quiet_endpoint_that_is_polled_costs_no_check() {
    run(|context| async move {
        let chain = Chain::new(5);
        let (source, _, _) = source(&context, Config::default(), honest(&chain, 3));
        for _ in 0..10 {
            assert_eq!(tips(&source).await, at(&chain, 5, 3));
        }
        assert_eq!(source.work().checks_total(), 2);
        assert_eq!(source.work().requests_total(), 21);
    });
}

#[test]
fn a_hostile_answer_for_the_tip_is_a_typed_fault_and_moves_nothing() {
    run(|context| async move {
        let chain = Chain::new(9);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, 3));
        let before = tips(&source).await;
        let html = Bytes::from_static(b"<html><body>504 Gateway Time-out</body></html>");
        let table = [
            ("garbage", Answer::Bytes(Bytes::from_static(&[0xff; 64])), FaultKind::Malformed),
            ("nothing", Answer::Bytes(Bytes::new()), FaultKind::Malformed),
            ("an error page that got through", Answer::Bytes(html), FaultKind::Malformed),
            (
                "a forged certificate",
                Answer::Bytes(chain.forged(CertificateKind::Finalized, 7)),
                FaultKind::InvalidCertificate,
            ),
            (
                "a notarization",
                Answer::Bytes(chain.certified(CertificateKind::Notarized, 7)),
                FaultKind::InvalidCertificate,
            ),
            (
                "an error page",
                Answer::Fault(FaultKind::UnexpectedContent),
                FaultKind::UnexpectedContent,
            ),
            ("an oversized answer", Answer::Fault(FaultKind::Oversized), FaultKind::Oversized),
            ("a lost connection", Answer::Fault(FaultKind::Unreachable), FaultKind::Unreachable),
            (
                "an overloaded endpoint",
                Answer::Fault(FaultKind::Unavailable),
                FaultKind::Unavailable,
            ),
            ("silence", Answer::Silence, FaultKind::Timeout),
        ];
        for (case, answer, kind) in table {
            let answer = move |key| (key == Key::LatestFinalization).then(|| answer.clone());
            transport.rescript(except(honest(&chain, 3), answer));
            let started = context.current();
            assert_eq!(source.snapshot().await.unwrap_err().kind, kind, "{case}");
            let took = context.current().duration_since(started).unwrap();
            assert!(took <= Duration::from_secs(6), "{case}: {took:?}");
            assert!(source.work().refusals[kind.as_str()] > 0, "{case}");
            transport.rescript(honest(&chain, 3));
            assert_eq!(tips(&source).await, before, "{case}");
        }
    });
}

#[test]
fn a_notarization_that_fails_never_holds_up_finality() {
    run(|context| async move {
        let chain = Chain::new(9);
        let (source, transport, recorder) = source(&context, Config::default(), honest(&chain, 3));
        let bad = [
            Answer::Silence,
            Answer::Fault(FaultKind::Unreachable),
            Answer::Bytes(chain.forged(CertificateKind::Notarized, 9)),
            Answer::Bytes(chain.certified(CertificateKind::Finalized, 9)),
            Answer::Bytes(Bytes::new()),
        ];
        for (finalized, answer) in (3..).zip(bad) {
            let answer = move |key| (key == Key::LatestNotarization).then(|| answer.clone());
            transport.rescript(except(honest(&chain, finalized), answer));
            assert_eq!(tips(&source).await, at(&chain, finalized, finalized));
        }
        assert_eq!(recorder.kinds().len(), 5, "each was told of");
    });
}

#[test]
fn a_missing_or_silent_ancestor_makes_the_next_best_block_the_proposed_one() {
    run(|context| async move {
        let chain = Chain::new(9);
        let missing = Key::Digest(chain.reference(7).digest);
        let (source, transport, recorder) = source(&context, Config::default(), honest(&chain, 5));
        transport.rescript(honest(&Chain { blocks: chain.blocks[..=6].to_vec() }, 5));
        assert_eq!(tips(&source).await, at(&chain, 6, 5));
        for answer in [Answer::Missing, Answer::Silence, Answer::Bytes(Bytes::new())] {
            let answer = move |key| (key == missing).then(|| answer.clone());
            transport.rescript(except(honest(&chain, 5), answer));
            let started = context.current();
            assert_eq!(tips(&source).await, at(&chain, 6, 5), "block 6 is notarized too");
            let took = context.current().duration_since(started).unwrap();
            assert!(took <= Duration::from_secs(2), "{took:?}");
        }
        use FaultKind::{Malformed, Missing, Timeout};
        assert_eq!(recorder.kinds(), [Missing, Timeout, Malformed]);
        transport.rescript(honest(&chain, 5));
        assert_eq!(tips(&source).await, at(&chain, 9, 5));
    });
}

#[test]
fn a_notarized_block_on_a_fork_below_finality_is_not_proposed() {
    run(|context| async move {
        let chain = Chain::new(5);
        let fork = chain.fork(3, 8);
        let forked = fork.certified(CertificateKind::Notarized, 8);
        let script = except(honest(&chain, 5), move |key| match key {
            Key::LatestNotarization => Some(Answer::Bytes(forked.clone())),
            Key::Digest(digest) => {
                let block = fork.by_digest(digest)?;
                Some(Answer::Bytes(commonware_codec::Encode::encode(block)))
            }
            _ => None,
        });
        let (source, _, recorder) = source(&context, Config::default(), script);
        assert_eq!(tips(&source).await, at(&chain, 5, 5));
        assert_eq!(recorder.kinds(), [FaultKind::NotLinked]);
    });
}

#[test]
fn ancestors_are_fetched_up_to_a_limit() {
    run(|context| async move {
        let chain = Chain::new(200);
        let (source, _, recorder) = source(&context, Config::default(), honest(&chain, 5));
        assert_eq!(tips(&source).await, at(&chain, 5, 5));
        assert_eq!(source.work().requests["digest"], 64);
        assert_eq!(recorder.kinds(), [FaultKind::Missing]);
    });
}

#[test]
fn an_endpoint_behind_what_was_verified_is_counted_and_ignored() {
    run(|context| async move {
        let chain = Chain::new(9);
        let (source, transport, recorder) = source(&context, Config::default(), honest(&chain, 9));
        for finalized in [9, 7, 8, 0] {
            transport.rescript(honest(&Chain::new(finalized), finalized));
            assert_eq!(tips(&source).await, at(&chain, 9, 9), "{finalized}");
        }
        assert_eq!(source.work().stale, 3);
        assert_eq!(source.work().checks_total(), 1, "old news is not checked");
        assert!(recorder.kinds().is_empty());
    });
}

#[test]
fn two_valid_finalizations_at_one_height_are_a_conflict_with_both_sides() {
    run(|context| async move {
        let chain = Chain::new(9);
        let fork = chain.fork(3, 9);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, 5));
        tips(&source).await;
        transport.rescript(honest(&Chain { blocks: fork.blocks[..=5].to_vec() }, 5));
        let fault = source.snapshot().await.unwrap_err();
        let sides = Conflict { ours: chain.reference(5), theirs: fork.reference(5) };
        assert_eq!((fault.kind, fault.conflict), (FaultKind::FinalityConflict, Some(sides)));
        assert_eq!(fault.severity(), Severity::Invalid);
        assert_eq!(tips(&source).await, at(&chain, 9, 5), "the first one stays, and it goes on");
        assert_eq!(source.work().refusals["finality_conflict"], 1);
    });
}

#[test]
fn pushes_keep_finality_going_while_nothing_can_be_asked() {
    run(|context| async move {
        let chain = Chain::new(9);
        let transport =
            Arc::new(Scripted::new(&context, |_| Answer::Fault(FaultKind::Unavailable)));
        let (source, upstream, recorder) = follow(&context, &transport, Config::default());
        let mut bell = source.doorbell();
        assert_eq!(source.snapshot().await.unwrap_err().kind, FaultKind::Unavailable);
        let pushes = transport.accept();
        let _handle = upstream.start();
        bell.rung().await;
        for height in 1..=9 {
            let push =
                crate::Push::Finalization(chain.certified(CertificateKind::Finalized, height));
            pushes.send(Ok(push)).await.unwrap();
            bell.rung().await;
            assert_eq!(tips(&source).await, at(&chain, height, height));
        }
        assert_eq!(
            source.blocks(chain.reference(9), Height::new(1)).await.unwrap(),
            chain.blocks[1..]
        );
        assert!(recorder.kinds().iter().all(|kind| *kind == FaultKind::Unavailable));
    });
}

#[test]
fn after_a_reconnection_the_tip_is_asked_for_again_although_it_was_asked_lately() {
    run(|context| async move {
        let chain = Chain::new(5);
        let transport = Arc::new(Scripted::new(&context, honest(&chain, 3)));
        let (source, upstream, _) = follow(&context, &transport, Config::default());
        let mut bell = source.doorbell();
        let first = transport.accept();
        let _second = transport.accept();
        let _handle = upstream.start();
        bell.rung().await;
        tips(&source).await;
        let first_calls = transport.calls().len();
        tips(&source).await;
        assert_eq!((first_calls, transport.calls().len()), (3, 0));
        drop(first);
        bell.rung().await;
        tips(&source).await;
        assert_eq!(transport.calls().len(), 2);
        context.sleep(Config::default().ask_interval).await;
        tips(&source).await;
        assert_eq!(transport.calls().len(), 2, "and after the interval");
    });
}

#[test]
fn a_later_view_wins_over_a_higher_block() {
    run(|context| async move {
        let chain = Chain::new(8);
        let fork = chain.fork(5, 6);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, 5));
        assert_eq!(tips(&source).await, at(&chain, 8, 5));
        let later = certify(schemes(), CertificateKind::Notarized, round(9), fork.block(6));
        transport.rescript(except(honest(&chain, 5), move |key| {
            (key == Key::LatestNotarization).then(|| Answer::Bytes(later.clone()))
        }));
        assert_eq!(tips(&source).await, (fork.block(6).reference(), chain.reference(5)));
    });
}

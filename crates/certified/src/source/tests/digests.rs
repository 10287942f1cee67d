use super::*;
use crate::{CertificateKind, mocks::honest};
use commonware_utils::NZUsize;
use tidewatch_core::{Digest, FaultKind};

/// Digests under block 60, the proposed tip.
async fn digests(source: &TestSource, chain: &Chain, heights: &[u64]) -> Vec<Option<Digest>> {
    let heights: Vec<_> = heights.iter().copied().map(Height::new).collect();
    let tip = chain.reference(60);
    source.digests(tip, &heights).await.unwrap()
}

fn expected(chain: &Chain, heights: &[u64]) -> Vec<Option<Digest>> {
    heights.iter().map(|height| Some(chain.reference(*height).digest)).collect()
}

#[test]
fn digests_near_the_tip_come_from_memory_and_the_others_are_proved() {
    run(|context| async move {
        let chain = Chain::new(60);
        let proofs = [10, 20].map(|height| chain.certified(CertificateKind::Finalized, height));
        let script = except(honest(&chain, 50), move |key| match key {
            Key::Height(at) if at.get() == 10 => Some(Answer::Bytes(proofs[0].clone())),
            Key::Height(at) if at.get() == 20 => Some(Answer::Bytes(proofs[1].clone())),
            _ => None,
        });
        let (source, transport, _) = source(&context, Config::default(), script);
        tips(&source).await;
        transport.calls();
        let near = [60, 0, 55, 50, 49];
        assert_eq!(digests(&source, &chain, &near).await, expected(&chain, &near));
        assert!(transport.calls().is_empty());
        assert_eq!(digests(&source, &chain, &[20, 61, 10, 0]).await, {
            let mut digests = expected(&chain, &[20, 0, 10, 0]);
            digests[1] = None;
            digests
        });
        assert_eq!(transport.calls(), [height(20), height(10)]);
        assert_eq!(source.work().checks["digest"], 2);
        assert!(digests(&source, &chain, &[]).await.is_empty());
    });
}

#[test]
fn a_height_without_a_certificate_is_proved_by_one_a_little_above() {
    run(|context| async move {
        let chain = Chain::new(60);
        let good = chain.certified(CertificateKind::Finalized, 24);
        let forged = chain.forged(CertificateKind::Finalized, 21);
        let script = except(honest(&chain, 60), move |key| match key {
            Key::Height(at) => match at.get() {
                21 => Some(Answer::Bytes(forged.clone())),
                24 => Some(Answer::Bytes(good.clone())),
                20..=23 | 30..=40 => Some(Answer::Missing),
                _ => None,
            },
            _ => None,
        });
        let (source, _, recorder) = source(&context, Config::default(), script);
        tips(&source).await;
        assert_eq!(digests(&source, &chain, &[20]).await, expected(&chain, &[20]));
        assert_eq!(digests(&source, &chain, &[30]).await, [None], "too far from any");
        assert_eq!(recorder.kinds(), [FaultKind::InvalidCertificate]);
    });
}

#[test]
fn digests_above_finality_are_known_however_little_is_remembered() {
    run(|context| async move {
        let chain = Chain::new(60);
        let config = Config { recent_max: NZUsize!(2), ..Config::default() };
        let script = except(honest(&chain, 50), |key| match key {
            Key::Height(at) if at.get() > 50 => Some(Answer::Missing),
            _ => None,
        });
        let (source, _, _) = source(&context, config, script);
        tips(&source).await;
        for heights in [&[50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60][..], &[55], &[51, 0]] {
            assert_eq!(digests(&source, &chain, heights).await, expected(&chain, heights));
        }
        assert_eq!(digests(&source, &chain, &[u64::MAX]).await, [None]);
    });
}

#[test]
fn no_contact_is_a_fault_and_never_an_unknown_digest() {
    run(|context| async move {
        let chain = Chain::new(60);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, 60));
        tips(&source).await;
        transport.rescript(|_| Answer::Fault(FaultKind::Unreachable));
        let fault = source.digests(chain.reference(60), &[Height::new(3)]).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unreachable);
    });
}

#[test]
fn digests_are_refused_under_a_tip_that_no_certificate_leads_to() {
    run(|context| async move {
        let chain = Chain::new(9);
        let (source, transport, recorder) = source(&context, Config::default(), honest(&chain, 4));
        let heights = [Height::new(3)];
        let fault = source.digests(chain.reference(9), &heights).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Torn, "nothing was verified yet");
        let (tip, _) = tips(&source).await;
        transport.calls();
        for never in [chain.fork(3, 9).reference(9), chain.fork(3, 4).reference(4)] {
            let fault = source.digests(never, &heights).await.unwrap_err();
            assert_eq!((fault.kind, transport.calls().len()), (FaultKind::Torn, 0));
        }
        // Of a tip that was replaced nothing is known any more, and nothing of the new chain is said.
        let fork = chain.fork(4, 8);
        transport.rescript(honest(&fork, 8));
        assert_eq!(tips(&source).await, at(&fork, 8, 8));
        assert_eq!(source.digests(tip, &heights).await.unwrap_err().kind, FaultKind::Torn);
        assert!(recorder.kinds().contains(&FaultKind::NotLinked), "the old tip is off the chain");
    });
}

/// Two drivers share a source: the one that asks for the newer tip takes nothing from the other one.
#[test]
fn digests_are_of_the_tip_that_is_named_however_far_others_have_come() {
    run(|context| async move {
        let chain = Chain::new(20);
        let part = |tip: usize| Chain { blocks: chain.blocks[..=tip].to_vec() };
        let (source, transport, _) = source(&context, Config::default(), honest(&part(10), 8));
        let (old, _) = tips(&source).await;
        transport.rescript(honest(&part(12), 11));
        let (new, _) = tips(&source).await;
        assert_eq!([old, new], [10, 12].map(|at| chain.reference(at)));
        let heights = [10, 11, 12].map(Height::new);
        let digest = |at| Some(chain.reference(at).digest);
        for _ in 0..2 {
            let of = async |tip| source.digests(tip, &heights).await.unwrap();
            assert_eq!(of(old).await, [digest(10), None, None]);
            assert_eq!(of(new).await, [digest(10), digest(11), digest(12)]);
        }
    });
}

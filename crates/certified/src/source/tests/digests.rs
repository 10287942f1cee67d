use super::*;
use crate::{CertificateKind, mocks::honest};
use commonware_utils::NZUsize;
use tidewatch_core::{Digest, FaultKind};

async fn digests(source: &TestSource, heights: &[u64]) -> Vec<Option<Digest>> {
    let heights: Vec<_> = heights.iter().copied().map(Height::new).collect();
    source.digests(&heights).await.unwrap()
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
        assert_eq!(digests(&source, &near).await, expected(&chain, &near));
        assert!(transport.calls().is_empty());
        assert_eq!(digests(&source, &[20, 61, 10, 0]).await, {
            let mut digests = expected(&chain, &[20, 0, 10, 0]);
            digests[1] = None;
            digests
        });
        assert_eq!(transport.calls(), [height(20), height(10)]);
        assert_eq!(source.work().checks["digest"], 2);
        assert!(digests(&source, &[]).await.is_empty());
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
        assert_eq!(digests(&source, &[20]).await, expected(&chain, &[20]));
        assert_eq!(digests(&source, &[30]).await, [None], "too far from any");
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
            assert_eq!(digests(&source, heights).await, expected(&chain, heights));
        }
        assert_eq!(digests(&source, &[u64::MAX]).await, [None]);
    });
}

#[test]
fn no_contact_is_a_fault_and_never_an_unknown_digest() {
    run(|context| async move {
        let chain = Chain::new(60);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, 60));
        tips(&source).await;
        transport.rescript(|_| Answer::Fault(FaultKind::Unreachable));
        let fault = source.digests(&[Height::new(3)]).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unreachable);
    });
}

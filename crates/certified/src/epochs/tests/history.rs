//! What others say of their history, against certificates; and what is reported of finality.

use super::world::{Epoched, TestSchemes, follow, height};
use crate::{
    CertificateKind, Config, Epochs as _, Error, Finality, Push,
    mocks::{Answer, Scripted, TestBlock, TestScheme},
};
use commonware_actor::Feedback;
use commonware_codec::Encode as _;
use commonware_consensus::{Reporter, types::Epoch};
use commonware_runtime::{Clock as _, Runner as _, deterministic};
use commonware_utils::sync::Mutex;
use futures::FutureExt as _;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Block as _, FaultKind, Height, Source as _};

type Seen = Finality<TestScheme, TestBlock>;

/// Writes down what it is notified of.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Seen>>>);

impl Reporter for Listener {
    type Activity = Seen;

    fn report(&mut self, finality: Seen) -> Feedback {
        self.0.lock().push(finality);
        Feedback::Ok
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(60)).start(test);
}

#[test]
fn a_history_is_verified_against_the_certificate_of_its_boundary() {
    let chain = Epoched::new(10, vec![0, 1, 2, 3], 35, false);
    let other = chain.with_key(1, 9);
    run(|context| async move {
        let schemes = chain.schemes(0);
        let transport = Arc::new(Scripted::new(&context, chain.answers()));
        let (source, _, _) = follow(&context, &schemes, &transport, Config::default());
        let proved = source.verify_history(chain.reference(29)).await.unwrap();
        assert_eq!(proved.block.reference(), chain.reference(29));
        assert_eq!(proved.finalization.proposal.payload, chain.reference(29).digest);
        assert!(schemes.at(Height::new(35)).is_some(), "the boundary gives the next scheme");
        let fault = source.verify_history(other.reference(29)).await.map(drop).unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongChain);
        assert!(matches!(fault.reason(), Some(Error::OtherHistory { .. })), "{fault}");
    });
}

#[test]
fn a_history_is_not_proved_by_an_endpoint_that_lies_or_has_nothing() {
    let chain = Epoched::new(10, vec![0, 0], 15, false);
    let forged = chain.forged(9, 9);
    let cases = [
        (Answer::Bytes(forged), FaultKind::InvalidCertificate),
        (Answer::Missing, FaultKind::Missing),
        (Answer::Silence, FaultKind::Timeout),
    ];
    for (answer, kind) in cases {
        let chain = chain.clone();
        run(|context| async move {
            let schemes = chain.schemes(0);
            let transport = Arc::new(Scripted::new(&context, move |_| answer.clone()));
            let (source, _, _) = follow(&context, &schemes, &transport, Config::default());
            let fault = source.verify_history(chain.reference(9)).await.map(drop).unwrap_err();
            assert_eq!(fault.kind, kind);
            assert_eq!(transport.calls(), [height(9)]);
        });
    }
}

#[test]
fn finality_is_reported_typed_and_an_unknown_epoch_as_nothing_more() {
    let chain = Epoched::new(10, vec![0, 1], 15, false);
    run(|context| async move {
        let schemes = chain.schemes(0);
        let transport = Arc::new(Scripted::new(&context, |_| Answer::Missing));
        let (source, upstream, _) = follow(&context, &schemes, &transport, Config::default());
        let listener = Listener::default();
        assert!(source.report_to(listener.clone()));
        assert!(!source.report_to(Listener::default()), "there is one");
        let feed = transport.accept();
        upstream.start();
        for bytes in [
            chain.certified(CertificateKind::Notarized, 3),
            chain.certified(CertificateKind::Finalized, 15),
            chain.forged(9, 4),
            chain.certified(CertificateKind::Finalized, 4),
        ] {
            feed.send(Ok(Push::Finalization(bytes))).await.unwrap();
        }
        context.sleep(Duration::from_secs(1)).await;
        let seen = std::mem::take(&mut *listener.0.lock());
        let [Finality::Unknown { block, round }, Finality::Verified(finalized)] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert_eq!((*block, round.epoch()), (chain.reference(15), Epoch::new(1)));
        assert_eq!(finalized.block.reference(), chain.reference(4));
        assert_eq!(finalized.finalization.proposal.payload, chain.reference(4).digest);
    });
}

/// Without a keeper nothing is awaited.
#[test]
fn a_boundary_is_kept_once_it_was_learned_and_another_one_is_refused() {
    let chain = Epoched::new(10, vec![0, 1, 2], 25, false);
    let other = chain.with_key(0, 9);
    run(|_| async move {
        let schemes: TestSchemes = chain.schemes(0);
        let kept = |block| schemes.kept(block).now_or_never().expect("nothing is awaited");
        assert!(matches!(kept(chain.reference(9)), Err(Error::OtherKey { .. })), "not learned");
        schemes.learn(chain.reference(9), encoded(&chain, 9), None).unwrap();
        assert!(kept(chain.reference(9)).is_ok());
        assert_eq!(schemes.ended_by(Epoch::new(1)), Some(chain.reference(9)));
        schemes.learn(other.reference(9), encoded(&other, 9), None).unwrap();
        assert!(matches!(kept(other.reference(9)), Err(Error::OtherBoundary { .. })));
        assert!(kept(chain.reference(5)).is_ok(), "it ends no epoch");
    });
}

fn encoded(chain: &Epoched, height: u64) -> bytes::Bytes {
    commonware_codec::Encode::encode(chain.block(height))
}

#[test]
fn a_range_comes_with_the_certificate_of_every_boundary_in_it_however_the_epochs_became_known() {
    // Walked one by one; by the group's key alone; and both.
    for keys in [vec![0, 1, 2, 3, 4, 5], vec![0; 6], vec![0, 0, 0, 1, 1, 1]] {
        let chain = Epoched::new(10, keys.clone(), 55, false);
        run(|context| async move {
            let schemes = chain.schemes(0);
            let transport = Arc::new(Scripted::new(&context, chain.answers()));
            let config = Config { boundary_certificates: true, ..Config::default() };
            let (source, _, _) = follow(&context, &schemes, &transport, config);
            source.snapshot().await.unwrap();
            let tip = chain.reference(55);
            let range = source.range(tip, Height::new(1)).await.unwrap();
            assert_eq!(range.blocks.len(), 55);
            let names: Vec<_> = range.certificates.iter().map(|it| it.block).collect();
            assert_eq!(names, [9, 19, 29, 39, 49].map(|height| chain.reference(height)));
            for certificate in &range.certificates {
                let height = certificate.block.height.get();
                let sent = chain.certified(CertificateKind::Finalized, height);
                let kept = [&certificate.bytes[..], &chain.block(height).encode()].concat();
                assert_eq!(kept, sent, "as it was received");
            }
            let checks = source.work().checks["epoch"];
            assert!(checks <= 5 + 3, "{keys:?}: {checks}");
            source.range(tip, Height::new(1)).await.unwrap();
            assert_eq!(source.work().checks["epoch"], checks, "once for each");
        });
    }
}

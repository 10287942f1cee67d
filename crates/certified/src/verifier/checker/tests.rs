use super::*;
use crate::{
    CertificateKind, Check, Metrics,
    mocks::{Chain, TestScheme, schemes, strangers},
    verifier::Certificate,
};
use bytes::Bytes;
use commonware_runtime::{
    Runner as _, Spawner as _, Supervisor as _, deterministic,
    telemetry::metrics::count_running_tasks,
};
use commonware_utils::NZUsize;
use futures::{FutureExt as _, future::join_all};
use std::{future::Future, sync::Arc, time::Duration};
use tidewatch_testkit::monitor::Faults;

const KIND: CertificateKind = CertificateKind::Finalized;

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(60)).start(test);
}

/// Certificates of a chain, and what counts their checks.
struct Certificates {
    metrics: Metrics,
    chain: Chain,
    scheme: Arc<TestScheme>,
}

impl Certificates {
    fn new(context: &deterministic::Context) -> Self {
        let metrics = Metrics::new(context, "test", Arc::<Faults>::default());
        Self { metrics, chain: Chain::new(64), scheme: schemes().verifier() }
    }

    fn read(bytes: &Bytes) -> (Certificate<TestScheme>, Bytes) {
        let certificate = Certificate::read(KIND, &mut bytes.clone(), &()).unwrap();
        let proof = certificate.encode();
        (certificate, proof)
    }

    fn good(
        &self,
        mailbox: &Mailbox<TestScheme>,
        height: u64,
    ) -> impl Future<Output = Result<bool, Unchecked>> + use<> {
        self.check(mailbox, &self.chain.certified(KIND, height), self.scheme.clone())
    }

    fn forged(
        &self,
        mailbox: &Mailbox<TestScheme>,
        height: u64,
    ) -> impl Future<Output = Result<bool, Unchecked>> + use<> {
        self.check(mailbox, &self.chain.forged(KIND, height), self.scheme.clone())
    }

    fn check(
        &self,
        mailbox: &Mailbox<TestScheme>,
        bytes: &Bytes,
        scheme: Arc<TestScheme>,
    ) -> impl Future<Output = Result<bool, Unchecked>> + use<> {
        let ((certificate, proof), mailbox) = (Self::read(bytes), mailbox.clone());
        let metrics = self.metrics.clone();
        async move { mailbox.check(certificate, proof, scheme, Check::Digest, &metrics).await }
    }
}

#[test]
fn what_waits_at_once_is_one_batch_and_each_bad_one_is_found() {
    run(|context| async move {
        let certificates = Certificates::new(&context);
        let metrics = certificates.metrics.clone();
        let (checker, mailbox) = Checker::new(context.child("checker"), Config::default());
        checker.start();
        for (round, bad) in [vec![], vec![3], vec![1, 2, 16], (1..=16).collect()].iter().enumerate()
        {
            let before = metrics.work();
            let height = |nth: u64| nth + 16 * round as u64;
            let checks = (1..=16).map(|nth| match bad.contains(&nth) {
                true => certificates.forged(&mailbox, height(nth)).left_future(),
                false => certificates.good(&mailbox, height(nth)).right_future(),
            });
            let verdicts = join_all(checks).await;
            for (nth, verdict) in (1..).zip(verdicts) {
                assert_eq!(verdict, Ok(!bad.contains(&nth)), "{nth} of {bad:?}");
            }
            assert_eq!(metrics.work().batches, before.batches + 1, "{bad:?}");
        }
        assert_eq!(metrics.work().checks_total(), 4 * 16);
    });
}

#[test]
fn a_batch_is_of_one_scheme() {
    run(|context| async move {
        let certificates = Certificates::new(&context);
        let metrics = certificates.metrics.clone();
        let (checker, mailbox) = Checker::new(context.child("checker"), Config::default());
        checker.start();
        let others = strangers().verifier();
        let verdicts = join_all([
            certificates.good(&mailbox, 1).boxed(),
            certificates
                .check(&mailbox, &certificates.chain.forged(KIND, 2), others.clone())
                .boxed(),
            certificates.good(&mailbox, 3).boxed(),
            certificates.check(&mailbox, &certificates.chain.certified(KIND, 4), others).boxed(),
        ]);
        assert_eq!(verdicts.await, [Ok(true), Ok(true), Ok(true), Ok(false)]);
        assert_eq!((metrics.work().batches, metrics.work().checks_total()), (2, 4));
    });
}

#[test]
fn a_certificate_that_waits_twice_is_verified_once() {
    run(|context| async move {
        let certificates = Certificates::new(&context);
        let metrics = certificates.metrics.clone();
        let (checker, mailbox) = Checker::new(context.child("checker"), Config::default());
        checker.start();
        let both = join_all([certificates.good(&mailbox, 1), certificates.good(&mailbox, 1)]);
        assert_eq!(both.await, [Ok(true); 2]);
        assert_eq!((metrics.work().batches, metrics.work().checks_total()), (1, 1));
    });
}

#[test]
fn a_caller_that_leaves_loses_only_its_answer() {
    run(|context| async move {
        let certificates = Certificates::new(&context);
        let metrics = certificates.metrics.clone();
        let (checker, mailbox) = Checker::new(context.child("checker"), Config::default());
        let mut leaves = certificates.good(&mailbox, 1).boxed();
        let mut stays = certificates.good(&mailbox, 2).boxed();
        assert!((&mut leaves).now_or_never().is_none() && (&mut stays).now_or_never().is_none());
        drop(leaves);
        checker.start();
        assert_eq!(stays.await, Ok(true));
        assert_eq!(metrics.work().checks_total(), 1, "nobody waited for the other");
    });
}

#[test]
fn what_comes_beyond_the_limit_is_refused_and_what_waits_is_served() {
    run(|context| async move {
        let certificates = Certificates::new(&context);
        let config = Config { waiting_max: NZUsize!(4), ..Config::default() };
        let (checker, mailbox) = Checker::new(context.child("checker"), config);
        let mut waiting: Vec<_> =
            (1..=4).map(|height| certificates.good(&mailbox, height).boxed()).collect();
        for check in &mut waiting {
            assert!(check.now_or_never().is_none());
        }
        assert_eq!(certificates.good(&mailbox, 5).await, Err(Unchecked::Overloaded(4)));
        checker.start();
        assert_eq!(join_all(waiting).await, [Ok(true); 4]);
        assert_eq!(certificates.good(&mailbox, 5).await, Ok(true));
    });
}

#[test]
fn it_ends_with_the_last_mailbox_and_with_the_runtime() {
    run(|context| async move {
        let certificates = Certificates::new(&context);
        let (checker, mailbox) = Checker::new(context.child("first"), Config::default());
        let (other, second) = Checker::new(context.child("second"), Config::default());
        let (handle, ended) = (checker.start(), other.start());
        assert_eq!(certificates.good(&mailbox, 1).await, Ok(true));
        drop(mailbox);
        assert!(handle.await.is_ok());
        assert_eq!(count_running_tasks(&context, "first"), 0);
        context.child("stop").stop(0, Some(Duration::from_secs(1))).await.unwrap();
        assert!(ended.await.is_ok());
        assert_eq!(certificates.good(&second, 2).await, Err(Unchecked::Stopped));
    });
}

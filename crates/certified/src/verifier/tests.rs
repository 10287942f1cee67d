use super::*;
use crate::{
    OneEpoch,
    mocks::{self, Chain, DATA_MAX, TestBlock, TestScheme, round},
};
use commonware_consensus::types::{Epoch, View};
use commonware_runtime::{Runner as _, deterministic};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use std::future::Future;
use tidewatch_core::{Block as _, FaultKind, Severity};

type TestVerifier = Verifier<OneEpoch<TestScheme>, TestBlock>;

fn with_verifier<F: Future<Output = ()>>(test: impl FnOnce(TestVerifier, Chain) -> F) {
    deterministic::Runner::seeded(1).start(|context| async move {
        test(mocks::verifier(&context, mocks::trust(), &Chain::new(8)), Chain::new(8)).await;
    });
}

impl TestVerifier {
    async fn accept(
        &self,
        kind: CertificateKind,
        bytes: Bytes,
    ) -> Result<Verified<Certified<TestBlock>>, Fault> {
        self.check(self.claim(kind, bytes)?, Check::Tip).await
    }
}

fn kind<T: fmt::Debug>(result: Result<T, Fault>) -> FaultKind {
    result.expect_err("refused").kind
}

#[test]
fn a_good_certificate_is_checked_once_and_then_known() {
    with_verifier(|verifier, chain| async move {
        for kind in [CertificateKind::Finalized, CertificateKind::Notarized] {
            for _ in 0..3 {
                let certified =
                    verifier.accept(kind, chain.certified(kind, 3)).await.expect("good");
                assert_eq!((certified.kind, certified.round), (kind, round(3)));
                assert_eq!(certified.block, *chain.block(3));
            }
        }
        assert_eq!(verifier.metrics.work().checks_total(), 2);
        assert!(verifier.metrics.work().refusals.is_empty());
    });
}

#[test]
fn the_kept_proof_is_the_certificate_without_the_block() {
    with_verifier(|verifier, chain| async move {
        let bytes = chain.certified(CertificateKind::Finalized, 3);
        let certified =
            verifier.accept(CertificateKind::Finalized, bytes.clone()).await.expect("good");
        let block = chain.block(3).encode();
        assert_eq!([certified.proof.clone(), block].concat(), bytes);
    });
}

#[test]
fn what_the_validators_did_not_sign_is_refused() {
    use FaultKind::{InvalidCertificate, Malformed, WrongDigest};
    with_verifier(|verifier, chain| async move {
        let (three, four) = (chain.block(3), chain.reference(4).digest);
        let finalized = CertificateKind::Finalized;
        let other_epoch = Round::new(Epoch::new(1), View::new(7));
        let swapped = mocks::certify_other(mocks::schemes(), finalized, round(3), four, three);
        let future = mocks::certify(mocks::schemes(), finalized, other_epoch, three);
        let big = TestBlock::new(3, four, &[1; DATA_MAX + 1]);
        let big = mocks::certify(mocks::schemes(), finalized, round(3), &big);
        let good = chain.certified(finalized, 3);
        let long = Bytes::from([good.clone(), Bytes::from_static(b"x")].concat());
        let html = Bytes::from_static(b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>");
        let table = [
            ("signed by strangers", chain.forged(finalized, 3), InvalidCertificate),
            ("not a signature at all", chain.unsigned(3), InvalidCertificate),
            ("a notarization", chain.certified(CertificateKind::Notarized, 3), InvalidCertificate),
            ("of another epoch than its height", future, InvalidCertificate),
            ("over another block", swapped, WrongDigest),
            ("with a block over the size limit", big, Malformed),
            ("with something behind it", long, Malformed),
            ("cut off", good.slice(..good.len() - 1), Malformed),
            ("empty", Bytes::new(), Malformed),
            ("an error page", html, Malformed),
        ];
        for (case, bytes, expected) in table {
            assert_eq!(kind(verifier.accept(finalized, bytes).await), expected, "{case}");
        }
        let work = verifier.metrics.work();
        assert_eq!(work.refusals["invalid_certificate"], 4);
        assert_eq!((work.refusals["malformed"], work.refusals["wrong_digest"]), (5, 1));
        assert_eq!(work.checks["tip"], 3, "another epoch is refused before the signature");
    });
}

#[test]
fn a_refused_certificate_is_checked_again_each_time() {
    with_verifier(|verifier, chain| async move {
        for _ in 0..2 {
            let forged = chain.forged(CertificateKind::Finalized, 3);
            assert_eq!(
                kind(verifier.accept(CertificateKind::Finalized, forged).await),
                FaultKind::InvalidCertificate
            );
        }
        assert_eq!(verifier.metrics.work().checks_total(), 2);
    });
}

#[test]
fn a_verified_block_vouches_for_its_ancestors_down_to_genesis() {
    with_verifier(|verifier, chain| async move {
        let tip = verifier
            .accept(CertificateKind::Finalized, chain.certified(CertificateKind::Finalized, 8))
            .await;
        let mut name = tip.expect("good").block().vouched();
        let mut heights = Vec::new();
        while let Some(parent) = name {
            let bytes = chain.block(parent.height.get()).encode();
            let block = verifier.resolve(&parent, bytes).expect("linked");
            heights.push(block.height.get());
            name = block.vouched();
        }
        assert_eq!(heights, [7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(verifier.metrics.work().checks_total(), 1);
    });
}

#[test]
fn a_block_is_admitted_only_under_the_name_that_its_child_gives() {
    use FaultKind::{Malformed, NotLinked, WrongDigest, WrongPosition};
    with_verifier(|verifier, chain| async move {
        let fork = chain.fork(2, 8);
        let name = Verified(chain.reference(3));
        assert_eq!(kind(verifier.admit(&name, fork.block(3).clone())), WrongDigest);
        assert_eq!(kind(verifier.resolve(&name, fork.block(3).encode())), WrongDigest);
        assert_eq!(kind(verifier.resolve(&name, Bytes::from_static(b"\xff\xff"))), Malformed);
        let misplaced = Verified(BlockRef::new(Height::new(4), name.digest));
        assert_eq!(kind(verifier.admit(&misplaced, chain.block(3).clone())), WrongPosition);
        let other = TestBlock::new(0, Digest([9; 32]), b"another genesis");
        let name = Verified(other.reference());
        assert_eq!(kind(verifier.admit(&name, other)), NotLinked);
    });
}

#[test]
fn a_hundred_thousand_random_and_damaged_answers_are_refused_without_a_panic() {
    with_verifier(|verifier, chain| async move {
        let mut rng = StdRng::seed_from_u64(65);
        let good = chain.certified(CertificateKind::Finalized, 3);
        let name = chain.reference(3);
        for round in 0..100_000_u32 {
            let kind = if round % 2 == 0 {
                CertificateKind::Finalized
            } else {
                CertificateKind::Notarized
            };
            let bytes = match round % 3 {
                0 => {
                    let mut bytes = vec![0; rng.random_range(0..300)];
                    rng.fill_bytes(&mut bytes);
                    bytes
                }
                1 => good[..rng.random_range(0..good.len())].to_vec(),
                _ => {
                    let mut bytes = good.to_vec();
                    let at = rng.random_range(0..bytes.len());
                    bytes[at] ^= rng.random_range(1..=255_u8);
                    bytes
                }
            };
            let bytes = Bytes::from(bytes);
            // Signatures are checked for a part only: the rest would take most of a minute.
            let claim = verifier.claim(kind, bytes.clone());
            assert!(verifier.hashed(&name, bytes).is_err());
            if let Ok(claim) = claim
                && round % 64 == 2
            {
                assert!(verifier.check(claim, Check::Push).await.is_err());
            }
        }
        assert!(verifier.metrics.work().refusals["malformed"] > 100_000);
    });
}

#[test]
fn an_epoch_that_is_not_in_the_table_is_no_lie_and_costs_no_check() {
    deterministic::Runner::seeded(1).start(|context| async move {
        let (chain, table) = (Chain::new(8), mocks::Table::up_to(5));
        let verifier = mocks::verifier(&context, table.clone(), &chain);
        let finalized = CertificateKind::Finalized;
        let check = |height| {
            let claim = verifier.claim(finalized, chain.certified(finalized, height)).unwrap();
            verifier.check(claim, Check::Tip)
        };
        assert!(check(5).await.is_ok());
        let refused = check(6).await.unwrap_err();
        assert_eq!((refused.kind, refused.severity()), (FaultKind::UnknownEpoch, Severity::Behind));
        let unknown = refused.reason::<Error>();
        assert!(matches!(unknown, Some(Error::UnknownEpoch { block, .. })
            if *block == chain.reference(6)));
        assert_eq!(verifier.metrics.work().checks_total(), 1);
        table.fill(6);
        assert!(check(6).await.is_ok());
    });
}

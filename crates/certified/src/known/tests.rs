use super::*;
use crate::{
    CertificateKind, Check, OneEpoch, Verifier,
    mocks::{self, Chain, TestBlock, TestScheme, round},
};
use bytes::Bytes;
use commonware_runtime::{Runner as _, deterministic};
use std::future::Future;
use tidewatch_core::Block as _;

struct World {
    chain: Chain,
    known: Known<TestBlock>,
    verifier: Verifier<OneEpoch<TestScheme>, TestBlock>,
}

impl World {
    async fn verified(
        &self,
        kind: CertificateKind,
        bytes: Bytes,
    ) -> Verified<Certified<TestBlock>> {
        let claim = self.verifier.claim(kind, bytes).unwrap();
        self.verifier.check(claim, Check::Tip).await.unwrap()
    }

    async fn finalize(&mut self, height: u64) -> Outcome {
        let certified = self
            .verified(
                CertificateKind::Finalized,
                self.chain.certified(CertificateKind::Finalized, height),
            )
            .await;
        self.known.finalize(certified)
    }

    async fn notarize(&mut self, height: u64) -> Outcome {
        let certified = self
            .verified(
                CertificateKind::Notarized,
                self.chain.certified(CertificateKind::Notarized, height),
            )
            .await;
        self.known.notarize(certified)
    }

    fn candidates(&self) -> Vec<u64> {
        self.known.candidates().iter().map(|tip| tip.block.reference().height.get()).collect()
    }
}

fn with_world<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    deterministic::Runner::seeded(2).start(|context| async move {
        let chain = Chain::new(20);
        let verifier = mocks::verifier(&context, mocks::trust(), &chain);
        let known = Known::new(&verifier.genesis(), 3, 4);
        test(World { chain, known, verifier }).await;
    });
}

#[test]
fn every_order_of_five_finalizations_ends_at_the_newest() {
    with_world(|mut world| async move {
        let mut orders = vec![Vec::new()];
        for _ in 0..5 {
            orders = (1..=5)
                .flat_map(|next| orders.iter().map(move |order| (next, order)))
                .filter(|(next, order)| !order.contains(next))
                .map(|(next, order)| [order.clone(), vec![next]].concat())
                .collect::<Vec<Vec<u64>>>();
        }
        assert_eq!(orders.len(), 120);
        for order in orders {
            world.known = Known::new(&world.verifier.genesis(), 3, 4);
            let mut highest = 0;
            for height in &order {
                let expected = if *height > highest { Outcome::Moved } else { Outcome::Unchanged };
                assert_eq!(world.finalize(*height).await, expected, "{order:?}");
                highest = highest.max(*height);
            }
            let finalized = world.known.finalized().unwrap();
            assert_eq!(finalized.block.reference(), world.chain.reference(5));
        }
    });
}

#[test]
fn a_late_certificate_of_an_earlier_round_does_not_pull_the_tip() {
    with_world(|mut world| async move {
        world.finalize(5).await;
        // Round 4, but a height far above: rounds decide, and this one is from the past.
        let block = world.chain.block(9);
        let bytes = mocks::certify(mocks::schemes(), CertificateKind::Finalized, round(4), block);
        assert_eq!(world.known.judge_finalization(round(4), block.reference()), Relevance::Stale);
        let certified = world.verified(CertificateKind::Finalized, bytes).await;
        assert_eq!(world.known.finalize(certified), Outcome::Unchanged);
        assert_eq!(
            world.known.judge_finalization(round(5), world.chain.reference(5)),
            Relevance::Known
        );
    });
}

#[test]
fn two_finalized_blocks_at_one_height_are_a_conflict_reported_once() {
    with_world(|mut world| async move {
        world.finalize(5).await;
        let fork = world.chain.fork(3, 6);
        for _ in 0..2 {
            let relevance = world.known.judge_finalization(round(5), fork.reference(5));
            assert_eq!(relevance, Relevance::New, "worth a check");
            let other = world
                .verified(CertificateKind::Finalized, fork.certified(CertificateKind::Finalized, 5))
                .await;
            assert_eq!(world.known.finalize(other), Outcome::Conflicts);
        }
        let conflict = Conflict { ours: world.chain.reference(5), theirs: fork.reference(5) };
        assert_eq!(world.known.take_conflict(), Some(conflict));
        assert_eq!(world.known.take_conflict(), None);
        assert_eq!(world.known.finalized().unwrap().block.reference(), world.chain.reference(5));
    });
}

#[test]
fn only_notarizations_above_the_finalized_round_count_and_only_the_newest_are_kept() {
    with_world(|mut world| async move {
        for (height, outcome) in [
            (6, Outcome::Moved),
            (8, Outcome::Moved),
            (7, Outcome::Unchanged),
            (8, Outcome::Unchanged),
            (10, Outcome::Moved),
        ] {
            assert_eq!(world.notarize(height).await, outcome, "{height}");
        }
        assert_eq!(world.candidates(), [10, 8, 7], "three at most, the newest first");
        world.finalize(8).await;
        assert_eq!(world.candidates(), [10]);
        assert_eq!(world.notarize(8).await, Outcome::Unchanged);
        assert_eq!(world.known.judge_notarization(round(8)), Relevance::Stale);
        world.known.discard(round(10));
        assert!(world.candidates().is_empty());
    });
}

#[test]
fn memory_is_bounded() {
    with_world(|mut world| async move {
        for height in 1..=20 {
            world.notarize(height).await;
            world.finalize(height).await;
        }
        assert_eq!(world.known.finals.len(), 4);
        let kept = (1..=20)
            .filter(|height| world.known.block(&world.chain.reference(*height).digest).is_some());
        assert_eq!(kept.collect::<Vec<_>>(), [17, 18, 19, 20]);
        assert!(world.known.notarized.len() <= 3);
    });
}

#[test]
fn a_tip_is_found_by_the_certificate_over_it_whoever_asked_before() {
    with_world(|mut world| async move {
        let (five, seven) = (world.chain.reference(5), world.chain.reference(7));
        assert_eq!(world.known.tip(five), None, "nobody verified it");
        world.finalize(5).await;
        world.notarize(7).await;
        assert_eq!(world.known.newest(), Some(seven));
        let found = world.known.tip(five).unwrap();
        assert_eq!((*found.tip, found.base, found.is_final()), (five, Height::new(5), true));
        assert_eq!(world.known.tip(seven), None, "nobody followed its ancestry");
        world.known.descends(round(7), Height::new(5));
        let found = world.known.tip(seven).unwrap();
        assert_eq!((*found.tip, found.base, found.is_final()), (seven, Height::new(5), false));
        let fork = world.chain.fork(3, 7);
        assert_eq!([5, 7].map(|at| world.known.tip(fork.reference(at))), [None, None]);
        world.finalize(7).await;
        assert!(world.known.tip(seven).unwrap().is_final());
        assert_eq!(*world.known.tip(five).unwrap().tip, five, "an earlier tip is one still");
    });
}

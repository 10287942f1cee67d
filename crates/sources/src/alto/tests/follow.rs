use super::{
    chain::{Keys, World},
    *,
};
use crate::alto::{AltoBlock, chain_id};
use alto_types::VrfScheme;
use tidewatch_core::{Block as _, Height, Source as _, Tier};

fn references<S>(world: &World<S>, range: std::ops::RangeInclusive<usize>) -> Vec<AltoBlock> {
    world.blocks[range].iter().cloned().map(AltoBlock).collect()
}

/// History, pushes and digests of a real chain, from a real indexer.
async fn follows<S: Keys>(context: tokio::Context) {
    const LEN: u64 = 40;
    let world = World::<S>::new().grow(LEN + 2);
    let (indexer, address) = world.indexer(&context).await;
    let (source, upstream, recorder) = follow::<S>(&context, address, &world.identity);
    source.transport().endpoints()[0].endpoint().probe().await.expect("is there");

    let identity = source.chain_info().await.expect("needs no network");
    assert_eq!(identity.id, chain_id(&world.identity, S::MODE));
    let nothing = source.snapshot().await.expect_err("nothing is verified yet");
    assert_eq!(nothing.kind, FaultKind::Unavailable);

    // Height 7 has no finalization of its own, as where views were skipped.
    for height in (1..=LEN).filter(|height| *height != 7) {
        indexer.submit_finalization(world.finalized(height)).expect("verifies");
    }
    indexer.submit_block(world.blocks[7].clone());
    let tip = AltoBlock(world.blocks[LEN as usize].clone()).reference();
    let snapshot = source.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.tips.block(Tier::Finalized), Some(tip));
    assert_eq!(snapshot.tips.block(Tier::Proposed), Some(tip));
    assert_eq!(snapshot.time_ms, Some(LEN * 1_000));
    let blocks = source.blocks(tip, Height::new(1)).await.expect("blocks");
    assert_eq!(blocks, references(&world, 1..=LEN as usize));
    assert_eq!(source.work().checks_total(), 1, "one certificate for all of it");
    let digests = source.digests(tip, &[Height::new(3), Height::new(LEN)]).await;
    let digests = digests.expect("digests");
    assert_eq!(digests, [Some(blocks[2].reference().digest), Some(tip.digest)]);

    let mut bell = source.doorbell();
    let _handle = upstream.start();
    bell.rung().await;
    source.snapshot().await.expect("asks after connecting");
    let requests = source.work().requests_total();
    indexer.submit_notarization(world.notarized(LEN + 1)).expect("verifies");
    bell.rung().await;
    let tips = source.snapshot().await.expect("a snapshot").tips;
    let next = AltoBlock(world.blocks[LEN as usize + 1].clone()).reference();
    assert_eq!((tips.block(Tier::Proposed), tips.block(Tier::Finalized)), (Some(next), Some(tip)));
    indexer.submit_finalization(world.finalized(LEN + 2)).expect("verifies");
    bell.rung().await;
    let tips = source.snapshot().await.expect("a snapshot").tips;
    let last = AltoBlock(world.blocks[LEN as usize + 2].clone()).reference();
    assert_eq!(tips.block(Tier::Finalized), Some(last));
    let blocks = source.blocks(last, next.height).await.expect("blocks");
    assert_eq!(blocks, references(&world, LEN as usize + 1..=LEN as usize + 2));
    assert_eq!(source.work().requests_total(), requests, "all of it was pushed");
    assert!(recorder.kinds().is_empty());
}

#[test]
fn a_chain_certified_in_standard_mode_is_followed_from_its_indexer() {
    run(follows::<StandardScheme>);
}

#[test]
fn a_chain_certified_in_vrf_mode_is_followed_from_its_indexer() {
    run(follows::<VrfScheme>);
}

#[test]
fn of_two_endpoints_one_may_be_silent() {
    run(|context| async move {
        let world = World::<StandardScheme>::new().grow(3);
        let (indexer, address) = world.indexer(&context).await;
        indexer.submit_finalization(world.finalized(3)).expect("verifies");
        let silent = server(&context, |mut stream| async move {
            while !request(&mut stream).await.is_empty() {}
        });
        let endpoints = [silent.await, address].map(|at| endpoint(at, CertificateMode::Standard));
        let mut config = patient();
        config.certified.request_timeout = Duration::from_secs(4);
        let (source, _) = open::<_, StandardScheme>(
            context.child("alto"),
            &endpoints,
            &world.identity,
            Arc::new(()),
            config,
        )
        .expect("opens");
        let tip = AltoBlock(world.blocks[3].clone()).reference();
        for _ in 0..2 {
            let tips = source.snapshot().await.expect("a snapshot").tips;
            assert_eq!(tips.block(Tier::Finalized), Some(tip));
        }
    });
}

#[test]
fn the_chain_of_other_validators_is_refused() {
    run(|context| async move {
        let world = World::<VrfScheme>::new().grow(3);
        let (indexer, address) = world.indexer(&context).await;
        indexer.submit_finalization(world.finalized(3)).expect("verifies");
        let (_, stranger) = StandardScheme::keys();
        let (source, _, _) = follow::<VrfScheme>(&context, address, &stranger);
        let fault = source.snapshot().await.expect_err("refused");
        assert_eq!(fault.kind, FaultKind::InvalidCertificate);
        // Nor does a follower of the other certificate mode take it for its own.
        let (source, _, _) = follow::<StandardScheme>(&context, address, &world.identity);
        let fault = source.snapshot().await.expect_err("refused");
        assert!(matches!(fault.kind, FaultKind::InvalidCertificate | FaultKind::Malformed));
    });
}

#[test]
fn what_cannot_be_opened_says_what_to_do() {
    run(|context| async move {
        let (_, identity) = StandardScheme::keys();
        let endpoint = endpoint(([127, 0, 0, 1], 1).into(), CertificateMode::Standard);
        let other_mode = open::<_, VrfScheme>(
            context.child("a"),
            std::slice::from_ref(&endpoint),
            &identity,
            Arc::new(()),
            patient(),
        );
        let fault = other_mode.expect_err("refused");
        assert_eq!(fault.kind, FaultKind::InvalidConfig);
        assert!(fault.detail.contains("standard") && fault.detail.contains("vrf"), "{fault}");
        for bad in [&[][..], &[1; 96], &identity[1..], &[0xff; 200]] {
            let opened = open::<_, StandardScheme>(
                context.child("b"),
                std::slice::from_ref(&endpoint),
                bad,
                Arc::new(()),
                patient(),
            );
            let fault = opened.expect_err("refused");
            assert_eq!(fault.kind, FaultKind::InvalidConfig);
            assert!(fault.detail.contains("96 bytes"), "{fault}");
        }
    });
}

#[test]
fn a_chain_is_named_by_its_key_and_mode() {
    let (_, identity) = StandardScheme::keys();
    let standard = chain_id(&identity, CertificateMode::Standard);
    assert_ne!(standard, chain_id(&identity, CertificateMode::Vrf));
    assert_ne!(standard, chain_id(&identity[1..], CertificateMode::Standard));
    assert_eq!(standard.as_str().len(), 37);
}

//! Blocks by reference, proofs by tier, positions that are listed and forgotten, against both stores.

use super::{ALL, Twin, commit, everything, on_disk, open, run, twins, world::*};
use commonware_utils::NZUsize;
use futures::future::join_all;
use tidewatch_core::{
    Archive as _, ArchiveError, BlockRef, Change, Cursor, Digest, FaultKind, Height,
    Positions as _, Tier, TierProof,
};

twins! {
    a_block_is_found_by_its_reference_or_refused_by_type,
    a_range_ends_where_it_is_told_to_and_where_it_is_full,
    every_tier_has_proofs_of_its_own,
    a_tier_that_moves_back_loses_the_proofs_above_it,
    a_prune_drops_the_proofs_above_it_of_every_tier,
    a_certificate_of_history_is_kept_before_a_tier_is_announced_there_and_makes_no_event,
    a_certificate_of_a_block_that_is_not_held_is_refused,
    positions_are_listed_by_name_and_forgotten,
    a_forgotten_consumer_makes_room_for_another,
}

fn made_up(height: u64) -> BlockRef {
    BlockRef::new(Height::new(height), Digest([9; 32]))
}

async fn a_block_is_found_by_its_reference_or_refused_by_type<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(20));
    let nothing = store.block(chain.at(7)).await;
    assert_eq!(nothing, Err(ArchiveError::Ahead { wanted: chain.at(7), ours: None }));
    commit(&mut store, vec![chain.blocks(5, 12)]).await;
    let other = chain.forked(8, 4, 1);
    let off = |wanted, ours| Err(ArchiveError::OffChain { wanted, ours });
    let trimmed = |wanted| Err(ArchiveError::Trimmed { wanted, oldest: Height::new(5) });
    let ahead = |wanted| Err(ArchiveError::Ahead { wanted, ours: Some(chain.at(12)) });
    for (wanted, answer) in [
        (chain.at(5), Ok(chain.block(5))),
        (chain.at(12), Ok(chain.block(12))),
        (other.at(9), off(other.at(9), chain.at(9))),
        (other.at(12), off(other.at(12), chain.at(12))),
        (made_up(4), off(made_up(4), chain.at(4))),
        (chain.at(4), trimmed(chain.at(4))),
        (chain.at(1), trimmed(chain.at(1))),
        (chain.at(13), ahead(chain.at(13))),
        (made_up(500), ahead(made_up(500))),
    ] {
        assert_eq!(store.block(wanted).await, answer, "{wanted}");
    }
    let watermarks = store.watermarks().await.unwrap();
    commit(&mut store, vec![chain.prune(&watermarks, 8), other.blocks(9, 12)]).await;
    assert_eq!(store.block(chain.at(9)).await, off(chain.at(9), other.at(9)));
    assert_eq!(store.block(other.at(12)).await, Ok(other.block(12)));
}

async fn a_range_ends_where_it_is_told_to_and_where_it_is_full<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(1_500));
    commit(&mut store, vec![chain.blocks(3, 1_500)]).await;
    let range = async |from: u64, to: u64, max: usize| {
        let blocks =
            store.range(chain.at(from), chain.at(to), max.try_into().unwrap()).await.unwrap();
        let expected: Vec<_> = (from..).map(|at| chain.block(at)).take(blocks.len()).collect();
        assert_eq!(blocks, expected);
        blocks.len()
    };
    assert_eq!(range(3, 12, 100).await, 10);
    assert_eq!(range(3, 1_000, 7).await, 7);
    assert_eq!(range(3, 1_500, usize::MAX).await, 1_024, "no more at once");
    assert_eq!(range(1_500, 1_500, 1).await, 1);
    assert_eq!(range(20, 10, 5).await, 0, "from above to");
    let other = chain.forked(10, 1, 1);
    let refused = store.range(chain.at(5), other.at(11), NZUsize!(9)).await;
    let off = ArchiveError::OffChain { wanted: other.at(11), ours: chain.at(11) };
    assert_eq!(refused, Err(off));
    let refused = store.range(chain.at(1), chain.at(9), NZUsize!(9)).await;
    assert!(matches!(refused, Err(ArchiveError::Trimmed { .. })), "{refused:?}");
}

fn proved(tier: Tier, block: BlockRef) -> Change<TestBlock> {
    let bytes = [tier.to_string().as_bytes(), &block.digest.0].concat().into();
    let proof = Some(TierProof { block, bytes });
    Change::Advanced { tier, tip: block.into(), proof }
}

/// The block that the lowest proof at or above `height` is of.
async fn proof_of<S: Twin>(store: &S, tier: Tier, block: BlockRef) -> Option<BlockRef> {
    let proof = store.proof(tier, block).await.unwrap()?;
    assert!(proof.bytes.starts_with(tier.to_string().as_bytes()), "a proof of another tier");
    Some(proof.block)
}

async fn every_tier_has_proofs_of_its_own<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(40));
    commit(&mut store, vec![chain.blocks(1, 40)]).await;
    for (nth, tier) in (1..).zip(Tier::ALL) {
        let changes = [nth, 10 + nth, 30 + nth].map(|height| proved(tier, chain.at(height)));
        commit(&mut store, changes.into()).await;
    }
    for (nth, tier) in (1..).zip(Tier::ALL) {
        for (asked, found) in [(0, nth), (nth, nth), (nth + 1, 10 + nth), (30, 30 + nth)] {
            let found = Some(chain.at(found));
            assert_eq!(proof_of(&store, tier, chain.at(asked)).await, found, "{tier} at {asked}");
        }
        assert_eq!(proof_of(&store, tier, chain.at(31 + nth)).await, None);
    }
    let off = store.proof(Tier::Proven, made_up(5)).await;
    assert_eq!(off, Err(ArchiveError::OffChain { wanted: made_up(5), ours: chain.at(5) }));
    let ahead = store.proof(Tier::Proven, made_up(41)).await;
    let ours = Some(chain.at(40));
    assert_eq!(ahead, Err(ArchiveError::Ahead { wanted: made_up(41), ours }));
}

fn certified(block: BlockRef) -> Change<TestBlock> {
    let bytes = [b"finalized ".as_slice(), &block.digest.0].concat().into();
    Change::Certified(TierProof { block, bytes })
}

async fn a_certificate_of_history_is_kept_before_a_tier_is_announced_there_and_makes_no_event<
    S: Twin,
>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(40));
    commit(&mut store, vec![chain.blocks(1, 10), certified(chain.at(10))]).await;
    commit(
        &mut store,
        vec![chain.blocks(11, 25), certified(chain.at(19)), certified(chain.at(25))],
    )
    .await;
    let watermarks = store.watermarks().await.unwrap();
    assert_eq!(watermarks.tips.block(Tier::Finalized), None, "no tier moved");
    assert_eq!(everything(&store).await.len(), 2, "the two of blocks");
    let last = vec![chain.blocks(26, 40), proved(Tier::Finalized, chain.at(40))];
    commit(&mut store, last).await;
    for (asked, found) in [(1, 10), (10, 10), (11, 19), (19, 19), (20, 25), (26, 40), (40, 40)] {
        let found = Some(chain.at(found));
        assert_eq!(proof_of(&store, Tier::Finalized, chain.at(asked)).await, found, "{asked}");
    }
}

async fn a_certificate_of_a_block_that_is_not_held_is_refused<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(40));
    for (changes, kind) in [
        (vec![certified(chain.at(3))], FaultKind::Bug),
        (vec![chain.blocks(5, 12), certified(chain.at(13))], FaultKind::Bug),
        (vec![certified(made_up(7))], FaultKind::Torn),
        (vec![certified(made_up(3))], FaultKind::Bug),
    ] {
        assert_eq!(store.commit(changes).await.unwrap_err().kind, kind);
    }
    assert_eq!(proof_of(&store, Tier::Finalized, chain.at(5)).await, None);
}

async fn a_tier_that_moves_back_loses_the_proofs_above_it<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(40));
    let start = [5, 10, 20].map(|height| proved(Tier::Proven, chain.at(height)));
    let both =
        [vec![chain.blocks(1, 40)], start.into(), vec![proved(Tier::Checkpointed, chain.at(20))]];
    commit(&mut store, both.concat()).await;
    let again = proved(Tier::Proven, chain.at(7));
    let Change::Advanced { tier, tip, proof } = again else { panic!("advances") };
    let back = Change::Regressed { tier, tip, proof };
    commit(&mut store, vec![back, proved(Tier::Proven, chain.at(9))]).await;
    for (asked, found) in [(1, Some(5)), (6, Some(7)), (8, Some(9)), (10, None)] {
        let found = found.map(|found| chain.at(found));
        assert_eq!(proof_of(&store, Tier::Proven, chain.at(asked)).await, found, "at {asked}");
    }
    let other = proof_of(&store, Tier::Checkpointed, chain.at(10)).await;
    assert_eq!(other, Some(chain.at(20)), "another tier keeps its own");
}

async fn a_prune_drops_the_proofs_above_it_of_every_tier<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(40));
    let tiers = [Tier::Checkpointed, Tier::Proven];
    let mut changes = vec![chain.blocks(1, 40)];
    changes.extend(tiers.map(|tier| proved(tier, chain.at(10))));
    changes.extend(tiers.map(|tier| proved(tier, chain.at(30))));
    commit(&mut store, changes).await;
    let (watermarks, new) = (store.watermarks().await.unwrap(), chain.forked(20, 30, 1));
    let tip = proved(Tier::Proven, new.at(35));
    commit(&mut store, vec![chain.prune(&watermarks, 20), new.blocks(21, 50), tip]).await;
    assert_eq!(proof_of(&store, Tier::Checkpointed, new.at(5)).await, Some(new.at(10)));
    assert_eq!(proof_of(&store, Tier::Checkpointed, new.at(11)).await, None);
    assert_eq!(proof_of(&store, Tier::Proven, new.at(11)).await, Some(new.at(35)));
}

async fn positions_are_listed_by_name_and_forgotten<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    for height in 1..=5 {
        commit(&mut store, vec![chain.blocks(height, height)]).await;
    }
    let records = everything(&store).await;
    assert_eq!(store.list().await.unwrap(), []);
    store.store("b", &records[4].cursor).await.unwrap();
    store.store("a", &records[1].cursor).await.unwrap();
    let both = [("a".into(), records[1].cursor.clone()), ("b".into(), records[4].cursor.clone())];
    assert_eq!(store.list().await.unwrap(), both);
    assert!(store.forget("a").await.unwrap(), "it had one");
    assert!(!store.forget("a").await.unwrap(), "it has none any more");
    assert_eq!(store.load("a").await.unwrap(), None);
    assert_eq!(store.list().await.unwrap(), both[1..]);
}

async fn a_forgotten_consumer_makes_room_for_another<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (store, start) = (open(ALL).await, Cursor::start(&chain_info().id));
    for consumer in 0..256 {
        store.store(&consumer.to_string(), &start).await.unwrap();
    }
    let full = store.store("one more", &start).await.unwrap_err();
    assert!(full.detail.contains("forget one"), "{full}");
    assert!(store.forget("100").await.unwrap());
    store.store("one more", &start).await.unwrap();
    assert!(store.store("yet another", &start).await.is_err());
}

#[test]
fn proofs_of_every_tier_and_forgotten_positions_survive_a_restart() {
    run(|context| async move {
        let chain = Chain::of(40);
        let mut store = open(&context).await;
        commit(&mut store, vec![chain.blocks(1, 40), proved(Tier::Proven, chain.at(30))]).await;
        let last = everything(&store).await.pop().unwrap().cursor;
        store.store("a", &last).await.unwrap();
        store.store("b", &last).await.unwrap();
        store.forget("a").await.unwrap();
        drop(store);
        let store = open(&context).await;
        assert_eq!(proof_of(&store, Tier::Proven, chain.at(1)).await, Some(chain.at(30)));
        assert_eq!(store.list().await.unwrap(), [("b".into(), last)]);
    });
}

#[test]
fn however_many_positions_wait_they_are_two_writes() {
    run(|context| async move {
        let (context, disk) = on_disk(context);
        let start = Cursor::start(&chain_info().id);
        let store = open(&context).await;
        disk.take();
        store.store("one", &start).await.unwrap();
        let one = disk.take().syncs;
        disk.give_way(1);
        let names: Vec<_> = (0..100).map(|nth| nth.to_string()).collect();
        let stored = join_all(names.iter().map(|name| store.store(name, &start))).await;
        assert!(stored.into_iter().all(|stored| stored.is_ok()));
        assert!(disk.take().syncs <= 2 * one, "the first, and all others together");
        assert_eq!(store.list().await.unwrap().len(), 101);
    });
}

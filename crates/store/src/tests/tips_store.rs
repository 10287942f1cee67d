//! The conformance cases of a tips store, with the semantics of this one: what is not known is
//! `None`, never genesis, and the prune carries every tier as it stands after it.

use super::{ALL, Twin, commit, everything, known, twins, world::*};
use tidewatch_core::{
    BlockRef, Change, CheckpointRef, Digest, Height, LocalView, Tier, Tip, Watermarks,
};

twins! {
    ts_1_an_empty_store_has_no_tips,
    ts_3_an_announced_tip_is_known_without_its_block,
    ts_4_two_announced_tips_are_known_and_nothing_between_them,
    ts_6_nothing_is_known_that_was_not_announced,
    ts_7_a_checkpoint_stands_where_it_was_announced,
    ts_9_finalized_keeps_the_checkpoint_it_came_with,
    ts_10_a_later_checkpoint_replaces_the_earlier,
    ts_12_a_prune_moves_proposed,
    ts_13_a_chain_rebuilt_from_genesis_has_the_new_digests,
    ts_15_a_prune_to_a_checkpoint_keeps_it,
    ts_16_tiers_stay_through_a_prune_and_a_rebuild,
    ts_18_tiers_below_the_first_block_keep_their_checkpoints,
    ts_21_a_prune_inside_a_checkpoint_leaves_lower_tiers_alone,
    ts_22_a_prune_clamps_each_tier_to_its_own_frontier,
    tsh_4_finalizing_ahead_of_what_is_kept_forgets_nothing,
    a_long_tips_only_history_keeps_anchors_at_every_depth,
}

fn checkpoint(number: u64) -> CheckpointRef {
    CheckpointRef { number, digest: Digest([number as u8; 32]) }
}

fn tip(block: BlockRef, number: u64) -> Tip {
    Tip { block, checkpoint: Some(checkpoint(number)) }
}

fn moved(tier: Tier, tip: Tip) -> Change<TestBlock> {
    Change::Advanced { tier, tip, proof: None }
}

fn pruned(
    watermarks: &Watermarks,
    to: BlockRef,
    tiers: &[(Tier, Option<Tip>)],
) -> Change<TestBlock> {
    let mut tips = clamped(watermarks.tips, to);
    for (tier, tip) in tiers {
        tips.set(*tier, *tip);
    }
    Change::Pruned { to, tips }
}

/// Heights of proposed, checkpointed, proven, finalized.
async fn tips(store: &impl LocalView) -> [Option<u64>; 4] {
    let watermarks = store.watermarks().await.unwrap();
    Tier::ALL.map(|tier| watermarks.tips.block(tier).map(|block| block.height.get()))
}

async fn checkpoint_of(store: &impl LocalView, tier: Tier) -> Option<CheckpointRef> {
    store.watermarks().await.unwrap().tips.get(tier).unwrap().checkpoint
}

async fn ts_1_an_empty_store_has_no_tips<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let mut store = open(ALL).await;
    assert_eq!(tips(&store).await, [None; 4]);
    let at_genesis = Tier::ALL.map(|tier| moved(tier, chain_info().genesis.into()));
    commit(&mut store, at_genesis.into()).await;
    assert_eq!(tips(&store).await, [Some(0); 4]);
}

async fn ts_3_an_announced_tip_is_known_without_its_block<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    commit(&mut store, vec![chain.up(Tier::Proposed, 5)]).await;
    assert_eq!(tips(&store).await, [Some(5), None, None, None]);
    assert_eq!(known(&store, 5).await, Some(chain.at(5)));
    assert_eq!(store.watermarks().await.unwrap().delivered, None);
}

async fn ts_4_two_announced_tips_are_known_and_nothing_between_them<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(9));
    commit(&mut store, vec![chain.up(Tier::Proposed, 4)]).await;
    commit(&mut store, vec![chain.up(Tier::Proposed, 9)]).await;
    assert_eq!(tips(&store).await[0], Some(9));
    assert_eq!(known(&store, 9).await, Some(chain.at(9)));
    assert_eq!(known(&store, 6).await, Some(chain.at(4)), "the highest below");
    assert_eq!(known(&store, 3).await, Some(chain.at(0)));
}

async fn ts_6_nothing_is_known_that_was_not_announced<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(9));
    assert_eq!(store.locate(&[]).await.unwrap(), []);
    commit(&mut store, vec![chain.blocks(5, 9)]).await;
    assert_eq!(known(&store, 3).await, None);
}

async fn ts_7_a_checkpoint_stands_where_it_was_announced<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    let first = moved(Tier::Checkpointed, tip(chain.at(5), 1));
    commit(&mut store, vec![chain.blocks(1, 5), chain.up(Tier::Proposed, 5), first]).await;
    assert_eq!(tips(&store).await, [Some(5), Some(5), None, None]);
    assert_eq!(checkpoint_of(&store, Tier::Checkpointed).await, Some(checkpoint(1)));
}

async fn ts_9_finalized_keeps_the_checkpoint_it_came_with<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    let mut changes = vec![chain.blocks(1, 5), chain.up(Tier::Proposed, 5)];
    let rest = [Tier::Checkpointed, Tier::Proven, Tier::Finalized];
    changes.extend(rest.map(|tier| moved(tier, tip(chain.at(5), 1))));
    commit(&mut store, changes).await;
    assert_eq!(tips(&store).await, [Some(5); 4]);
    assert_eq!(checkpoint_of(&store, Tier::Finalized).await, Some(checkpoint(1)));
}

async fn ts_10_a_later_checkpoint_replaces_the_earlier<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(10));
    for (from, to, number) in [(1, 5, 1), (6, 10, 2)] {
        let next = moved(Tier::Checkpointed, tip(chain.at(to), number));
        commit(&mut store, vec![chain.blocks(from, to), chain.up(Tier::Proposed, to), next]).await;
    }
    assert_eq!(tips(&store).await, [Some(10), Some(10), None, None]);
    assert_eq!(checkpoint_of(&store, Tier::Checkpointed).await, Some(checkpoint(2)));
}

async fn ts_12_a_prune_moves_proposed<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(10));
    commit(&mut store, vec![chain.blocks(1, 10), chain.up(Tier::Proposed, 10)]).await;
    let watermarks = store.watermarks().await.unwrap();
    commit(&mut store, vec![chain.prune(&watermarks, 5)]).await;
    assert_eq!(tips(&store).await, [Some(5), None, None, None]);
}

async fn ts_13_a_chain_rebuilt_from_genesis_has_the_new_digests<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, old) = (open(ALL).await, Chain::of(3));
    commit(&mut store, vec![old.blocks(1, 3), old.up(Tier::Proposed, 3)]).await;
    let watermarks = store.watermarks().await.unwrap();
    commit(&mut store, vec![old.prune(&watermarks, 0)]).await;
    assert_eq!(tips(&store).await, [Some(0), None, None, None]);
    let new = old.forked(0, 3, 1);
    commit(&mut store, vec![new.blocks(1, 3), new.up(Tier::Proposed, 3)]).await;
    assert_eq!(tips(&store).await, [Some(3), None, None, None]);
    commit(&mut store, vec![moved(Tier::Checkpointed, tip(new.at(3), 1))]).await;
    assert_eq!(tips(&store).await, [Some(3), Some(3), None, None]);
    for height in 0..=3 {
        assert_eq!(known(&store, height).await, Some(new.at(height)));
    }
}

async fn ts_15_a_prune_to_a_checkpoint_keeps_it<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, old) = (open(ALL).await, Chain::of(10));
    let first = moved(Tier::Checkpointed, tip(old.at(3), 1));
    commit(&mut store, vec![old.blocks(1, 10), old.up(Tier::Proposed, 10), first]).await;
    let watermarks = store.watermarks().await.unwrap();
    let new = old.forked(3, 2, 1);
    commit(
        &mut store,
        vec![old.prune(&watermarks, 3), new.blocks(4, 5), new.up(Tier::Proposed, 5)],
    )
    .await;
    assert_eq!(tips(&store).await, [Some(5), Some(3), None, None]);
    assert_eq!(checkpoint_of(&store, Tier::Checkpointed).await, Some(checkpoint(1)));
    commit(&mut store, vec![moved(Tier::Checkpointed, tip(new.at(5), 2))]).await;
    assert_eq!(tips(&store).await, [Some(5), Some(5), None, None]);
}

async fn ts_16_tiers_stay_through_a_prune_and_a_rebuild<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, old) = (open(ALL).await, Chain::of(10));
    let tiers =
        [moved(Tier::Checkpointed, tip(old.at(6), 2)), moved(Tier::Proven, tip(old.at(3), 1))];
    let mut changes = vec![old.blocks(1, 10), old.up(Tier::Proposed, 10)];
    changes.extend(tiers);
    commit(&mut store, changes).await;
    assert_eq!(tips(&store).await, [Some(10), Some(6), Some(3), None]);
    let watermarks = store.watermarks().await.unwrap();
    let to = [(Tier::Checkpointed, Some(tip(old.at(3), 1)))];
    commit(&mut store, vec![pruned(&watermarks, old.at(3), &to)]).await;
    assert_eq!(tips(&store).await, [Some(3), Some(3), Some(3), None]);
    let new = old.forked(3, 4, 1);
    commit(&mut store, vec![new.blocks(4, 7), new.up(Tier::Proposed, 7)]).await;
    assert_eq!(tips(&store).await, [Some(7), Some(3), Some(3), None]);
    commit(&mut store, vec![moved(Tier::Checkpointed, tip(new.at(7), 3))]).await;
    assert_eq!(tips(&store).await, [Some(7), Some(7), Some(3), None]);
    for height in 4..=7 {
        assert_eq!(known(&store, height).await, Some(new.at(height)));
    }
}

async fn ts_18_tiers_below_the_first_block_keep_their_checkpoints<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(7));
    let proven = moved(Tier::Proven, tip(chain.at(5), 2));
    let finalized = moved(Tier::Finalized, tip(chain.at(3), 1));
    commit(&mut store, vec![chain.blocks(7, 7), proven, finalized]).await;
    assert_eq!(tips(&store).await, [None, None, Some(5), Some(3)]);
    assert_eq!(checkpoint_of(&store, Tier::Proven).await, Some(checkpoint(2)));
    assert_eq!(checkpoint_of(&store, Tier::Finalized).await, Some(checkpoint(1)));
}

async fn ts_21_a_prune_inside_a_checkpoint_leaves_lower_tiers_alone<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(7));
    let first = moved(Tier::Checkpointed, tip(chain.at(5), 1));
    commit(&mut store, vec![chain.blocks(1, 7), chain.up(Tier::Proposed, 7), first]).await;
    let watermarks = store.watermarks().await.unwrap();
    commit(&mut store, vec![chain.prune(&watermarks, 6)]).await;
    assert_eq!(tips(&store).await, [Some(6), Some(5), None, None]);
    assert_eq!(checkpoint_of(&store, Tier::Checkpointed).await, Some(checkpoint(1)));
}

async fn ts_22_a_prune_clamps_each_tier_to_its_own_frontier<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(15));
    let mut changes = vec![chain.blocks(1, 15), chain.up(Tier::Proposed, 15)];
    changes
        .extend([Tier::Checkpointed, Tier::Proven].map(|tier| moved(tier, tip(chain.at(15), 3))));
    commit(&mut store, changes).await;
    let watermarks = store.watermarks().await.unwrap();
    let to = [
        (Tier::Checkpointed, Some(tip(chain.at(10), 2))),
        (Tier::Proven, Some(tip(chain.at(5), 1))),
    ];
    commit(&mut store, vec![pruned(&watermarks, chain.at(10), &to)]).await;
    assert_eq!(tips(&store).await, [Some(10), Some(10), Some(5), None]);
    assert_eq!(checkpoint_of(&store, Tier::Checkpointed).await, Some(checkpoint(2)));
    assert_eq!(checkpoint_of(&store, Tier::Proven).await, Some(checkpoint(1)));
}

async fn tsh_4_finalizing_ahead_of_what_is_kept_forgets_nothing<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    commit(
        &mut store,
        vec![chain.up(Tier::Proposed, 3), chain.up(Tier::Proposed, 5), chain.finalize(5)],
    )
    .await;
    assert_eq!(known(&store, 3).await, Some(chain.at(3)));
    assert_eq!(everything(&store).await.len(), 3);
}

async fn a_long_tips_only_history_keeps_anchors_at_every_depth<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(100).await, Chain::of(2_000));
    for height in 1..=2_000 {
        commit(&mut store, vec![chain.up(Tier::Proposed, height)]).await;
    }
    for depth in [1, 2, 5, 10, 50, 100, 500, 1_000] {
        let found = known(&store, 2_000 - depth).await.unwrap();
        assert_eq!(found, chain.at(found.height.get()), "on the chain");
        assert!(2_000 - found.height.get() <= depth * 2 + 2, "at depth {depth}: {found}");
    }
    assert_eq!(known(&store, 5_000).await.map(|b| b.height), Some(Height::new(2_000)));
}

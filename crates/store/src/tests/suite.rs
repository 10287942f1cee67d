//! What a local view and its log promise, against both stores.

use super::{
    ALL, Twin, TwinReader as _, commit, everything, folded, heights, known, twins, world::*,
};
use commonware_utils::NZUsize;
use futures::{FutureExt as _, pin_mut};
use tidewatch_core::{
    Block as _, Change, Conflict, Cursor, Event, EventLog as _, FaultKind, LogError,
    Positions as _, Tier, Tip, TipSet, Watermarks,
};

twins! {
    a_fresh_store_knows_genesis_and_nothing_else,
    a_commit_is_recorded_with_where_it_led,
    folding_every_event_gives_the_watermarks,
    a_dense_view_answers_with_the_block_at_that_very_height,
    the_block_below_the_first_is_known_and_nothing_below_it,
    blocks_end_where_a_prune_says,
    a_gap_starts_a_new_run_and_drops_the_old_one,
    a_run_can_start_again_and_again,
    a_prune_to_below_the_run_lets_it_start_lower,
    a_change_that_breaks_a_rule_is_refused_and_what_came_before_it_stays,
    a_tip_off_the_delivered_chain_is_torn_not_taken,
    the_lowest_proof_at_or_above_a_height_is_found,
    a_reader_waits_until_its_event_is_there,
    readers_that_give_up_are_forgotten,
    a_reader_that_falls_behind_is_told_the_point_to_start_again_from,
    a_reader_asks_for_no_more_than_is_there,
    two_consumers_have_two_positions,
    a_position_ahead_of_the_log_or_of_another_chain_is_refused,
    names_and_numbers_of_consumers_are_bounded,
    evidence_is_kept_once_and_bounded,
    an_empty_commit_changes_nothing,
}

async fn a_fresh_store_knows_genesis_and_nothing_else<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let store = open(ALL).await;
    assert_eq!(store.watermarks().await.unwrap(), Watermarks::none());
    assert_eq!(known(&store, 0).await, Some(chain_info().genesis));
    assert_eq!(known(&store, 9).await, Some(chain_info().genesis));
    assert_eq!(everything(&store).await, []);
    assert_eq!(store.block_at(0).await, None);
    assert_eq!(store.proof_at(0).await, None);
    assert_eq!(store.load("nobody").await.unwrap(), None);
}

async fn a_commit_is_recorded_with_where_it_led<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(10));
    commit(&mut store, vec![chain.blocks(1, 10), chain.up(Tier::Proposed, 10), chain.finalize(8)])
        .await;
    let records = everything(&store).await;
    let events: Vec<_> = records.iter().map(|record| record.event).collect();
    assert_eq!(
        events,
        [
            Event::Blocks { from: chain.at(1), to: chain.at(10) },
            Event::Advanced { tier: Tier::Proposed, tip: chain.at(10).into() },
            Event::Advanced { tier: Tier::Finalized, tip: chain.at(8).into() },
        ]
    );
    for (sequence, record) in records.iter().enumerate() {
        assert_eq!(record.sequence(), sequence as u64);
        assert!(
            record.cursor.stands_at(&record.watermarks) && record.cursor.is_of(&chain_info().id)
        );
    }
    let below: Vec<_> = records[0].cursor.locators().iter().map(|w| w.height.get()).collect();
    assert_eq!(below, [9, 8, 6, 2], "powers of two below 10");
    assert_eq!(store.block_at(7).await, Some(chain.block(7)));
    assert_eq!(store.block_at(11).await, None);
}

async fn folding_every_event_gives_the_watermarks<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let mut store = open(ALL).await;
    let (mut dice, mut driver) = (Dice::new(1), Driver::new(Chain::of(1), true, 1));
    for _ in 0..100 {
        let changes = driver.commit(&mut dice);
        commit(&mut store, changes).await;
        assert_eq!(store.watermarks().await.unwrap(), driver.watermarks);
    }
    let records = everything(&store).await;
    assert_eq!(folded(Watermarks::none(), &records), driver.watermarks);
}

async fn a_dense_view_answers_with_the_block_at_that_very_height<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(300));
    commit(&mut store, vec![chain.blocks(1, 300)]).await;
    let asked: Vec<_> = (0..=300).rev().chain([7, 7, 0, 300]).collect();
    let answers = store.locate(&heights(asked.clone())).await.unwrap();
    for (height, answer) in asked.into_iter().zip(answers) {
        assert_eq!(answer, Some(chain.at(height)));
    }
    assert_eq!(known(&store, 1_000).await, Some(chain.at(300)));
}

async fn the_block_below_the_first_is_known_and_nothing_below_it<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(20));
    commit(&mut store, vec![chain.blocks(15, 20)]).await;
    assert_eq!(known(&store, 15).await, Some(chain.at(15)));
    assert_eq!(known(&store, 14).await, Some(chain.at(14)), "named by its child");
    assert_eq!(known(&store, 13).await, None, "never seen");
    assert_eq!(known(&store, 0).await, None, "not known to be below block 15");
    assert_eq!(store.block_at(14).await, None);
}

async fn blocks_end_where_a_prune_says<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, old) = (open(ALL).await, Chain::of(10));
    commit(&mut store, vec![old.blocks(1, 10), old.up(Tier::Proposed, 10), old.finalize(4)]).await;
    let new = old.forked(6, 6, 1);
    let watermarks = store.watermarks().await.unwrap();
    commit(&mut store, vec![old.prune(&watermarks, 6)]).await;
    assert_eq!(store.block_at(7).await, None);
    assert_eq!(known(&store, 9).await, Some(old.at(6)));
    commit(&mut store, vec![new.blocks(7, 12), new.up(Tier::Proposed, 12)]).await;
    for height in 0..=12 {
        assert_eq!(known(&store, height).await, Some(new.at(height)));
    }
    assert_eq!(store.block_at(7).await, Some(new.block(7)));
    let Event::Pruned { depth, .. } = everything(&store).await[3].event else { panic!("no prune") };
    assert_eq!(depth, 4);
}

async fn a_gap_starts_a_new_run_and_drops_the_old_one<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(30));
    commit(&mut store, vec![chain.blocks(1, 5)]).await;
    commit(&mut store, vec![chain.blocks(20, 25), chain.blocks(26, 30)]).await;
    assert_eq!(store.block_at(5).await, None);
    assert_eq!(store.block_at(26).await, Some(chain.block(26)));
    assert_eq!(known(&store, 19).await, Some(chain.at(19)));
    assert_eq!(known(&store, 5).await, None);
}

async fn a_run_can_start_again_and_again<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(100));
    let runs = (0..10).map(|k| chain.blocks(10 * k + 5, 10 * k + 8)).collect();
    commit(&mut store, runs).await;
    assert_eq!(store.block_at(95).await, Some(chain.block(95)));
    assert_eq!(store.block_at(88).await, None);
    assert_eq!(everything(&store).await.len(), 10);
}

async fn a_prune_to_below_the_run_lets_it_start_lower<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(20));
    commit(&mut store, vec![chain.blocks(15, 20)]).await;
    let watermarks = store.watermarks().await.unwrap();
    commit(&mut store, vec![chain.prune(&watermarks, 14)]).await;
    assert_eq!(known(&store, 14).await, Some(chain.at(14)));
    let watermarks = store.watermarks().await.unwrap();
    commit(&mut store, vec![chain.prune(&watermarks, 10)]).await;
    assert_eq!(known(&store, 14).await, Some(chain.at(10)));
    commit(&mut store, vec![chain.blocks(11, 20)]).await;
    for height in 10..=20 {
        assert_eq!(known(&store, height).await, Some(chain.at(height)));
    }
    assert_eq!(store.block_at(11).await, Some(chain.block(11)));
}

async fn a_change_that_breaks_a_rule_is_refused_and_what_came_before_it_stays<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(20));
    let other = chain.forked(9, 11, 1);
    let start = vec![
        chain.blocks(1, 10),
        chain.up(Tier::Proposed, 10),
        chain.finalize(8),
        chain.up(Tier::Proven, 5),
    ];
    commit(&mut store, start).await;
    let watermarks = store.watermarks().await.unwrap();
    let lost = |to| Change::Pruned { to: chain.at(to), tips: TipSet::unknown() };
    let unlinked = Change::Blocks(vec![chain.block(11), chain.block(13)]);
    let moved = |tip: Tip, proof| Change::Advanced { tier: Tier::Finalized, tip, proof };
    let foreign = moved(chain.at(9).into(), Some(proof(chain.at(7))));
    let other_digest = moved(chain.forked(7, 1, 9).at(8).into(), None);
    let above = Change::Pruned { to: chain.at(9), tips: watermarks.tips };
    for (why, change) in [
        ("no blocks", Change::Blocks(vec![])),
        ("does not stand on", other.blocks(11, 12)),
        ("is not above the delivered block", chain.blocks(10, 12)),
        ("does not stand on", unlinked),
        ("is above the delivered block", chain.up(Tier::Proven, 11)),
        ("finalized moves", chain.back(Tier::Finalized, 7)),
        ("finalized moves", chain.finalize(7)),
        ("finalized moves", other_digest),
        ("proven moves up", chain.up(Tier::Proven, 4)),
        ("proven moves back", chain.back(Tier::Proven, 6)),
        ("above the head", chain.prune(&watermarks, 11)),
        ("takes back finalized", chain.prune(&watermarks, 7)),
        ("where this view has", other.prune(&watermarks, 10)),
        ("older than the announced", lost(9)),
        ("leaves the proposed tip", above),
        ("a proof of another block", foreign),
    ] {
        let refused = store.commit(vec![change, chain.up(Tier::Proven, 6)]).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Bug, "{refused}");
        assert!(refused.detail.contains(why), "{why}: {refused}");
        assert_eq!(store.watermarks().await.unwrap(), watermarks, "{why}");
        assert_eq!(known(&store, 10).await, Some(chain.at(10)), "{why}");
    }
    let changes = vec![chain.blocks(11, 20), other.blocks(10, 20), chain.up(Tier::Proven, 6)];
    store.commit(changes).await.unwrap_err();
    assert_eq!(store.watermarks().await.unwrap().delivered, Some(chain.at(20)));
    assert_eq!(store.watermarks().await.unwrap().tips, watermarks.tips);
    let records = everything(&store).await;
    assert_eq!(folded(Watermarks::none(), &records), store.watermarks().await.unwrap());
}

async fn a_tip_off_the_delivered_chain_is_torn_not_taken<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(10));
    commit(&mut store, vec![chain.blocks(5, 10)]).await;
    let other = chain.forked(3, 7, 1);
    for height in [4, 5, 9, 10] {
        let refused = store.commit(vec![other.up(Tier::Proven, height)]).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Torn, "{height}");
    }
    commit(&mut store, vec![chain.up(Tier::Proven, 2)]).await;
}

async fn the_lowest_proof_at_or_above_a_height_is_found<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(50));
    commit(&mut store, vec![chain.blocks(1, 50)]).await;
    for height in [3, 10, 11, 40] {
        commit(&mut store, vec![chain.finalize(height)]).await;
    }
    commit(&mut store, vec![chain.up(Tier::Finalized, 45), chain.finalize(45)]).await;
    for (asked, found) in
        [(0, 3), (3, 3), (4, 10), (10, 10), (11, 11), (12, 40), (41, 45), (45, 45)]
    {
        assert_eq!(
            store.proof_at(asked).await,
            Some(proof(chain.at(found))),
            "at or above {asked}"
        );
    }
    assert_eq!(store.proof_at(46).await, None);
}

async fn a_reader_waits_until_its_event_is_there<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(10));
    let log = store.clone();
    {
        let (first, second) = (log.wait(0), log.wait(1));
        pin_mut!(first, second);
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        commit(&mut store, vec![chain.blocks(1, 10)]).await;
        assert_eq!((&mut first).now_or_never(), Some(Ok(())));
        assert!((&mut second).now_or_never().is_none(), "its event did not come");
        commit(&mut store, vec![chain.finalize(1)]).await;
        assert_eq!((&mut second).now_or_never(), Some(Ok(())));
    }
    assert_eq!(log.wait(1).now_or_never(), Some(Ok(())), "it is there");
}

async fn readers_that_give_up_are_forgotten<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let store = open(ALL).await;
    for _ in 0..1_000 {
        assert!(store.wait(5).now_or_never().is_none());
    }
    assert!(store.readers_parked() <= 1, "{} parked", store.readers_parked());
}

async fn a_reader_that_falls_behind_is_told_the_point_to_start_again_from<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(10).await, Chain::of(100));
    for height in 1..=100 {
        commit(&mut store, vec![chain.blocks(height, height)]).await;
    }
    let too_old = store.read(89, NZUsize!(1)).await.unwrap_err();
    assert_eq!(too_old, LogError::TooOld { wanted: 89, oldest: 90 });
    let records = store.read(90, NZUsize!(100)).await.unwrap();
    assert_eq!(records.len(), 10);
    assert_eq!(records[9].watermarks, store.watermarks().await.unwrap());
}

async fn a_reader_asks_for_no_more_than_is_there<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    for height in 1..=5 {
        commit(&mut store, vec![chain.blocks(height, height)]).await;
    }
    let count =
        async |from, max: usize| store.read(from, max.try_into().unwrap()).await.unwrap().len();
    assert_eq!(count(0, 3).await, 3);
    assert_eq!(count(3, usize::MAX).await, 2);
    assert_eq!(count(5, 1).await, 0);
    assert_eq!(count(u64::MAX, 1).await, 0);
}

async fn two_consumers_have_two_positions<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    for height in 1..=5 {
        commit(&mut store, vec![chain.blocks(height, height)]).await;
    }
    let records = everything(&store).await;
    store.store("a", &records[1].cursor).await.unwrap();
    store.store("b", &records[4].cursor).await.unwrap();
    store.store("a", &records[2].cursor).await.unwrap();
    assert_eq!(store.load("a").await.unwrap(), Some(records[2].cursor.clone()));
    assert_eq!(store.load("b").await.unwrap(), Some(records[4].cursor.clone()));
    assert_eq!(store.load("c").await.unwrap(), None);
}

async fn a_position_ahead_of_the_log_or_of_another_chain_is_refused<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    commit(&mut store, vec![chain.blocks(1, 5)]).await;
    let watermarks = store.watermarks().await.unwrap();
    let ahead = Cursor::new(&chain_info().id, 2, &watermarks, &[]);
    let foreign = Cursor::new(&named("test:2").id, 1, &watermarks, &[]);
    assert_eq!(store.store("a", &ahead).await.unwrap_err().kind, FaultKind::Bug);
    assert_eq!(store.store("a", &foreign).await.unwrap_err().kind, FaultKind::WrongChain);
    assert_eq!(store.load("a").await.unwrap(), None);
}

async fn names_and_numbers_of_consumers_are_bounded<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (store, start) = (open(ALL).await, Cursor::start(&chain_info().id));
    for name in [String::new(), "x".repeat(129)] {
        assert_eq!(store.store(&name, &start).await.unwrap_err().kind, FaultKind::InvalidConfig);
    }
    for consumer in 0..256 {
        store.store(&consumer.to_string(), &start).await.unwrap();
    }
    assert_eq!(store.store("one more", &start).await.unwrap_err().kind, FaultKind::InvalidConfig);
    store.store("7", &start).await.unwrap();
}

async fn evidence_is_kept_once_and_bounded<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(200));
    let conflict = |height: u64| Conflict {
        ours: chain.at(height),
        theirs: chain.forked(height - 1, 1, 9).at(height),
    };
    for height in [1, 2, 1, 2, 1] {
        store.keep_evidence(conflict(height)).await.unwrap();
    }
    assert_eq!(store.evidence_kept(), [conflict(1), conflict(2)]);
    for height in 1..=200 {
        store.keep_evidence(conflict(height)).await.unwrap();
    }
    let kept = store.evidence_kept();
    assert_eq!((kept.len(), kept[63]), (64, conflict(64)), "the first ones stay");
}

async fn an_empty_commit_changes_nothing<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let mut store = open(ALL).await;
    commit(&mut store, vec![]).await;
    assert_eq!(everything(&store).await, []);
    let first = genesis();
    commit(&mut store, vec![Change::Blocks(vec![first.clone()])]).await;
    assert_eq!(known(&store, 0).await, Some(first.reference()), "genesis can be delivered");
}

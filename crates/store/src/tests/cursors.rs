//! How consumers go on from their cursors, against both stores.

use super::{ALL, Twin, commit, everything, folded, known, twins, world::*};
use tidewatch_core::{
    BlockRef, Cursor, Event, EventLog as _, Height, History as _, Record, Resume, ResumeError,
    Tier, TipSet, Watermarks,
};

twins! {
    a_cursor_of_this_log_is_resumed_exactly,
    a_cursor_that_handled_nothing_and_names_a_tip_is_not_the_start,
    the_cursor_of_an_older_event_names_no_block_that_its_chain_never_had,
    the_depth_of_a_prune_counts_delivered_blocks_alone,
    bad_cursors_get_an_answer_each_and_one_of_events_that_are_gone_is_led_on,
    the_restart_point_can_be_resumed_from,
    a_cursor_of_a_shorter_fork_is_led_over_the_ancestor,
    a_cursor_of_a_longer_fork_is_led_back,
    a_cursor_of_another_log_at_the_same_place_needs_no_bridge,
    a_cursor_behind_on_the_same_chain_is_led_on_without_a_prune,
    a_cursor_that_finalized_what_is_not_here_is_never_led_below_it,
    a_cursor_without_blocks_cannot_be_made_of_one_with_them,
    every_cursor_meets_every_state_of_a_log_with_a_documented_answer,
    every_cursor_of_one_history_is_led_into_any_other,
}

/// The bridge obeys the replay law, leads to `ours`, and never names a tier above its blocks.
fn assert_leads(cursor: &Cursor, bridge: &[Record], ours: &Watermarks) {
    let mut tips = TipSet::unknown();
    for tier in Tier::ALL {
        tips.set(tier, cursor.block(tier).map(Into::into));
    }
    let start = Watermarks { delivered: cursor.delivered(), tips };
    let end = folded(start, bridge);
    assert_eq!(end.delivered, ours.delivered);
    assert!(end.tips.same_blocks(&ours.tips), "{end:?} is not {ours:?}");
    for (index, record) in bridge.iter().enumerate() {
        assert!(index == 0 || !matches!(record.event, Event::Pruned { .. }), "a prune comes first");
        if let (Event::Advanced { tip, .. }, Some(delivered)) =
            (record.event, record.watermarks.delivered)
        {
            assert!(tip.block.height <= delivered.height);
        }
    }
    if let Some(finalized) = cursor.block(Tier::Finalized) {
        for record in bridge {
            let now = record.watermarks.tips.block(Tier::Finalized).map(|block| block.height);
            assert!(now >= Some(finalized.height), "finalized moved back");
        }
    }
}

fn forked(resume: Resume) -> (BlockRef, Vec<Record>, u64) {
    match resume {
        Resume::Forked { ancestor, bridge, next } => (ancestor, bridge, next),
        Resume::Exact { next } => panic!("resumed exactly at {next}"),
    }
}

async fn a_cursor_of_this_log_is_resumed_exactly<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let mut store = open(ALL).await;
    let (mut dice, mut driver) = (Dice::new(3), Driver::new(Chain::of(1), true, 1));
    for _ in 0..50 {
        let changes = driver.commit(&mut dice);
        commit(&mut store, changes).await;
    }
    let start = Cursor::start(&chain_info().id);
    assert_eq!(store.resume(&start).await, Ok(Resume::Exact { next: 0 }));
    for record in everything(&store).await {
        let next = record.sequence() + 1;
        let read_back = record.cursor.to_string().parse().unwrap();
        assert_eq!(store.resume(&read_back).await, Ok(Resume::Exact { next }));
    }
}

async fn a_cursor_that_handled_nothing_and_names_a_tip_is_not_the_start<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    let tips = TipSet::unknown().with(Tier::Finalized, chain.at(3));
    let cursor = Cursor::new(&chain_info().id, 0, &Watermarks { delivered: None, tips }, &[]);
    let ahead = Err(ResumeError::Ahead { theirs: None, ours: None });
    assert_eq!(store.resume(&cursor).await, ahead);
    commit(&mut store, vec![chain.blocks(1, 5), chain.up(Tier::Proposed, 5), chain.finalize(4)])
        .await;
    let (_, bridge, _) = forked(store.resume(&cursor).await.unwrap());
    assert_leads(&cursor, &bridge, &store.watermarks().await.unwrap());
}

async fn the_depth_of_a_prune_counts_delivered_blocks_alone<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let chain = Chain::of(60);
    let (start, skip, twice) = (
        vec![chain.blocks(33, 35)],
        vec![chain.blocks(1, 5), chain.blocks(50, 52)],
        vec![chain.blocks(1, 5), chain.blocks(50, 52), chain.prune(&Watermarks::none(), 20)],
    );
    for (before, to, dropped) in
        [(start, 20, 3), (skip.clone(), 3, 5), (skip, 51, 1), (twice, 3, 2)]
    {
        let mut store = open(ALL).await;
        commit(&mut store, before).await;
        commit(&mut store, vec![chain.prune(&Watermarks::none(), to)]).await;
        let Some(Event::Pruned { depth, .. }) = everything(&store).await.pop().map(|it| it.event)
        else {
            panic!("the last event is the prune")
        };
        assert_eq!(depth, dropped, "down to {to}");
    }
}

/// A prune below everything that the view knew goes to a block of the other chain.
async fn the_cursor_of_an_older_event_names_no_block_that_its_chain_never_had<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(ALL).await, Chain::of(20));
    commit(&mut store, vec![chain.blocks(8, 10)]).await;
    let fork = chain.forked(4, 16, 1);
    commit(&mut store, vec![fork.prune(&Watermarks::none(), 6)]).await;
    commit(&mut store, vec![fork.blocks(7, 20)]).await;
    for record in everything(&store).await {
        let chain = if record.sequence() == 0 { &chain } else { &fork };
        for locator in record.cursor.locators() {
            assert!(locator.is(&chain.at(locator.height.get())), "{:?}: {locator:?}", record.event);
        }
    }
}

async fn bad_cursors_get_an_answer_each_and_one_of_events_that_are_gone_is_led_on<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let (mut store, chain) = (open(10).await, Chain::of(100));
    let mut gone = None;
    for height in 1..=50 {
        commit(&mut store, vec![chain.blocks(height, height), chain.up(Tier::Proposed, height)])
            .await;
        if height == 1 {
            gone = everything(&store).await.pop();
        }
    }
    let watermarks = |chain: &Chain, height| Watermarks {
        delivered: Some(chain.at(height)),
        tips: TipSet::unknown().with(Tier::Proposed, chain.at(height)),
    };
    let below = |chain: &Chain, height| {
        Cursor::heights_below(Height::new(height)).map(|h| chain.at(h.get())).collect::<Vec<_>>()
    };
    let chain_id = &chain_info().id;

    assert!("made up".parse::<Cursor>().is_err(), "malformed, before it comes here");

    let foreign = Cursor::new(&named("test:2").id, 95, &watermarks(&chain, 48), &[]);
    assert_eq!(
        store.resume(&foreign).await,
        Err(ResumeError::WrongChain { ours: chain_id.clone() })
    );

    let future = Cursor::new(chain_id, 190, &watermarks(&chain, 95), &below(&chain, 95));
    let ahead = ResumeError::Ahead { theirs: Some(chain.at(95)), ours: Some(chain.at(50)) };
    assert_eq!(store.resume(&future).await, Err(ahead));

    // Its events are gone, the blocks are not.
    let gone = gone.unwrap().cursor;
    let (ancestor, bridge, next) = forked(store.resume(&gone).await.unwrap());
    assert_eq!((ancestor, next), (chain.at(1), 100));
    assert_eq!(bridge[0].event, Event::Blocks { from: chain.at(2), to: chain.at(50) });
    assert_leads(&gone, &bridge, &store.watermarks().await.unwrap());

    let other = chain.forked(40, 60, 1);
    let stands = watermarks(&other, 47);
    let tips = stands.tips.with(Tier::Finalized, other.at(45));
    let elsewhere = Cursor::new(chain_id, 92, &Watermarks { tips, ..stands }, &below(&other, 47));
    commit(&mut store, vec![chain.finalize(46)]).await;
    let too_old = store.resume(&elsewhere).await;
    assert!(matches!(too_old, Err(ResumeError::TooOld { .. })), "{too_old:?}");

    let fork = Cursor::new(chain_id, 92, &watermarks(&other, 47), &below(&other, 47));
    let (ancestor, bridge, next) = forked(store.resume(&fork).await.unwrap());
    // Locators stand at 46, 45, 43, 39: the highest that is common is 39.
    assert_eq!((ancestor, next), (chain.at(39), 101));
    assert_leads(&fork, &bridge, &store.watermarks().await.unwrap());
}

async fn the_restart_point_can_be_resumed_from<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(10).await, Chain::of(50));
    for height in 1..=50 {
        commit(&mut store, vec![chain.blocks(height, height)]).await;
    }
    commit(&mut store, vec![chain.finalize(40)]).await;
    // What it holds for final is on another fork.
    let elsewhere = theirs(&chain.forked(10, 30, 1), 35, 15).await;
    let Err(ResumeError::TooOld { restart }) = store.resume(&elsewhere).await else {
        panic!("resumed")
    };
    assert_eq!(store.resume(&restart).await, Ok(Resume::Exact { next: 41 }));
    assert_eq!(restart.delivered(), Some(chain.at(41)));
    assert_eq!(store.read(41, 1.try_into().unwrap()).await.unwrap()[0].sequence(), 41);
}

/// A log that followed `chain` up to `height`, finalized at `finalized`.
async fn followed<S: Twin>(mut store: S, chain: &Chain, height: u64, finalized: u64) -> S {
    for height in 1..=height {
        let mut changes = vec![chain.blocks(height, height), chain.up(Tier::Proposed, height)];
        if height == finalized {
            changes.push(chain.finalize(height));
        }
        commit(&mut store, changes).await;
    }
    store
}

async fn last_cursor(log: &impl Twin) -> Cursor {
    everything(log).await.pop().unwrap().cursor
}

async fn theirs(chain: &Chain, height: u64, finalized: u64) -> Cursor {
    last_cursor(&followed(super::memory_of(ALL).await, chain, height, finalized).await).await
}

async fn a_cursor_of_a_shorter_fork_is_led_over_the_ancestor<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let chain = Chain::of(40);
    let store = followed(open(ALL).await, &chain, 40, 20).await;
    let cursor = theirs(&chain.forked(28, 4, 1), 32, 20).await;
    let (ancestor, bridge, _) = forked(store.resume(&cursor).await.unwrap());
    assert_eq!(ancestor, chain.at(28), "at a distance of 4");
    let events: Vec<_> = bridge.iter().map(|record| record.event).collect();
    assert!(
        matches!(
            events[..],
            [Event::Pruned { depth: 4, .. }, Event::Blocks { .. }, Event::Advanced { .. }]
        ),
        "{events:?}"
    );
    let Event::Blocks { from, to } = events[1] else { panic!("no blocks") };
    assert_eq!((from, to), (chain.at(29), chain.at(40)));
    assert_leads(&cursor, &bridge, &store.watermarks().await.unwrap());
}

async fn a_cursor_of_a_longer_fork_is_led_back<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let chain = Chain::of(40);
    let store = followed(open(ALL).await, &chain, 40, 20).await;
    let cursor = theirs(&chain.forked(30, 20, 1), 50, 20).await;
    let (ancestor, bridge, _) = forked(store.resume(&cursor).await.unwrap());
    assert_eq!(ancestor, chain.at(20), "the finalized block: nearer than the locator at 18");
    assert_leads(&cursor, &bridge, &store.watermarks().await.unwrap());
}

async fn a_cursor_of_another_log_at_the_same_place_needs_no_bridge<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let chain = Chain::of(10);
    let mut store = open(ALL).await;
    commit(&mut store, vec![chain.blocks(1, 10), chain.up(Tier::Proposed, 10), chain.finalize(5)])
        .await;
    let cursor = theirs(&chain, 10, 5).await;
    let (ancestor, bridge, next) = forked(store.resume(&cursor).await.unwrap());
    assert_eq!((ancestor, bridge.len(), next), (chain.at(10), 0, 3));
}

async fn a_cursor_behind_on_the_same_chain_is_led_on_without_a_prune<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let chain = Chain::of(30);
    let mut store = open(ALL).await;
    commit(&mut store, vec![chain.blocks(1, 30), chain.up(Tier::Proposed, 30), chain.finalize(25)])
        .await;
    let cursor = theirs(&chain, 10, 5).await;
    let (ancestor, bridge, next) = forked(store.resume(&cursor).await.unwrap());
    assert_eq!((ancestor, next), (chain.at(10), 3));
    assert_eq!(bridge[0].event, Event::Blocks { from: chain.at(11), to: chain.at(30) });
    assert_leads(&cursor, &bridge, &store.watermarks().await.unwrap());
    let end = bridge.last().unwrap();
    assert_eq!(store.resume(&end.cursor).await, Ok(Resume::Exact { next: 3 }));
}

async fn a_cursor_that_finalized_what_is_not_here_is_never_led_below_it<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let chain = Chain::of(40);
    let store = followed(open(ALL).await, &chain, 40, 20).await;
    let other = chain.forked(10, 30, 1);
    let conflicting = theirs(&other, 35, 15).await;
    let refused = store.resume(&conflicting).await;
    assert!(matches!(refused, Err(ResumeError::TooOld { .. })), "{refused:?}");
    let further = theirs(&chain, 39, 30).await;
    let refused = store.resume(&further).await;
    assert!(matches!(refused, Err(ResumeError::Ahead { .. })), "{refused:?}");
}

async fn a_cursor_without_blocks_cannot_be_made_of_one_with_them<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let chain = Chain::of(40);
    let mut store = open(ALL).await;
    commit(&mut store, vec![chain.up(Tier::Proposed, 40)]).await;
    let cursor = theirs(&chain, 30, 0).await;
    let refused = store.resume(&cursor).await;
    assert!(matches!(refused, Err(ResumeError::TooOld { .. })), "{refused:?}");
}

async fn every_cursor_meets_every_state_of_a_log_with_a_documented_answer<S: Twin>(
    open: impl AsyncFn(u64) -> S,
) {
    let chain = Chain::of(40);
    let empty = open(ALL).await;
    let partial = followed(open(ALL).await, &chain, 20, 10).await;
    let full = followed(open(ALL).await, &chain, 40, 10).await;
    let behind = theirs(&chain, 15, 10).await;
    let equal = last_cursor(&full).await;
    let fork = theirs(&chain.forked(12, 6, 1), 18, 10).await;
    let future = theirs(&chain.grown(20, 0), 60, 10).await;
    let answer = async |log: &S, cursor: &Cursor| match log.resume(cursor).await {
        Ok(Resume::Exact { .. }) => "exact",
        Ok(Resume::Forked { bridge, .. }) => match bridge.first().map(|record| record.event) {
            Some(Event::Pruned { .. }) => "pruned and led on",
            _ => "led on",
        },
        Err(ResumeError::Ahead { .. }) => "ahead",
        Err(error) => panic!("{error}"),
    };
    for (cursor, answers) in [
        (&behind, ["ahead", "exact", "exact"]),
        (&equal, ["ahead", "ahead", "exact"]),
        (&future, ["ahead", "ahead", "ahead"]),
        (&fork, ["ahead", "pruned and led on", "pruned and led on"]),
    ] {
        for (log, expected) in [&empty, &partial, &full].into_iter().zip(answers) {
            assert_eq!(answer(log, cursor).await, expected, "{cursor}");
        }
    }
}

async fn every_cursor_of_one_history_is_led_into_any_other<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut exact, mut led, mut refused) = (0, 0, 0);
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let blocks = seed % 3 != 2;
        let trunk = Chain::of(dice.roll(20) + 1);
        let mut theirs = super::memory_of(ALL).await;
        let mut ours = open(ALL).await;
        let mut drivers = [1, 2].map(|forks| Driver::new(trunk.clone(), blocks, forks));
        for driver in &mut drivers {
            // Mostly, what both finalize is of the trunk that they share.
            driver.finalize_max = dice.roll(trunk.top() + 1);
        }
        for _ in 0..12 {
            commit(&mut theirs, drivers[0].commit(&mut dice)).await;
            commit(&mut ours, drivers[1].commit(&mut dice)).await;
        }
        let watermarks = ours.watermarks().await.unwrap();
        for record in everything(&theirs).await {
            match ours.resume(&record.cursor).await {
                Ok(Resume::Exact { .. }) => exact += 1,
                Ok(Resume::Forked { ancestor, bridge, .. }) => {
                    led += 1;
                    assert_eq!(known(&ours, ancestor.height.get()).await, Some(ancestor));
                    assert_leads(&record.cursor, &bridge, &watermarks);
                    for (index, step) in bridge.iter().enumerate() {
                        match ours.resume(&step.cursor).await.unwrap() {
                            Resume::Exact { next } => {
                                assert_eq!(next, everything(&ours).await.len() as u64);
                            }
                            Resume::Forked { bridge: rest, .. } => {
                                assert!(index + 1 < bridge.len(), "the end of a bridge is exact");
                                assert_leads(&step.cursor, &rest, &watermarks);
                            }
                        }
                    }
                }
                Err(ResumeError::Ahead { .. } | ResumeError::TooOld { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(led > 300 && refused > 10, "{exact} exact, {led} led, {refused} refused");
}

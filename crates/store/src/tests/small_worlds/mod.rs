//! Every history of a small world: up to four blocks on two forks, in both stores, which have to answer
//! alike.
//!
//! # Overview
//!
//! | what is enumerated | test |
//! |---|---|
//! | every history of three changes, cut into commits in every way, and ended by a refused change | [`every_history_of_three_changes_cut_into_commits_in_every_way_is_told_alike`] |
//! | every change in every state that four changes lead to, after an acknowledgement and evidence | [`every_fifth_change_is_taken_in_alike`] |
//! | every change in every state that three changes lead to, after an acknowledgement, evidence and a restart | [`every_fourth_change_is_taken_in_alike_after_a_restart`] |
//! | every change that must be refused, in every state that four changes lead to | [`every_wrong_change_is_refused_alike_and_leaves_nothing`] |
//! | a crash at every change of the disk in a commit, in an acknowledgement, and where evidence is kept | [`crashes`] |
//!
//! What a change may be is in [`Past::letters`]: of tips and blocks of one or two heights, of a gap, of
//! every prune down to finalized, and of one tier besides proposed and finalized. Everything that the stores
//! answer is compared after it.
//!
//! What leads to a state that another history led to is not continued: the same changes would follow.
//! Two states are the same if all answers are, and what no answer shows (see [`Past::hidden`]), but for the
//! events, which are only ever added to.
//!
//! Not here: reads while a commit waits for the disk (see [`restart`](super::restart)), and consumers in
//! the middle of a history, which the interleavings of `tidewatch-stream` have.
//!
//! # Counts
//!
//! Each test states how many histories, states and crashes there are: one that goes through fewer than it
//! says fails. A change of the rules, or of what a commit asks of the disk, changes the numbers, and has
//! to explain why.

mod crashes;
mod history;

use super::{
    ALL, InMemory, OnDisk, Twin, TwinReader as _, commit, everything, heights, memory_of, on_disk,
    open_another, run,
    world::{TestBlock, chain_info},
};
use futures::FutureExt as _;
use history::{Letter, Past, TOP};
use std::collections::HashSet;
use tidewatch_core::{
    Block as _, BlockRef, Change, Conflict, Cursor, LocalView as _, Positions as _, Record, Tier,
    TierProof, Watermarks,
};

/// The consumer.
const READER: &str = "reader";

/// Histories in one runtime.
const BATCH: usize = 16;

/// Everything that a store answers.
#[derive(Debug, PartialEq)]
struct Seen {
    watermarks: Watermarks,
    records: Vec<Record>,
    locators: Vec<Option<BlockRef>>,
    blocks: Vec<Option<TestBlock>>,
    proofs: Vec<Option<TierProof>>,
    evidence: Vec<Conflict>,
    acknowledged: Option<Cursor>,
}

impl Seen {
    async fn of<S: Twin>(store: &S) -> Self {
        let (mut blocks, mut proofs) = (Vec::new(), Vec::new());
        for height in 0..=TOP + 1 {
            blocks.push(store.block_at(height).await);
            proofs.push(store.proof_at(height).await);
        }
        Self {
            watermarks: store.watermarks().await.unwrap(),
            records: everything(store).await,
            locators: store.locate(&heights(0..=TOP + 1)).await.unwrap(),
            blocks,
            proofs,
            evidence: store.evidence_kept(),
            acknowledged: store.load(READER).await.unwrap(),
        }
    }

    /// The blocks that it names.
    fn names(&self) -> Vec<Option<BlockRef>> {
        let tips = Tier::ALL.map(|tier| self.watermarks.tips.block(tier));
        let blocks = self.blocks.iter().map(|block| block.as_ref().map(|block| block.reference()));
        let proofs = self.proofs.iter().map(|proof| proof.as_ref().map(|proof| proof.block));
        let mut names = vec![self.watermarks.delivered];
        names.extend(tips.into_iter().chain(self.locators.iter().copied()));
        names.extend(blocks.chain(proofs));
        names
    }
}

/// What is said where a history fails.
struct Story(String);

impl Story {
    fn of(letters: &[Letter]) -> Self {
        let words: Vec<_> = letters.iter().map(ToString::to_string).collect();
        Self(format!("the history: {}", words.join("; ")))
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// Everything besides changes: a consumer acknowledges the last event, and a contradiction is kept.
async fn note<S: Twin>(store: &mut S) {
    let Some(last) = everything(store).await.pop() else { return };
    store.store(READER, &last.cursor).await.unwrap();
    let theirs = last.watermarks.head().unwrap();
    store.keep_evidence(Conflict { ours: chain_info().genesis, theirs }).await.unwrap();
}

/// `letters` as changes, a new commit beginning after the `n`th where bit `n` of `cuts` is set.
fn commits(letters: &[Letter], cuts: usize) -> Vec<Vec<Change<TestBlock>>> {
    let (mut past, mut commits) = (Past::none(), vec![Vec::new()]);
    for (n, letter) in letters.iter().enumerate() {
        if n > 0 && cuts & (1 << (n - 1)) != 0 {
            commits.push(Vec::new());
        }
        commits.last_mut().unwrap().push(past.change(*letter));
        past = past.and(*letter);
    }
    commits
}

/// The twin in memory, after `letters`.
async fn remembered(letters: &[Letter]) -> InMemory {
    let mut memory = memory_of(ALL).await;
    commit(&mut memory, commits(letters, 0).remove(0)).await;
    memory
}

fn longer(history: &[Letter]) -> impl Iterator<Item = Vec<Letter>> {
    let letters = Past::after(history).letters();
    letters.into_iter().map(move |letter| [history, &[letter]].concat())
}

/// Every history of `length` letters.
fn histories(length: usize) -> Vec<Vec<Letter>> {
    let mut histories = vec![Vec::new()];
    for _ in 0..length {
        histories = histories.iter().flat_map(|history: &Vec<_>| longer(history)).collect();
    }
    histories
}

/// Every state that up to `length` letters lead to, by a shortest history that does.
fn states(length: usize) -> Vec<Vec<Letter>> {
    let (mut known, mut states) = (HashSet::new(), vec![Vec::new()]);
    let mut next = 0;
    while next < states.len() && states[next].len() < length {
        for history in longer(&states[next].clone()) {
            let seen = async { Seen::of(&remembered(&history).await).await };
            let seen = seen.now_or_never().expect("in memory");
            if known.insert((seen.names(), Past::after(&history).hidden())) {
                states.push(history);
            }
        }
        next += 1;
    }
    states
}

/// Runs `check` on every history, each with a store of its own, a batch of them in one runtime.
fn each(histories: &[Vec<Letter>], check: &impl AsyncFn(&OnDisk, u64, &[Letter])) {
    for batch in histories.chunks(BATCH) {
        run(|context| async {
            let (context, _) = on_disk(context);
            for (nth, letters) in (0..).zip(batch) {
                let _story = Story::of(letters);
                check(&context, nth, letters).await;
            }
        });
    }
}

#[test]
fn every_history_of_three_changes_cut_into_commits_in_every_way_is_told_alike() {
    let histories = histories(3);
    each(&histories, &async |context, nth, letters| {
        // The last way is all in one, up to a change that is refused: what follows it is not made.
        for way in 0..=4 {
            let _story = Story(format!("cut {way:03b}"));
            let mut commits = commits(letters, way % 4);
            let past = Past::after(letters);
            if way == 4 {
                let (_, wrong) = past.wrong().swap_remove(0);
                commits[0].extend([wrong, past.chain.up(Tier::Checkpointed, 0)]);
            }
            let mut store = open_another(context, ALL, 5 * nth + way as u64).await;
            let mut memory = memory_of(ALL).await;
            for changes in commits {
                let told = memory.commit(changes.clone()).await;
                assert_eq!(store.commit(changes).await, told);
                assert_eq!(told.is_err(), way == 4);
                assert_eq!(Seen::of(&store).await, Seen::of(&memory).await);
            }
            assert_eq!(memory.watermarks().await.unwrap(), past.watermarks);
        }
    });
    assert_eq!(histories.len(), 409);
}

/// The last of `letters` comes in a commit of its own, after a restart where that is wanted.
async fn last_change(context: &OnDisk, nth: u64, letters: &[Letter], restart: bool) {
    let mut memory = memory_of(ALL).await;
    let mut store = open_another(context, ALL, nth).await;
    let cuts = 1 << letters.len().saturating_sub(2);
    for (n, changes) in commits(letters, cuts).into_iter().enumerate() {
        if n > 0 {
            note(&mut memory).await;
            note(&mut store).await;
        }
        if n > 0 && restart {
            drop(store);
            store = open_another(context, ALL, nth).await;
        }
        commit(&mut memory, changes.clone()).await;
        commit(&mut store, changes).await;
    }
    assert_eq!(Seen::of(&store).await, Seen::of(&memory).await);
}

#[test]
fn every_fifth_change_is_taken_in_alike() {
    let histories: Vec<_> = states(4).iter().flat_map(|state| longer(state)).collect();
    each(&histories, &async |context, nth, letters| {
        last_change(context, nth, letters, false).await;
    });
    assert_eq!(histories.len(), 6_620);
}

#[test]
fn every_fourth_change_is_taken_in_alike_after_a_restart() {
    let histories: Vec<_> = states(3).iter().flat_map(|state| longer(state)).collect();
    each(&histories, &async |context, nth, letters| {
        last_change(context, nth, letters, true).await;
    });
    assert_eq!(histories.len(), 1_814);
}

#[test]
fn every_wrong_change_is_refused_alike_and_leaves_nothing() {
    let states = states(4);
    let wrong: usize = states.iter().map(|letters| Past::after(letters).wrong().len()).sum();
    each(&states, &async |context, nth, letters| {
        let mut memory = remembered(letters).await;
        let mut store = open_another(context, ALL, nth).await;
        commit(&mut store, commits(letters, 0).remove(0)).await;
        let before = Seen::of(&memory).await;
        for (why, wrong) in Past::after(letters).wrong() {
            let refused = memory.commit(vec![wrong.clone()]).await;
            assert!(refused.is_err(), "{why}");
            assert_eq!(store.commit(vec![wrong]).await, refused, "{why}");
        }
        assert_eq!(Seen::of(&memory).await, before);
        assert_eq!(Seen::of(&store).await, before);
    });
    assert_eq!((states.len(), wrong), (856, 8_326));
}

//! Readers beside a writer that prunes, starts runs and goes on, in the deterministic runtime: every
//! access to the disk gives way to the others for a while, so that reads begin before a cut and end in
//! the middle of it or after it.

use super::{heights, on_disk, open_another, run, world::*};
use commonware_runtime::{Spawner as _, Supervisor as _};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tidewatch_core::{
    Archive, ArchiveError, Block as _, BlockRef, Change, EventLog, History, LocalView as _,
    Locator, Positions, Record, Resume,
};

/// Commits in one world.
const COMMITS: usize = 60;

/// What a reader asks, and what came of it.
#[derive(Debug, Default)]
struct Answers {
    found: usize,
    off_chain: usize,
    other: usize,
    resumed: usize,
    located: usize,
}

/// Everything that ever was on the chain, as the writer knows it before it commits.
#[derive(Default)]
struct Truth {
    /// Every block that was ever delivered.
    blocks: Vec<TestBlock>,
    /// The chain after each event.
    after: Vec<BTreeMap<u64, BlockRef>>,
}

impl Truth {
    fn note(&mut self, changes: &[Change<TestBlock>]) {
        for change in changes {
            let mut chain = self.after.last().cloned().unwrap_or_default();
            match change {
                Change::Blocks(blocks) => {
                    for block in blocks {
                        let at = block.reference();
                        if let Some(below) = at.height.previous() {
                            let below = BlockRef::new(below, block.parent());
                            chain.entry(below.height.get()).or_insert(below);
                        }
                        chain.insert(at.height.get(), at);
                        self.blocks.push(block.clone());
                    }
                }
                Change::Pruned { to, .. } => chain.retain(|height, _| *height <= to.height.get()),
                Change::Certified(_) | Change::Advanced { .. } | Change::Regressed { .. } => {}
            }
            self.after.push(chain);
        }
    }

    /// Whether every locator of `record` is of the chain that it speaks of.
    fn owns(&self, record: &Record) -> bool {
        let chain = &self.after[usize::try_from(record.sequence()).unwrap()];
        let is = |locator: &Locator| {
            chain.get(&locator.height.get()).is_some_and(|block| locator.is(block))
        };
        record.cursor.locators().iter().all(is)
    }
}

async fn ask<R>(reader: &R, truth: &Mutex<Truth>, dice: &mut Dice, answers: &mut Answers)
where
    R: Archive<Block = TestBlock> + History + Positions + EventLog,
{
    let (wanted, to) = {
        let truth = truth.lock();
        let Some(count) = u64::try_from(truth.blocks.len()).ok().filter(|count| *count > 0) else {
            return;
        };
        let mut any = || truth.blocks[dice.roll(count) as usize].reference();
        (any(), any())
    };
    match dice.roll(4) {
        0 | 1 => match reader.block(wanted).await {
            Ok(block) => {
                assert_eq!(block.reference(), wanted, "another block than was asked for");
                answers.found += 1;
            }
            Err(ArchiveError::OffChain { ours, .. }) => {
                assert!(ours.height == wanted.height && ours != wanted);
                answers.off_chain += 1;
            }
            Err(ArchiveError::Fault(fault)) => panic!("{fault}"),
            Err(ArchiveError::Ahead { .. } | ArchiveError::Trimmed { .. }) => answers.other += 1,
        },
        2 => match reader.range(wanted, to, NZUsize!(50)).await {
            Ok(blocks) => {
                let mut below: Option<BlockRef> = None;
                for block in &blocks {
                    let at = block.reference();
                    assert!(below.map_or(at == wanted, |below| below.digest == block.parent()));
                    below = Some(at);
                }
                let last = below.filter(|last| last.height == to.height);
                assert!(last.is_none_or(|last| last == to), "the end is not on the chain");
                answers.found += 1;
            }
            Err(ArchiveError::Fault(fault)) => panic!("{fault}"),
            Err(_) => answers.other += 1,
        },
        _ => {
            let records = reader.read(dice.roll(60), NZUsize!(20)).await.unwrap();
            for record in &records {
                assert!(truth.lock().owns(record), "a locator of another chain: {record:?}");
            }
            answers.located +=
                records.iter().map(|record| record.cursor.locators().len()).sum::<usize>();
            if let Some(last) = records.last() {
                let next = last.cursor.handled();
                let resumed = reader.resume(&last.cursor).await;
                assert_eq!(resumed, Ok(Resume::Exact { next }));
                answers.resumed += 1;
            }
        }
    }
}

fn world(seed: u64) -> Answers {
    run(|context| async move {
        let (on_disk, disk) = on_disk(context.child("disk"));
        let mut store = open_another(&on_disk, super::ALL, 1).await;
        disk.give_way(seed);
        let (truth, over) =
            (Arc::new(Mutex::new(Truth::default())), Arc::new(AtomicBool::new(false)));
        let readers: Vec<_> = (0..4)
            .map(|nth| {
                let (reader, truth, over) = (store.clone(), truth.clone(), over.clone());
                context.child("reader").with_attribute("nth", nth).spawn(move |_| async move {
                    let mut dice = Dice::new(seed * 10 + nth);
                    let mut answers = Answers::default();
                    while !over.load(Ordering::Relaxed) {
                        ask(&reader, &truth, &mut dice, &mut answers).await;
                        commonware_runtime::reschedule().await;
                    }
                    answers
                })
            })
            .collect();
        let (mut dice, mut driver) = (Dice::new(seed), Driver::new(Chain::of(40), true, 1));
        driver.finalize_max = 3;
        let first = vec![driver.chain.blocks(1, 40)];
        driver.watermarks.apply(&first[0].event(&driver.watermarks).unwrap());
        truth.lock().note(&first);
        store.commit(first).await.unwrap();
        for _ in 0..COMMITS {
            let changes = driver.commit(&mut dice);
            truth.lock().note(&changes);
            store.commit(changes).await.unwrap();
            let known = store.reader.locate(&heights([2])).await.unwrap();
            assert_eq!(known.len(), 1);
        }
        over.store(true, Ordering::Relaxed);
        let mut all = Answers::default();
        for reader in readers {
            let answers = reader.await.unwrap();
            all.found += answers.found;
            all.off_chain += answers.off_chain;
            all.other += answers.other;
            all.resumed += answers.resumed;
            all.located += answers.located;
        }
        all
    })
}

#[test]
fn readers_beside_reorgs_and_new_runs_get_what_they_asked_for_or_a_typed_answer() {
    let mut all = Answers::default();
    for seed in 0..70 {
        let answers = world(seed);
        all.found += answers.found;
        all.off_chain += answers.off_chain;
        all.resumed += answers.resumed;
        all.located += answers.located;
    }
    assert!(
        all.found > 400 && all.off_chain > 80 && all.resumed > 150 && all.located > 500,
        "{all:?}"
    );
}

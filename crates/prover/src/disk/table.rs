//! The table of jobs: a journal of lines of which the last about a height counts.

use super::record::Record;
use crate::{Error, plan::Saved};
use commonware_runtime::{
    ReadOptions,
    buffer::paged::{CacheRef, page_size},
};
use commonware_storage::{
    Context,
    journal::contiguous::{Contiguous as _, Many, variable},
};
use commonware_utils::{NZU64, NZUsize};
use futures::{StreamExt as _, pin_mut};
use std::{
    collections::BTreeMap,
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
};
use tidewatch_core::{BlockRef, ChainId, Digest};

/// Lines in one file: about 1 MiB.
const PER_SECTION: NonZeroU64 = NZU64!(8192);
const PAGE: NonZeroU16 = page_size(4096);
const CACHE_PAGES: NonZeroUsize = NZUsize!(32);
const BUFFER: NonZeroUsize = NZUsize!(256 * 1024);
/// Lines that are out of date which are kept at the least: a table is rewritten only when more are.
const SLACK: u64 = 4096;

/// What the table is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) chain: ChainId,
    pub(super) program: Digest,
    pub(super) start: BlockRef,
}

/// What the lines add up to.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    pub(super) base: Option<Base>,
    pub(super) tip: Option<BlockRef>,
    pub(super) jobs: BTreeMap<u64, Saved>,
}

impl Folded {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Base { chain, program, start } => {
                self.base = Some(Base { chain, program, start });
                self.tip = self.tip.or(Some(start));
            }
            Record::Job(job) => {
                self.jobs.insert(job.key.height(), job);
            }
            Record::Tip(block) => {
                self.tip = Some(block);
                self.jobs = self.jobs.split_off(&(block.height.get().saturating_add(1)));
            }
            Record::Pruned(to) => {
                self.jobs.split_off(&(to.height.get().saturating_add(1)));
                self.tip = self.tip.map(|tip| if tip.height > to.height { to } else { tip });
            }
        }
    }

    /// Lines that say the same.
    fn lines(&self) -> Vec<Record> {
        let base = self.base.clone().map(|base| {
            let Base { chain, program, start } = base;
            Record::Base { chain, program, start }
        });
        let tip = self.tip.map(Record::Tip);
        base.into_iter().chain(tip).chain(self.jobs.values().cloned().map(Record::Job)).collect()
    }
}

/// The table, open. A write that failed or was cut off closes it.
pub(super) struct Table<E: Context> {
    journal: Option<variable::Journal<E, Record>>,
    pub(super) folded: Folded,
}

impl<E: Context> Table<E> {
    pub(super) async fn open(context: &E, partition: &str) -> Result<Self, Error> {
        let config = variable::Config {
            partition: partition.into(),
            items_per_section: PER_SECTION,
            compression: None,
            codec_config: (),
            page_cache: CacheRef::from_pooler(context, PAGE, CACHE_PAGES),
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        };
        let journal = variable::Journal::init(context.child("table"), config).await?;
        let mut folded = Folded { base: None, tip: None, jobs: BTreeMap::new() };
        let (journal, reader) = journal.snapshot().await?;
        {
            let from = reader.bounds().start;
            let lines = reader.replay(from, BUFFER, ReadOptions::default()).await?;
            pin_mut!(lines);
            while let Some(line) = lines.next().await {
                folded.apply(line?.1);
            }
        }
        drop(reader);
        Ok(Self { journal: Some(journal), folded })
    }

    /// Writes lines durably, all of them or a prefix.
    pub(super) async fn write(&mut self, lines: Vec<Record>) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        let journal = self.journal.take().ok_or(Error::Closed)?;
        let (journal, _) = journal.append_many(Many::Flat(&lines)).await?;
        let journal = journal.sync().await?;
        lines.into_iter().for_each(|line| self.folded.apply(line));
        self.journal = Some(self.rewritten(journal).await?);
        Ok(())
    }

    /// Writes what counts once more and drops the rest, where most of it is out of date.
    async fn rewritten(
        &self,
        journal: variable::Journal<E, Record>,
    ) -> Result<variable::Journal<E, Record>, Error> {
        let (bounds, counts) = (journal.bounds(), self.folded.jobs.len() as u64 + 2);
        if bounds.end - bounds.start <= 2 * counts + SLACK {
            return Ok(journal);
        }
        let (journal, _) = journal.append_many(Many::Flat(&self.folded.lines())).await?;
        let journal = journal.sync().await?;
        Ok(journal.prune(bounds.end).await?.0)
    }

    /// Lines in the journal: bounded, whatever was written.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| {
            let bounds = journal.bounds();
            bounds.end - bounds.start
        })
    }
}

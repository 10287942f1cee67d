//! The journal.

use super::{
    Change, History, Limits,
    record::{FORMAT, Record},
};
use crate::Error;
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
use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use tidewatch_core::ChainId;

/// Lines in one file.
const PER_SECTION: NonZeroU64 = NZU64!(1024);
const PAGE: NonZeroU16 = page_size(4096);
const CACHE_PAGES: NonZeroUsize = NZUsize!(32);
const BUFFER: NonZeroUsize = NZUsize!(256 * 1024);
/// Lines that are out of date which are kept at the least.
const SLACK: u64 = 2048;
/// Rows, epochs or events in one line of a rewritten journal.
const PER_LINE: usize = 128;

/// The history, open. A write that failed or was cut off closes it.
pub(crate) struct Disk<E: Context> {
    pub(super) journal: Option<variable::Journal<E, Record>>,
    chain: ChainId,
    /// Lines since everything was written once more.
    lines: u64,
    pub(crate) history: History,
}

/// What the lines add up to.
struct Folded {
    limits: Limits,
    whole: Option<History>,
    /// What was begun once more, and may not be whole.
    begun: Option<History>,
    chain: Option<ChainId>,
    changed: bool,
    lines: u64,
}

impl Folded {
    fn apply(&mut self, record: Record) -> Result<(), Error> {
        self.lines += 1;
        let histories = self.whole.iter_mut().chain(&mut self.begun);
        match record {
            Record::Foreign(found) => return Err(Error::Format { found, reads: FORMAT }),
            Record::Base(chain) => {
                if self.chain.as_ref().is_some_and(|known| *known != chain) {
                    return Err(Error::Damaged("it is of two chains"));
                }
                self.chain = Some(chain);
                self.begun = Some(History::new(self.limits));
            }
            Record::Whole => {
                let begun = self.begun.take();
                self.whole = Some(begun.ok_or(Error::Damaged("it is whole without a base"))?);
                self.lines = 0;
            }
            Record::Change(change) => {
                self.changed = true;
                histories.for_each(|history| history.apply((*change).clone()));
            }
            Record::Given(given) => histories.for_each(|history| history.given(given)),
        }
        Ok(())
    }
}

/// All of `items`, so many at a time.
fn parts<'a, T: Clone + 'a>(
    mut items: impl Iterator<Item = &'a T>,
) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let part: Vec<T> = items.by_ref().take(PER_LINE).cloned().collect();
        (!part.is_empty()).then_some(part)
    })
}

impl History {
    fn given(&mut self, given: u64) {
        self.given = self.given.max(given);
        self.trim(false);
    }

    /// Lines that say the same.
    fn lines(&self, chain: &ChainId) -> Vec<Record> {
        let part =
            || Change { processed: self.processed, evaluated: self.evaluated, ..Change::default() };
        let (mut lines, mut add) = (vec![Record::Base(chain.clone())], Vec::new());
        add.extend(parts(self.rows.iter()).map(|rows| Change { rows, ..part() }));
        add.extend(parts(self.epochs.values()).map(|epochs| Change { epochs, ..part() }));
        // After everything that is of them: a committee that nothing is of is forgotten.
        let committees = self.committees.iter().map(|(number, of)| (*number, of.clone()));
        add.push(Change { committees: committees.collect(), ..part() });
        add.extend(parts(self.events.iter()).map(|events| Change { events, ..part() }));
        lines.extend(add.into_iter().map(|change| Record::Change(Box::new(change))));
        lines.extend([Record::Given(self.given), Record::Whole]);
        lines
    }
}

impl<E: Context> Disk<E> {
    /// Opens what there is, or begins.
    pub(crate) async fn open(
        context: &E,
        partition: &str,
        chain: ChainId,
        limits: Limits,
    ) -> Result<Self, Error> {
        let config = variable::Config {
            partition: partition.into(),
            items_per_section: PER_SECTION,
            compression: None,
            codec_config: (),
            page_cache: CacheRef::from_pooler(context, PAGE, CACHE_PAGES),
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        };
        let journal = variable::Journal::init(context.child("history"), config).await?;
        let mut folded =
            Folded { limits, whole: None, begun: None, chain: None, changed: false, lines: 0 };
        let (journal, reader) = journal.snapshot().await?;
        {
            let from = reader.bounds().start;
            let lines = reader.replay(from, BUFFER, ReadOptions::default()).await?;
            pin_mut!(lines);
            while let Some(line) = lines.next().await {
                folded.apply(line?.1)?;
            }
        }
        drop(reader);
        let Folded { whole, chain: found, lines, changed, .. } = folded;
        if whole.is_none() && changed {
            return Err(Error::Damaged("what was recorded does not begin with a base"));
        }
        if let Some(found) = found.filter(|found| *found != chain) {
            return Err(Error::WrongChain { found, wanted: chain });
        }
        let fresh = whole.is_none();
        let history = whole.unwrap_or_else(|| History::new(limits));
        let mut disk = Self { journal: Some(journal), chain, lines, history };
        if fresh {
            disk.append(&[Record::Base(disk.chain.clone()), Record::Whole]).await?;
        }
        Ok(disk)
    }

    pub(super) async fn append(&mut self, lines: &[Record]) -> Result<(), Error> {
        let journal = self.journal.take().ok_or(Error::Closed)?;
        let (journal, _) = journal.append_many(Many::Flat(lines)).await?;
        self.journal = Some(journal.sync().await?);
        self.lines += lines.len() as u64;
        Ok(())
    }

    /// Writes what a pass changed, durably, all of it or nothing.
    pub(crate) async fn write(&mut self, change: Change) -> Result<(), Error> {
        self.append(&[Record::Change(Box::new(change.clone()))]).await?;
        self.history.apply(change);
        self.rewrite().await
    }

    /// Notes that the output took every event up to `sequence`.
    pub(crate) async fn given(&mut self, sequence: u64) -> Result<(), Error> {
        self.append(&[Record::Given(sequence)]).await?;
        self.history.given(sequence);
        Ok(())
    }

    /// Writes what counts once more and drops the rest, where most of it is out of date.
    async fn rewrite(&mut self) -> Result<(), Error> {
        if self.lines <= 2 * self.history.rows.len() as u64 + SLACK {
            return Ok(());
        }
        let lines = self.history.lines(&self.chain);
        self.append(&lines).await?;
        let journal = self.journal.take().ok_or(Error::Closed)?;
        let start = journal.bounds().end - lines.len() as u64;
        self.journal = Some(journal.prune(start).await?.0);
        self.lines = 0;
        Ok(())
    }

    /// Lines in the journal.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| {
            let bounds = journal.bounds();
            bounds.end - bounds.start
        })
    }
}

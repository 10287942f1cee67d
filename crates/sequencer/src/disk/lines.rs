//! A journal of lines that fold to a state.

use crate::Error;
use commonware_codec::Codec;
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
    fmt,
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
};

/// Lines in one file.
const PER_SECTION: NonZeroU64 = NZU64!(4096);
const PAGE: NonZeroU16 = page_size(4096);
const CACHE_PAGES: NonZeroUsize = NZUsize!(64);
const BUFFER: NonZeroUsize = NZUsize!(256 * 1024);
/// Lines that are out of date which are kept at the least: a journal is rewritten only when more are.
const SLACK: u64 = 4096;

/// Whether most of `len` lines is out of date, where `counts` would say the same.
pub(super) const fn is_stale(len: u64, counts: usize) -> bool {
    len > 2 * counts as u64 + SLACK
}

/// A journal, open. A write that failed or was cut off closes it.
pub struct Lines<E: Context, L: Codec<Cfg = ()> + Clone + Send + Sync + 'static> {
    journal: Option<variable::Journal<E, L>>,
    what: &'static str,
}

impl<E: Context, L: Codec<Cfg = ()> + Clone + Send + Sync + 'static> fmt::Debug for Lines<E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("what", &self.what).finish_non_exhaustive()
    }
}

impl<E: Context, L: Codec<Cfg = ()> + Clone + Send + Sync + 'static> Lines<E, L> {
    /// Opens it and hands every line to `fold`, with its position. `what` names it in errors.
    ///
    /// # Errors
    ///
    /// The disk, or whatever `fold` refuses.
    pub async fn open(
        context: E,
        partition: String,
        what: &'static str,
        mut fold: impl FnMut(u64, L) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let failed = |error| Error::Journal { what, error };
        let page_cache = CacheRef::from_pooler(&context, PAGE, CACHE_PAGES);
        let config = variable::Config {
            partition,
            items_per_section: PER_SECTION,
            compression: None,
            codec_config: (),
            page_cache,
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        };
        let journal = variable::Journal::init(context, config).await.map_err(failed)?;
        let (journal, reader) = journal.snapshot().await.map_err(failed)?;
        {
            let from = reader.bounds().start;
            let lines =
                reader.replay(from, BUFFER, ReadOptions::default()).await.map_err(failed)?;
            pin_mut!(lines);
            while let Some(line) = lines.next().await {
                let (position, line) = line.map_err(failed)?;
                fold(position, line)?;
            }
        }
        drop(reader);
        Ok(Self { journal: Some(journal), what })
    }

    const fn failed(&self) -> impl Fn(commonware_storage::journal::Error) -> Error + use<E, L> {
        let what = self.what;
        move |error| Error::Journal { what, error }
    }

    /// Lines that were written and not dropped.
    pub(super) fn len(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| {
            let bounds = journal.bounds();
            bounds.end - bounds.start
        })
    }

    /// The position of the next line.
    pub(super) fn end(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| journal.bounds().end)
    }

    /// Lines that would be left of those that are there if all before `position` were dropped: files are dropped as a
    /// whole.
    pub(super) fn left(&self, position: u64) -> u64 {
        self.end() - position / PER_SECTION * PER_SECTION.get()
    }

    /// Writes lines durably, all of them or a prefix.
    ///
    /// # Errors
    ///
    /// The disk: it is closed then.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: one that is dropped closes it.
    pub async fn write(&mut self, lines: &[L]) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        let journal = self.journal.take().ok_or(Error::Closed)?;
        let failed = self.failed();
        let (journal, _) = journal.append_many(Many::Flat(lines)).await.map_err(&failed)?;
        self.journal = Some(journal.sync().await.map_err(&failed)?);
        Ok(())
    }

    /// Whether most of it is out of date, where `counts` lines would say the same.
    pub fn is_stale(&self, counts: usize) -> bool {
        is_stale(self.len(), counts)
    }

    /// Writes the lines that count once more and drops the rest.
    ///
    /// # Errors
    ///
    /// As of [`write`](Self::write).
    pub async fn rewrite(&mut self, lines: &[L]) -> Result<(), Error> {
        self.rewrite_from(lines, self.end()).await
    }

    /// Writes `lines`, and drops what is before `from`.
    ///
    /// # Errors
    ///
    /// As of [`write`](Self::write).
    pub(super) async fn rewrite_from(&mut self, lines: &[L], from: u64) -> Result<(), Error> {
        let journal = self.journal.take().ok_or(Error::Closed)?;
        let failed = self.failed();
        let (journal, _) = journal.append_many(Many::Flat(lines)).await.map_err(&failed)?;
        let journal = journal.sync().await.map_err(&failed)?;
        self.journal = Some(journal.prune(from).await.map_err(&failed)?.0);
        Ok(())
    }

    /// The line at `position`.
    ///
    /// # Errors
    ///
    /// It is not there, or the disk.
    pub async fn read(&self, position: u64) -> Result<L, Error> {
        let journal = self.journal.as_ref().ok_or(Error::Closed)?;
        journal.read(position).await.map_err(self.failed())
    }
}

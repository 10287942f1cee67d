//! The blocks of one run on disk, and their digests beside them.

use super::{
    layout::{Blocks, Digests, Held, Layout},
    meta::Run,
    moment::RunReader,
};
use crate::{Damage, Part, retention::Files};
use commonware_codec::{Codec, Encode};
use commonware_runtime::Handle;
use commonware_storage::{
    Context,
    journal::contiguous::{Contiguous, Many},
};
use futures::future::try_join;
use std::{collections::BTreeSet, sync::Arc, time::SystemTime};
use tidewatch_core::{Block, Digest, Fault, Height};

/// Blocks that are encoded at once: what bounds the memory of a large commit.
const CHUNK: usize = 1024;

/// A run whose journals are open. A position in them is a height.
pub(super) struct OpenRun<E: Context> {
    pub(super) run: Run,
    pub(super) blocks: Blocks<E>,
    pub(super) digests: Digests<E>,
    /// Whether something was appended since the last sync.
    dirty: bool,
    /// The last snapshot, until something changes.
    reader: Option<RunReader<E>>,
    /// The files of the blocks.
    pub(super) files: Files,
}

impl<E: Context> OpenRun<E> {
    /// Opens a run that was started.
    pub(super) async fn open(context: &E, layout: &Layout, run: Run) -> Result<Self, Fault> {
        let blocks = layout.blocks(context, run.slot, None).await?;
        let digests = layout.digests(context, run.slot, None).await?;
        let files = layout.block_files(context, run.slot, blocks.bounds()).await?;
        Ok(Self { run, blocks, digests, dirty: false, reader: None, files })
    }

    /// Empties the slot of `run` and starts it.
    pub(super) async fn start(context: &E, layout: &Layout, run: Run) -> Result<Self, Fault> {
        let first = Some(run.start.first.get());
        let blocks = layout.blocks(context, run.slot, first).await?;
        let digests = layout.digests(context, run.slot, first).await?;
        let files = layout.files_of(layout.blocks_per_section, blocks.bounds(), &[], context);
        Ok(Self { run, blocks, digests, dirty: false, reader: None, files })
    }

    /// The height of the next block.
    pub(super) fn end(&self) -> u64 {
        self.blocks.size()
    }

    fn changed(&mut self) {
        self.dirty = true;
        self.reader = None;
    }

    pub(super) async fn append<B: Block + Encode>(
        mut self,
        blocks: &[B],
        now: SystemTime,
    ) -> Result<Self, Fault> {
        for chunk in blocks.chunks(CHUNK) {
            let held: Vec<_> = chunk.iter().map(|block| Held(block.encode())).collect();
            let digests: Vec<_> = chunk.iter().map(|block| block.reference().digest).collect();
            let appended = self.blocks.append_many(Many::Flat(&held)).await;
            (self.blocks, _) = appended.map_err(|error| Part::Blocks.failed(error))?;
            self = self.append_digests(&digests).await?;
            held.iter().for_each(|held| self.files.append(held.0.len() as u64, now));
        }
        debug_assert_eq!(self.blocks.size(), self.digests.size(), "a digest for each block");
        Ok(self)
    }

    pub(super) async fn append_digests(mut self, digests: &[Digest]) -> Result<Self, Fault> {
        let appended = self.digests.append_many(Many::Flat(digests)).await;
        (self.digests, _) = appended.map_err(|error| Part::Digests.failed(error))?;
        self.changed();
        Ok(self)
    }

    /// Drops every block from height `end` up, durably: what is appended next cannot be mixed up
    /// with what was there before, whatever a crash leaves of it.
    pub(super) async fn cut(mut self, end: u64) -> Result<Self, Fault> {
        if self.blocks.size() > end {
            let cut = self.blocks.rewind(end).await;
            self.blocks = cut.map_err(|error| Part::Blocks.failed(error))?;
            self.files.cut(end);
            self.changed();
        }
        if self.digests.size() > end {
            let cut = self.digests.rewind(end).await;
            self.digests = cut.map_err(|error| Part::Digests.failed(error))?;
            self.changed();
        }
        let (run, synced) = self.start_sync().await?;
        for (part, handle) in synced {
            handle.await.map_err(|error| part.failed(error))?;
        }
        Ok(run)
    }

    /// Begins to make durable what was appended; what is in the handles has to end well.
    pub(super) async fn start_sync(mut self) -> Result<(Self, Vec<(Part, Handle<()>)>), Fault> {
        if !self.dirty {
            return Ok((self, Vec::new()));
        }
        let (blocks, digests) = (self.blocks.start_sync(), self.digests.start_sync());
        let (blocks, digests) =
            try_join(async { blocks.await.map_err(|error| Part::Blocks.failed(error)) }, async {
                digests.await.map_err(|error| Part::Digests.failed(error))
            })
            .await?;
        self.blocks = blocks.0;
        self.digests = digests.0;
        self.dirty = false;
        Ok((self, vec![(Part::Blocks, blocks.1), (Part::Digests, digests.1)]))
    }

    /// Makes everything durable, the watermarks that a restart begins from included.
    pub(super) async fn sync(mut self) -> Result<Self, Fault> {
        self.blocks = self.blocks.sync().await.map_err(|error| Part::Blocks.failed(error))?;
        self.digests = self.digests.sync().await.map_err(|error| Part::Digests.failed(error))?;
        self.dirty = false;
        Ok(self)
    }

    /// Removes the files of blocks that are wholly below `from`. Digests stay: cursors are located by them.
    pub(super) async fn trim(mut self, from: u64) -> Result<Self, Fault> {
        let trimmed = self.blocks.prune(from).await;
        (self.blocks, _) = trimmed.map_err(|error| Part::Blocks.failed(error))?;
        self.files.trim(self.blocks.bounds().start);
        self.reader = None;
        Ok(self)
    }

    /// Empties the digests and starts them at height `at`.
    pub(super) async fn restart_digests(
        self,
        context: &E,
        layout: &Layout,
        at: u64,
    ) -> Result<Self, Fault> {
        let Self { run, blocks, digests, dirty, files, .. } = self;
        drop(digests);
        let digests = layout.digests(context, run.slot, Some(at)).await?;
        Ok(Self { run, blocks, digests, dirty, reader: None, files })
    }

    /// Removes the run from disk.
    pub(super) async fn destroy(self) -> Result<(), Fault> {
        self.blocks.destroy().await.map_err(|error| Part::Blocks.failed(error))?;
        self.digests.destroy().await.map_err(|error| Part::Digests.failed(error))
    }

    /// What readers may see: taken again only where something changed since.
    pub(super) async fn snapshot(mut self) -> Result<(Self, RunReader<E>), Fault> {
        if let Some(reader) = &self.reader {
            let reader = reader.clone();
            return Ok((self, reader));
        }
        let (blocks, digests) = (self.blocks.snapshot().await, self.digests.snapshot().await);
        let (blocks, digests) = (
            blocks.map_err(|error| Part::Blocks.failed(error))?,
            digests.map_err(|error| Part::Digests.failed(error))?,
        );
        let start = self.run.start;
        let reader = RunReader { start, blocks: Arc::new(blocks.1), digests: Arc::new(digests.1) };
        self.blocks = blocks.0;
        self.digests = digests.0;
        self.reader = Some(reader.clone());
        Ok((self, reader))
    }

    /// The block at height `at`, which must be in the run.
    pub(super) async fn block<B: Block + Codec>(
        &self,
        at: u64,
        codec: &B::Cfg,
    ) -> Result<B, Fault> {
        block_at(&self.blocks, at, codec).await
    }
}

/// The block at height `at`, which must be there.
pub(super) async fn block_at<B: Block + Codec>(
    blocks: &impl Contiguous<Item = Held>,
    at: u64,
    codec: &B::Cfg,
) -> Result<B, Fault> {
    let held = blocks.read(at).await.map_err(|error| Part::Blocks.unreadable(at, error))?;
    let block = B::decode_cfg(held.0, codec).map_err(|error| Part::Blocks.corrupt(at, error))?;
    let found = block.reference();
    if found.height.get() != at {
        return Err(Part::Blocks.corrupt(at, Damage::OtherBlock(found)));
    }
    Ok(block)
}

/// The digests at `heights`, which must be there.
pub(super) async fn digests_at(
    digests: &impl Contiguous<Item = Digest>,
    heights: &BTreeSet<Height>,
) -> Result<Vec<Digest>, Fault> {
    let Some(lowest) = heights.first() else { return Ok(Vec::new()) };
    let positions: Vec<_> = heights.iter().map(|height| height.get()).collect();
    let read = digests.read_many(&positions).await;
    read.map_err(|error| Part::Digests.unreadable(lowest.get(), error))
}

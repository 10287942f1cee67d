//! What readers see: the store as of the last commit that is durable.
//!
//! Behind a lock of its own that is never held across a disk access. A reader takes the published
//! moment and reads its files beside the writer: neither waits for the other.
//!
//! A moment holds snapshots of the journals. Appends, removed files and new runs leave a snapshot as it
//! was; a cut (of blocks that were pruned, of proofs of a tier that moved back) does not: what an
//! older snapshot says afterwards is unspecified. So the writer announces a cut before it begins, and a
//! reader that finds one announced after it has read throws its answer away and reads the next moment.

use super::{
    layout::{BlocksReader, DigestsReader, EventsReader, ProofsReader},
    proofs::{self, HISTORY},
    run::{block_at, digests_at},
    trim::Floors,
};
use crate::{
    Damage, Part,
    anchors::Anchors,
    error::Cause,
    known::{Known, RunStart, known},
    limits,
    records::{Prunes, Stored},
    waiters::Waiters,
};
use commonware_codec::Codec;
use commonware_storage::{Context, journal::contiguous::Contiguous};
use commonware_utils::sync::Mutex;
use futures::channel::oneshot;
use std::{collections::BTreeSet, num::NonZeroUsize, ops::Range, sync::Arc};
use tidewatch_core::{
    ArchiveError, Block, BlockRef, ChainInfo, Conflict, Digest, Fault, Height, Locators, LogError,
    Record, Records, Tier, TierProof, Watermarks,
};

pub(super) struct Log<E: Context> {
    state: Mutex<Option<State<E>>>,
    pub(super) cause: Cause,
}

/// One durable moment.
pub(super) struct Moment<E: Context> {
    pub(super) chain_info: Arc<ChainInfo>,
    pub(super) watermarks: Watermarks,
    pub(super) oldest: u64,
    pub(super) end: u64,
    pub(super) events: EventsReader<E>,
    pub(super) run: Option<RunReader<E>>,
    /// In the order of [`Tier::ALL`], and those of [`HISTORY`].
    pub(super) proofs: Vec<Arc<ProofsReader<E>>>,
    /// Heights of the oldest proofs.
    pub(super) oldest_proofs: [Option<Height>; 4],
    pub(super) floors: Arc<Floors>,
    pub(super) anchors: Arc<Anchors>,
    pub(super) prunes: Arc<Prunes>,
    pub(super) evidence: Arc<[Conflict]>,
    /// Cuts that were announced before this moment was published.
    pub(super) cuts: u64,
}

/// Snapshots of one run.
pub(super) struct RunReader<E: Context> {
    pub(super) start: RunStart,
    pub(super) blocks: Arc<BlocksReader<E>>,
    pub(super) digests: Arc<DigestsReader<E>>,
}

impl<E: Context> Clone for RunReader<E> {
    fn clone(&self) -> Self {
        let (blocks, digests) = (self.blocks.clone(), self.digests.clone());
        Self { start: self.start, blocks, digests }
    }
}

struct State<E: Context> {
    moment: Arc<Moment<E>>,
    waiters: Waiters,
    /// Cuts that were announced.
    cuts: u64,
    /// Readers whose answer a cut has spoilt, until the moment after it.
    spoilt: Vec<oneshot::Sender<()>>,
}

impl<E: Context> Log<E> {
    pub(super) fn new(moment: Moment<E>, cause: Cause) -> Self {
        let (waiters, cuts, spoilt) = (Waiters::default(), moment.cuts, Vec::new());
        let state = State { moment: Arc::new(moment), waiters, cuts, spoilt };
        Self { state: Mutex::new(Some(state)), cause }
    }

    /// Shows `moment` to readers, and wakes those that waited for it. A cut that was announced is over.
    pub(super) fn publish(&self, mut moment: Moment<E>) {
        if let Some(state) = self.state.lock().as_mut() {
            debug_assert!(moment.end >= state.moment.end, "events are only ever added");
            debug_assert!(moment.oldest >= state.moment.oldest, "trimmed events do not come back");
            moment.cuts = state.cuts;
            state.waiters.wake(moment.end);
            state.moment = Arc::new(moment);
            state.spoilt.clear();
        }
    }

    /// From here on, what snapshots that were taken before say is unspecified.
    pub(super) fn announce_cut(&self) {
        if let Some(state) = self.state.lock().as_mut() {
            state.cuts += 1;
        }
    }

    /// Fails every later call, and every wait.
    pub(super) fn close(&self) {
        if let Some(mut state) = self.state.lock().take() {
            state.waiters.close();
        }
    }

    pub(super) fn moment(&self) -> Result<Arc<Moment<E>>, Fault> {
        self.state
            .lock()
            .as_ref()
            .map(|state| state.moment.clone())
            .ok_or_else(|| self.cause.fault())
    }

    /// Whether what was read of `moment` counts: no cut was announced since. Where one was, waits for
    /// the moment after it.
    pub(super) async fn stood(&self, moment: &Moment<E>) -> Result<bool, Fault> {
        let over = {
            let mut state = self.state.lock();
            let state = state.as_mut().ok_or_else(|| self.cause.fault())?;
            if state.cuts == moment.cuts {
                return Ok(true);
            }
            if state.cuts == state.moment.cuts {
                return Ok(false);
            }
            state.spoilt.retain(|reader| !reader.is_canceled());
            let (sender, receiver) = oneshot::channel();
            state.spoilt.push(sender);
            receiver
        };
        // Dropped when the next moment is published, or the log is closed: both end the wait.
        let _ = over.await;
        Ok(false)
    }

    pub(super) async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        let parked = {
            let mut state = self.state.lock();
            let state = state.as_mut().ok_or_else(|| self.cause.fault())?;
            if sequence < state.moment.end {
                return Ok(());
            }
            state.waiters.park(sequence)
        };
        parked.await.map_err(|_| self.cause.fault().into())
    }

    #[cfg(test)]
    pub(super) fn parked(&self) -> usize {
        self.state.lock().as_ref().map_or(0, |state| state.waiters.parked())
    }
}

/// See [`known`], where digests are in `digests`.
pub(super) async fn locate(
    heights: &[Height],
    watermarks: &Watermarks,
    run: Option<(RunStart, &impl Contiguous<Item = Digest>)>,
    anchors: &Anchors,
    genesis: BlockRef,
) -> Result<Vec<Option<BlockRef>>, Fault> {
    let start = run.map(|(start, _)| start);
    let known: Vec<_> = heights
        .iter()
        .map(|height| (*height, known(*height, watermarks, start, anchors, genesis)))
        .collect();
    let dense: BTreeSet<_> =
        known.iter().filter(|(_, known)| *known == Known::Dense).map(|(at, _)| *at).collect();
    let mut digests = Vec::new();
    if let Some((_, held)) = run {
        digests = digests_at(held, &dense).await?;
    }
    let dense: Vec<_> = dense.into_iter().zip(digests).collect();
    let digest_at = |height| {
        let at = dense.binary_search_by_key(&height, |(height, _)| *height).ok()?;
        dense.get(at).map(|(height, digest)| BlockRef::new(*height, *digest))
    };
    let block = |(height, known)| match known {
        Known::Is(block) => block,
        Known::Dense => digest_at(height),
    };
    Ok(known.into_iter().map(block).collect())
}

impl<E: Context> Moment<E> {
    pub(super) async fn read(&self, from: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        let positions: Vec<_> = limits::readable(from, max, self.oldest, self.end)?.collect();
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let read = self.events.read_many(&positions).await;
        let stored = read.map_err(|error| Part::Events.unreadable(from, error))?;
        Ok(self.finish(stored, &positions).await?)
    }

    /// What is stored of event `sequence`, as it was read; `None` where it is not kept.
    async fn stored(&self, sequence: u64) -> Result<Option<Stored>, Fault> {
        if !self.events.bounds().contains(&sequence) {
            return Ok(None);
        }
        let read = self.events.read(sequence).await;
        read.map(Some).map_err(|error| Part::Events.unreadable(sequence, error))
    }

    /// `stored`, which was read at `positions`, with cursors: one read of digests for all of them.
    async fn finish(&self, stored: Vec<Stored>, positions: &[u64]) -> Result<Vec<Record>, Fault> {
        for (stored, at) in stored.iter().zip(positions) {
            in_place(stored, *at)?;
        }
        let wanted = self.prunes.wanted(&stored);
        let known = self.locate(&wanted).await?;
        let at = |height| known[wanted.binary_search(&height).ok()?];
        let chain = &self.chain_info.id;
        Ok(stored.iter().map(|stored| self.prunes.record(chain, stored, at)).collect())
    }

    /// The run, if it holds `wanted`.
    async fn on_chain(&self, wanted: BlockRef) -> Result<&RunReader<E>, ArchiveError> {
        let ours = self.watermarks.delivered;
        let delivered = ours.filter(|delivered| wanted.height <= delivered.height);
        let (Some(run), Some(_)) = (&self.run, delivered) else {
            return Err(ArchiveError::Ahead { wanted, ours });
        };
        let known = self.locate(&[wanted.height]).await?.into_iter().next().flatten();
        match known.filter(|known| known.height == wanted.height) {
            Some(ours) if ours != wanted => Err(ArchiveError::OffChain { wanted, ours }),
            Some(_) if wanted.height >= self.oldest_of(run) => Ok(run),
            _ => Err(ArchiveError::Trimmed { wanted, oldest: self.oldest_of(run) }),
        }
    }

    /// The height of the oldest block of `run` that is held, and goes on to be held if it is pinned now:
    /// what a trim has chosen is refused before it is removed.
    fn oldest_of(&self, run: &RunReader<E>) -> Height {
        let held = Height::new(run.blocks.bounds().start.max(self.floors.blocks()));
        held.max(run.start.first)
    }

    /// The height of the oldest block that is held.
    pub(super) fn oldest_block(&self) -> Option<Height> {
        self.watermarks.delivered?;
        self.run.as_ref().map(|run| self.oldest_of(run))
    }

    /// The delivered block `wanted`, checked against its digest.
    pub(super) async fn block<B: Block + Codec>(
        &self,
        wanted: BlockRef,
        codec: &B::Cfg,
    ) -> Result<B, ArchiveError> {
        let run = self.on_chain(wanted).await?;
        let at = wanted.height.get();
        let block = block_at::<B>(&*run.blocks, at, codec).await?;
        let found = block.reference();
        if found == wanted {
            Ok(block)
        } else {
            Err(Part::Blocks.corrupt(at, Damage::OtherBlock(found)).into())
        }
    }

    /// See [`Archive::range`](tidewatch_core::Archive::range).
    pub(super) async fn range<B: Block + Codec>(
        &self,
        (from, to): (BlockRef, BlockRef),
        max: NonZeroUsize,
        codec: &B::Cfg,
    ) -> Result<Vec<B>, ArchiveError> {
        let run = self.on_chain(from).await?;
        self.on_chain(to).await?;
        let positions: Vec<_> = limits::range(from.height, to.height, max).collect();
        let read = run.blocks.read_many(&positions).await;
        let held = read.map_err(|error| Part::Blocks.unreadable(from.height.get(), error))?;
        let mut blocks = Vec::with_capacity(held.len());
        let mut below: Option<BlockRef> = None;
        for (held, at) in held.into_iter().zip(positions) {
            let block = B::decode_cfg(held.0, codec);
            let block = block.map_err(|error| Part::Blocks.corrupt(at, error))?;
            let found = block.reference();
            let linked = below.map_or(found == from, |below| block.parent() == below.digest);
            if found.height.get() != at || !linked {
                return Err(Part::Blocks.corrupt(at, Damage::OtherBlock(found)).into());
            }
            below = Some(found);
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// See [`Archive::proof`](tidewatch_core::Archive::proof).
    pub(super) async fn proof(
        &self,
        tier: Tier,
        block: BlockRef,
    ) -> Result<Option<TierProof>, ArchiveError> {
        let ours = self.watermarks.head();
        if ours.is_none_or(|head| block.height > head.height) {
            return Err(ArchiveError::Ahead { wanted: block, ours });
        }
        let known = self.locate(&[block.height]).await?.into_iter().next().flatten();
        if let Some(ours) = known.filter(|known| known.height == block.height && *known != block) {
            return Err(ArchiveError::OffChain { wanted: block, ours });
        }
        let own = self.lowest_proof(tier.index(), block.height).await?;
        if tier != Tier::Finalized {
            return Ok(own);
        }
        let history = self.lowest_proof(HISTORY, block.height).await?;
        Ok(own.into_iter().chain(history).min_by_key(|proof| proof.block.height))
    }

    async fn lowest_proof(&self, log: usize, height: Height) -> Result<Option<TierProof>, Fault> {
        let from = self.floors.proofs(log);
        proofs::at_or_above(&*self.proofs[log], height, from).await
    }
}

impl<E: Context> Locators for Moment<E> {
    fn chain_info(&self) -> &ChainInfo {
        &self.chain_info
    }

    fn watermarks(&self) -> Watermarks {
        self.watermarks
    }

    fn first(&self) -> Option<Height> {
        self.run.as_ref().map(|run| run.start.first)
    }

    fn oldest_block(&self) -> Option<Height> {
        self.oldest_block()
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let run = self.run.as_ref().map(|run| (run.start, &*run.digests));
        locate(heights, &self.watermarks, run, &self.anchors, self.chain_info.genesis).await
    }
}

impl<E: Context> Records for Moment<E> {
    fn bounds(&self) -> Range<u64> {
        self.oldest..self.end
    }

    async fn record(&self, sequence: u64) -> Result<Option<Record>, Fault> {
        let Some(stored) = self.stored(sequence).await? else { return Ok(None) };
        Ok(self.finish(vec![stored], &[sequence]).await?.pop())
    }

    async fn watermarks_after(&self, sequence: u64) -> Result<Option<Watermarks>, Fault> {
        let Some(stored) = self.stored(sequence).await? else { return Ok(None) };
        in_place(&stored, sequence)?;
        Ok(Some(stored.watermarks))
    }
}

/// Refuses a record that says it stands elsewhere.
pub(super) fn in_place(stored: &Stored, at: u64) -> Result<(), Fault> {
    if stored.sequence == at {
        return Ok(());
    }
    Err(Part::Events.corrupt(at, Damage::OtherEvent(stored.sequence)))
}

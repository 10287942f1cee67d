//! An Aztec node as a source.

use super::{
    AztecBlock,
    block::Sealed,
    calls::{self, handshake},
    memory::{Bound, Memory, Range},
    names::Renamed,
};
use crate::{
    error::fault,
    rpc::{Answer, Config, NodeError, RangeLimit, Rpc, Steady, Upstreams, Work},
};
use commonware_runtime::{Clock, Metrics};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{fmt, num::NonZeroUsize, sync::Arc};
use tidewatch_core::{
    BlockRef, ChainInfo, Digest, Doorbell, Fault, FaultKind, Height, Ladder, Limits, Monitor,
    Snapshot, Source,
};

/// Digests that one question may name. The search of a pass goes by powers of that.
const DIGESTS_MAX: usize = 64;

/// Calls that go with a question for digests: the header that binds it to the tip, that of genesis, and
/// two blocks.
const BESIDES: usize = 3;

/// Blocks of a range at the most, until a node says that it gives fewer.
const BLOCKS_MAX: usize = 50;

/// Blocks that are remembered at the least: those of a range, and what is asked for below it.
const RECENT_MIN: usize = 2 * BLOCKS_MAX;

/// Blocks that are asked for below a range that does not stand on what is known there.
const BELOW: usize = 4;

/// An Aztec chain, followed from its nodes. See the [module](crate::aztec).
pub struct AztecSource<E: Clock, R> {
    upstreams: Upstreams<E, Renamed<R>>,
    memory: Mutex<Memory>,
    chain_info: Mutex<Option<ChainInfo>>,
    /// Blocks that the nodes give at once.
    limit: RangeLimit,
    steady: Steady,
}

impl<E: Clock, R> fmt::Debug for AztecSource<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AztecSource").field("upstreams", &self.upstreams).finish_non_exhaustive()
    }
}

impl<E: Clock + Metrics, R: Rpc> AztecSource<E, R> {
    /// A source over `nodes`, which are several endpoints of one chain. Nothing is asked yet. What is
    /// refused on the way to an answer is told to `monitor`.
    ///
    /// # Errors
    ///
    /// `Setting`: there is no node.
    pub fn new(
        context: E,
        nodes: Vec<R>,
        monitor: Arc<dyn Monitor>,
        config: &Config,
    ) -> Result<Self, Fault> {
        let nodes = nodes.into_iter().map(Renamed::new).collect();
        Ok(Self {
            upstreams: Upstreams::new(context, nodes, handshake(), monitor, config)?,
            memory: Mutex::new(Memory::new(config.recent_max.get().max(RECENT_MIN))),
            chain_info: Mutex::default(),
            limit: RangeLimit::new(BLOCKS_MAX),
            steady: Steady::new(Ladder::Rollup, config),
        })
    }
}

impl<E: Clock, R: Rpc> AztecSource<E, R> {
    /// What was asked and refused so far.
    pub fn work(&self) -> Work {
        self.upstreams.work()
    }

    /// Which chain it was when it was last asked.
    async fn known(&self) -> Result<ChainInfo, Fault> {
        let known = self.chain_info.lock().clone();
        match known {
            Some(chain_info) => Ok(chain_info),
            None => self.chain_info().await,
        }
    }

    /// One look at the tips.
    async fn take(&self) -> Result<Snapshot, Fault> {
        let genesis = self.known().await?.genesis;
        let answers = self.upstreams.ask(&[calls::tips()]).await?;
        let (tip, tips) = self.believe(calls::read_tips(self.name(), genesis, first(&answers)?))?;
        let time_ms = self.memory.lock().time_ms(tip);
        Ok(Snapshot { time_ms, ..tips.into() })
    }

    /// Counts a fault in an answer.
    fn believe<T>(&self, read: Result<T, Fault>) -> Result<T, Fault> {
        read.map_err(|fault| self.upstreams.refuse(fault))
    }

    /// Whether the header in `answer`, at the tip's height, is still the tip's.
    fn is_bound(&self, tip: BlockRef, answer: &Answer) -> Result<bool, Fault> {
        let header = calls::read_header(self.name(), tip.height.get(), answer);
        let header = self.believe(header)?.filter(|header| header.reference() == tip);
        if let Some(header) = &header {
            self.memory.lock().see_tip(tip, header);
        }
        Ok(header.is_some())
    }

    /// Asks for the headers at `heights` on the chain under `tip`, and for a range of blocks besides, and
    /// remembers what they say. Blocks are dropped on the strength of digests: whether it is still the
    /// same chain at all is asked with them.
    async fn under(
        &self,
        tip: BlockRef,
        heights: &[Height],
        blocks: Option<Range>,
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let mut asked: Vec<_> = heights.iter().map(|height| calls::header(height.get())).collect();
        asked.extend([tip.height.get(), 0].map(calls::header));
        asked.extend(blocks.map(|range| calls::blocks(range.first, range.count)));
        let answers = self.upstreams.ask(&asked).await?;
        let split = answers.split_at_checked(heights.len());
        let (answers, besides) = split.ok_or_else(|| short(&answers, asked.len()))?;
        if !self.is_bound(tip, first(besides)?)? {
            self.memory.lock().forget();
            return Err(self.upstreams.refuse(fault(self.name(), NodeError::LeftTip { tip })));
        }
        let genesis = besides.get(1).ok_or_else(|| short(besides, 2))?;
        let genesis = self.believe(calls::read_header(self.name(), 0, genesis))?;
        let genesis = genesis.map(|header| header.reference());
        if genesis != self.upstreams.genesis() {
            self.memory.lock().forget();
            return Err(self.upstreams.doubt(genesis).await);
        }
        let read = heights.iter().zip(answers).map(|(height, answer)| {
            let header = calls::read_header(self.name(), height.get(), answer)?;
            Ok(header.map(|header| header.digest()))
        });
        let digests = self.believe(read.collect::<Result<Vec<_>, Fault>>())?;
        if let (Some(range), Some(answer)) = (blocks, besides.get(2)) {
            // A node that does not give them is asked again, by whoever needs them.
            if let Ok((run, _)) = self.believe(self.read_run(range, answer).await) {
                self.memory.lock().keep(run);
            }
        }
        let mut memory = self.memory.lock();
        memory.add(tip, tip.height, tip.digest);
        for (height, digest) in heights.iter().zip(&digests) {
            digest.iter().for_each(|digest| memory.add(tip, *height, *digest));
        }
        Ok(digests)
    }

    /// The blocks of a range, and what is wrong with the one that would follow them, if anything is.
    async fn read_run(
        &self,
        range: Range,
        answer: &Answer,
    ) -> Result<(Vec<Sealed>, Option<Fault>), Fault> {
        let ChainInfo { id: chain, .. } = self.known().await?;
        calls::read_blocks(self.name(), &chain, (range.first, range.count), answer)
    }

    /// The two highest blocks of a question, where they replace blocks that were fetched lately: the
    /// search for a fork is mostly over there, and they are what is downloaded next.
    fn besides(&self, tip: BlockRef, heights: &[Height]) -> Option<Range> {
        let highest = heights.iter().copied().filter(|height| *height <= tip.height).max()?;
        let room = self.limit.get() > 1 && highest > Height::zero();
        if !room || !self.memory.lock().replaces(tip, highest) {
            return None;
        }
        let first = highest.get().saturating_sub(1).max(1);
        Some(Range {
            first,
            count: if first == highest.get() { 1 } else { 2 },
            bound: Bound::Header,
        })
    }

    /// Asks for a range until the node gives it; learns on the way how much it gives at once.
    async fn fetch(&self, from: Height, tip: BlockRef, below: usize) -> Result<bool, Fault> {
        loop {
            let range = self.memory.lock().plan(from, tip, self.limit.get(), below);
            let mut asked = vec![calls::blocks(range.first, range.count)];
            if range.bound == Bound::Header {
                asked.push(calls::header(tip.height.get()));
            }
            let answers = match self.upstreams.ask(&asked).await {
                Err(fault) if fault.kind == FaultKind::Oversized && range.count > 1 => {
                    self.limit.too_large(range.count);
                    continue;
                }
                answers => answers?,
            };
            let answer = first(&answers)?;
            let learned = answer.as_ref().err().and_then(calls::learned_limit);
            if let Some(limit) = learned.filter(|limit| *limit < range.count) {
                self.limit.at_most(limit);
                continue;
            }
            let (run, refused) = self.believe(self.read_run(range, answer).await)?;
            // One bad block costs what stands on it. What is below it is an answer, if that was asked for.
            if let Some(fault) = refused.filter(|_| range.first + run.len() as u64 <= from.get()) {
                return self.believe(Err(fault));
            }
            self.limit.took(run.len());
            return self.take_in(tip, range, run, answers.get(1)).await;
        }
    }

    /// Keeps a range, if it is on the chain under `tip`.
    async fn take_in(
        &self,
        tip: BlockRef,
        range: Range,
        run: Vec<Sealed>,
        header: Option<&Answer>,
    ) -> Result<bool, Fault> {
        let (Some(lowest), Some(last)) = (run.first(), run.last().map(Sealed::reference)) else {
            return Ok(false);
        };
        let bound = match (range.bound, header) {
            (Bound::Last(digest), _) if last.height.get() == range.last() => last.digest == digest,
            (_, Some(header)) => self.is_bound(tip, header)?,
            // Fewer blocks than were asked for: what would have bound them is not there.
            (_, None) => {
                let answers = self.upstreams.ask(&[calls::header(tip.height.get())]).await?;
                self.is_bound(tip, first(&answers)?)?
            }
        };
        let mut memory = self.memory.lock();
        if let Some(genesis) = memory.genesis_archive()
            && lowest.header.number == 1
            && lowest.header.last_archive != genesis
        {
            return self.believe(Err(calls::not_linked(self.name(), lowest, genesis)));
        }
        memory.keep(run);
        if bound {
            memory.add(tip, last.height, last.digest);
        }
        Ok(bound)
    }
}

fn short(answers: &[Answer], want: usize) -> Fault {
    fault("aztec", NodeError::ShortAnswers { got: answers.len(), want })
}

fn first(answers: &[Answer]) -> Result<&Answer, Fault> {
    answers.first().ok_or_else(|| short(answers, 1))
}

impl<E: Clock, R: Rpc> Source for AztecSource<E, R> {
    type Block = AztecBlock;

    fn name(&self) -> &str {
        self.upstreams.name()
    }

    fn ladder(&self) -> Ladder {
        Ladder::Rollup
    }

    /// One question for digests is one batch.
    fn limits(&self) -> Limits {
        let room = self.upstreams.batch_max().saturating_sub(BESIDES);
        let room = NonZeroUsize::new(room).unwrap_or(NonZeroUsize::MIN);
        let blocks_max = NonZeroUsize::new(self.limit.get()).unwrap_or(NonZeroUsize::MIN);
        Limits { digests_max: room.min(NZUsize!(DIGESTS_MAX)), blocks_max }
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        let chain_info = self.upstreams.chain_info().await?;
        self.memory.lock().begin_with(chain_info.genesis);
        *self.chain_info.lock() = Some(chain_info.clone());
        Ok(chain_info)
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.steady.snapshot(&self.upstreams, || Box::pin(self.take())).await
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        self.known().await?;
        let mut digests: Vec<_> = {
            let mut memory = self.memory.lock();
            heights.iter().map(|height| memory.digest(tip, *height)).collect()
        };
        let unknown = heights.iter().zip(&digests);
        let unknown = unknown.filter(|(height, digest)| digest.is_none() && **height <= tip.height);
        let unknown: Vec<_> = unknown.map(|(height, _)| *height).collect();
        if unknown.is_empty() {
            return Ok(digests);
        }
        let besides = self.besides(tip, heights);
        let found = match (self.under(tip, &unknown, besides).await, besides) {
            (Err(fault), Some(range)) if fault.kind == FaultKind::Oversized => {
                self.limit.too_large(range.count);
                self.under(tip, &unknown, None).await?
            }
            (found, _) => found?,
        };
        let empty = heights.iter().zip(&mut digests);
        let empty = empty.filter(|(height, digest)| digest.is_none() && **height <= tip.height);
        empty.zip(found).for_each(|((_, slot), digest)| *slot = digest);
        Ok(digests)
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<AztecBlock>, Fault> {
        self.known().await?;
        if from > tip.height || from == Height::zero() {
            return Ok(Vec::new());
        }
        // Once as it should be, and once with what is below, where a fork is. A node that gives fewer
        // blocks than that, or single ones, is asked for the parent, and for the block itself.
        for below in [0, BELOW, 1, 0] {
            let known = self.memory.lock().range(from, tip, self.limit.get());
            if !known.is_empty() {
                return Ok(known);
            }
            if !self.fetch(from, tip, below).await? {
                return Ok(Vec::new());
            }
        }
        Ok(self.memory.lock().range(from, tip, self.limit.get()))
    }

    fn doorbell(&self) -> Doorbell {
        self.upstreams.doorbell()
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.upstreams.judged(verdict);
    }
}

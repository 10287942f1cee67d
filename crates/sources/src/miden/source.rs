//! A Miden node as a source.

use super::{
    Finalized, Header, MidenBlock,
    block::Key,
    calls::{self, Level, handshake},
    pushes::{Inbox, Pushing},
};
use crate::{
    error::fault,
    rpc::{Answer, Config, NodeError, RangeLimit, Recent, Steady, Upstreams, Work, grpc::Streams},
};
use commonware_codec::Encode as _;
use commonware_runtime::{Clock, Metrics};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{fmt, num::NonZeroUsize, sync::Arc};
use tidewatch_core::{
    Block as _, BlockRef, ChainInfo, Digest, Doorbell, Fault, FaultKind, Height, Ladder, Limits,
    Monitor, Snapshot, Source, Tier, TierProof, TierProofs, TipSet,
};
use tracing::debug;

/// Digests that one question may name: each is a request.
const DIGESTS_MAX: NonZeroUsize = NZUsize!(8);

/// Blocks of a range at the most.
const BLOCKS_MAX: usize = 256;

/// Blocks of a range where the node gives no streams: each is a request.
const SINGLES_MAX: usize = 16;

/// What the chain begins with, and who signs its blocks.
#[derive(Clone)]
struct Known {
    genesis: BlockRef,
    key: Arc<Key>,
}

/// A Miden chain, followed from its nodes. See the [module](crate::miden).
pub struct MidenSource<E: Clock, R> {
    upstreams: Upstreams<E, Pushing<E, R>>,
    inbox: Arc<Inbox>,
    finalized: Finalized,
    name: String,
    memory: Mutex<Recent<MidenBlock>>,
    known: Mutex<Option<Known>>,
    /// Blocks that are asked for at once.
    limit: RangeLimit,
    steady: Steady,
}

impl<E: Clock, R> fmt::Debug for MidenSource<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MidenSource").field("upstreams", &self.upstreams).finish_non_exhaustive()
    }
}

impl<E: Clock + Metrics, R: Streams> MidenSource<E, R> {
    /// A source over `nodes`, which are several endpoints of one chain. Nothing is asked yet. What is
    /// refused on the way to an answer is told to `monitor`.
    ///
    /// # Errors
    ///
    /// `Setting`: there is no node.
    pub fn new(
        context: E,
        nodes: Vec<R>,
        finalized: Finalized,
        monitor: Arc<dyn Monitor>,
        config: &Config,
    ) -> Result<Self, Fault> {
        // There are no batches over gRPC.
        let config = &Config { batch_max: NonZeroUsize::MIN, ..config.clone() };
        let inbox = Arc::<Inbox>::default();
        let node = |node| Pushing::new(context.child("pushes"), node, inbox.clone(), config);
        let nodes: Vec<_> = nodes.into_iter().map(node).collect();
        let upstreams = Upstreams::new(context, nodes, handshake(), monitor, config)?;
        let name = format!("{} (proven is the node's word)", upstreams.name());
        Ok(Self {
            upstreams,
            inbox,
            finalized,
            name,
            memory: Mutex::new(Recent::new(config.recent_max.get().max(2 * BLOCKS_MAX))),
            known: Mutex::default(),
            limit: RangeLimit::new(BLOCKS_MAX),
            steady: Steady::new(finalized.ladder(), config),
        })
    }
}

impl<E: Clock, R: Streams> MidenSource<E, R> {
    /// What was asked and refused so far.
    pub fn work(&self) -> Work {
        self.upstreams.work()
    }

    /// Genesis, and the key that it names: asked for once.
    async fn known(&self) -> Result<Known, Fault> {
        if let Some(known) = self.known.lock().clone() {
            return Ok(known);
        }
        // Whoever is asked said which chain it is of before that.
        let answers = self.upstreams.ask(&[calls::header(0)]).await?;
        let name = self.upstreams.name();
        let header = self.believe(calls::read_header(name, 0, first(&answers)?))?;
        let theirs = header.as_ref().map(Header::reference);
        let (Some(header), Some(genesis)) =
            (header, self.upstreams.genesis().filter(|genesis| Some(*genesis) == theirs))
        else {
            return Err(self.upstreams.doubt(theirs).await);
        };
        let key = Arc::new(self.believe(calls::key(name, &header))?);
        Ok(self.known.lock().get_or_insert(Known { genesis, key }).clone())
    }

    /// Counts a fault in an answer.
    fn believe<T>(&self, read: Result<T, Fault>) -> Result<T, Fault> {
        read.map_err(|fault| self.upstreams.refuse(fault))
    }
    /// Keeps what was pushed, as far as the validator signed it.
    fn take_pushes(&self, key: &Key) {
        for block in self.inbox.take() {
            match calls::check(self.upstreams.name(), key, &block) {
                Ok(()) => self.memory.lock().keep(block),
                Err(fault) => self.upstreams.spurn(fault),
            }
        }
    }

    /// Asks for one tip.
    async fn tip(&self, level: Level, known: &Known) -> Result<MidenBlock, Fault> {
        let answers = self.upstreams.ask(&[calls::tip(level)]).await?;
        let name = self.upstreams.name();
        let tip = self.believe(calls::read_tip(name, level, &known.key, first(&answers)?))?;
        if tip.number == 0 && tip.reference() != known.genesis {
            return Err(self.upstreams.doubt(Some(tip.reference())).await);
        }
        Ok(tip)
    }

    /// One look at both tips: proven first, so that it is never above the other one for the time between.
    async fn look(&self) -> Result<Snapshot, Fault> {
        let known = self.known().await?;
        self.take_pushes(&known.key);
        let proven = self.tip(Level::Proven, &known).await?;
        let committed = self.tip(Level::Committed, &known).await?;
        self.inbox.reached(committed.number);
        let (top, below) = (committed.reference(), proven.reference());
        let mut tips = TipSet::unknown().with(Tier::Proposed, top).with(Tier::Proven, below);
        let mut proofs = TierProofs::none();
        match self.finalized {
            Finalized::Unknown => {}
            Finalized::Committed => {
                tips = tips.with(Tier::Finalized, top);
                // Signed by the validator, and that is all that is claimed of it.
                let bytes = committed.encode();
                proofs = proofs.with(Tier::Finalized, TierProof { block: top, bytes });
            }
            Finalized::Proven => tips = tips.with(Tier::Finalized, below),
        }
        let time_ms = Some(committed.time_ms());
        let mut memory = self.memory.lock();
        memory.keep(proven);
        memory.keep(committed);
        Ok(Snapshot { proofs, time_ms, ..tips.into() })
    }

    /// Whether the header in `answer`, at the tip's height, is still the tip's.
    fn is_bound(&self, tip: BlockRef, answer: &Answer) -> Result<bool, Fault> {
        let number = number(tip.height).unwrap_or(u32::MAX);
        let header = self.believe(calls::read_header(self.upstreams.name(), number, answer))?;
        Ok(header.is_some_and(|header| header.reference() == tip))
    }

    /// Asks for the blocks at `heights` on the chain under `tip`, and remembers them. Whether it is still the
    /// same chain at all is asked with them: blocks are dropped on the strength of digests.
    async fn under(
        &self,
        tip: BlockRef,
        heights: &[u32],
        key: &Key,
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let top = number(tip.height).unwrap_or(u32::MAX);
        let mut asked: Vec<_> = heights.iter().map(|height| calls::block(*height)).collect();
        asked.extend([top, 0].map(calls::header));
        let answers = self.upstreams.ask(&asked).await?;
        let split = answers.split_at_checked(heights.len());
        let (answers, besides) = split.ok_or_else(|| short(&answers, asked.len()))?;
        if !self.is_bound(tip, first(besides)?)? {
            self.memory.lock().forget();
            return Err(self.upstreams.refuse(fault(self.name(), NodeError::LeftTip { tip })));
        }
        let genesis = besides.get(1).ok_or_else(|| short(besides, 2))?;
        let genesis = self.believe(calls::read_header(self.upstreams.name(), 0, genesis))?;
        let genesis = genesis.map(|header| header.reference());
        if genesis != self.upstreams.genesis() {
            self.memory.lock().forget();
            return Err(self.upstreams.doubt(genesis).await);
        }
        let read = heights
            .iter()
            .zip(answers)
            .map(|(height, answer)| calls::read_block(self.upstreams.name(), *height, key, answer));
        let blocks = self.believe(read.collect::<Result<Vec<_>, Fault>>())?;
        let digests = blocks.iter().map(|block| Some(block.as_ref()?.reference().digest)).collect();
        let mut memory = self.memory.lock();
        for block in blocks.into_iter().flatten() {
            let BlockRef { height, digest } = block.reference();
            memory.keep(block);
            memory.add(tip, height, digest);
        }
        Ok(digests)
    }

    /// How many blocks to ask for from `from` on, and whether the digest of the last of them is known: the
    /// tip, whose height is `top`, came with the snapshot, and names the block below it.
    fn plan(&self, tip: BlockRef, from: u32, top: u32) -> (usize, bool) {
        let mut memory = self.memory.lock();
        let has_tip = memory.get(&tip.digest).is_some();
        let wanted = (top - from).saturating_add(u32::from(!has_tip)).max(1);
        let count = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.limit.get());
        let last = u64::from(from) + (count as u64 - 1);
        (count, memory.digest(tip, Height::new(last)).is_some())
    }

    /// Fetches a range from `from` on, as long as the node gives it at once, and remembers it. Whether it
    /// is on the chain under `tip`.
    async fn fetch(&self, tip: BlockRef, from: u32, key: &Key) -> Result<bool, Fault> {
        let Some(top) = number(tip.height) else { return Ok(false) };
        loop {
            let (count, bound) = self.plan(tip, from, top);
            let range = if count == 1 { calls::block(from) } else { calls::blocks(from, count) };
            let mut asked = vec![range];
            asked.extend((!bound).then(|| calls::header(top)));
            let answers = match self.upstreams.ask(&asked).await {
                Err(fault) if is_too_much(&fault) && count > 1 => {
                    self.limit.too_large(count);
                    continue;
                }
                answers => answers?,
            };
            let answer = first(&answers)?;
            let name = self.upstreams.name();
            let (run, refused) = if count == 1 {
                let block = self.believe(calls::read_block(name, from, key, answer))?;
                (block.into_iter().collect(), None)
            } else if let Err(error) = answer {
                debug!(%error, "no stream: block by block");
                (self.singles(from, count.min(SINGLES_MAX), key).await?, None)
            } else {
                self.believe(calls::read_blocks(name, (from, count), key, answer))?
            };
            // One bad block costs what stands on it. What is below it is an answer.
            if let Some(fault) = refused.filter(|_| run.is_empty()) {
                return self.believe(Err(fault));
            }
            self.limit.took(run.len());
            return self.take_in(tip, run, answers.get(1)).await;
        }
    }

    /// Blocks from `from` on, each by a request.
    async fn singles(&self, from: u32, count: usize, key: &Key) -> Result<Vec<MidenBlock>, Fault> {
        let asked: Vec<_> = (from..).take(count).map(calls::block).collect();
        let answers = self.upstreams.ask(&asked).await?;
        let mut run: Vec<MidenBlock> = Vec::with_capacity(count);
        for (number, answer) in (from..).zip(&answers) {
            let block = calls::read_block(self.upstreams.name(), number, key, answer)
                .and_then(|block| calls::linked(self.upstreams.name(), run.last(), block));
            match block {
                Ok(Some(block)) => run.push(block),
                Ok(None) => break,
                Err(fault) if run.is_empty() => return self.believe(Err(fault)),
                Err(_) => break,
            }
        }
        Ok(run)
    }

    /// Keeps a range, if it is on the chain under `tip`.
    async fn take_in(
        &self,
        tip: BlockRef,
        run: Vec<MidenBlock>,
        header: Option<&Answer>,
    ) -> Result<bool, Fault> {
        let Some(last) = run.last().map(MidenBlock::reference) else { return Ok(false) };
        let named = self.memory.lock().digest(tip, last.height);
        let bound = match (named, header) {
            (Some(named), _) => last.digest == named,
            (None, Some(header)) => self.is_bound(tip, header)?,
            // Fewer blocks than were asked for: what would have bound them is not there.
            (None, None) => {
                let top = number(tip.height).unwrap_or(u32::MAX);
                let answers = self.upstreams.ask(&[calls::header(top)]).await?;
                self.is_bound(tip, first(&answers)?)?
            }
        };
        let mut memory = self.memory.lock();
        for block in run {
            let BlockRef { height, digest } = block.reference();
            memory.keep(block);
            if bound {
                memory.add(tip, height, digest);
            }
        }
        Ok(bound)
    }
}

/// Whether a range may be had in parts.
fn is_too_much(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Oversized | FaultKind::Timeout)
}

/// A height as the number of a block: those of a chain have 32 bits.
fn number(height: Height) -> Option<u32> {
    height.get().try_into().ok()
}

fn short(answers: &[Answer], want: usize) -> Fault {
    fault("miden", NodeError::ShortAnswers { got: answers.len(), want })
}

fn first(answers: &[Answer]) -> Result<&Answer, Fault> {
    answers.first().ok_or_else(|| short(answers, 1))
}

impl<E: Clock, R: Streams> Source for MidenSource<E, R> {
    type Block = MidenBlock;

    fn name(&self) -> &str {
        &self.name
    }

    fn ladder(&self) -> Ladder {
        self.finalized.ladder()
    }

    fn limits(&self) -> Limits {
        let blocks_max = NonZeroUsize::new(self.limit.get()).unwrap_or(NonZeroUsize::MIN);
        Limits { digests_max: DIGESTS_MAX, blocks_max }
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.upstreams.chain_info().await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.steady.snapshot(&self.upstreams, || Box::pin(self.look())).await
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let Known { genesis, key } = self.known().await?;
        let mut digests: Vec<_> = {
            let mut memory = self.memory.lock();
            let mut digest = |height: Height| match height {
                height if height == genesis.height => Some(genesis.digest),
                height => memory.digest(tip, height),
            };
            heights.iter().map(|height| digest(*height)).collect()
        };
        let unknown = heights.iter().zip(&mut digests);
        let unknown = unknown.filter(|(height, digest)| digest.is_none() && **height <= tip.height);
        let unknown = unknown.filter_map(|(height, slot)| Some((number(*height)?, slot)));
        let (asked, slots): (Vec<_>, Vec<_>) = unknown.unzip();
        if !asked.is_empty() {
            let found = self.under(tip, &asked, &key).await?;
            slots.into_iter().zip(found).for_each(|(slot, digest)| *slot = digest);
        }
        Ok(digests)
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<MidenBlock>, Fault> {
        let Known { key, .. } = self.known().await?;
        if from > tip.height || from == Height::zero() {
            return Ok(Vec::new());
        }
        let known = self.memory.lock().range(from, tip, self.limit.get());
        if !known.is_empty() {
            return Ok(known);
        }
        let Some(first) = number(from) else { return Ok(Vec::new()) };
        if !self.fetch(tip, first, &key).await? {
            return Ok(Vec::new());
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

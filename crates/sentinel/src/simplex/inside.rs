//! The chain of the validator itself, by slots.

use super::Electorate;
use crate::{FromSource, Observer, Position, Slot, Slotted, ValidatorId};
use commonware_consensus::types::Round as ConsensusRound;
use std::{fmt, num::NonZeroU64, sync::Arc};
use tidewatch_core::{
    Block, BlockRange, BlockRef, ChainInfo, Digest, Doorbell, Fault, FaultKind, Height, Ladder,
    Limits, Snapshot, Source, Watermarks, watch,
};

/// In which round a block was proposed, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The round.
    pub round: ConsensusRound,
    /// Who proposed it, if the block says so.
    pub leader: Option<ValidatorId>,
}

/// A block with its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotBlock {
    reference: BlockRef,
    parent: Digest,
    slot: Slot,
    leader: Option<ValidatorId>,
}

impl Block for SlotBlock {
    fn reference(&self) -> BlockRef {
        self.reference
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

impl Slotted for SlotBlock {
    fn slot(&self) -> Slot {
        self.slot
    }

    fn proposer(&self) -> Option<ValidatorId> {
        self.leader.clone()
    }
}

type Of<B> = Arc<dyn Fn(&B) -> Option<Round> + Send + Sync>;

/// A source whose blocks have their slots. It tells the electorate when an epoch has ended, so the source has to be one
/// of final blocks, such as a validator's marshal.
pub struct Slots<Src: Source> {
    source: Src,
    electorate: Electorate,
    /// Blocks of an epoch; `None` if there are no epochs.
    epoch_length: Option<NonZeroU64>,
    of: Of<Src::Block>,
}

impl<Src: Source + Clone> Clone for Slots<Src> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            electorate: self.electorate.clone(),
            epoch_length: self.epoch_length,
            of: self.of.clone(),
        }
    }
}

impl<Src: Source> fmt::Debug for Slots<Src> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("source", &self.source.name()).finish_non_exhaustive()
    }
}

/// The blocks of `source` by the slots of `electorate`, where an epoch has `epoch_length` blocks; `of` reads a block.
pub fn slot_blocks<Src: Source>(
    source: Src,
    electorate: Electorate,
    epoch_length: Option<NonZeroU64>,
    of: impl Fn(&Src::Block) -> Option<Round> + Send + Sync + 'static,
) -> Slots<Src> {
    Slots { source, electorate, epoch_length, of: Arc::new(of) }
}

impl<Src: Source> Slots<Src> {
    fn unreadable(&self, block: &Src::Block) -> Fault {
        let detail = format!("{} names no round of its chain", block.reference());
        FaultKind::Malformed.fault(self.source.name(), detail)
    }

    /// Makes the slots of `epoch` known, by the last blocks of the epochs before it.
    async fn learn(&self, tip: BlockRef, epoch: u64) -> Result<(), Fault> {
        let Some(length) = self.epoch_length else { return Ok(()) };
        while self.electorate.newest() < epoch {
            let newest = self.electorate.newest();
            let last = (newest + 1).saturating_mul(length.get()).saturating_sub(1);
            let blocks = self.source.blocks(tip, Height::new(last)).await?;
            for block in &blocks {
                self.ends(block);
            }
            if self.electorate.newest() == newest {
                let detail = format!("it does not have the last block of epoch {newest}");
                return Err(FaultKind::Missing.fault(self.source.name(), detail));
            }
        }
        Ok(())
    }

    /// `blocks` of the chain that ends in `tip`, with their slots.
    async fn slotted(&self, tip: BlockRef, blocks: &[Src::Block]) -> Result<Vec<SlotBlock>, Fault> {
        let mut slotted = Vec::with_capacity(blocks.len());
        for block in blocks {
            let Round { round, leader } = (self.of)(block).ok_or_else(|| self.unreadable(block))?;
            self.electorate.reach(round);
            self.ends(block);
            if self.electorate.slot(round).is_none() {
                self.learn(tip, round.epoch().get()).await?;
            }
            let slot = self.electorate.slot(round).ok_or_else(|| self.unreadable(block))?;
            let (reference, parent) = (block.reference(), block.parent());
            slotted.push(SlotBlock { reference, parent, slot, leader });
        }
        Ok(slotted)
    }

    /// Notes the end of an epoch, if `block` is one.
    fn ends(&self, block: &Src::Block) {
        let height = block.reference().height.get();
        let last =
            self.epoch_length.is_some_and(|length| (height + 1).is_multiple_of(length.get()));
        if last && let Some(Round { round, .. }) = (self.of)(block) {
            self.electorate.end(round);
        }
    }
}

impl<Src: Source> Source for Slots<Src> {
    type Block = SlotBlock;

    fn name(&self) -> &str {
        self.source.name()
    }

    fn ladder(&self) -> Ladder {
        self.source.ladder()
    }

    fn limits(&self) -> Limits {
        self.source.limits()
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.source.chain_info().await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.source.snapshot().await
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        self.source.digests(tip, heights).await
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<SlotBlock>, Fault> {
        let blocks = self.source.blocks(tip, from).await?;
        self.slotted(tip, &blocks).await
    }

    async fn range(&self, tip: BlockRef, from: Height) -> Result<BlockRange<SlotBlock>, Fault> {
        let BlockRange { blocks, certificates } = self.source.range(tip, from).await?;
        Ok(BlockRange { blocks: self.slotted(tip, &blocks).await?, certificates })
    }

    fn doorbell(&self) -> Doorbell {
        self.source.doorbell()
    }

    fn durable(&self, watermarks: &Watermarks) {
        self.source.durable(watermarks);
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.source.judged(verdict);
    }
}

/// Where a validator stands whose votes a listener hears.
pub struct Inside<Src> {
    chain: FromSource<Src>,
    heard: watch::Receiver<Option<Slot>>,
}

impl<Src> fmt::Debug for Inside<Src> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").field("heard", &self.heard.current()).finish_non_exhaustive()
    }
}

impl<Src> Inside<Src> {
    /// The validator with `chain`, of which everything up to `heard` was handed in.
    pub const fn new(chain: FromSource<Src>, heard: watch::Receiver<Option<Slot>>) -> Self {
        Self { chain, heard }
    }
}

impl<Src: Source<Block: Slotted>> Observer for Inside<Src> {
    async fn position(&self, up_to: Height) -> Result<Option<Position>, Fault> {
        let Some(heard) = self.heard.current() else { return Ok(None) };
        let position = self.chain.position(up_to).await?;
        // What was not decided yet is not passed, although the chain has passed it.
        Ok(position.map(|position| Position { slot: position.slot.min(heard), ..position }))
    }
}

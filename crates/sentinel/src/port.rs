//! What a sentinel may know of others.

use crate::{Epoch, Event, Slot, ValidatorId};
use std::{future::Future, ops::RangeInclusive, sync::Arc};
use tidewatch_core::{BlockRef, Digest, Doorbell, Fault, Height};

/// How far a side has come: a block and its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The block.
    pub block: BlockRef,
    /// Its slot, or a later one that is known to have passed without a block.
    pub slot: Slot,
}

/// Where what is seen comes from.
///
/// What it sees is handed in by [`Mailbox::observe`](crate::Mailbox::observe), which never blocks. The port
/// answers the one question that has to be asked at the moment of judging. Whoever was away from the canonical chain,
/// or cut off, hands in [`Observation::Missed`](crate::Observation::Missed) for those slots before the position is
/// back on it.
pub trait Observer: Send + Sync + 'static {
    /// The chain that the validators' messages were seen on, that of the node that takes them in: its highest
    /// block that is not above `up_to`, the height of the canonical tip. A slot is judged only where that block
    /// is on the canonical chain and has passed it by the lag. `None` while it is not known.
    fn position(
        &self,
        up_to: Height,
    ) -> impl Future<Output = Result<Option<Position>, Fault>> + Send;
}

/// A committee: each validator once. The order is the chain's.
pub type Committee = Arc<[ValidatorId]>;

/// Who was due.
pub trait Committees: Send + Sync + 'static {
    /// The epoch of `slot`.
    fn epoch(&self, slot: Slot) -> Epoch;

    /// The slots of `epoch`; `None` while its last one is not known.
    fn slots(&self, epoch: Epoch) -> Option<RangeInclusive<Slot>>;

    /// The committee of `epoch`; `None` if nobody is due in it: an escape hatch is open, or there is none.
    fn committee(
        &self,
        epoch: Epoch,
    ) -> impl Future<Output = Result<Option<Committee>, Fault>> + Send;

    /// Who has to propose in `slot`; `None` if that cannot be told.
    fn proposer(
        &self,
        slot: Slot,
    ) -> impl Future<Output = Result<Option<ValidatorId>, Fault>> + Send;
}

/// Where the canonical chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The proposed tip, and the last slot that it has passed.
    pub tip: Position,
    /// The finalized block, where the chain has that tier: what was judged on it is never judged again.
    pub finalized: Option<BlockRef>,
}

/// What stands canonically at a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtSlot {
    /// A block, or a checkpoint.
    Landed(Landed),
    /// The slot passed without one.
    Empty,
    /// The chain has not passed it.
    NotPassed,
    /// It cannot be told: the source keeps nothing so old.
    Unknown,
}

/// What landed in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// The block; the last one of a checkpoint.
    pub block: BlockRef,
    /// What had to be attested to.
    pub payload: Digest,
    /// Who proposed it, if it says so.
    pub proposer: Option<ValidatorId>,
    /// Who attested to it, as far as it carries their signatures.
    pub attestors: Vec<ValidatorId>,
    /// Whether no more signatures are carried than have to be. Nobody is absent then, unless what was seen says that a
    /// quorum attested to this payload ([`Verdict::Valid`](crate::Verdict::Valid)).
    pub trimmed: bool,
}

/// What is canonical, asked at the moment of judging and never remembered across a pass.
///
/// Every question names the standing that it is about, so that all answers of a pass are of one chain: one that
/// has moved away from it is [`Torn`](tidewatch_core::FaultKind::Torn). [`FromSource`](crate::FromSource)
/// answers over a [`Source`](tidewatch_core::Source).
pub trait Canonical: Send + Sync + 'static {
    /// Where the chain stands now; `None` while that is not known.
    fn standing(&self) -> impl Future<Output = Result<Option<Standing>, Fault>> + Send;

    /// What stands at `slots`, in their order.
    fn at(
        &self,
        standing: &Standing,
        slots: RangeInclusive<Slot>,
    ) -> impl Future<Output = Result<Vec<AtSlot>, Fault>> + Send;

    /// Which of `blocks` are on the chain, in their order.
    fn on_chain(
        &self,
        standing: &Standing,
        blocks: &[BlockRef],
    ) -> impl Future<Output = Result<Vec<bool>, Fault>> + Send;

    /// The digest of the checkpoint of `number`, if it has landed.
    fn checkpoint(
        &self,
        standing: &Standing,
        number: u64,
    ) -> impl Future<Output = Result<Option<Digest>, Fault>> + Send;

    /// Rings when the chain may have moved.
    fn doorbell(&self) -> Doorbell {
        Doorbell::silent()
    }
}

/// Takes the events of a sentinel.
pub trait Output: Send + 'static {
    /// Takes one event. An event that was refused, or whose answer was lost in a crash, is given again, with the
    /// same sequence: at least once, in order.
    fn give(&mut self, event: &Event) -> impl Future<Output = Result<(), Fault>> + Send;
}

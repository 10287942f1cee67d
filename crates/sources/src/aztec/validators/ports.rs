//! The sentinel's ports.

use super::{
    ValidatorsError,
    node::Node,
    rollup::{Moment, Rollup},
};
use crate::{error::fault, rpc::Rpc};
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use std::{collections::BTreeSet, fmt, ops::RangeInclusive, sync::Arc};
use tidewatch_core::{BlockRef, Digest, Fault, Height, watch};
use tidewatch_sentinel::{
    AtSlot, Canonical, Committee, Committees, Epoch, Landed, Observer, Position, Slot, Standing,
    ValidatorId,
};

/// Who was due, by the rollup's contract. Cheap to clone.
pub struct Electorate<E: Clock, R>(pub(super) Arc<Rollup<E, R>>);

impl<E: Clock, R> Clone for Electorate<E, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Clock, R> fmt::Debug for Electorate<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: Clock, R: Rpc> Committees for Electorate<E, R> {
    fn epoch(&self, slot: Slot) -> Epoch {
        self.0.constants().epoch(slot)
    }

    fn slots(&self, epoch: Epoch) -> Option<RangeInclusive<Slot>> {
        Some(self.0.constants().slots(epoch))
    }

    async fn committee(&self, epoch: Epoch) -> Result<Option<Committee>, Fault> {
        let elected = self.0.elected(epoch).await?;
        Ok(elected.map(|elected| elected.members.clone()))
    }

    async fn proposer(&self, slot: Slot) -> Result<Option<ValidatorId>, Fault> {
        let epoch = self.epoch(slot);
        let elected = self.0.elected(epoch).await?;
        Ok(elected.and_then(|elected| elected.proposer(epoch, slot).cloned()))
    }
}

/// What is on layer 1, and whose signatures: every answer is of one block of layer 1.
pub struct Chain<E: Clock, R> {
    pub(super) rollup: Arc<Rollup<E, R>>,
    pub(super) node: Arc<Node<E, R>>,
    /// What the newest standing was taken at.
    moment: Mutex<Option<Moment>>,
}

impl<E: Clock, R> fmt::Debug for Chain<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rollup.fmt(f)
    }
}

impl<E: Clock, R: Rpc> Chain<E, R> {
    pub(super) fn new(rollup: Arc<Rollup<E, R>>, node: Arc<Node<E, R>>) -> Self {
        Self { rollup, node, moment: Mutex::default() }
    }

    /// What `standing` was taken at.
    fn moment(&self, standing: &Standing) -> Result<Moment, Fault> {
        let moment = self.moment.lock().clone().filter(|moment| moment.standing == *standing);
        moment.ok_or_else(|| fault(self.rollup.name(), ValidatorsError::Moved))
    }
}

impl<E: Clock, R: Rpc> Canonical for Chain<E, R> {
    async fn standing(&self) -> Result<Option<Standing>, Fault> {
        let moment = self.rollup.now().await?;
        let standing = moment.as_ref().map(|moment| moment.standing);
        *self.moment.lock() = moment;
        Ok(standing)
    }

    async fn at(
        &self,
        standing: &Standing,
        slots: RangeInclusive<Slot>,
    ) -> Result<Vec<AtSlot>, Fault> {
        let moment = self.moment(standing)?;
        let passed = standing.tip.slot;
        let past = self.rollup.past(&moment, *slots.start()).await?;
        let landed = past.checkpoints.iter().filter(|at| at.slot <= slots.end().get());
        let epochs: BTreeSet<Epoch> =
            landed.map(|at| self.rollup.constants().epoch(Slot(at.slot))).collect();
        let epochs: Vec<Epoch> = epochs.into_iter().collect();
        let said = self.node.say(&epochs, &[]).await?;
        let mut found = Vec::new();
        for slot in (slots.start().get()..=slots.end().get()).map(Slot) {
            found.push(match past.at(slot) {
                _ if slot > passed => AtSlot::NotPassed,
                _ if slot < past.told_from => AtSlot::Unknown,
                None => AtSlot::Empty,
                // The node has not come so far.
                Some(at) => match said.checkpoint(at.number) {
                    None => AtSlot::Unknown,
                    Some(data) => {
                        let published = self.node.believe(data.check(self.node.name(), at))?;
                        let attested = published.attested.into_iter();
                        AtSlot::Landed(Landed {
                            block: at.reference(),
                            payload: published.payload,
                            proposer: None,
                            attestors: attested.map(|attested| attested.signer).collect(),
                            trimmed: true,
                        })
                    }
                },
            });
        }
        Ok(found)
    }

    async fn on_chain(&self, standing: &Standing, blocks: &[BlockRef]) -> Result<Vec<bool>, Fault> {
        self.rollup.on_chain(&self.moment(standing)?, blocks).await
    }

    /// No proposal says on which checkpoint it stands, so nobody asks.
    async fn checkpoint(&self, _: &Standing, _: u64) -> Result<Option<Digest>, Fault> {
        Ok(None)
    }
}

/// Where the node stands, as of what its [`Listener`](super::Listener) handed in.
#[derive(Debug)]
pub struct Settled(pub(super) watch::Receiver<Option<Position>>);

impl Observer for Settled {
    async fn position(&self, up_to: Height) -> Result<Option<Position>, Fault> {
        // One above the canonical tip is of a chain that layer 1 left, or has to be read again.
        Ok(self.0.current().filter(|position| position.block.height <= up_to))
    }
}

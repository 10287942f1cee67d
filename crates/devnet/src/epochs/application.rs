//! What is proposed and what is valid, beside the resharing.

use super::block::{Block, Payload};
use alto_types::Context;
use commonware_consensus::{
    Application as ConsensusApplication, Heightable as _,
    marshal::ancestry::Ancestry,
    types::{Epocher as _, FixedEpocher},
};
use commonware_cryptography::{bls12381::primitives::variant::MinSig, ed25519::PrivateKey};
use commonware_glue::dkg::{ReshareBlock as _, reshare::Input};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::SystemTimeExt as _;
use futures::StreamExt as _;
use rand::Rng;
use std::{
    marker::PhantomData,
    time::{Duration, SystemTime},
};

/// How far a block's timestamp may be ahead of the clock before it is waited for.
const AHEAD: Duration = Duration::from_secs(1);
/// The last valid timestamp, in milliseconds: the year 2200, which every platform can represent.
const TIMESTAMP_MAX: u64 = 7_258_118_400_000;

/// Paces the blocks, and leaves their data to the resharing.
#[derive(Clone)]
pub(super) struct Application<S> {
    block_time: Duration,
    epocher: FixedEpocher,
    scheme: PhantomData<fn() -> S>,
}

impl<S> Application<S> {
    pub(super) const fn new(block_time: Duration, epocher: FixedEpocher) -> Self {
        Self { block_time, epocher, scheme: PhantomData }
    }

    /// Whether `block` may follow `parent`. Whether an epoch's last block carries the right information
    /// is decided by the resharing, in front of this.
    fn valid(&self, block: &Block, parent: &Block) -> bool {
        let at_end = self
            .epocher
            .containing(block.height())
            .is_some_and(|epoch| epoch.last() == block.height());
        let fits = match block.payload() {
            Some(Payload::EpochInfo(_)) => at_end,
            Some(Payload::DealerLog(_)) | None => !at_end,
        };
        fits && block.timestamp() >= parent.timestamp() && block.timestamp() <= TIMESTAMP_MAX
    }
}

fn at(timestamp: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(timestamp.min(TIMESTAMP_MAX))
}

impl<E, S> ConsensusApplication<E> for Application<S>
where
    E: Rng + Spawner + Metrics + Clock,
    S: alto_types::Scheme,
{
    type SigningScheme = S;
    type Context = Context;
    type Block = Block;
    type Input = Input<(), MinSig, PrivateKey>;

    async fn propose(
        &mut self,
        (runtime, context): (E, Context),
        mut ancestry: impl Ancestry<Block>,
        input: Self::Input,
    ) -> Option<Block> {
        let parent = ancestry.next().await?;
        let earliest = at(parent.timestamp()) + self.block_time;
        runtime.sleep_until(earliest).await;
        let timestamp = runtime.current().max(earliest).epoch_millis();
        Some(Block::new(context, &parent, timestamp, input.payload))
    }

    async fn verify(
        &mut self,
        (runtime, _): (E, Context),
        mut ancestry: impl Ancestry<Block>,
    ) -> bool {
        let Some(block) = ancestry.next().await else { return false };
        let Some(parent) = ancestry.next().await else { return false };
        if !self.valid(&block, &parent) {
            return false;
        }
        // The verdict must not depend on the local clock, so a block from the future is waited for.
        runtime.sleep_until(at(block.timestamp()) - AHEAD).await;
        true
    }
}

//! The start of a driver: see the [module](super).

use super::{
    Boundaries, Config, ExecutionLayer, Marshal, Parts,
    decide::{Healing, Holder, heal},
    metrics::Metrics,
};
use crate::{Epochs, Error};
use commonware_codec::Encode as _;
use commonware_consensus::{simplex::types::Finalization, types::Epoch};
use commonware_cryptography::certificate::Provider;
use commonware_runtime::Clock;
use rand::Rng;
use tidewatch_core::{Backoff, Block as _, BlockRef, Digest, Fault, Height, Timed as _};
use tracing::{debug, info};

/// What a start found.
pub(super) struct Begun {
    /// The epoch of the next block to be delivered.
    pub(super) epoch: Epoch,
    /// The execution layer's newest durable block: what the marshal delivers at its height must be that.
    pub(super) durable: BlockRef,
    /// What the marshal has delivered.
    pub(super) processed: Option<Height>,
}

/// What faults of a start are about.
pub(super) const ABOUT: &str = "follow driver";

fn fault(error: Error) -> Fault {
    Fault::new(ABOUT, error)
}

/// Makes the execution layer, the marshal and the table of epochs agree.
pub(super) async fn begin<E, M, X, L, P>(
    context: &mut E,
    parts: &Parts<M, X, L, P>,
    config: &Config,
    metrics: &Metrics,
) -> Result<Begun, Fault>
where
    E: Clock + Rng,
    M: Marshal,
    X: Epochs<Scheme = M::Scheme> + Provider<Scope = Epoch, Scheme = M::Scheme>,
    L: ExecutionLayer<Block = M::Block>,
    P: Boundaries<M::Scheme, M::Block>,
{
    let Parts { marshal, epochs, execution, .. } = parts;
    let durable = execution.durable().await?;
    let processed = marshal.processed().await;
    let known = |epoch| epochs.scoped(epoch).is_some();
    let healing = heal(epochs, known, durable.height, processed);
    debug!(%durable, ?processed, ?healing, "start");
    let Healing { baseline, missing, floor, lost, epoch } = healing;
    let finalization = match baseline {
        Some(height) => {
            let said = at(execution, height, durable).await?;
            baseline_of(context, parts, config, metrics, said.reference(), floor).await?
        }
        None => {
            genesis(parts, durable).await?;
            None
        }
    };
    if let Some((height, holder)) = missing {
        let block = match holder {
            Holder::Marshal | Holder::Both => marshal.block(height).await,
            Holder::Execution => None,
        };
        let block = match block {
            Some(block) => Some(block),
            None if height <= durable.height => Some(at(execution, height, durable).await?),
            None => None,
        };
        if let Some(block) = block {
            learn(parts, &block).await?;
        }
    }
    let mut begun = Begun { epoch, durable, processed };
    match finalization {
        // The marshal panics at a floor whose epoch it cannot check.
        Some(finalization) if floor && known(finalization.round().epoch()) => {
            info!(round = ?finalization.round(), "the marshal goes on from the newest boundary");
            marshal.floor(finalization);
            metrics.floors.inc();
        }
        _ if floor => {
            // Without a floor the marshal delivers what the execution layer has already.
            let next = processed.map_or_else(Height::zero, Height::next);
            begun.epoch = epochs.epoch(next).unwrap_or_default();
        }
        _ => {}
    }
    if let Some(lost) = lost {
        info!(from = %lost.start(), to = %lost.end(), "blocks that the execution layer lost");
        let mut height = *lost.start();
        while height <= *lost.end() {
            match marshal.block(height).await {
                Some(block) => execution.redeliver(block).await?,
                None if config.skip => break,
                None => {
                    let durable = durable.height;
                    return Err(fault(Error::NotRedelivered { height, durable }));
                }
            }
            metrics.redelivered.inc();
            height = height.next();
        }
    }
    Ok(begun)
}

/// The execution layer's block at `height`.
async fn at<L: ExecutionLayer>(
    execution: &L,
    height: Height,
    durable: BlockRef,
) -> Result<L::Block, Fault> {
    let missing = || fault(Error::NoHistory { height, tip: durable.height });
    execution.at(height).await?.ok_or_else(missing)
}

/// Compares the execution layer's first block with the chain's, where it has no boundary yet.
async fn genesis<M, X, L, P>(parts: &Parts<M, X, L, P>, durable: BlockRef) -> Result<(), Fault>
where
    M: Marshal,
    L: ExecutionLayer<Block = M::Block>,
    P: Boundaries<M::Scheme, M::Block>,
{
    let proved = parts.upstream.genesis().await?;
    let said = match durable.height == proved.height {
        true => Some(durable),
        // Whoever does not keep it is compared later, at its newest block.
        false => parts.execution.at(proved.height).await?.map(|block| block.reference()),
    };
    match said {
        Some(said) if said != proved => Err(fault(Error::OtherHistory { said, proved })),
        _ => Ok(()),
    }
}

/// Verifies what the execution layer says of its newest boundary, by what is nearest. Returns the finalization,
/// where it is needed and can be had.
async fn baseline_of<E, M, X, L, P>(
    context: &mut E,
    parts: &Parts<M, X, L, P>,
    config: &Config,
    metrics: &Metrics,
    said: BlockRef,
    needed: bool,
) -> Result<Option<Finalization<M::Scheme, Digest>>, Fault>
where
    E: Clock + Rng,
    M: Marshal,
    X: Epochs<Scheme = M::Scheme>,
    P: Boundaries<M::Scheme, M::Block>,
{
    let proved = |digest: Digest| match digest == said.digest {
        true => Ok(()),
        false => {
            let proved = BlockRef::new(said.height, digest);
            Err(fault(Error::OtherHistory { said, proved }))
        }
    };
    let next = parts.epochs.epoch(said.height.next());
    if let Some(ours) = next.and_then(|epoch| parts.epochs.ended_by(epoch)) {
        proved(ours.digest)?;
        if !needed {
            return Ok(None);
        }
    }
    if let Some(finalization) = parts.marshal.finalization(said.height).await {
        proved(finalization.proposal.payload)?;
        return Ok(Some(finalization));
    }
    let mut backoff = Backoff::new(config.backoff_base, config.backoff_cap);
    loop {
        match parts.upstream.verify_history(said).await {
            Ok(proved) => return Ok(Some(proved.into_inner().finalization)),
            Err(fault) if fault.severity().is_fatal() => return Err(fault),
            Err(fault) => {
                metrics.failures.inc();
                let wait = backoff.fail(context);
                debug!(%fault, ?wait, "the newest boundary is not proved yet");
                context.sleep(wait).await;
            }
        }
    }
}

/// Learns a boundary, and waits until it is durable.
pub(super) async fn learn<M, X, L, P>(
    parts: &Parts<M, X, L, P>,
    block: &M::Block,
) -> Result<(), Fault>
where
    M: Marshal,
    X: Epochs<Scheme = M::Scheme>,
{
    let name = block.reference();
    let proof = parts.marshal.finalization(name.height).await;
    let proof = proof.filter(|proof| proof.proposal.payload == name.digest);
    let proof = proof.map(|proof| proof.encode());
    debug!(block = %name, time_ms = ?block.time_ms(), "boundary");
    parts.epochs.learn(name, block.encode(), proof).map_err(fault)?;
    parts.epochs.kept(name).await.map_err(fault)
}

//! A client as the execution layer of a follow driver.

use crate::{
    Execution, ExecutionError, Forkchoice, Order, Payload as _, Target, executor::Mailbox,
};
use std::{fmt, future::Future, sync::Arc};
use tidewatch_certified::{CertifiedBlock, follow::ExecutionLayer};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, Height};

/// A client that hands out the blocks that it keeps.
///
/// # Cancel safety
///
/// Every method may be dropped at any await.
pub trait History: Execution {
    /// Its block at `height`, on the chain under its head; `None` if it does not keep it.
    fn block_at(
        &self,
        height: Height,
    ) -> impl Future<Output = Result<Option<Self::Block>, Fault>> + Send;

    /// A block by its digest; `None` if it does not have it.
    fn block_by_digest(
        &self,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<Self::Block>, Fault>> + Send;
}

/// The client as a [`FollowDriver`](tidewatch_certified::FollowDriver) and its resolver need it: what they read of
/// it is its own word, and what they redeliver goes through the executor, like everything else that it is given.
pub struct Layer<X: Execution> {
    execution: Arc<X>,
    executor: Mailbox<X::Payload>,
    order: fn(&X::Block) -> Order,
}

impl<X: Execution> fmt::Debug for Layer<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("client", &self.execution.name()).finish_non_exhaustive()
    }
}

impl<X: Execution> Clone for Layer<X> {
    fn clone(&self) -> Self {
        let (execution, executor) = (self.execution.clone(), self.executor.clone());
        Self { execution, executor, order: self.order }
    }
}

impl<X: Execution> Layer<X> {
    /// The layer that is `execution`, whose calls `executor` makes. `order` says where a block stands among
    /// targets: the round that it was finalized in.
    pub const fn new(
        execution: Arc<X>,
        executor: Mailbox<X::Payload>,
        order: fn(&X::Block) -> Order,
    ) -> Self {
        Self { execution, executor, order }
    }

    pub(super) fn client(&self) -> &X {
        &self.execution
    }

    /// Gives blocks that are final, parents first. Resolves when the client stands at the last of them, or has it
    /// below what is final there. Genesis is not given: every client has its own, which the driver has compared.
    pub(super) async fn execute(&self, blocks: &[X::Block]) -> Result<(), Fault> {
        let blocks = match blocks {
            [genesis, rest @ ..] if genesis.reference().height == Height::zero() => rest,
            _ => blocks,
        };
        let Some(last) = blocks.last() else { return Ok(()) };
        let payloads = self.execution.prepare(blocks).await?;
        debug_assert!(
            payloads
                .iter()
                .map(|payload| payload.reference())
                .eq(blocks.iter().map(|block| block.reference())),
            "prepared are the very blocks"
        );
        let (order, last) = ((self.order)(last), last.reference());
        let forkchoice = Forkchoice { head: last, safe: Some(last), finalized: Some(last) };
        self.executor.give(payloads, Target { order, forkchoice }).await
    }
}

impl<X: History<Block: CertifiedBlock>> ExecutionLayer for Layer<X> {
    type Block = X::Block;

    async fn durable(&self) -> Result<BlockRef, Fault> {
        let finalized = self.execution.standing().await?.forkchoice.finalized;
        let survives = self.execution.durable().await?.unwrap_or_else(Height::zero);
        let height = finalized.map_or_else(Height::zero, |block| block.height).min(survives);
        let found = self.execution.at(&[height]).await?.into_iter().next().flatten();
        found.ok_or_else(|| Fault::new(self.execution.name(), ExecutionError::NoBlock { height }))
    }

    async fn at(&self, height: Height) -> Result<Option<X::Block>, Fault> {
        self.execution.block_at(height).await
    }

    async fn by_digest(&self, digest: Digest) -> Result<Option<X::Block>, Fault> {
        self.execution.block_by_digest(digest).await
    }

    async fn redeliver(&self, block: X::Block) -> Result<(), Fault> {
        self.execute(&[block]).await
    }
}

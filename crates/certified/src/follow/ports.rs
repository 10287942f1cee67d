//! What a follow driver needs of its neighbours.

use crate::{CertifiedBlock, CertifiedSource, Epochs, Finalized, Scheme, Transport, Verified};
use commonware_consensus::simplex::types::Finalization;
use commonware_runtime::Clock;
use std::{future::Future, sync::Arc};
use tidewatch_core::{BlockRef, Digest, Fault, Height, Source as _};

/// A marshal, as far as a driver talks to it. [`MarshalMailbox`](super::MarshalMailbox) is commonware's.
pub trait Marshal: Send + Sync + 'static {
    /// The chain's certificate scheme.
    type Scheme: Scheme;
    /// The chain's block.
    type Block: CertifiedBlock;

    /// Takes a finalization that verified, with its block.
    fn finalized(&self, finalized: Finalized<Self::Scheme, Self::Block>);

    /// The block at `height` is final, and wanted with its finalization.
    fn hint(&self, height: Height);

    /// The block of this finalization is the next to be delivered, if that is not below what was.
    fn floor(&self, finalization: Finalization<Self::Scheme, Digest>);

    /// The height up to which every block was delivered and acknowledged, durably.
    fn processed(&self) -> impl Future<Output = Option<Height>> + Send;

    /// The finalization of the block at `height`, if it is kept.
    fn finalization(
        &self,
        height: Height,
    ) -> impl Future<Output = Option<Finalization<Self::Scheme, Digest>>> + Send;

    /// The final block at `height`, if it is kept.
    fn block(&self, height: Height) -> impl Future<Output = Option<Self::Block>> + Send;
}

/// What executes the blocks of a chain and keeps them, as far as a driver and a resolver talk to it. It is not
/// trusted to be of the right chain.
pub trait ExecutionLayer: Send + Sync + 'static {
    /// The chain's block.
    type Block: CertifiedBlock;

    /// Its newest block that is final and durable; that at height 0 if it has no other.
    ///
    /// # Errors
    ///
    /// It cannot say: the start of a driver ends with that.
    fn durable(&self) -> impl Future<Output = Result<BlockRef, Fault>> + Send;

    /// Its block at `height`, which is not above its durable one; `None` if it does not keep it.
    fn at(&self, height: Height)
    -> impl Future<Output = Result<Option<Self::Block>, Fault>> + Send;

    /// A block by its digest; `None` if it does not have it.
    ///
    /// # Errors
    ///
    /// Whether it has it is not known.
    fn by_digest(
        &self,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<Self::Block>, Fault>> + Send;

    /// Takes a block above its durable one that was delivered in a former life: in order, and it may have it
    /// still. Resolves when it was executed: where it is not durable, a later start redelivers it.
    ///
    /// # Errors
    ///
    /// It was not taken: the start of a driver ends with that.
    fn redeliver(&self, block: Self::Block) -> impl Future<Output = Result<(), Fault>> + Send;
}

impl<L: ExecutionLayer> ExecutionLayer for Arc<L> {
    type Block = L::Block;

    fn durable(&self) -> impl Future<Output = Result<BlockRef, Fault>> + Send {
        (**self).durable()
    }

    fn at(&self, height: Height) -> impl Future<Output = Result<Option<L::Block>, Fault>> + Send {
        (**self).at(height)
    }

    fn by_digest(
        &self,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<L::Block>, Fault>> + Send {
        (**self).by_digest(digest)
    }

    fn redeliver(&self, block: L::Block) -> impl Future<Output = Result<(), Fault>> + Send {
        (**self).redeliver(block)
    }
}

/// An upstream, as far as a driver asks it: a source whose finality is reported to the driver.
pub trait Boundaries<S: Scheme, B>: Send + Sync + 'static {
    /// Verifies that `said`, at the height of a boundary, is that boundary: see
    /// [`CertifiedSource::verify_history`].
    fn verify_history(
        &self,
        said: BlockRef,
    ) -> impl Future<Output = Result<Verified<Finalized<S, B>>, Fault>> + Send;

    /// The chain's block at height 0.
    fn genesis(&self) -> impl Future<Output = Result<BlockRef, Fault>> + Send;

    /// Asks for the newest finalization. What verifies is reported as a push is.
    fn ask(&self) -> impl Future<Output = Result<(), Fault>> + Send;
}

impl<E, T, X, B> Boundaries<X::Scheme, B> for Arc<CertifiedSource<E, T, X, B>>
where
    E: Clock,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    fn verify_history(
        &self,
        said: BlockRef,
    ) -> impl Future<Output = Result<Verified<Finalized<X::Scheme, B>>, Fault>> + Send {
        Box::pin(CertifiedSource::verify_history(self, said))
    }

    async fn genesis(&self) -> Result<BlockRef, Fault> {
        self.chain_info().await.map(|info| info.genesis)
    }

    async fn ask(&self) -> Result<(), Fault> {
        self.snapshot().await.map(drop)
    }
}

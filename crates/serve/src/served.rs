//! What is served: a history with its blocks and proofs.

use commonware_codec::Codec;
use commonware_storage::Context;
use std::future::Future;
use tidewatch_core::{
    Archive, Block, BlockRef, ChainInfo, Cursor, Fault, Height, History, Watermarks,
};
use tidewatch_store::{MemoryReader, Reader, Retained};

/// A history that can be served: both stores' readers are.
///
/// # Cancel safety
///
/// Every method may be dropped at any await and called again.
pub trait Served: History + Archive<Block: Block + Codec> {
    /// The chain.
    fn chain_info(&self) -> ChainInfo;

    /// The position of a consumer that has handled every event, and where it stands there.
    fn newest(&self) -> impl Future<Output = Result<(Cursor, Watermarks), Fault>> + Send;

    /// For each height, the highest block that is known at or below it.
    fn locate(
        &self,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<BlockRef>>, Fault>> + Send;

    /// What is held, and what holds it.
    fn retention(&self) -> impl Future<Output = Result<Retained, Fault>> + Send;
}

impl<E: Context, B: Block + Codec> Served for Reader<E, B> {
    fn chain_info(&self) -> ChainInfo {
        self.chain_info().clone()
    }

    async fn newest(&self) -> Result<(Cursor, Watermarks), Fault> {
        self.newest().await
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.locate(heights).await
    }

    async fn retention(&self) -> Result<Retained, Fault> {
        self.retention().await
    }
}

impl<B: Block + Codec> Served for MemoryReader<B> {
    fn chain_info(&self) -> ChainInfo {
        self.chain_info()
    }

    async fn newest(&self) -> Result<(Cursor, Watermarks), Fault> {
        self.newest().await
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.locate(heights).await
    }

    async fn retention(&self) -> Result<Retained, Fault> {
        self.retention().await
    }
}

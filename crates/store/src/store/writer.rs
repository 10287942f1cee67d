//! The local view: hands commits to the committer, and closes the store where one does not come back.

use super::{Shared, committer::Committer, moment::Log};
use commonware_codec::Codec;
use commonware_storage::Context;
use std::{fmt, sync::Arc};
use tidewatch_core::{
    Block, BlockRef, ChainInfo, Change, Conflict, Fault, Height, LocalView, Watermarks,
};

/// The writer of a [`Store`](crate::Store): the local view of one driver. It is not `Clone`, and holds no
/// lock that readers share.
///
/// # Cancel safety
///
/// Every read may be dropped at any await. [`commit`](LocalView::commit) and
/// [`keep_evidence`](LocalView::keep_evidence) may be dropped before they begin to write; one that is
/// dropped while it writes closes the store, as a failed write does: every later call, also of readers,
/// returns a [`Disk`](tidewatch_core::FaultKind::Disk) fault, and opening the store again finds a
/// consistent state.
pub struct Writer<E: Context, B: Block + Codec> {
    /// `None` once a write failed or was cut off.
    pub(super) committer: Option<Committer<E>>,
    pub(super) shared: Arc<Shared<E, B>>,
}

impl<E: Context, B: Block + Codec> fmt::Debug for Writer<E, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("chain_info", &self.shared.chain_info)
            .finish_non_exhaustive()
    }
}

impl<E: Context, B: Block + Codec> Writer<E, B> {
    /// Ends every use of the store, also by its readers, after the last commit. Nothing is lost without
    /// it; with it, the next start has nothing to repair, and waits for events end now.
    pub async fn close(self) -> Result<(), Fault> {
        self.shared.log.close();
        self.shared.positions.close().await;
        match self.committer {
            Some(committer) => committer.sync().await.map(drop),
            None => Ok(()),
        }
    }
}

/// Closes the log of a committer that did not come back.
struct CutOff<'a, E: Context>(Option<&'a Log<E>>);

impl<E: Context> CutOff<'_, E> {
    fn came_back(mut self) {
        self.0 = None;
    }
}

impl<E: Context> Drop for CutOff<'_, E> {
    fn drop(&mut self) {
        if let Some(log) = self.0 {
            log.close();
        }
    }
}

impl<E: Context, B: Block + Codec> LocalView for Writer<E, B> {
    type Block = B;

    fn chain_info(&self) -> &ChainInfo {
        &self.shared.chain_info
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        Ok(self.committer.as_ref().ok_or_else(|| self.shared.log.cause.fault())?.watermarks)
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.committer
            .as_ref()
            .ok_or_else(|| self.shared.log.cause.fault())?
            .known_at(heights)
            .await
    }

    async fn commit(&mut self, changes: Vec<Change<B>>) -> Result<(), Fault> {
        let committer = self.committer.take().ok_or_else(|| self.shared.log.cause.fault())?;
        let cut_off = CutOff(Some(&self.shared.log));
        let committed = committer.commit(changes, &self.shared.log).await;
        let (committer, outcome) =
            committed.inspect_err(|fault| self.shared.log.cause.note(fault))?;
        self.committer = Some(committer);
        cut_off.came_back();
        outcome
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        let committer = self.committer.take().ok_or_else(|| self.shared.log.cause.fault())?;
        let cut_off = CutOff(Some(&self.shared.log));
        let kept = committer.keep_evidence(conflict, &self.shared.log).await;
        self.committer = Some(kept.inspect_err(|fault| self.shared.log.cause.note(fault))?);
        cut_off.came_back();
        Ok(())
    }
}

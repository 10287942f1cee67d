//! The border to the local view.

use super::{Observation, Watch};
use commonware_utils::NZUsize;
use tidewatch_core::{
    BlockRef, ChainInfo, Change, Conflict, EventLog, Fault, Height, LocalView, LogError, Record,
    Watermarks,
};
use tidewatch_testkit::chain::TestBlock;

/// A view whose commits are written down, and the log that they show up in.
#[derive(Debug)]
pub struct Kept<V, L> {
    inner: V,
    log: L,
    watch: Watch,
    /// The first event that was not seen yet.
    next: u64,
}

impl<V, L> Kept<V, L> {
    /// Stands in front of `inner`, whose events in `log` below `next` were seen.
    pub const fn new(inner: V, log: L, watch: Watch, next: u64) -> Self {
        Self { inner, log, watch, next }
    }
}

impl<V: Sync, L: EventLog> Kept<V, L> {
    /// Tells of the events that came since.
    async fn look(&mut self) {
        while let Ok(records) = read_from(&self.log, self.next).await {
            let Some(last) = records.last() else { return };
            self.next = last.cursor.handled();
            self.watch.see(Observation::Recorded(records));
        }
    }
}

/// Events from `next`, or from the oldest one that is kept.
pub(crate) async fn read_from(log: &impl EventLog, next: u64) -> Result<Vec<Record>, LogError> {
    match log.read(next, NZUsize!(256)).await {
        Err(LogError::TooOld { oldest, .. }) => log.read(oldest, NZUsize!(256)).await,
        answer => answer,
    }
}

/// A commit that has begun. Dropped, it was not waited for.
struct Begun(Watch, bool);

impl Drop for Begun {
    fn drop(&mut self) {
        if self.1 {
            self.0.see(Observation::NotCommitted(None));
        }
    }
}

impl<V: LocalView<Block = TestBlock>, L: EventLog> LocalView for Kept<V, L> {
    type Block = TestBlock;

    fn chain_info(&self) -> &ChainInfo {
        self.inner.chain_info()
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        let watermarks = self.inner.watermarks().await?;
        self.watch.see(Observation::WatermarksRead(watermarks));
        Ok(watermarks)
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.inner.locate(heights).await
    }

    async fn commit(&mut self, changes: Vec<Change<TestBlock>>) -> Result<(), Fault> {
        let mut begun = Begun(self.watch.clone(), true);
        let result = self.inner.commit(changes.clone()).await;
        let result = match result {
            Ok(()) => self.inner.watermarks().await,
            Err(fault) => Err(fault),
        };
        begun.1 = false;
        drop(begun);
        match result {
            Ok(watermarks) => {
                self.watch.see(Observation::Committed { changes, watermarks });
                self.look().await;
                Ok(())
            }
            Err(fault) => {
                self.watch.see(Observation::NotCommitted(Some(fault.clone())));
                self.look().await;
                Err(fault)
            }
        }
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.watch.see(Observation::Evidence(conflict));
        self.inner.keep_evidence(conflict).await
    }
}

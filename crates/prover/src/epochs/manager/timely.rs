//! The chain, with a deadline for each call.

use super::super::{Chain, EpochAt, Light, ProvenAt};
use commonware_runtime::Clock;
use std::{future::Future, time::Duration};
use tidewatch_core::{Fault, FaultKind, within};

/// A chain whose calls are given up at a deadline.
pub(super) struct Timely<'a, C, E> {
    pub(super) chain: &'a C,
    pub(super) clock: &'a E,
    pub(super) call: Duration,
}

impl<C: Sync, E: Clock> Timely<'_, C, E> {
    async fn within<T: Send>(
        &self,
        asked: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let late = || FaultKind::Timeout.fault("the checkpoints", format!("after {:?}", self.call));
        within(self.clock, self.call, asked).await.unwrap_or_else(|| Err(late()))
    }
}

impl<C: Chain, E: Clock> Chain for Timely<'_, C, E> {
    type Heavy = C::Heavy;

    async fn light(&self, from: u64, max: u64) -> Result<Vec<Light>, Fault> {
        self.within(self.chain.light(from, max)).await
    }

    async fn heavy(&self, number: u64) -> Result<C::Heavy, Fault> {
        self.within(self.chain.heavy(number)).await
    }

    async fn proven(&self) -> Result<Option<ProvenAt>, Fault> {
        self.within(self.chain.proven()).await
    }

    async fn slot(&self) -> Result<Option<u64>, Fault> {
        self.within(self.chain.slot()).await
    }

    async fn epoch(&self, epoch: u64) -> Result<EpochAt, Fault> {
        self.within(self.chain.epoch(epoch)).await
    }

    async fn checkpoint_of(&self, height: u64) -> Result<Option<u64>, Fault> {
        self.within(self.chain.checkpoint_of(height)).await
    }
}

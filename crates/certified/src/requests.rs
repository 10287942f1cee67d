//! Requests with a deadline, a second attempt, and a count.

use crate::{Error, Key, Metrics, Transport};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::Clock;
use std::{future::Future, sync::Arc, time::Duration};
use tidewatch_core::{Fault, FaultKind, Severity};

/// Waits for `future` at most `limit`; `None` if it took longer.
pub(crate) async fn within<F: Future>(
    clock: &impl Clock,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    select! {
        output = future => Some(output),
        _ = clock.sleep(limit) => None,
    }
}

/// How long to wait before the one second attempt: a lost connection is replaced in less.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Asks a transport.
#[derive(Debug)]
pub(crate) struct Requests<E, T> {
    pub(crate) clock: Arc<E>,
    pub(crate) transport: Arc<T>,
    pub(crate) metrics: Metrics,
    pub(crate) timeout: Duration,
}

impl<E: Clock, T: Transport> Requests<E, T> {
    /// One request. What fails for a transient reason other than a deadline is tried once more: a
    /// range of thousands of requests should not end at one lost connection.
    pub(crate) async fn get(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        match self.once(key).await {
            Err(fault)
                if fault.severity() == Severity::Transient && fault.kind != FaultKind::Timeout =>
            {
                self.clock.sleep(RETRY_AFTER).await;
                self.once(key).await
            }
            answer => answer,
        }
    }

    async fn once(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        self.metrics.requested(&key);
        match within(&*self.clock, self.timeout, self.transport.fetch(key)).await {
            Some(answer) => answer.map_err(|fault| self.metrics.refused(fault)),
            None => Err(self.metrics.reject(Error::NoAnswer { key, limit: self.timeout })),
        }
    }
}

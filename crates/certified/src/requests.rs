//! Requests, each with a deadline and one retry, counted by kind of key.

use crate::{Error, Key, Metrics, Transport};
use bytes::Bytes;
use commonware_runtime::Clock;
use futures::FutureExt as _;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Fault, FaultKind, Severity, within};

/// Wait before the retry: a lost connection is replaced in less.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Requests to one transport.
#[derive(Debug)]
pub(crate) struct Requests<E, T> {
    pub(crate) clock: Arc<E>,
    pub(crate) transport: Arc<T>,
    pub(crate) metrics: Metrics,
    pub(crate) timeout: Duration,
}

impl<E: Clock, T: Transport> Requests<E, T> {
    /// One request. A transient failure other than a timeout is retried once: a range of thousands of
    /// requests should not end at one lost connection.
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
        // A transport's future may be kilobytes, and it would be moved at each of the steps around it.
        let answer = self.transport.fetch(key).boxed();
        match within(&*self.clock, self.timeout, answer).await {
            Some(answer) => answer.map_err(|fault| self.metrics.refused(fault)),
            None => Err(self.metrics.reject(Error::NoAnswer { key, limit: self.timeout })),
        }
    }
}

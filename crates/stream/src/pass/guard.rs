//! What ends a wait on the source.

use std::future::Future;
use tidewatch_core::Fault;

/// Wraps every source call of a pass, so that none of them outlasts a deadline or a stop. Commits are
/// not wrapped: one that has begun completes.
pub trait Guard: Send + Sync {
    /// Waits for `call`, or for whatever ends it first.
    fn wait<T: Send>(
        &self,
        call: impl Future<Output = Result<T, Fault>> + Send,
    ) -> impl Future<Output = Result<T, Fault>> + Send;
}

/// Waits as long as the source does: for a source that is in memory.
#[derive(Clone, Copy, Debug)]
pub struct Unguarded;

impl Guard for Unguarded {
    async fn wait<T: Send>(
        &self,
        call: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        call.await
    }
}

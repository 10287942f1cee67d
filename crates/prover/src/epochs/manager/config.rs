//! Configuration of a session manager.

use crate::{Prover, epochs::Geometry, plan, scheduler};
use std::{fmt, sync::Arc, time::Duration};
use tidewatch_core::ChainId;

/// What a session manager works with.
pub struct Parts<C, P, U, M> {
    /// Which chain: its directory belongs to it.
    pub subject: ChainId,
    /// Its checkpoints.
    pub chain: C,
    /// What is proven.
    pub program: Arc<P>,
    /// Who proves it.
    pub provers: Vec<Arc<dyn Prover>>,
    /// Where it is published.
    pub publisher: Arc<U>,
    /// Who looks into what failed by itself; `()` is nobody.
    pub post_mortem: M,
}

impl<C, P, U, M> fmt::Debug for Parts<C, P, U, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.provers.iter().map(|prover| prover.name()).collect();
        f.debug_struct("Parts")
            .field("subject", &self.subject)
            .field("provers", &names)
            .finish_non_exhaustive()
    }
}

/// Limits and intervals of a session manager.
#[derive(Clone, Debug)]
pub struct Config {
    /// How slots make epochs.
    pub geometry: Geometry,
    /// How proofs are made and kept: limits of attempts, deadlines of calls (those of the chain too), and where
    /// proofs lie. What concerns a window above a proven tip does not apply.
    pub proving: scheduler::Config,
    /// Sessions that are not over, at the most; 0 is no limit.
    pub pending_max: usize,
    /// Whether all of an epoch is proven without anybody asking.
    pub full_epochs: bool,
    /// How often time is looked at, and a publisher that was not to be had is tried again.
    pub poll: Duration,
    /// A submission that takes longer is looked up instead of waited for.
    pub submit: Duration,
}

impl Config {
    /// 100 sessions, whole epochs, a poll each second, two minutes for a submission; whatever is proven takes as
    /// long as an attempt may.
    pub const fn new(geometry: Geometry, proving: scheduler::Config) -> Self {
        Self {
            geometry,
            proving,
            pending_max: 100,
            full_epochs: true,
            poll: Duration::from_secs(1),
            submit: Duration::from_secs(120),
        }
    }

    /// Checks that the deadlines nest.
    ///
    /// # Errors
    ///
    /// [`NotNested`](plan::NotNested) with the first pair that does not.
    pub fn check(&self) -> Result<(), plan::NotNested> {
        self.proving.check()?;
        plan::nested(("a call", self.proving.call), ("a submission", self.submit))
    }
}

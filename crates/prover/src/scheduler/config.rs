//! Configuration of a scheduler.

use crate::{Prover, disk, plan};
use commonware_utils::NZUsize;
use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

/// What a scheduler works with.
pub struct Parts<P> {
    /// What is proven.
    pub program: Arc<P>,
    /// Who proves it.
    pub provers: Vec<Arc<dyn Prover>>,
    /// Which chain, from where on.
    pub subject: disk::Subject,
}

impl<P> fmt::Debug for Parts<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.provers.iter().map(|prover| prover.name()).collect();
        f.debug_struct("Parts")
            .field("provers", &names)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Limits and intervals of a scheduler.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is attempted when.
    pub plan: plan::Config,
    /// Where it lies.
    pub disk: disk::Config,
    /// A call of a prover that takes longer is given up.
    pub call: Duration,
    /// How long a prover may wait for news before it answers a poll.
    pub patience: Duration,
    /// How often provers are asked what they offer.
    pub offers: Duration,
    /// How long a stop waits for proofs that are being verified.
    pub grace: Duration,
    /// Messages that wait for the scheduler before they go to its overflow.
    pub mailbox_size: NonZeroUsize,
}

impl Config {
    /// 10 s for a call, 5 s of patience within it, offers every 10 s, one second of grace.
    pub fn new(disk: disk::Config) -> Self {
        Self {
            plan: plan::Config::default(),
            disk,
            call: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            offers: Duration::from_secs(10),
            grace: Duration::from_secs(1),
            mailbox_size: NZUsize!(64),
        }
    }

    /// Checks that the deadlines nest: patience within a call, a call within a lease, a lease within an
    /// attempt.
    ///
    /// # Errors
    ///
    /// [`NotNested`](plan::NotNested) with the first pair that does not.
    pub fn check(&self) -> Result<(), plan::NotNested> {
        plan::nested(("the patience of a poll", self.patience), ("a call", self.call))?;
        plan::nested(("a call", self.call), ("the lease", self.plan.lease))?;
        self.plan.check()
    }
}

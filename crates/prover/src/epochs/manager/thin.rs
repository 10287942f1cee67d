//! Hands the manager what a driver announced.

use super::ingress::Mailbox;
use tidewatch_core::{Ack, Consumer, Event, Fault, Head, Record, Tier, Tip};

/// A consumer that hands thin events to a session manager: where the checkpointed and the proven tier stand, and
/// prunes. It acknowledges them once the manager has taken them in, so that what failed comes again.
#[derive(Clone, Debug)]
pub struct Thin {
    manager: Mailbox,
}

impl Thin {
    /// Hands events to `manager`.
    pub const fn new(manager: Mailbox) -> Self {
        Self { manager }
    }

    /// Hands over where the tiers stand: once after each start, as a manager begins at what is proven, and events
    /// that were acknowledged before do not come again.
    ///
    /// # Errors
    ///
    /// As [`Mailbox::checkpointed`].
    ///
    /// # Cancel safety
    ///
    /// As [`Mailbox::checkpointed`].
    pub async fn begin(&self, head: &Head) -> Result<(), Fault> {
        for tier in [Tier::Proven, Tier::Checkpointed] {
            if let Some(tip) = head.watermarks.tips.get(tier) {
                self.stands(tier, tip).await?;
            }
        }
        Ok(())
    }

    async fn stands(&self, tier: Tier, tip: Tip) -> Result<(), Fault> {
        match (tier, tip.checkpoint) {
            (Tier::Checkpointed, Some(checkpoint)) => {
                self.manager.checkpointed(checkpoint.number).await
            }
            (Tier::Proven, _) => {
                self.manager.proven(tip.block.height.get());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Consumer for Thin {
    fn name(&self) -> &str {
        "sessions"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        for record in records {
            match record.event {
                Event::Advanced { tier, tip } => self.stands(tier, tip).await?,
                Event::Pruned { to, .. } => self.manager.prune(to.height.get()).await?,
                Event::Blocks { .. } | Event::Regressed { .. } => {}
            }
        }
        Ok(Ack::Durable)
    }
}

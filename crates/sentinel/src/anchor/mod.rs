//! One header to execute against, at a tier of your choice.
//!
//! # Overview
//!
//! A wallet that executes privately proves something about one recent header, and keeps notes, keys and caches that are
//! true as of it. [`Anchor`] consumes tip events and keeps that header:
//!
//! ```text
//!  Record ──▶ decide ──▶ Headers: by hash ──▶ one transaction: every dependent rolls back, then the anchor moves
//! ```
//!
//! | event | what happens |
//! |---|---|
//! | the tier of the anchor moved, up or back | the header of its tip is read by hash, and becomes the anchor |
//! | another tier moved; blocks | nothing |
//! | a prune to or above the anchor | nothing, unless the tier itself moved back below it |
//! | a prune below the anchor | dependents roll back to the block that survives, and the anchor moves to the tier's tip |
//!
//! # Reorg safety
//!
//! A header is read by the hash that the event names, never by its number. Where that block has vanished, the anchor stays
//! where it is: the event that says so follows. A prune whose header cannot be read is not taken, and comes again.
//!
//! # Restart safety
//!
//! Dependents and the anchor move in one [`Vault`] transaction, and an event is acknowledged as durable after that. An
//! event that failed anywhere comes again, with everything as it was before.

mod decide;
#[cfg(test)]
mod tests;

pub use decide::{Move, decide};
use std::{fmt, future::Future};
use tidewatch_core::{Ack, BlockRef, Consumer, Event, Fault, FaultKind, Record, Tier};
use tracing::warn;

/// Reads headers.
pub trait Headers: Send + Sync + 'static {
    /// A header.
    type Header: Send + Sync + 'static;

    /// The header of `block`, by its hash; `None` if no such block is known any more.
    fn header(
        &self,
        block: BlockRef,
    ) -> impl Future<Output = Result<Option<Self::Header>, Fault>> + Send;
}

/// Where the anchor is kept, beside everything that depends on it.
pub trait Vault: Send + 'static {
    /// A header.
    type Header: Send + Sync + 'static;
    /// Changes that become durable together, or not at all. Dropped, it has changed nothing.
    type Transaction: Send + 'static;

    /// The block of the anchor; `None` before there is one.
    fn anchor(&self) -> impl Future<Output = Result<Option<BlockRef>, Fault>> + Send;

    /// Begins a transaction.
    fn begin(&mut self) -> impl Future<Output = Result<Self::Transaction, Fault>> + Send;

    /// Sets the anchor, within a transaction.
    fn set(
        &mut self,
        transaction: &mut Self::Transaction,
        block: BlockRef,
        header: Self::Header,
    ) -> Result<(), Fault>;

    /// Makes a transaction durable.
    fn commit(
        &mut self,
        transaction: Self::Transaction,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// What depends on the anchor: notes, events, caches.
pub trait Dependent<T>: Send + 'static {
    /// Drops everything above `to`, within `transaction`. The anchor is still where it was.
    ///
    /// # Errors
    ///
    /// Whatever it likes: the transaction is dropped with everything in it, and the event comes again.
    fn roll_back(&mut self, transaction: &mut T, to: BlockRef) -> Result<(), Fault>;

    /// The anchor has moved, durably: what was cached as of another one is wrong now.
    fn moved(&mut self, _anchor: BlockRef) {}
}

/// Keeps one header at one tier: see the [module](self).
pub struct Anchor<R, V: Vault> {
    name: String,
    tier: Tier,
    headers: R,
    vault: V,
    dependents: Vec<Box<dyn Dependent<V::Transaction>>>,
}

impl<R, V: Vault> fmt::Debug for Anchor<R, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchor")
            .field("name", &self.name)
            .field("tier", &self.tier)
            .field("dependents", &self.dependents.len())
            .finish_non_exhaustive()
    }
}

impl<R, V> Anchor<R, V>
where
    V: Vault,
    R: Headers<Header = V::Header>,
{
    /// An anchor at the tip of `tier`. `name` is that of its durable position.
    pub fn new(name: impl Into<String>, tier: Tier, headers: R, vault: V) -> Self {
        Self { name: name.into(), tier, headers, vault, dependents: Vec::new() }
    }

    /// Registers what depends on the anchor. Dependents roll back in this order.
    #[must_use]
    pub fn with(mut self, dependent: impl Dependent<V::Transaction>) -> Self {
        self.dependents.push(Box::new(dependent));
        self
    }

    /// The block of the anchor.
    ///
    /// # Errors
    ///
    /// Those of the vault.
    pub async fn block(&self) -> Result<Option<BlockRef>, Fault> {
        self.vault.anchor().await
    }

    /// Takes in one event. Dropped in the middle, it has changed nothing, or all.
    ///
    /// # Errors
    ///
    /// A header that cannot be read, or is gone where a prune needs it; a dependent that refuses; the vault.
    pub async fn take(&mut self, event: &Event) -> Result<(), Fault> {
        let Some(step) = decide(self.tier, self.vault.anchor().await?, event) else {
            return Ok(());
        };
        let (to, back) = match step {
            Move::To(to) => (to, None),
            Move::Back { to, rolled } => (to, Some(rolled)),
        };
        let header = match (self.headers.header(to).await?, back) {
            (Some(header), _) => header,
            (None, None) => {
                warn!(anchor = %self.name, block = %to, "its header is gone: the anchor stays");
                return Ok(());
            }
            (None, Some(_)) => {
                let detail = format!("the header of {to}, to which it rolls back, is gone");
                return Err(FaultKind::Missing.fault(self.name.clone(), detail));
            }
        };
        let mut transaction = self.vault.begin().await?;
        if let Some(rolled) = back {
            for dependent in &mut self.dependents {
                dependent.roll_back(&mut transaction, rolled)?;
            }
        }
        self.vault.set(&mut transaction, to, header)?;
        self.vault.commit(transaction).await?;
        self.dependents.iter_mut().for_each(|dependent| dependent.moved(to));
        Ok(())
    }
}

impl<R, V> Consumer for Anchor<R, V>
where
    V: Vault + Sync,
    R: Headers<Header = V::Header>,
{
    fn name(&self) -> &str {
        &self.name
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        for record in records {
            self.take(&record.event).await?;
        }
        Ok(Ack::Durable)
    }
}

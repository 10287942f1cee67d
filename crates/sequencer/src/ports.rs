//! The ports: where transactions wait, who orders them, where they are applied and published.

use crate::{Block, Preblock, Proposal, Transaction};
use futures::future::BoxFuture;
use tidewatch_core::{BlockRef, Fault, Height, watch::Receiver};

/// Where the chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The head.
    pub block: BlockRef,
    /// Its time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// The pool gives nothing out now: somebody else works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pool is locked")]
pub struct Locked;

/// Where a transaction is: in exactly one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It waits.
    Pooled,
    /// It is in the proposal of this number, and is still pending for whoever asks.
    Reserved(Height),
    /// It is in the block of this number.
    Applied(Height),
    /// It never is in a block, or does nothing there.
    Dropped(String),
}

/// Holds transactions until they are applied.
///
/// Everything that changes it is durable before it answers. Only the coordinator selects, reserves, releases and
/// settles.
///
/// # Cancel safety
///
/// A call that is dropped is carried out all the same, or not at all.
pub trait Pool: Send + Sync + 'static {
    /// Transactions for one proposal, of `bytes` at the most: those of the delayed inbox first, then in the order
    /// in which they were accepted. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`Locked`]: nothing is given out now.
    fn select(&self, bytes: usize) -> BoxFuture<'_, Result<Vec<Transaction>, Locked>>;

    /// Remembers `proposal` as the one that may be at the network, and reserves its transactions for it. Another
    /// attempt of the same content takes the place of the one before.
    ///
    /// # Errors
    ///
    /// Another proposal is remembered, or the disk.
    fn reserve(&self, proposal: &Proposal) -> BoxFuture<'_, Result<(), Fault>>;

    /// The proposal that is remembered.
    fn outstanding(&self) -> Option<Proposal>;

    /// Forgets the proposal that is remembered: what is reserved waits again, in its old place.
    ///
    /// # Errors
    ///
    /// The disk.
    fn release(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// Block `block` was applied: its transactions leave the pool, and what was reserved for its number and is not
    /// in it waits again. A block at or below [`settled`](Self::settled) changes nothing.
    ///
    /// # Errors
    ///
    /// The disk.
    fn settle<'a>(&'a self, block: &'a Block) -> BoxFuture<'a, Result<(), Fault>>;

    /// The number of the newest block that was settled; 0 if none was.
    fn settled(&self) -> Height;

    /// How many transactions wait: to read and to await.
    fn waiting(&self) -> Receiver<usize>;
}

/// Why a block was not applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotApplied {
    /// The chain refuses it, and will refuse it again.
    #[error("the chain refuses it: {0}")]
    Rejected(String),
    /// It could not be applied now.
    #[error(transparent)]
    Failed(#[from] Fault),
}

/// The chain.
///
/// # Cancel safety
///
/// A call that is dropped is carried out all the same, or not at all.
pub trait Applier: Send + Sync + 'static {
    /// Where it stands.
    fn head(&self) -> Standing;

    /// Applies `preblock` over the head: durable before it answers. One that was applied already is answered with
    /// its block.
    ///
    /// # Errors
    ///
    /// Why it was not.
    fn apply<'a>(&'a self, preblock: &'a Preblock) -> BoxFuture<'a, Result<Block, NotApplied>>;

    /// Block `number`, which is not above the head, and not genesis.
    ///
    /// # Errors
    ///
    /// It is not there, or the disk.
    fn block(&self, number: Height) -> BoxFuture<'_, Result<Block, Fault>>;
}

/// Where applied blocks are published.
pub trait Publisher: Send + Sync + 'static {
    /// The number of the newest block that was published; 0 if none was.
    fn published(&self) -> Height;

    /// Publishes `block`, the one after [`published`](Self::published). Durable before it answers; one that is
    /// published already is a success.
    ///
    /// # Errors
    ///
    /// It was not, or nobody knows. It is published again later, and never applied again.
    fn publish<'a>(&'a self, block: &'a Block) -> BoxFuture<'a, Result<(), Fault>>;
}

/// Why a proposal was not submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSubmitted {
    /// The network has another content for the number.
    #[error("the network has other content for this number")]
    Taken,
    /// The network does not take it, and does not have it.
    #[error("the network refuses it: {0}")]
    Refused(String),
    /// Nobody knows: it may be there.
    #[error("it may be submitted: {0}")]
    Unknown(Fault),
}

/// What comes over a stream of preblocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A preblock, not verified.
    Preblock(Box<Preblock>),
    /// The other side is there, and has nothing.
    Alive,
}

/// A stream of preblocks.
pub trait Preblocks: Send + 'static {
    /// What comes next. Waits for it.
    ///
    /// # Errors
    ///
    /// The stream is over.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again; nothing is lost.
    fn next(&mut self) -> BoxFuture<'_, Result<Item, Fault>>;
}

/// The network of key holders. Nothing that comes from it is believed.
///
/// # Cancel safety
///
/// Every call may be dropped at any await. A submission that is dropped may have reached the network.
pub trait Ordering: Send + Sync + 'static {
    /// Names it in faults, without credentials.
    fn name(&self) -> &str;

    /// Hands a proposal over. One whose content the network has already is a success.
    ///
    /// # Errors
    ///
    /// Why it was not.
    fn submit(&self, proposal: Proposal) -> BoxFuture<'_, Result<(), NotSubmitted>>;

    /// The preblocks from `from` on, in order, for as long as the connection holds: those that there are, and then
    /// those to come.
    ///
    /// # Errors
    ///
    /// There is no connection.
    fn preblocks(&self, from: Height) -> BoxFuture<'_, Result<Box<dyn Preblocks>, Fault>>;

    /// The number of the newest preblock; `None` if there is none.
    ///
    /// # Errors
    ///
    /// It cannot be asked.
    fn newest(&self) -> BoxFuture<'_, Result<Option<Height>, Fault>>;

    /// Whether the network fixed the order of `preblock` and opened its transactions rightly. Pure computation.
    ///
    /// # Errors
    ///
    /// Why it did not.
    fn verify(&self, preblock: &Preblock) -> Result<(), String>;
}

//! What goes between a sequencer and the network that orders for it.
//!
//! # Overview
//!
//! ```text
//!  Transaction ─┐
//!  Transaction ─┼─▶ Content ──digest──▶ Identity ──▶ Proposal ──network──▶ Preblock ──applied──▶ Block
//!  the time    ─┘                                                        + opened, evidence
//! ```
//!
//! An [`Identity`] names one proposal: the number, the parent, the digest of the content, and which attempt it
//! is. All attempts of one number have the same content. A [`Preblock`] repeats the whole proposal, so that a
//! sequencer that was away can apply it, and adds what each transaction says once it is open.

mod codec;
pub(crate) use codec::{read_text, text_size, write_text};
#[cfg(test)]
mod tests;

use bytes::Bytes;
use commonware_codec::{Encode as _, EncodeSize as _};
use commonware_cryptography::{Hasher as _, Sha256};
use std::{fmt, num::NonZeroU32};
use tidewatch_core::{BlockRef, Digest, Height};

/// Transactions of one block, at the most.
pub const TRANSACTIONS_MAX: usize = 65_536;
/// Bytes of one transaction, at the most: as large as a request may be.
pub const TRANSACTION_BYTES_MAX: usize = 1024 * 1024;
/// The smallest transaction, in bytes of a proposal: with less room left, the pool is not looked at.
pub const TRANSACTION_BYTES_MIN: usize = 32 + 1 + 1 + 1;
/// Longest reason, in bytes.
pub const REASON_MAX: usize = 200;
/// Longest evidence of a preblock, in bytes.
pub const EVIDENCE_MAX: usize = 64 * 1024;

/// Whose nonce a transaction uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sender(pub [u8; 32]);

impl Sender {
    /// The delayed inbox of the layer below. Its transactions come in the clear, come first in a proposal, and
    /// their nonce is their place in that inbox.
    pub const DELAYED: Self = Self([0; 32]);
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({})", Digest(self.0))
    }
}

/// A transaction as it was accepted: what it says may be encrypted until its order is fixed.
#[derive(Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Who sent it.
    pub sender: Sender,
    /// Its place among the sender's transactions, from 0.
    pub nonce: u64,
    /// What it says, encrypted.
    pub payload: Bytes,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sender, nonce, payload } = self;
        write!(f, "Transaction({sender:?}, {nonce}, {} bytes)", payload.len())
    }
}

impl Transaction {
    /// The digest of all of it.
    pub fn id(&self) -> Digest {
        Sha256::hash(&[b"tidewatch-transaction", self.encode().as_ref()])
    }

    /// The bytes that it takes in a proposal.
    pub fn bytes(&self) -> usize {
        self.encode_size()
    }
}

/// What is proposed under a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The block's time, in milliseconds since the Unix epoch. Never below that of the parent.
    pub time_ms: u64,
    /// In the order of the block; of one sender in the order of nonces.
    pub transactions: Vec<Transaction>,
}

impl Content {
    /// The digest of the content of block `number` over `parent`.
    pub fn digest(&self, number: Height, parent: Digest) -> Digest {
        let header = [number.get().to_be_bytes(), self.time_ms.to_be_bytes()].concat();
        let ids = self.transactions.iter().flat_map(|transaction| transaction.id().0);
        let ids: Vec<u8> = ids.collect();
        Sha256::hash(&[b"tidewatch-proposal", &parent.0, &header, &ids])
    }
}

/// Names one proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The number of the block, its height.
    pub number: Height,
    /// The block that it goes on.
    pub parent: Digest,
    /// The digest of its content.
    pub content: Digest,
    /// Which attempt it is, from 1. Attempts differ in nothing else.
    pub attempt: NonZeroU32,
}

impl Identity {
    /// Whether the other names the same content for the same place, in whichever attempt.
    pub fn same(&self, other: &Self) -> bool {
        (self.number, self.parent, self.content) == (other.number, other.parent, other.content)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} attempt {}", self.number, self.content, self.attempt)
    }
}

/// What is submitted to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its name.
    pub identity: Identity,
    /// What it proposes.
    pub content: Content,
}

impl Proposal {
    /// The first attempt of `content` over `parent`.
    pub fn new(parent: BlockRef, content: Content) -> Self {
        let number = parent.height.next();
        let digest = content.digest(number, parent.digest);
        let attempt = NonZeroU32::MIN;
        let identity = Identity { number, parent: parent.digest, content: digest, attempt };
        Self { identity, content }
    }

    /// The next attempt of the same content.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.identity.attempt = self.identity.attempt.saturating_add(1);
        self
    }
}

/// What became of a transaction once its order was fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// What it says.
    Clear(Bytes),
    /// It takes its place, its nonce is used, and it does nothing: why.
    Dropped(String),
}

/// A proposal whose order is fixed and whose transactions are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preblock {
    /// The proposal that it answers.
    pub identity: Identity,
    /// Its content, as it was proposed.
    pub content: Content,
    /// What each of its transactions says, in their order.
    pub opened: Vec<Opened>,
    /// What shows that the network fixed the order, and that it opened the transactions rightly.
    pub evidence: Bytes,
}

impl Preblock {
    /// Whether the identity names what is in it.
    pub fn is_whole(&self) -> bool {
        let Identity { number, parent, content, .. } = self.identity;
        self.opened.len() == self.content.transactions.len()
            && self.content.digest(number, parent) == content
    }

    /// The same order, and nothing in it counts: for a block that the chain refuses as a whole.
    #[must_use]
    pub fn dropped(mut self, reason: &str) -> Self {
        let reason = shortened(reason);
        self.opened.iter_mut().for_each(|opened| *opened = Opened::Dropped(reason.clone()));
        self
    }
}

/// `reason`, as long as it may be.
pub fn shortened(reason: &str) -> String {
    let end = (0..=REASON_MAX).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    reason.get(..end).unwrap_or(reason).to_owned()
}

/// A block of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The proposal that it came from.
    pub identity: Identity,
    /// Its content.
    pub content: Content,
    /// What became of each transaction.
    pub opened: Vec<Opened>,
}

impl Block {
    /// The block that `preblock` becomes.
    pub fn of(preblock: &Preblock) -> Self {
        let Preblock { identity, content, opened, .. } = preblock.clone();
        Self { identity, content, opened }
    }

    /// Transactions that count.
    pub fn applied(&self) -> usize {
        self.opened.iter().filter(|opened| matches!(opened, Opened::Clear(_))).count()
    }
}

impl tidewatch_core::Block for Block {
    /// Its digest does not depend on the attempt: attempts differ in nothing else.
    fn reference(&self) -> BlockRef {
        let opened = self.opened.iter().flat_map(|it| Sha256::hash(&[it.encode().as_ref()]).0);
        let opened: Vec<u8> = opened.collect();
        let digest = Sha256::hash(&[b"tidewatch-block", &self.identity.content.0, &opened]);
        BlockRef::new(self.identity.number, digest)
    }

    fn parent(&self) -> Digest {
        self.identity.parent
    }
}

//! What an outsider knows of a sequencer, and what must hold of it.

use super::network::{Reaction, Submission};
use commonware_cryptography::sha256::Digest;
use std::collections::{BTreeMap, BTreeSet};
use tidewatch_core::{Block as _, BlockRef, Height};
use tidewatch_sequencer::{Block, Place, Proposal, Sender, Transaction, coordinator::Stage};

/// What stands at one moment.
pub(super) struct Moment {
    pub(super) head: BlockRef,
    pub(super) settled: Height,
    pub(super) stage: Stage,
    pub(super) outstanding: Option<Proposal>,
    /// Of every transaction that was accepted.
    pub(super) places: BTreeMap<Digest, Option<Place>>,
}

/// A rule that was broken: which checker objects, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The checker.
    pub checker: &'static str,
    /// What is wrong.
    pub detail: String,
}

pub(super) fn objection<T>(
    checker: &'static str,
    detail: impl Into<String>,
) -> Result<T, Objection> {
    Err(Objection { checker, detail: detail.into() })
}

/// Everything that outlives the sequencer's process.
#[derive(Default)]
pub(super) struct Ledger {
    /// What the pool said it has.
    pub(super) accepted: BTreeMap<Digest, Transaction>,
    /// The chain as it was seen, from number 1.
    pub(super) chain: Vec<Block>,
    /// Where each transaction of the chain is.
    applied: BTreeMap<Digest, Height>,
    nonces: BTreeMap<Sender, u64>,
    /// Contents that another sequencer fixed.
    pub(super) rivals: BTreeSet<Digest>,
    /// The highest block that anybody was notified of.
    pub(super) told: Option<BlockRef>,
    pub(super) dropped: BTreeMap<Digest, String>,
}

impl Ledger {
    /// Takes in a block that was not seen.
    pub(super) fn block(
        &mut self,
        block: Block,
        submissions: &[Submission],
    ) -> Result<(), Objection> {
        let number = self.chain.len() as u64 + 1;
        let identity = block.identity;
        if identity.number.get() != number {
            return objection("order", format!("block {} is at {number}", identity.number));
        }
        if let Some(parent) = self.chain.last()
            && (parent.reference().digest != identity.parent
                || parent.content.time_ms > block.content.time_ms)
        {
            return objection("order", format!("block {number} does not go on its parent"));
        }
        let ours = submissions.iter().any(|it| it.proposal.identity.same(&identity));
        if !ours && !self.rivals.contains(&identity.content) {
            return objection("proposed", format!("nobody proposed block {number}"));
        }
        for transaction in &block.content.transactions {
            let (id, number) = (transaction.id(), Height::new(number));
            if let Some(before) = self.applied.insert(id, number) {
                let detail = format!("{transaction:?} is in block {before} and in {number}");
                return objection("once", detail);
            }
            let next = self.nonces.entry(transaction.sender).or_default();
            if transaction.nonce != *next {
                let detail = format!("{transaction:?} in block {number}, where {next} is next");
                return objection("nonces", detail);
            }
            *next += 1;
        }
        self.chain.push(block);
        Ok(())
    }

    /// The next nonce of `sender` on the chain.
    pub(super) fn nonce(&self, sender: Sender) -> u64 {
        self.nonces.get(&sender).copied().unwrap_or_default()
    }

    /// Invariant 6: one number is outstanding, and every transaction is in exactly one place.
    pub(super) fn check(&mut self, now: &Moment) -> Result<(), Objection> {
        if let Some(proposal) = &now.outstanding {
            let (number, next) = (proposal.identity.number, now.settled.next());
            if number != next {
                return objection("outstanding", format!("{number} is out, and {next} is next"));
            }
        }
        let out = matches!(now.stage, Stage::Submitting | Stage::Awaiting | Stage::Reproposing);
        if out && now.outstanding.is_none() {
            return objection("reserved", "a proposal is out, and nothing is reserved for it");
        }
        if let Some(proposal) = &now.outstanding {
            for id in proposal.content.transactions.iter().map(Transaction::id) {
                let place = now.places.get(&id).cloned().flatten();
                let known = now.places.contains_key(&id);
                if known && !matches!(place, Some(Place::Reserved(_))) {
                    return objection("reserved", format!("{id} is proposed, and is {place:?}"));
                }
            }
        }
        for (id, place) in &now.places {
            if let Some(Place::Dropped(why)) = place {
                self.dropped.insert(*id, why.clone());
            }
            let detail = match (self.applied.get(id), place) {
                (None, None) => format!("{id} is lost"),
                (Some(number), Some(place)) if *number <= now.settled => {
                    format!("{id} is in block {number}, and {place:?}")
                }
                _ => continue,
            };
            return objection("conservation", detail);
        }
        Ok(())
    }

    /// What a start finds of what was told.
    pub(super) fn durable(&self, head: BlockRef) -> Result<(), Objection> {
        match self.told {
            Some(told) if told.height > head.height => {
                objection("durable", format!("block {told} was applied, and the head is {head}"))
            }
            _ => Ok(()),
        }
    }

    /// Other content goes out under one number only once the network said that it does not have the first.
    pub(super) fn contents(submissions: &[Submission]) -> Result<(), Objection> {
        let mut last: BTreeMap<Height, &Submission> = BTreeMap::new();
        for submission in submissions {
            let identity = submission.proposal.identity;
            if let Some(before) = last.insert(identity.number, submission)
                && !before.proposal.identity.same(&identity)
                && !matches!(before.reaction, Reaction::Refuses(_))
            {
                let was = before.proposal.identity;
                return objection("contents", format!("{identity} after {was}"));
            }
        }
        Ok(())
    }

    /// Transactions that are neither in a block nor dropped.
    pub(super) fn open(&self) -> Vec<&Transaction> {
        let done = |id: &Digest| self.applied.contains_key(id) || self.dropped.contains_key(id);
        self.accepted.iter().filter(|(id, _)| !done(id)).map(|(_, it)| it).collect()
    }
}

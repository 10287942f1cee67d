//! What is known of the chain: verified, bounded, and shared between the upstream and the source.
//!
//! # Overview
//!
//! [`Known`] is a value; every method of it is a decision without I/O. [`Shared`] is it behind a lock,
//! with the state of the push connection and the doorbell. The lock is never held across an await.
//!
//! # State
//!
//! | what | bound |
//! |---|---|
//! | the newest finalization, by round | one |
//! | notarizations of rounds above it | `ancestors_max` |
//! | recent blocks by digest: what a push or a walk brought | `recent_max` |
//! | digests at recently finalized heights, to notice a contradiction | `recent_max` |
//! | tips given out lately, which a caller may ask blocks for | 64 |
//!
//! # Ordering
//!
//! A finalization counts as newer if its round and its height are both higher. The newest never goes
//! back: an answer from before it is stale, and changes nothing. Two finalizations that verify and name
//! two blocks at one height are a contradiction of the chain itself: the first one stays, both sides are
//! reported, once.

mod recent;

#[cfg(test)]
mod tests;

use crate::{CertificateKind, Certified, CertifiedBlock, Verified};
use commonware_consensus::types::Round;
use commonware_utils::sync::{Mutex, Notify};
use recent::Recent;
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, SystemTime},
};
use tidewatch_core::{BlockRef, Conflict, Digest, Height};

/// Tips given out that blocks can still be asked for.
const ISSUED_MAX: usize = 64;

/// A tip that was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Issued {
    /// The tip.
    pub(crate) tip: Verified<BlockRef>,
    /// The height that was final when it was: up to here, the finalized chain is the tip's chain.
    pub(crate) base: Height,
}

/// What a claimed certificate would change, were it valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relevance {
    /// It would move a tip, or contradict one: worth a check.
    New,
    /// It says what is known already.
    Known,
    /// It is from before what is known.
    Stale,
}

/// What a verified certificate changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A tip moved.
    Moved,
    /// Nothing.
    Unchanged,
    /// It contradicts an earlier finalization.
    Conflicts,
}

#[derive(Debug)]
pub(crate) struct Known<B> {
    finalized: Option<Verified<Certified<B>>>,
    notarized: BTreeMap<Round, Verified<Certified<B>>>,
    blocks: Recent<B>,
    finals: BTreeMap<Height, Digest>,
    issued: VecDeque<Issued>,
    conflict: Option<Conflict>,
    reported: Option<Conflict>,
    notarized_max: usize,
    finals_max: usize,
}

impl<B: CertifiedBlock> Known<B> {
    pub(crate) fn new(genesis: &Verified<B>, notarized_max: usize, recent_max: usize) -> Self {
        let BlockRef { height, digest } = genesis.reference();
        Self {
            finalized: None,
            notarized: BTreeMap::new(),
            blocks: Recent::new(recent_max),
            finals: BTreeMap::from([(height, digest)]),
            issued: VecDeque::new(),
            conflict: None,
            reported: None,
            notarized_max,
            finals_max: recent_max.max(1),
        }
    }

    pub(crate) const fn finalized(&self) -> Option<&Verified<Certified<B>>> {
        self.finalized.as_ref()
    }

    /// The newest finalized block, or `None` if that is genesis.
    fn highest(&self) -> Option<(Round, BlockRef)> {
        self.finalized.as_ref().map(|finalized| (finalized.round, finalized.block.reference()))
    }

    /// What a certificate of `kind` over `block` would change.
    pub(crate) fn judge(&self, kind: CertificateKind, round: Round, block: BlockRef) -> Relevance {
        match kind {
            CertificateKind::Finalized => self.judge_finalization(round, block),
            CertificateKind::Notarized => self.judge_notarization(round),
        }
    }

    /// Takes a verified certificate in.
    pub(crate) fn take(&mut self, certified: Verified<Certified<B>>) -> Outcome {
        match certified.kind {
            CertificateKind::Finalized => self.finalize(certified),
            CertificateKind::Notarized => self.notarize(certified),
        }
    }

    fn judge_finalization(&self, round: Round, block: BlockRef) -> Relevance {
        if let Some(digest) = self.finals.get(&block.height) {
            if *digest != block.digest {
                return Relevance::New;
            }
            let newest = self.highest().is_some_and(|(_, highest)| highest == block);
            return if newest { Relevance::Known } else { Relevance::Stale };
        }
        match self.highest() {
            Some((newest, highest)) if round <= newest || block.height <= highest.height => {
                Relevance::Stale
            }
            _ => Relevance::New,
        }
    }

    fn judge_notarization(&self, round: Round) -> Relevance {
        if self.highest().is_some_and(|(newest, _)| round <= newest) {
            return Relevance::Stale;
        }
        match self.notarized.contains_key(&round) {
            true => Relevance::Known,
            false => Relevance::New,
        }
    }

    fn finalize(&mut self, certified: Verified<Certified<B>>) -> Outcome {
        let (round, block) = (certified.round, certified.block.reference());
        if let Some(digest) = self.finals.get(&block.height)
            && *digest != block.digest
        {
            let ours = BlockRef::new(block.height, *digest);
            let conflict = Conflict { ours, theirs: block };
            if self.reported != Some(conflict) {
                self.reported = Some(conflict);
                self.conflict = Some(conflict);
            }
            return Outcome::Conflicts;
        }
        if self.judge_finalization(round, block) != Relevance::New {
            return Outcome::Unchanged;
        }
        self.blocks.insert(certified.block.clone());
        self.finals.insert(block.height, block.digest);
        while self.finals.len() > self.finals_max {
            self.finals.pop_first();
        }
        self.notarized = self.notarized.split_off(&round);
        self.notarized.remove(&round);
        self.finalized = Some(certified);
        Outcome::Moved
    }

    fn notarize(&mut self, certified: Verified<Certified<B>>) -> Outcome {
        if self.judge_notarization(certified.round) != Relevance::New {
            return Outcome::Unchanged;
        }
        self.blocks.insert(certified.block.clone());
        let newest =
            self.notarized.last_key_value().is_none_or(|(round, _)| *round < certified.round);
        self.notarized.insert(certified.round, certified);
        while self.notarized.len() > self.notarized_max {
            self.notarized.pop_first();
        }
        if newest { Outcome::Moved } else { Outcome::Unchanged }
    }

    /// Notarized blocks above the finalized one, the newest first.
    pub(crate) fn candidates(&self) -> Vec<Verified<Certified<B>>> {
        self.notarized.values().rev().cloned().collect()
    }

    /// Forgets a notarization that nothing can be built on.
    pub(crate) fn discard(&mut self, round: Round) {
        self.notarized.remove(&round);
    }

    /// Keeps a block under its own digest.
    pub(crate) fn keep(&mut self, block: B) {
        self.blocks.insert(block);
    }

    pub(crate) fn block(&self, digest: &Digest) -> Option<&B> {
        self.blocks.get(digest)
    }

    /// Remembers that blocks may be asked for up to `tip`, which stands on finality up to `base`.
    pub(crate) fn issue(&mut self, tip: Verified<BlockRef>, base: Height) {
        self.issued.retain(|known| known.tip != tip);
        self.issued.push_back(Issued { tip, base });
        if self.issued.len() > ISSUED_MAX {
            self.issued.pop_front();
        }
    }

    /// The tip that was given out last.
    pub(crate) fn newest_issued(&self) -> Option<Verified<BlockRef>> {
        self.issued.back().map(|issued| issued.tip)
    }

    /// `tip`, if it was given out lately.
    pub(crate) fn issued(&self, tip: BlockRef) -> Option<Issued> {
        self.issued.iter().rev().find(|issued| *issued.tip == tip).copied()
    }

    /// A contradiction that was not reported yet.
    pub(crate) const fn take_conflict(&mut self) -> Option<Conflict> {
        self.conflict.take()
    }
}

/// The push connection, as the source needs to know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// How many times it was opened.
    pub(crate) generation: u64,
    /// Whether it is open.
    pub(crate) open: bool,
    /// When it last brought a certificate that verified.
    pub(crate) event: Option<SystemTime>,
}

impl Link {
    /// Whether pushes come that verify.
    pub(crate) fn pushes(&self, now: SystemTime, silence: Duration) -> bool {
        // What seems to lie in the future was before a clock was set back: nobody knows how long ago.
        let age = self.event.and_then(|event| now.duration_since(event).ok());
        self.open && age.is_some_and(|age| age < silence)
    }
}

/// [`Known`] and [`Link`], shared between the upstream and the source.
#[derive(Debug)]
pub(crate) struct Shared<B> {
    pub(crate) known: Mutex<Known<B>>,
    pub(crate) link: Mutex<Link>,
    bell: Notify,
}

impl<B> Shared<B> {
    pub(crate) fn new(known: Known<B>) -> Self {
        Self { known: Mutex::new(known), link: Mutex::default(), bell: Notify::new() }
    }

    /// Rings the doorbell. Rings that nobody waited for become one.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Resolves at the next ring, or at once if it rang since the last time.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

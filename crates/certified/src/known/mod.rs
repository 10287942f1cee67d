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
//! | notarizations of rounds above it, each with how much of its chain is final | `ancestors_max` |
//! | recent blocks by digest: what a push or a walk brought | `recent_max` |
//! | recently finalized blocks by height, also to notice a contradiction | `recent_max` |
//!
//! A tip that a question names is looked up in these by content: nothing here remembers what was answered
//! before, so sources that share it, and drivers that share a source, do not disturb each other.
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
use commonware_utils::sync::Mutex;
use recent::Recent;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};
use tidewatch_core::{Bell, BlockRef, Conflict, Digest, Doorbell, Height};

/// A tip that a certificate, or the hash chain under one, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VerifiedTip {
    /// The tip.
    pub(crate) tip: Verified<BlockRef>,
    /// Up to this height, the finalized chain is the tip's chain.
    pub(crate) base: Height,
}

impl VerifiedTip {
    /// A finalized block: it is never replaced, and all below it is final.
    pub(crate) fn finalized(tip: Verified<BlockRef>) -> Self {
        Self { tip, base: tip.height }
    }

    /// Whether it will never be replaced.
    pub(crate) fn is_final(&self) -> bool {
        self.base == self.tip.height
    }
}

#[derive(Debug)]
struct Notarized<B> {
    certified: Verified<Certified<B>>,
    /// The highest finalized height that its ancestry was followed down to.
    base: Option<Height>,
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
    notarized: BTreeMap<Round, Notarized<B>>,
    blocks: Recent<B>,
    finals: BTreeMap<Height, Verified<BlockRef>>,
    conflict: Option<Conflict>,
    reported: Option<Conflict>,
    notarized_max: usize,
    finals_max: usize,
}

impl<B: CertifiedBlock> Known<B> {
    pub(crate) fn new(genesis: &Verified<B>, notarized_max: usize, recent_max: usize) -> Self {
        let genesis = genesis.name();
        Self {
            finalized: None,
            notarized: BTreeMap::new(),
            blocks: Recent::new(recent_max),
            finals: BTreeMap::from([(genesis.height, genesis)]),
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
        if let Some(known) = self.finals.get(&block.height) {
            if **known != block {
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
        if let Some(known) = self.finals.get(&block.height)
            && **known != block
        {
            let conflict = Conflict { ours: **known, theirs: block };
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
        self.finals.insert(block.height, certified.block().name());
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
        self.notarized.insert(certified.round, Notarized { certified, base: None });
        while self.notarized.len() > self.notarized_max {
            self.notarized.pop_first();
        }
        if newest { Outcome::Moved } else { Outcome::Unchanged }
    }

    /// Notarized blocks above the finalized one, the newest first.
    pub(crate) fn candidates(&self) -> Vec<Verified<Certified<B>>> {
        self.notarized.values().rev().map(|notarized| notarized.certified.clone()).collect()
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

    /// The ancestry of the notarization of `round` was followed down to the finalized block at `base`.
    pub(crate) fn descends(&mut self, round: Round, base: Height) {
        if let Some(notarized) = self.notarized.get_mut(&round) {
            debug_assert!(notarized.certified.block.reference().height > base, "above finality");
            notarized.base = notarized.base.max(Some(base));
        }
    }

    /// `tip`, if a certificate that is known here is over it. `None` for a block that another one was
    /// finalized in place of, and for a notarized one whose ancestry nobody followed.
    pub(crate) fn tip(&self, tip: BlockRef) -> Option<VerifiedTip> {
        if let Some(known) = self.finals.get(&tip.height) {
            return (**known == tip).then(|| VerifiedTip::finalized(*known));
        }
        let notarized = self.notarized.values().rev();
        let mut notarized = notarized.filter(|known| known.certified.block.reference() == tip);
        notarized.find_map(|known| {
            Some(VerifiedTip { tip: known.certified.block().name(), base: known.base? })
        })
    }

    /// The block of the newest certificate; `None` before the first.
    pub(crate) fn newest(&self) -> Option<BlockRef> {
        let notarized = self.notarized.values().next_back().map(|known| &known.certified);
        let newest = notarized.or(self.finalized.as_ref())?;
        Some(newest.block.reference())
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
    /// When it last brought a certificate that verified and was not pushed before.
    pub(crate) event: Option<SystemTime>,
    /// The height that the newest answer or push claimed, whether it verified or not.
    pub(crate) seen: Option<Height>,
    /// A certificate was pushed that needs an epoch which is not known: an answer would lead there.
    pub(crate) ahead: bool,
    /// The newest certificate that any connection so far brought, by round and kind.
    pub(crate) pushed: Option<(Round, CertificateKind)>,
}

impl Link {
    /// Whether pushes come that verify.
    pub(crate) fn pushes(&self, now: SystemTime, silence: Duration) -> bool {
        // What seems to lie in the future was before a clock was set back: nobody knows how long ago.
        let age = self.event.and_then(|event| now.duration_since(event).ok());
        self.open && age.is_some_and(|age| age < silence)
    }
}

/// [`Known`] and [`Link`], shared between the upstream and the source. The verifier decides what may be
/// taken in, so either side may; each lock is held for one decision and never across an await.
///
/// | what | written by | read by |
/// |---|---|---|
/// | certificates and blocks | the upstream, of what was pushed; the source, of what was answered | both |
/// | a contradiction | whoever found it | the source, which reports it once |
/// | the link | the upstream alone | the source |
/// | the bell | rung by the upstream alone | the source's doorbell |
#[derive(Debug)]
pub(crate) struct Shared<B> {
    pub(crate) known: Mutex<Known<B>>,
    pub(crate) link: Mutex<Link>,
    bell: Bell,
}

impl<B> Shared<B> {
    pub(crate) fn new(known: Known<B>) -> Self {
        Self { known: Mutex::new(known), link: Mutex::default(), bell: Bell::new() }
    }

    /// Rings every doorbell.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// A doorbell for one more listener.
    pub(crate) fn doorbell(&self) -> Doorbell {
        self.bell.listen()
    }
}

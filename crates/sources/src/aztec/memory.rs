//! What was seen of the chain, so that it is not asked for again.

use super::{AztecBlock, Field, Header, Tree, block::Sealed};
use crate::rpc::Recent;
use std::collections::{BTreeMap, VecDeque};
use tidewatch_core::{Block as _, BlockRef, Digest, Height};

/// Blocks by digest, digests by height under a tip, and what links both: which block left which archive.
/// All of it is keyed by content, so it does not matter who asked before (see [`Recent`]).
///
/// # Invariants
///
/// - A block is kept under its own hash, with the digest of the block that left the archive which it
///   stands on. One whose parent is not known is not kept; what archive it left is.
/// - Of genesis, which no range of a node has, the archive is computed.
#[derive(Debug)]
pub(super) struct Memory {
    recent: Recent<AztecBlock>,
    max: usize,
    archives: BTreeMap<(u64, Tree), Digest>,
    /// Keys of `archives`, the oldest first.
    order: VecDeque<(u64, Tree)>,
    genesis: Option<(Tree, BlockRef)>,
    /// The time of a tip whose header was seen without the block.
    time_ms: Option<(BlockRef, u64)>,
}

/// A range to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The lowest block: at or below the one that is wanted.
    pub(super) first: u64,
    /// How many.
    pub(super) count: usize,
    /// What shows that they are on the chain of the tip.
    pub(super) bound: Bound,
}

impl Range {
    /// The highest block.
    pub(super) const fn last(&self) -> u64 {
        self.first.saturating_add(self.count as u64 - 1)
    }
}

/// What shows that a range is on the chain of a tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Its last block is this one: the tip, or the parent of one that is known to be on the chain.
    Last(Digest),
    /// The node has the tip at its height, at that moment.
    Header,
}

impl Memory {
    /// Keeps `max` blocks at the most.
    pub(super) fn new(max: usize) -> Self {
        let (archives, order) = Default::default();
        Self { recent: Recent::new(max), max, archives, order, genesis: None, time_ms: None }
    }

    /// Heights are those of the chain that begins with `genesis`.
    pub(super) fn begin_with(&mut self, genesis: BlockRef) {
        if self.genesis.is_none_or(|(_, known)| known != genesis) {
            let archive = Field::new(genesis.digest.0).map(Tree::after_genesis);
            self.genesis = archive.map(|archive| (archive, genesis));
            self.recent.forget();
        }
    }

    /// Forgets which digests are at which heights: a node contradicted itself about that.
    pub(super) fn forget(&mut self) {
        self.recent.forget();
    }

    /// The time of `tip`, where its header was seen.
    pub(super) fn time_ms(&self, tip: BlockRef) -> Option<u64> {
        let block = || Some(self.recent.get(&tip.digest)?.time_ms());
        self.time_ms.filter(|(at, _)| *at == tip).map(|(_, time)| time).or_else(block)
    }

    /// The header of `tip` was seen.
    pub(super) fn see_tip(&mut self, tip: BlockRef, header: &Header) {
        self.time_ms = Some((tip, header.time_ms()));
    }

    /// The digest at `height` of the chain under `tip`, if it is known.
    pub(super) fn digest(&mut self, tip: BlockRef, height: Height) -> Option<Digest> {
        match self.genesis {
            Some((_, genesis)) if height == genesis.height => Some(genesis.digest),
            _ => self.recent.digest(tip, height),
        }
    }

    /// Adds that the chain under `tip` has `digest` at `height`, and below it what the blocks that are
    /// kept say.
    pub(super) fn add(&mut self, tip: BlockRef, mut height: Height, mut digest: Digest) {
        let mut chain = vec![(height, digest)];
        while let Some(parent) = self.recent.get(&digest).map(|block| block.parent())
            && let Some(below) = height.previous()
            && self.recent.digest(tip, below) != Some(parent)
        {
            (height, digest) = (below, parent);
            chain.push((height, digest));
        }
        // From the lowest: what was added last is what is remembered the longest.
        for (height, digest) in chain.into_iter().rev() {
            self.recent.add(tip, height, digest);
        }
    }

    /// Linked blocks from `from` upwards on the chain under `tip`, as many as are known, at most `max`.
    pub(super) fn range(&mut self, from: Height, tip: BlockRef, max: usize) -> Vec<AztecBlock> {
        self.recent.range(from, tip, max)
    }

    /// Whether the block at `height` is worth fetching beside its digest: it is not kept, and another
    /// one at that height is, which it may replace. Who follows tips alone never fetched any.
    pub(super) fn replaces(&mut self, tip: BlockRef, height: Height) -> bool {
        self.seen(height.get()) && self.recent.range(height, tip, 1).is_empty()
    }

    /// The digest of the block that left the archive which `header` stands on.
    fn parent(&self, header: &Header) -> Option<Digest> {
        let below = header.number.checked_sub(1)?;
        match self.genesis {
            Some((archive, genesis)) if below == 0 => {
                (archive == header.last_archive).then_some(genesis.digest)
            }
            _ => self.archives.get(&(below, header.last_archive)).copied(),
        }
    }

    /// The archive of genesis, for what is said of a block that does not stand on it.
    pub(super) fn genesis_archive(&self) -> Option<Tree> {
        self.genesis.map(|(archive, _)| archive)
    }

    /// Keeps blocks of which each stands on the one before it.
    pub(super) fn keep(&mut self, run: Vec<Sealed>) {
        for block in run {
            let key = (block.header.number, block.archive);
            if self.archives.insert(key, block.digest).is_none() {
                self.order.push_back(key);
            }
            if self.order.len() > self.max
                && let Some(oldest) = self.order.pop_front()
            {
                self.archives.remove(&oldest);
            }
            if let Some(parent) = self.parent(&block.header) {
                self.recent.keep(block.on(parent));
            }
        }
    }

    /// What to ask for, so that there is a block at `from` on the chain under `tip`: at most `limit`
    /// blocks, with `below` more under it. Where none is known that could be its parent, there is one
    /// more at the least. Up to what is known already, and no further.
    pub(super) fn plan(
        &mut self,
        from: Height,
        tip: BlockRef,
        limit: usize,
        below: usize,
    ) -> Range {
        let (wanted, top) = (from.get(), tip.height.get());
        let strange = wanted > 1 && !self.seen(wanted - 1);
        let below = below.min(limit.saturating_sub(1).max(1)).max(usize::from(strange));
        let first = wanted.saturating_sub(below as u64).max(1);
        let longest = first.saturating_add(limit.max(1) as u64 - 1).min(top);
        let known = (wanted..=longest)
            .find_map(|height| self.recent.range(Height::new(height), tip, 1).pop())
            .filter(|block| block.number > first);
        let (last, bound) = match known {
            Some(block) => (block.number - 1, Bound::Last(block.parent())),
            None if longest == top => (top, Bound::Last(tip.digest)),
            None => (longest, Bound::Header),
        };
        let count = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
        Range { first, count, bound }
    }

    /// Whether some block at `number` was seen.
    fn seen(&self, number: u64) -> bool {
        let lowest = Tree { root: Field::ZERO, next: 0 };
        let next = self.archives.range((number, lowest)..).next();
        next.is_some_and(|((at, _), _)| *at == number)
    }
}

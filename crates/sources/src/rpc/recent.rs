//! Blocks that were fetched and verified not long ago, and what is known of the chains that they are on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use tidewatch_core::{Block, BlockRef, Digest, Height};

/// Chains that are remembered besides each other: forks of one chain that take turns.
const CHAINS_MAX: usize = 4;

/// A cache of recent blocks by digest, and of digests at heights by the chain that they are on.
///
/// Everything in it is keyed by content. A block that hashes to its digest is that block for ever, and a
/// digest at a height of the chain that ends in a tip stays there for ever: the hash chain under a tip
/// does not change, whichever tip the node has by now. So nothing here depends on who asked before, and
/// whatever is forgotten costs a request and changes no answer.
#[derive(Debug)]
pub(crate) struct Recent<B> {
    max: usize,
    blocks: HashMap<Digest, B>,
    /// Digests of `blocks`, the oldest first.
    order: VecDeque<Digest>,
    /// The chain that was used last comes last.
    chains: VecDeque<Chain>,
}

/// Digests of one hash chain, as far as they are known.
#[derive(Clone, Debug, Default)]
struct Chain {
    at: BTreeMap<Height, Digest>,
    /// Heights of `at`, the one that was added the longest ago first.
    order: VecDeque<Height>,
}

impl Chain {
    fn has(&self, block: BlockRef) -> bool {
        self.at.get(&block.height) == Some(&block.digest)
    }

    fn add(&mut self, max: usize, block: BlockRef) {
        if self.at.insert(block.height, block.digest).is_some() {
            self.order.retain(|height| *height != block.height);
        }
        self.order.push_back(block.height);
        if self.order.len() <= max {
            return;
        }
        // A search far below the tip adds heights too: what was added last stays. So does the highest
        // block, by which the chain is found again.
        let top = self.at.last_key_value().map(|(height, _)| *height);
        let oldest = self.order.iter().position(|height| Some(*height) != top);
        if let Some(oldest) = oldest.and_then(|oldest| self.order.remove(oldest)) {
            self.at.remove(&oldest);
        }
    }

    /// The part of it up to `height`.
    fn below(&self, height: Height) -> Self {
        let at = self.at.range(..=height).map(|(height, digest)| (*height, *digest)).collect();
        let order = self.order.iter().copied().filter(|kept| *kept <= height).collect();
        Self { at, order }
    }
}

impl<B: Block> Recent<B> {
    /// Keeps `max` blocks at the most.
    pub(crate) fn new(max: usize) -> Self {
        let (blocks, order, chains) = Default::default();
        Self { max, blocks, order, chains }
    }

    /// Keeps a block that was verified.
    pub(crate) fn keep(&mut self, block: B) {
        let digest = block.reference().digest;
        if self.blocks.insert(digest, block).is_some() {
            self.order.retain(|kept| *kept != digest);
        }
        self.order.push_back(digest);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
    }

    /// The block with this digest.
    #[cfg_attr(not(feature = "aztec"), allow(dead_code, reason = "others go by heights alone"))]
    pub(crate) fn get(&self, digest: &Digest) -> Option<&B> {
        self.blocks.get(digest)
    }

    /// Forgets which digests are at which heights: a node contradicted itself about that.
    pub(crate) fn forget(&mut self) {
        self.chains.clear();
    }

    /// The chain that ends in `tip`, as far as it is known: what the parents of kept blocks say, down to
    /// a block of a chain that is remembered, and that chain from there on.
    fn chain(&mut self, tip: BlockRef) -> &mut Chain {
        let (mut at, mut walked) = (tip, Vec::new());
        let found = loop {
            if let Some(found) = self.chains.iter().rposition(|chain| chain.has(at)) {
                break Some(found);
            }
            walked.push(at);
            let Some(block) = self.blocks.get(&at.digest) else { break None };
            let Some(below) = at.height.previous() else { break None };
            at = BlockRef::new(below, block.parent());
        };
        let mut chain = match found {
            None => Chain::default(),
            // A chain that goes on from here on another fork is kept beside this one.
            Some(found)
                if walked.is_empty()
                    || self.chains[found].at.range(at.height..).nth(1).is_none() =>
            {
                self.chains.remove(found).unwrap_or_default()
            }
            Some(found) => self.chains[found].below(at.height),
        };
        for block in walked.into_iter().rev() {
            chain.add(self.max, block);
        }
        if self.chains.len() >= CHAINS_MAX {
            self.chains.pop_front();
        }
        self.chains.push_back(chain);
        let newest = self.chains.len() - 1;
        &mut self.chains[newest]
    }

    /// Adds that the chain that ends in `tip` has `digest` at `height`.
    pub(crate) fn add(&mut self, tip: BlockRef, height: Height, digest: Digest) {
        if height <= tip.height {
            let max = self.max;
            self.chain(tip).add(max, BlockRef::new(height, digest));
        }
    }

    /// The digest at `height` of the chain that ends in `tip`, if it is known.
    pub(crate) fn digest(&mut self, tip: BlockRef, height: Height) -> Option<Digest> {
        self.chain(tip).at.get(&height).copied().filter(|_| height <= tip.height)
    }

    /// Linked blocks from `from` upwards on the chain that ends in `tip`, as many as are known, at most
    /// `max`.
    pub(crate) fn range(&mut self, from: Height, tip: BlockRef, max: usize) -> Vec<B> {
        let mut range: Vec<B> = Vec::new();
        if from > tip.height {
            return range;
        }
        self.chain(tip);
        let Some(chain) = self.chains.back() else { return range };
        let mut height = from;
        while height <= tip.height && range.len() < max {
            let block = chain.at.get(&height).and_then(|digest| self.blocks.get(digest));
            let Some(block) = block else { break };
            if range.last().is_some_and(|below| below.reference().digest != block.parent()) {
                break;
            }
            range.push(block.clone());
            let Some(above) = height.get().checked_add(1) else { break };
            height = Height::new(above);
        }
        range
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Linked(BlockRef, Digest);

    impl Block for Linked {
        fn reference(&self) -> BlockRef {
            self.0
        }

        fn parent(&self) -> Digest {
            self.1
        }
    }

    /// Block `height` of fork `fork`, which leaves fork 0 above height 5.
    fn block(fork: u8, height: u64) -> Linked {
        let at = |height: u64| {
            let fork = if height > 5 { fork } else { 0 };
            BlockRef::new(Height::new(height), Digest([fork * 64 + height as u8; 32]))
        };
        Linked(at(height), at(height.saturating_sub(1)).digest)
    }

    fn tip(fork: u8, height: u64) -> BlockRef {
        block(fork, height).reference()
    }

    fn recent(max: usize, blocks: impl IntoIterator<Item = Linked>) -> Recent<Linked> {
        let mut recent = Recent::new(max);
        blocks.into_iter().for_each(|block| recent.keep(block));
        recent
    }

    fn digests(recent: &mut Recent<Linked>, tip: BlockRef, heights: &[u64]) -> Vec<Option<Digest>> {
        heights.iter().map(|height| recent.digest(tip, Height::new(*height))).collect()
    }

    #[test]
    fn the_chain_is_what_the_hashes_under_the_tip_say() {
        let mut recent = recent(64, (3..=9).map(|height| block(0, height)));
        for height in 2..=9 {
            let digest = recent.digest(tip(0, 9), Height::new(height));
            assert_eq!(digest, Some(tip(0, height).digest), "{height}");
        }
        assert_eq!(recent.digest(tip(0, 9), Height::new(1)), None);
        assert_eq!(recent.digest(tip(0, 8), Height::new(9)), None, "above that tip");
        assert_eq!(recent.range(Height::new(4), tip(0, 9), 3), [4, 5, 6].map(|h| block(0, h)));
        assert_eq!(recent.range(Height::new(8), tip(0, 9), 9), [8, 9].map(|h| block(0, h)));
        assert_eq!(recent.range(Height::new(8), tip(0, 8), 9), [8].map(|h| block(0, h)));
        assert_eq!(recent.range(Height::new(2), tip(0, 9), 9), [], "the block is not kept");
    }

    #[test]
    fn what_was_added_stays_while_the_tip_is_linked_to_it() {
        let mut recent = recent(64, [block(0, 7)]);
        recent.add(tip(0, 7), Height::new(2), tip(0, 2).digest);
        recent.keep(block(0, 8));
        assert_eq!(recent.digest(tip(0, 8), Height::new(2)), Some(tip(0, 2).digest));
        assert_eq!(recent.digest(tip(0, 11), Height::new(2)), None, "nothing links 11 to 8");
        assert_eq!(recent.digest(tip(0, 7), Height::new(2)), Some(tip(0, 2).digest));
        assert_eq!(recent.digest(tip(0, 7), Height::new(8)), None, "above that tip");
    }

    /// Two drivers that ask in turn under tips of two forks: each gets what is on its own.
    #[test]
    fn forks_share_what_is_below_the_branch_and_nothing_else() {
        let forks = (4..=8).flat_map(|height| [block(0, height), block(1, height)]);
        let mut recent = recent(64, forks);
        recent.add(tip(0, 8), Height::new(1), tip(0, 1).digest);
        let known = |fork: u8, height| Some(tip(fork, height).digest);
        for _ in 0..2 {
            let mut at = |tip| digests(&mut recent, tip, &[1, 5, 6, 7, 8]);
            let other = [known(0, 1), known(0, 5), known(1, 6), known(1, 7), None];
            assert_eq!(at(tip(1, 7)), other);
            let ours = [known(0, 1), known(0, 5), known(0, 6), known(0, 7), known(0, 8)];
            assert_eq!(at(tip(0, 8)), ours);
        }
        recent.forget();
        assert_eq!(recent.digest(tip(1, 7), Height::new(1)), None);
        assert!(recent.get(&tip(0, 8).digest).is_some(), "a block is a block for ever");
    }

    #[test]
    fn no_more_is_kept_than_was_said() {
        let mut recent = recent(4, (1..=5).map(|height| block(0, height)));
        assert!(recent.get(&tip(0, 1).digest).is_none());
        recent.keep(block(0, 5));
        assert_eq!((recent.blocks.len(), recent.order.len()), (4, 4));
        for height in 1..=5 {
            recent.add(tip(0, 5), Height::new(height), tip(0, height).digest);
        }
        assert!(recent.chains.iter().all(|chain| chain.at.len() <= 4));
        for height in 31..=39 {
            recent.add(tip(1, height), Height::new(20), tip(1, 20).digest);
        }
        assert_eq!(recent.chains.len(), CHAINS_MAX);
    }

    #[test]
    fn what_is_added_far_below_a_full_chain_is_known_all_the_same() {
        let mut recent = recent(4, (1..=2).map(|height| block(0, height)));
        for height in [6, 7, 8, 2, 1] {
            recent.add(tip(0, 9), Height::new(height), tip(0, height).digest);
        }
        assert!(recent.chains.iter().all(|chain| chain.at.len() <= 4));
        assert_eq!(recent.range(Height::new(1), tip(0, 9), 2), [1, 2].map(|h| block(0, h)));
    }

    #[test]
    fn nothing_is_above_the_highest_height() {
        let top = block(0, u64::MAX);
        let mut recent = recent(4, [top.clone(), block(0, u64::MAX - 1)]);
        assert_eq!(recent.range(Height::new(u64::MAX), top.reference(), 4), [top]);
        assert_eq!(recent.range(Height::new(u64::MAX), tip(0, u64::MAX - 1), 4), []);
    }
}

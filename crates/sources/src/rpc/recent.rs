//! Blocks that were fetched and verified not long ago.

use std::collections::{BTreeMap, HashMap, VecDeque};
use tidewatch_core::{Block, BlockRef, Digest, Height};

/// Recent blocks by digest, and what is known of the chain under the proposed tip.
///
/// A block that hashes to its digest is that block for ever, whatever becomes of the chain: a
/// reorg costs nothing here. Which digest stands at a height is known under one tip alone, and
/// forgotten when the tip moves to where nothing links it to the one before.
#[derive(Debug)]
pub(crate) struct Recent<B> {
    max: usize,
    blocks: HashMap<Digest, B>,
    /// Digests of `blocks`, the oldest first.
    order: VecDeque<Digest>,
    tip: Option<BlockRef>,
    /// The chain under `tip`, as far as it is known.
    chain: BTreeMap<Height, Digest>,
    /// Heights of `chain`, the one first that was told the longest ago.
    told: VecDeque<Height>,
}

impl<B: Block> Recent<B> {
    /// Keeps `max` blocks at the most.
    pub(crate) fn new(max: usize) -> Self {
        let (blocks, order, tip, chain, told) = Default::default();
        Self { max, blocks, order, tip, chain, told }
    }

    /// The proposed tip that digests at heights are about.
    pub(crate) const fn tip(&self) -> Option<BlockRef> {
        self.tip
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

    /// From now on, heights are those of the chain under `tip`.
    pub(crate) fn stand_at(&mut self, tip: BlockRef) {
        if self.tip == Some(tip) {
            return;
        }
        // The hash chain down from the tip, until it meets what was known of the chain before.
        let (mut at, mut walked) = (tip, BTreeMap::new());
        let meets = loop {
            if self.chain.get(&at.height) == Some(&at.digest) {
                break true;
            }
            walked.insert(at.height, at.digest);
            let Some(block) = self.blocks.get(&at.digest) else { break false };
            let Some(below) = at.height.previous() else { break false };
            at = BlockRef::new(below, block.parent());
        };
        let below = |height: &Height| meets && *height <= at.height;
        self.chain.retain(|height, _| below(height));
        self.told.retain(below);
        self.tip = Some(tip);
        while let Some((height, digest)) = walked.pop_first() {
            self.tell(tip, height, digest);
        }
    }

    /// Nothing is known of the chain any longer.
    pub(crate) fn forget(&mut self) {
        self.tip = None;
        self.chain.clear();
        self.told.clear();
    }

    /// The chain under `tip` has `digest` at `height`; of no effect if the tip is another one by now.
    pub(crate) fn tell(&mut self, tip: BlockRef, height: Height, digest: Digest) {
        if self.tip != Some(tip) || height > tip.height {
            return;
        }
        if self.chain.insert(height, digest).is_some() {
            self.told.retain(|told| *told != height);
        }
        self.told.push_back(height);
        // Whoever asks far below the tip is told something too: what was told last stays.
        if self.told.len() > self.max
            && let Some(oldest) = self.told.pop_front()
        {
            self.chain.remove(&oldest);
        }
    }

    /// The digest at `height` of the chain under `tip`, if it is known.
    pub(crate) fn digest(&self, tip: BlockRef, height: Height) -> Option<Digest> {
        self.chain.get(&height).copied().filter(|_| self.tip == Some(tip))
    }

    /// Linked blocks from `from` upwards on the chain under `tip`, as many as are known, at most `max`.
    pub(crate) fn range(&self, from: Height, tip: BlockRef, max: usize) -> Vec<B> {
        let mut range: Vec<B> = Vec::new();
        let mut height = from;
        while height <= tip.height && range.len() < max {
            let block = self.digest(tip, height).and_then(|digest| self.blocks.get(&digest));
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

    #[test]
    fn the_chain_is_what_the_hashes_under_the_tip_say() {
        let mut recent = recent(64, (3..=9).map(|height| block(0, height)));
        recent.stand_at(tip(0, 9));
        for height in 2..=9 {
            let digest = recent.digest(tip(0, 9), Height::new(height));
            assert_eq!(digest, Some(tip(0, height).digest), "{height}");
        }
        assert_eq!(recent.digest(tip(0, 9), Height::new(1)), None);
        assert_eq!(recent.digest(tip(0, 8), Height::new(8)), None, "under another tip");
        assert_eq!(recent.range(Height::new(4), tip(0, 9), 3), [4, 5, 6].map(|h| block(0, h)));
        assert_eq!(recent.range(Height::new(8), tip(0, 9), 9), [8, 9].map(|h| block(0, h)));
        assert_eq!(recent.range(Height::new(2), tip(0, 9), 9), [], "the block is not kept");
    }

    #[test]
    fn what_was_told_stays_while_the_tip_is_linked_to_it() {
        let mut recent = recent(64, [block(0, 7)]);
        recent.stand_at(tip(0, 7));
        recent.tell(tip(0, 7), Height::new(2), tip(0, 2).digest);
        recent.keep(block(0, 8));
        recent.stand_at(tip(0, 8));
        assert_eq!(recent.digest(tip(0, 8), Height::new(2)), Some(tip(0, 2).digest));
        recent.stand_at(tip(0, 11));
        assert_eq!(recent.digest(tip(0, 11), Height::new(2)), None, "nothing links 11 to 8");
        recent.tell(tip(0, 8), Height::new(2), tip(0, 2).digest);
        assert_eq!(recent.digest(tip(0, 11), Height::new(2)), None, "told under another tip");
    }

    #[test]
    fn of_another_fork_what_is_below_the_branch_stays() {
        let forks = (4..=8).flat_map(|height| [block(0, height), block(1, height)]);
        let mut recent = recent(64, forks);
        recent.stand_at(tip(0, 8));
        recent.tell(tip(0, 8), Height::new(1), tip(0, 1).digest);
        recent.stand_at(tip(1, 7));
        let known = |height| recent.digest(tip(1, 7), Height::new(height));
        assert_eq!(
            [1, 5, 6, 7, 8].map(known),
            [
                Some(tip(0, 1).digest),
                Some(tip(0, 5).digest),
                Some(tip(1, 6).digest),
                Some(tip(1, 7).digest),
                None,
            ]
        );
        recent.forget();
        assert_eq!((recent.tip(), recent.digest(tip(1, 7), Height::new(7))), (None, None));
        assert!(recent.get(&tip(0, 8).digest).is_some(), "a block is a block for ever");
    }

    #[test]
    fn no_more_is_kept_than_was_said() {
        let mut recent = recent(4, (1..=5).map(|height| block(0, height)));
        assert!(recent.get(&tip(0, 1).digest).is_none());
        recent.keep(block(0, 5));
        assert_eq!((recent.blocks.len(), recent.order.len()), (4, 4));
        recent.stand_at(tip(0, 5));
        for height in 1..=5 {
            recent.tell(tip(0, 5), Height::new(height), tip(0, height).digest);
        }
        assert_eq!(recent.chain.len(), 4);
        assert_eq!(recent.digest(tip(0, 5), Height::new(1)), None);
    }

    #[test]
    fn what_is_told_far_below_a_full_chain_is_known_all_the_same() {
        let mut recent = recent(4, (1..=2).map(|height| block(0, height)));
        recent.stand_at(tip(0, 9));
        for height in [6, 7, 8, 2, 1] {
            recent.tell(tip(0, 9), Height::new(height), tip(0, height).digest);
        }
        assert_eq!(recent.chain.len(), 4);
        assert_eq!(recent.range(Height::new(1), tip(0, 9), 2), [1, 2].map(|h| block(0, h)));
    }

    #[test]
    fn nothing_is_above_the_highest_height() {
        let top = block(0, u64::MAX);
        let mut recent = recent(4, [top.clone(), block(0, u64::MAX - 1)]);
        recent.stand_at(tip(0, u64::MAX));
        assert_eq!(recent.range(Height::new(u64::MAX), top.reference(), 4), [top]);
        recent.stand_at(tip(0, u64::MAX - 1));
        recent.stand_at(tip(0, u64::MAX));
    }
}

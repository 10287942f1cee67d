//! Sparse memory of announced blocks, for views that are not given blocks.
//!
//! Every announced tip is remembered. Past [`ANCHORS_MAX`], the one that is missed least goes: the
//! one whose neighbours are nearest to each other, measured against the distance from the top. What
//! stays is spread like powers of two below the top, so that the prune of a reorg goes at
//! most about twice as deep as it must, with a bounded memory.

use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, Write};
use std::collections::BTreeMap;
use tidewatch_core::{BlockRef, Digest, Event, Height, Tier, TipSet, Watermarks};

/// Anchors kept at most: two for each power of two up to four billion.
pub(crate) const ANCHORS_MAX: usize = 64;

/// Announced blocks of one chain, none above the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Anchors(BTreeMap<Height, Digest>);

impl Anchors {
    /// The highest anchor at or below `height`.
    pub(crate) fn at_or_below(&self, height: Height) -> Option<BlockRef> {
        let (height, digest) = self.0.range(..=height).next_back()?;
        Some(BlockRef::new(*height, *digest))
    }

    /// Follows `event`, which left the view at `watermarks`.
    pub(crate) fn apply(&mut self, event: &Event, watermarks: &Watermarks) {
        if watermarks.delivered.is_some() {
            // Blocks are held densely from here on, and whether older anchors are below them was
            // never checked.
            self.0.clear();
            return;
        }
        match event {
            Event::Pruned { to, tips, .. } => {
                self.cut(to.height);
                self.note(*to);
                self.note_tips(tips);
            }
            Event::Advanced { tip, .. } => self.note(tip.block),
            Event::Regressed { tier, tip } => {
                if *tier == Tier::Proposed {
                    self.cut(tip.block.height);
                }
                self.note(tip.block);
            }
            Event::Blocks { .. } => {}
        }
    }

    /// Remembers every tip of `tips`.
    pub(crate) fn note_tips(&mut self, tips: &TipSet) {
        for block in Tier::ALL.into_iter().filter_map(|tier| tips.block(tier)) {
            self.note(block);
        }
    }

    /// Forgets everything above `height`.
    pub(crate) fn cut(&mut self, height: Height) {
        self.0.retain(|at, _| *at <= height);
    }

    fn note(&mut self, block: BlockRef) {
        self.0.insert(block.height, block.digest);
        while self.0.len() > ANCHORS_MAX {
            let Some(least) = self.least_missed() else { return };
            self.0.remove(&least);
        }
    }

    fn least_missed(&self) -> Option<Height> {
        let heights: Vec<u64> = self.0.keys().map(|height| height.get()).collect();
        let top = *heights.last()?;
        let inner = heights.windows(3).map(|window| {
            let gap = u128::from(window[2] - window[0]);
            (window[1], gap, u128::from(top - window[1]))
        });
        // gap / distance, compared without division.
        inner.min_by(|a, b| (a.1 * b.2).cmp(&(b.1 * a.2))).map(|(height, ..)| Height::new(height))
    }
}

impl Write for Anchors {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl EncodeSize for Anchors {
    fn encode_size(&self) -> usize {
        self.0.encode_size()
    }
}

impl Read for Anchors {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let range = RangeCfg::from(0..=ANCHORS_MAX);
        Ok(Self(BTreeMap::read_cfg(buf, &(range, ((), ())))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::Tip;

    fn block(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([height as u8; 32]))
    }

    fn advanced(height: u64) -> Event {
        Event::Advanced { tier: Tier::Proposed, tip: Tip::from(block(height)) }
    }

    #[test]
    fn a_hundred_thousand_tips_leave_anchors_spread_like_powers_of_two() {
        let mut anchors = Anchors::default();
        let top = 100_000;
        for height in 1..=top {
            anchors.apply(&advanced(height), &Watermarks::none());
        }
        assert_eq!(anchors.0.len(), ANCHORS_MAX);
        for k in 0..17 {
            let depth = 1 << k;
            let known = anchors.at_or_below(Height::new(top - depth)).map_or(0, |b| b.height.get());
            let deeper = top - known;
            assert!(deeper <= depth * 2 + 2, "at depth {depth} the next anchor is at {deeper}");
        }
    }

    #[test]
    fn nothing_stays_above_a_prune_or_a_proposed_tip_that_moved_back() {
        let mut anchors = Anchors::default();
        for height in [3, 5, 9] {
            anchors.apply(&advanced(height), &Watermarks::none());
        }
        let back = Event::Regressed { tier: Tier::Proposed, tip: block(7).into() };
        anchors.apply(&back, &Watermarks::none());
        assert_eq!(anchors.at_or_below(Height::new(100)), Some(block(7)));
        let prune = Event::Pruned { to: block(4), depth: 0, tips: TipSet::unknown() };
        anchors.apply(&prune, &Watermarks::none());
        assert_eq!(anchors.at_or_below(Height::new(100)), Some(block(4)));
        assert_eq!(anchors.at_or_below(Height::new(3)), Some(block(3)));
    }

    #[test]
    fn a_first_block_ends_them() {
        let mut anchors = Anchors::default();
        anchors.apply(&advanced(3), &Watermarks::none());
        let watermarks = Watermarks { delivered: Some(block(9)), ..Watermarks::none() };
        anchors.apply(&Event::Blocks { from: block(9), to: block(9) }, &watermarks);
        assert_eq!(anchors, Anchors::default());
    }
}

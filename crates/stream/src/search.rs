//! The ancestor search: the highest block that both sides have, in few questions.
//!
//! # Overview
//!
//! [`Search`] does no I/O. It names heights; its caller looks up what the local view has there
//! (its *locators*), asks the source for the digests at those locators, and gives both back.
//!
//! ```text
//!   top ┤ x x x x   dense: most reorgs end here, in the first question
//!       │ x         powers of two: bracket whatever is deeper
//!       │   ╲
//!       │    x ───▶ then the bracket is cut into as many parts as one question may name
//! floor ┤
//! ```
//!
//! It stands on both sides being chains: where digests agree at one height they agree at every height
//! below it. Missing knowledge on either side never counts as agreement: a height where the local view
//! knows nothing is passed over, and a digest that the source cannot give ends the search with
//! [`Unanswered`], because nothing may be pruned on the evidence of a missing answer.
//!
//! # Cost
//!
//! A divergence `d` blocks deep costs one question where it lies in the dense part of the first one;
//! otherwise `1 + ceil(log_b(d))` questions with `b` heights to a question, and never more than
//! `ceil(log2 d) + 1` as long as a question may name the 64 powers of two that exist. A source that
//! answers one height at a time is asked up to `2 * ceil(log2 d) + 1` times.

use tidewatch_core::{BlockRef, Digest, Height};

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The highest block known to the local view that the source's chain has too.
    Ancestor(BlockRef),
    /// Both sides know the floor, and differ there.
    FloorDiffers {
        /// The local view's block at the floor.
        ours: BlockRef,
        /// The source's block at that height.
        theirs: BlockRef,
    },
    /// Nothing that the local view knows is on the source's chain. `lowest` is the lowest of it.
    Nothing {
        /// The lowest block that was compared, with the source's digest there; `None` if the local
        /// view knows nothing at all.
        lowest: Option<(BlockRef, Digest)>,
    },
}

/// What both sides have where a question named a height: the local view's block at or below it, where
/// it knows one, and the source's digest at that block's height, where it knows one.
pub type Answer = (Height, Option<(BlockRef, Option<Digest>)>);

/// The source has no digest at a height of its own chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered(pub Height);

/// A search between a floor and a top, both inclusive.
#[derive(Debug)]
pub struct Search {
    floor: u64,
    /// Everything that is known locally at or below it was decided: the answer is `best`, or above.
    low: Option<u64>,
    /// At and above it, both sides differ. One above the top at first.
    high: u64,
    top: u64,
    /// The next power of two to gallop by; `None` once the floor was reached.
    stride: Option<u64>,
    batch: usize,
    best: Option<BlockRef>,
    lowest: Option<(BlockRef, Digest)>,
}

impl Search {
    /// A search for the highest agreement in `floor..=top`, by questions of up to `batch` heights.
    pub fn new(floor: Height, top: Height, batch: usize) -> Self {
        let (floor, top) = (floor.get().min(top.get()), top.get());
        Self {
            floor,
            low: None,
            high: top.saturating_add(1),
            top,
            stride: Some(0),
            batch: batch.max(1),
            best: None,
            lowest: None,
        }
    }

    /// The heights to compare next, from the highest down; empty when the search is over.
    pub fn question(&mut self) -> Vec<Height> {
        let heights = match (self.low, self.stride) {
            (None, Some(_)) => self.gallop(),
            (None, None) => Vec::new(),
            (Some(low), _) => self.bisect(low),
        };
        heights.into_iter().map(Height::new).collect()
    }

    /// Dense from the top, then by powers of two down to the floor: as much of it as fits.
    fn gallop(&mut self) -> Vec<u64> {
        let span = self.top - self.floor;
        let powers = u64::BITS as usize - span.leading_zeros() as usize + 1;
        let mut heights = Vec::new();
        if self.stride == Some(0) {
            let dense = self.batch.saturating_sub(powers).max(1) as u64;
            heights.extend((0..dense.min(span + 1)).map(|below| self.top - below));
            self.stride = (dense <= span).then(|| dense.next_power_of_two());
        }
        while let Some(stride) = self.stride.filter(|_| heights.len() < self.batch) {
            heights.push(self.top - stride.min(span));
            self.stride = (stride < span).then(|| stride.saturating_mul(2));
        }
        heights
    }

    /// The heights that cut `low..high` into equal parts.
    fn bisect(&self, low: u64) -> Vec<u64> {
        let gap = self.high - low;
        let cuts = (self.batch as u64).min(gap.saturating_sub(1));
        let part = u128::from(gap);
        let cut = |i: u64| low + (part * u128::from(i) / u128::from(cuts + 1)) as u64;
        let mut heights: Vec<_> = (1..=cuts).rev().map(cut).collect();
        heights.dedup();
        heights
    }

    /// Takes in the answers to [`Search::question`], in its order: for each height what the local view has
    /// at or below it, with the source's digest at that block's height.
    pub fn answer(&mut self, answers: &[Answer]) -> Result<(), Unanswered> {
        for (height, locator) in answers {
            let height = height.get();
            if height >= self.high {
                continue; // A sparse view answered a higher height with a block below this one.
            }
            match locator {
                Some((ours, _)) if self.low.is_some_and(|low| ours.height.get() <= low) => {
                    self.low = Some(height); // Nothing is known between there and here.
                    return Ok(());
                }
                Some((ours, Some(theirs))) if ours.digest == *theirs => {
                    self.best = Some(*ours);
                    self.low = Some(height);
                    return Ok(()); // Whatever is lower agrees too.
                }
                Some((ours, Some(theirs))) => {
                    self.high = ours.height.get();
                    self.lowest = Some((*ours, *theirs));
                }
                Some((ours, None)) => return Err(Unanswered(ours.height)),
                None => {
                    // Nothing is known at or below here: what is left lies above.
                    self.low = Some(self.low.map_or(height, |low| low.max(height)));
                    return Ok(());
                }
            }
        }
        if self.low.is_none() && self.high <= self.floor {
            self.stride = None;
        }
        Ok(())
    }

    /// What was found, once [`Search::question`] has no more questions.
    pub fn found(&self) -> Found {
        match (self.best, self.lowest) {
            (Some(best), _) => Found::Ancestor(best),
            (None, Some((ours, theirs))) if ours.height.get() == self.floor => {
                Found::FloorDiffers { ours, theirs: BlockRef::new(ours.height, theirs) }
            }
            (None, lowest) => Found::Nothing { lowest },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(height: u64, fork: u8) -> BlockRef {
        let mut digest = [fork; 32];
        digest[..8].copy_from_slice(&height.to_be_bytes());
        BlockRef::new(Height::new(height), Digest(digest))
    }

    /// Runs a search of a local chain that leaves the source's above `common`, of which the local view
    /// knows the heights for which `known` holds. Returns what was found and how often was asked.
    fn run(
        floor: u64,
        top: u64,
        batch: usize,
        common: Option<u64>,
        known: impl Fn(u64) -> bool,
    ) -> (Found, usize) {
        let ours = |h: u64| block(h, if common.is_some_and(|common| h <= common) { 0 } else { 1 });
        let mut search = Search::new(Height::new(floor), Height::new(top), batch);
        let mut calls = 0;
        loop {
            let heights = search.question();
            if heights.is_empty() {
                return (search.found(), calls);
            }
            assert!(heights.len() <= batch, "{} heights in a question of {batch}", heights.len());
            assert!(heights.iter().all(|h| (floor..=top).contains(&h.get())), "{heights:?}");
            calls += 1;
            assert!(calls <= 200, "the search does not end");
            let answers: Vec<_> = heights
                .iter()
                .map(|h| {
                    let locator = (0..=h.get()).rev().find(|h| known(*h));
                    let answer = locator.map(|w| (ours(w), Some(block(w, 0).digest)));
                    (*h, answer)
                })
                .collect();
            search.answer(&answers).unwrap();
        }
    }

    #[test]
    fn every_ancestor_in_every_small_dense_world_is_found() {
        for batch in 1..=6 {
            for top in 0..=12 {
                for floor in 0..=top {
                    for common in floor..=top {
                        let (found, _) = run(floor, top, batch, Some(common), |_| true);
                        assert_eq!(
                            found,
                            Found::Ancestor(block(common, 0)),
                            "batch {batch} floor {floor} top {top} common {common}"
                        );
                    }
                    let below = floor.checked_sub(1);
                    let (found, _) = run(floor, top, batch, below, |_| true);
                    assert_eq!(
                        found,
                        Found::FloorDiffers { ours: block(floor, 1), theirs: block(floor, 0) }
                    );
                }
            }
        }
    }

    #[test]
    fn every_ancestor_in_every_small_sparse_world_is_found() {
        let top = 8_u64;
        for batch in [1, 2, 3, 8, 64] {
            for set in 0_u32..(1 << (top + 1)) {
                let known = |h: u64| set & (1 << h) != 0;
                for common in 0..=top {
                    let (found, _) = run(0, top, batch, Some(common), known);
                    let want = (0..=common).rev().find(|h| known(*h));
                    match want {
                        Some(want) => assert_eq!(
                            found,
                            Found::Ancestor(block(want, 0)),
                            "batch {batch} set {set:b} common {common}"
                        ),
                        None => assert!(
                            matches!(found, Found::Nothing { .. }),
                            "batch {batch} set {set:b} common {common}: {found:?}"
                        ),
                    }
                }
            }
        }
    }

    #[test]
    fn a_reorg_costs_its_logarithm_in_questions() {
        let top = 1_u64 << 20;
        let mut depth = 1_u64;
        while depth < top {
            for d in [depth, depth + 1, depth * 2 - 1] {
                let log2 = d.next_power_of_two().trailing_zeros() as usize;
                let (found, calls) = run_dense(top, 64, top - d);
                assert_eq!(found, Found::Ancestor(block(top - d, 0)));
                assert!(calls <= log2 + 1, "depth {d}: {calls} questions");
                let (_, calls) = run_dense(top, 1, top - d);
                assert!(calls <= 2 * log2 + 2, "depth {d}, one at a time: {calls} questions");
            }
            depth *= 2;
        }
    }

    /// Like [`run`] on a dense view, without looking for locators one by one.
    fn run_dense(top: u64, batch: usize, common: u64) -> (Found, usize) {
        let ours = |h: u64| block(h, u8::from(h > common));
        let mut search = Search::new(Height::zero(), Height::new(top), batch);
        let mut calls = 0;
        loop {
            let heights = search.question();
            if heights.is_empty() {
                return (search.found(), calls);
            }
            calls += 1;
            let answers: Vec<_> = heights
                .iter()
                .map(|h| (*h, Some((ours(h.get()), Some(block(h.get(), 0).digest)))))
                .collect();
            search.answer(&answers).unwrap();
        }
    }

    #[test]
    fn a_shallow_reorg_is_found_by_one_question() {
        let (found, calls) = run_dense(1 << 20, 64, (1 << 20) - 40);
        assert_eq!((found, calls), (Found::Ancestor(block((1 << 20) - 40, 0)), 1));
    }

    #[test]
    fn a_digest_that_the_source_lacks_is_not_disagreement() {
        let mut search = Search::new(Height::zero(), Height::new(9), 4);
        let heights = search.question();
        let answers: Vec<_> =
            heights.iter().map(|h| (*h, Some((block(h.get(), 1), None)))).collect();
        assert_eq!(search.answer(&answers), Err(Unanswered(Height::new(9))));
    }

    #[test]
    fn a_digest_missing_below_the_agreement_does_not_matter() {
        let mut search = Search::new(Height::zero(), Height::new(1000), 64);
        let heights = search.question();
        let answers: Vec<_> = heights
            .iter()
            .map(|h| {
                let theirs = (h.get() > 900).then(|| block(h.get(), 0).digest);
                (*h, Some((block(h.get(), u8::from(h.get() > 990)), theirs)))
            })
            .collect();
        search.answer(&answers).unwrap();
        assert!(search.question().is_empty());
        assert_eq!(search.found(), Found::Ancestor(block(990, 0)));
    }
}

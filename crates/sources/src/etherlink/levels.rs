//! Which level of L1 made which blocks final.
//!
//! A node says of one level which blocks its L1 block made final: those above the last block that was final
//! before, up to the one that is final after. It knows levels without a gap, from the first that it saw to the
//! newest that is final, and says of any other only that it knows none. So once one level is known, the
//! newest is found by asking further and further above it.

use std::collections::BTreeMap;
use tidewatch_core::Height;

/// Levels that are remembered: finality may be asked for a few of them later, by a node that lags.
const KEPT: usize = 64;

/// Levels that one question names, at the most.
const ASKED_MAX: i32 = 8;

/// Questions of one search, at the most.
pub(super) const SEARCH_MAX: usize = 24;

/// A level of L1.
pub(super) type Level = i32;

/// What a node says of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It made the blocks above `after`, up to `end`, final: none where they are one.
    Final { after: Height, end: Height },
    /// It is not known.
    Unknown,
    /// The node does not say that of any level.
    Never,
}

/// What is known of levels.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels {
    /// Where nothing is known, where to begin.
    hint: Option<Level>,
    /// Whether the node does not say that of any level.
    absent: bool,
    known: BTreeMap<Level, (Height, Height)>,
    /// A block whose level was not found. It is not searched for again.
    given_up: Option<Height>,
}

impl Levels {
    pub(super) fn beginning_at(hint: Option<Level>) -> Self {
        Self { hint, ..Self::default() }
    }

    /// A level was heard of. It is where to begin, where nobody said that.
    pub(super) fn heard(&mut self, level: Level) {
        if !self.absent {
            self.hint.get_or_insert(level);
        }
    }

    /// The level to ask for in every pass: the one after the newest that is known.
    pub(super) fn next(&self) -> Option<Level> {
        match self.known.last_key_value() {
            Some((newest, _)) => newest.checked_add(1),
            None => self.hint,
        }
    }

    /// The levels to ask for in search of the one that made `block` final: further and further above those of
    /// lower blocks, or between them and what is above. That is one of higher blocks, or `unknown`, the lowest
    /// that the node said in this search not to know. None where the level is known or cannot be found.
    pub(super) fn search(&self, block: Height, unknown: Option<Level>) -> Vec<Level> {
        let lower = self.known.iter().rev().find(|(_, (_, end))| *end < block);
        let Some((&lower, _)) = lower.filter(|_| self.of(block).is_none()) else {
            return Vec::new();
        };
        if self.given_up == Some(block) {
            return Vec::new();
        }
        let higher = self.known.range(lower.saturating_add(1)..).next().map(|(level, _)| *level);
        let Some(above) = higher.or(unknown.filter(|level| *level > lower)) else {
            let up = (0..ASKED_MAX).filter_map(|power| lower.checked_add(1 << (3 * power)));
            return up.collect();
        };
        let gap = i64::from(above) - i64::from(lower);
        let parts = (1..=ASKED_MAX).map(|nth| gap * i64::from(nth) / i64::from(ASKED_MAX + 1));
        let mut between: Vec<_> = parts
            .filter(|part| *part > 0)
            .filter_map(|part| Level::try_from(i64::from(lower) + part).ok())
            .collect();
        between.dedup();
        // Of two and more levels, the parts of fewer are rounded away.
        if between.is_empty() && gap > 1 { vec![lower + 1] } else { between }
    }

    /// Takes what was said of the levels that were asked for, and returns the lowest that is not known.
    pub(super) fn learn(&mut self, said: impl IntoIterator<Item = (Level, Said)>) -> Option<Level> {
        let mut unknown: Option<Level> = None;
        for (level, said) in said {
            match said {
                Said::Final { after, end } => {
                    self.known.insert(level, (after, end));
                }
                Said::Unknown => unknown = Some(unknown.map_or(level, |lowest| lowest.min(level))),
                Said::Never => *self = Self { absent: true, ..Self::default() },
            }
        }
        while self.known.len() > KEPT {
            self.known.pop_first();
        }
        unknown
    }

    /// The search for the level of `block` is over. Without a level to begin with, there was none.
    pub(super) fn found(&mut self, block: Height) {
        let searched = !self.known.is_empty();
        self.given_up = (searched && self.of(block).is_none()).then_some(block);
    }

    /// The level that made `block` final, where that is known.
    pub(super) fn of(&self, block: Height) -> Option<Level> {
        let mut found = self.known.iter().rev();
        found.find(|(_, (after, end))| *after < block && block <= *end).map(|(level, _)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that knows the levels from `first` to `last`, each of three blocks, but every fifth of none.
    fn node(first: Level, last: Level) -> impl Fn(Level) -> Said {
        move |level| match level {
            level if level < first || level > last => Said::Unknown,
            level => Said::Final { after: end(level - 1), end: end(level) },
        }
    }

    /// The last block that such a level made final.
    fn end(level: Level) -> Height {
        Height::new((level as u64 - level as u64 / 5) * 3)
    }

    fn ask(levels: &mut Levels, wanted: &[Level], node: &impl Fn(Level) -> Said) -> Option<Level> {
        assert!(wanted.len() <= ASKED_MAX as usize);
        levels.learn(wanted.iter().map(|level| (*level, node(*level))))
    }

    /// Searches for the level of `block`, and how many questions that took.
    fn find(levels: &mut Levels, block: Height, node: &impl Fn(Level) -> Said) -> usize {
        let mut unknown = None::<Level>;
        for questions in 0..SEARCH_MAX {
            let wanted = levels.search(block, unknown);
            if wanted.is_empty() {
                levels.found(block);
                return questions;
            }
            unknown = unknown.into_iter().chain(ask(levels, &wanted, node)).min();
        }
        levels.found(block);
        SEARCH_MAX
    }

    #[test]
    fn the_level_of_a_block_is_found_from_any_that_the_node_knows_in_a_few_questions() {
        for (hint, last) in [(1, 1), (1, 2), (7, 1_000), (3, 100_000), (11, 9_000_000)] {
            let node = node(1, last);
            for level in [last, last - 1, last - 7, (last + hint) / 2].map(|level| level.max(hint))
            {
                let mut levels = Levels::beginning_at(Some(hint));
                let hint = levels.next().unwrap();
                ask(&mut levels, &[hint], &node);
                let questions = find(&mut levels, end(level), &node);
                // A level of no blocks ends where the one before it does.
                let want = if level % 5 == 0 { level - 1 } else { level };
                assert_eq!(levels.of(end(level)), Some(want), "{hint} to {last}");
                assert!(questions <= 14, "{hint} to {last}: {questions} questions");
            }
        }
    }

    #[test]
    fn a_block_is_of_the_one_level_that_made_it_final_and_levels_come_one_by_one() {
        let mut levels = Levels::beginning_at(Some(37));
        for last in 37..=43 {
            let next = levels.next().unwrap();
            ask(&mut levels, &[next], &node(1, last));
            let of = levels.of(end(last));
            assert_eq!(of, Some(if last % 5 == 0 { last - 1 } else { last }));
            assert!(levels.search(end(last), None).is_empty(), "what is known is not searched for");
        }
        let first = Height::new(end(38).get() + 1);
        assert_eq!((levels.of(first), levels.of(end(38))), (Some(39), Some(38)));
        assert_eq!(
            (levels.of(Height::new(end(43).get() + 1)), levels.of(Height::zero())),
            (None, None)
        );
    }

    #[test]
    fn what_is_said_cannot_make_it_ask_without_end() {
        // Nothing known, nothing to begin with.
        assert_eq!(Levels::default().next(), None);
        // A level that the node does not know is asked for again, by itself, and nothing is searched for.
        let mut levels = Levels::beginning_at(Some(9));
        ask(&mut levels, &[9], &|_| Said::Unknown);
        assert_eq!((levels.next(), levels.search(Height::new(7), None)), (Some(9), vec![]));
        ask(&mut levels, &[9], &|_| Said::Never);
        assert_eq!(levels.next(), None, "a node without the method is not asked again");
        levels.heard(9);
        assert_eq!(levels.next(), None, "whatever else it says");
        // What was heard is where to begin, where nobody said it.
        let mut levels = Levels::default();
        for level in [7, 8] {
            levels.heard(level);
        }
        assert_eq!(levels.next(), Some(7));
        levels = Levels::beginning_at(Some(3));
        levels.heard(7);
        assert_eq!(levels.next(), Some(3));
        // A block that no level made final is given up, once.
        let mut levels = Levels::beginning_at(Some(9));
        ask(&mut levels, &[9], &node(1, 400));
        assert!(find(&mut levels, Height::new(5_000), &node(1, 400)) > 0);
        assert_eq!(find(&mut levels, Height::new(5_000), &node(1, 400)), 0);
        // Every level is known, and none of them of the block.
        let mut levels = Levels::beginning_at(Some(0));
        let none = |_| Said::Final { after: Height::new(4), end: Height::new(4) };
        ask(&mut levels, &[0], &none);
        assert_eq!(find(&mut levels, Height::new(7), &none), SEARCH_MAX);
        assert_eq!(find(&mut levels, Height::new(7), &none), 0);
        assert!(levels.known.len() <= KEPT);
        // All at once, and the last there is.
        let mut levels = Levels::beginning_at(Some(Level::MAX));
        ask(&mut levels, &[Level::MAX], &none);
        assert_eq!((levels.next(), levels.search(Height::new(7), None)), (None, vec![]));
    }
}

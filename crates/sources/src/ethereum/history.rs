//! Where a node's history begins: the oldest block that it still has.
//!
//! A node that was made from a snapshot, or that drops old blocks, has none below some height. Where that
//! is is found by cutting the heights between one that is missing and one that is there into parts, a
//! question for each cut: five questions for a hundred million blocks.

use commonware_runtime::Clock;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};
use tidewatch_core::Height;

/// Heights that one question names.
const PROBES: u64 = 63;

/// How long a node is believed the first time. Doubles as long as it keeps to it.
const BELIEVED: Duration = Duration::from_secs(5);

/// How long it is believed at the most.
const BELIEVED_MAX: Duration = Duration::from_secs(300);

/// A search between a height whose block is missing and one whose block is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    missing: u64,
    there: u64,
}

impl Search {
    /// Between `missing` and `there`, which is above it.
    pub(super) const fn new(missing: Height, there: Height) -> Self {
        Self { missing: missing.get(), there: there.get() }
    }

    /// The heights to ask for next, at most `max`; none once it is over.
    pub(super) fn question(&self, max: usize) -> Vec<Height> {
        let between = self.there.saturating_sub(self.missing).saturating_sub(1);
        let probes = between.min(PROBES).min(max as u64);
        let at = |probe: u64| {
            let part = u128::from(between + 1) * u128::from(probe) / u128::from(probes + 1);
            self.missing + u64::try_from(part).unwrap_or(between)
        };
        (1..=probes).map(at).map(Height::new).collect()
    }

    /// Takes in which of these heights the node has. Where it has some below others that it lacks, the
    /// history begins above all that it lacks.
    pub(super) fn answer(&mut self, answers: impl IntoIterator<Item = (Height, bool)>) {
        let answers: Vec<_> = answers.into_iter().collect();
        let missing = answers.iter().filter(|(_, there)| !there).map(|(height, _)| height.get());
        self.missing = missing.chain([self.missing]).max().unwrap_or(self.missing);
        let there = answers.iter().filter(|(_, there)| *there).map(|(height, _)| height.get());
        let there = there.filter(|height| *height > self.missing);
        self.there = there.chain([self.there]).min().unwrap_or(self.there);
    }

    /// The oldest block, once nothing is left to ask.
    pub(super) fn begins(&self) -> Option<Height> {
        (self.missing + 1 >= self.there).then_some(Height::new(self.there))
    }
}

/// What an endpoint is known to begin with, and until when it is believed without being asked.
#[derive(Clone, Copy, Debug)]
struct Known {
    begins: Height,
    until: SystemTime,
    believed: Duration,
}

/// What each endpoint's history begins with, by the endpoint's place.
#[derive(Debug, Default)]
pub(super) struct Histories(BTreeMap<usize, Known>);

impl Histories {
    /// Where the history of an endpoint begins, as far as is known.
    pub(super) fn begun(&self, endpoint: usize) -> Option<Height> {
        self.0.get(&endpoint).map(|known| known.begins)
    }

    /// Whether that need not be asked again now.
    pub(super) fn is_believed(&self, clock: &impl Clock, endpoint: usize) -> bool {
        self.0.get(&endpoint).is_some_and(|known| clock.current() < known.until)
    }

    /// An endpoint's history begins at `begins`.
    pub(super) fn learn(&mut self, clock: &impl Clock, endpoint: usize, begins: Height) {
        let believed = self.0.get(&endpoint).map_or(BELIEVED, |known| known.believed * 2);
        let believed = believed.min(BELIEVED_MAX);
        let until = clock.current() + believed;
        self.0.insert(endpoint, Known { begins, until, believed });
    }

    /// An endpoint has what it did not have.
    pub(super) fn forget(&mut self, endpoint: usize) {
        self.0.remove(&endpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(missing: u64, there: u64, begins: u64, max: usize) -> (u64, u32) {
        let mut search = Search::new(Height::new(missing), Height::new(there));
        let mut questions = 0;
        loop {
            let question = search.question(max);
            if question.is_empty() {
                return (search.begins().expect("nothing is left to ask").get(), questions);
            }
            assert!(question.is_sorted() && question.len() <= max, "{question:?}");
            assert!(question.iter().all(|height| (missing..there).contains(&height.get())));
            search.answer(question.into_iter().map(|height| (height, height.get() >= begins)));
            questions += 1;
        }
    }

    #[test]
    fn the_beginning_of_a_history_is_found_in_few_questions() {
        for begins in 2..=400 {
            assert_eq!(search(1, 400, begins, 99).0, begins);
            assert_eq!(search(1, 400, begins, 1).0, begins);
        }
        for (there, begins, most) in [(400, 300, 2), (50_000_000, 49_000_001, 5), (u64::MAX, 7, 11)]
        {
            let (found, questions) = search(1, there, begins, 99);
            assert_eq!(found, begins);
            assert!(questions <= most, "{questions} questions below {there}");
        }
    }

    #[test]
    fn a_node_with_holes_begins_above_them() {
        let mut search = Search::new(Height::new(1), Height::new(12));
        let has = |height: &Height| [3, 4, 9, 10, 11].contains(&height.get());
        loop {
            let question = search.question(4);
            if question.is_empty() {
                break;
            }
            search.answer(question.into_iter().map(|height| (height, has(&height))));
        }
        assert_eq!(search.begins(), Some(Height::new(9)));
    }
}

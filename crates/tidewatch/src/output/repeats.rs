//! Which of many like faults are told.

use std::collections::BTreeMap;
use tidewatch_core::{Fault, FaultKind};

/// Rows of like faults that are counted at once. Past that, all are forgotten.
const ROWS_MAX: usize = 64;

/// Counts like faults: of the same kind, about the same, in words that differ in nothing but numbers and
/// digests. The first of a row is told, and then the 10th, the 100th, and so on.
#[derive(Debug, Default)]
pub(crate) struct Repeats(BTreeMap<(FaultKind, String, String), u64>);

impl Repeats {
    /// How many like faults there were, this one included, if it is to be told.
    pub(crate) fn tell(&mut self, fault: &Fault) -> Option<u64> {
        let row = (fault.kind, fault.about.clone(), words(&fault.detail));
        if self.0.len() >= ROWS_MAX && !self.0.contains_key(&row) {
            self.0.clear();
        }
        let count = self.0.entry(row).or_default();
        *count += 1;
        let told = 10_u64.pow(count.ilog10()) == *count;
        told.then_some(*count)
    }

    /// What lasted is over: the next fault is the first of its row.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// `detail` with the number of like faults, where there were others.
pub(crate) fn counted(detail: &str, count: u64) -> String {
    if count == 1 { detail.into() } else { format!("{detail} ({count} times)") }
}

/// `detail` without what has a digit in it.
fn words(detail: &str) -> String {
    let words = detail.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| !word.contains(|c: char| c.is_ascii_digit())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_like_faults_the_first_is_told_and_then_fewer_and_fewer() {
        let mut repeats = Repeats::default();
        let told = (0..270_u64).filter_map(|height| {
            let detail = format!("no block at {height}, digest 00ff{height}");
            repeats.tell(&FaultKind::Missing.fault("indexer", detail))
        });
        assert_eq!(told.collect::<Vec<_>>(), [1, 10, 100]);
        let other = FaultKind::Missing.fault("indexer", "no certificate at 7");
        assert_eq!(repeats.tell(&other), Some(1), "other words");
        assert_eq!(repeats.tell(&FaultKind::Timeout.fault("indexer", "no block at 7")), Some(1));
        assert_eq!(repeats.tell(&FaultKind::Missing.fault("another", "no block at 7")), Some(1));
        assert_eq!(repeats.tell(&other), None);
        repeats.forget();
        assert_eq!(repeats.tell(&other), Some(1));
    }

    #[test]
    fn rows_are_bounded() {
        let mut repeats = Repeats::default();
        for about in 0..1_000 {
            repeats.tell(&FaultKind::Missing.fault(format!("source {about}"), "nothing"));
            assert!(repeats.0.len() <= ROWS_MAX);
        }
    }
}

//! Certificates that verified lately.

use super::Grade;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};

/// Remembers the encodings of the last certificates that verified. An encoding holds the round, the
/// digest and the signature, so an equal one verifies too.
#[derive(Debug)]
pub(super) struct Seen {
    max: usize,
    set: BTreeSet<(Grade, Bytes)>,
    order: VecDeque<(Grade, Bytes)>,
}

impl Seen {
    pub(super) const fn new(max: usize) -> Self {
        Self { max, set: BTreeSet::new(), order: VecDeque::new() }
    }

    pub(super) fn contains(&self, grade: Grade, proof: &Bytes) -> bool {
        self.set.contains(&(grade, proof.clone()))
    }

    pub(super) fn insert(&mut self, grade: Grade, proof: Bytes) {
        if !self.set.insert((grade, proof.clone())) {
            return;
        }
        self.order.push_back((grade, proof));
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_ones_are_remembered_and_grades_are_kept_apart() {
        let mut seen = Seen::new(2);
        let proofs = [1_u8, 2, 3].map(|fill| Bytes::from(vec![fill; 4]));
        for proof in &proofs {
            seen.insert(Grade::Finalized, proof.clone());
            seen.insert(Grade::Finalized, proof.clone());
        }
        let kept = proofs.each_ref().map(|proof| seen.contains(Grade::Finalized, proof));
        assert_eq!(kept, [false, true, true]);
        assert!(!seen.contains(Grade::Notarized, &proofs[2]));
        assert_eq!((seen.set.len(), seen.order.len()), (2, 2));
    }
}

//! Certificates that verified recently.

use crate::CertificateKind;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};

/// Remembers the encodings of the last certificates that verified. An encoding holds the round, the
/// digest and the signature, so an equal one verifies too.
#[derive(Debug)]
pub(super) struct Seen {
    max: usize,
    set: BTreeSet<(CertificateKind, Bytes)>,
    order: VecDeque<(CertificateKind, Bytes)>,
}

impl Seen {
    pub(super) const fn new(max: usize) -> Self {
        Self { max, set: BTreeSet::new(), order: VecDeque::new() }
    }

    pub(super) fn contains(&self, kind: CertificateKind, proof: &Bytes) -> bool {
        self.set.contains(&(kind, proof.clone()))
    }

    pub(super) fn insert(&mut self, kind: CertificateKind, proof: Bytes) {
        if !self.set.insert((kind, proof.clone())) {
            return;
        }
        self.order.push_back((kind, proof));
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
    fn only_the_last_ones_are_remembered_and_kinds_are_kept_apart() {
        let mut seen = Seen::new(2);
        let proofs = [1_u8, 2, 3].map(|fill| Bytes::from(vec![fill; 4]));
        for proof in &proofs {
            seen.insert(CertificateKind::Finalized, proof.clone());
            seen.insert(CertificateKind::Finalized, proof.clone());
        }
        let kept = proofs.each_ref().map(|proof| seen.contains(CertificateKind::Finalized, proof));
        assert_eq!(kept, [false, true, true]);
        assert!(!seen.contains(CertificateKind::Notarized, &proofs[2]));
        assert_eq!((seen.set.len(), seen.order.len()), (2, 2));
    }
}

//! Recent blocks, by digest.

use crate::CertifiedBlock;
use std::collections::{BTreeMap, VecDeque};
use tidewatch_core::Digest;

/// Blocks under their own digests, the last `max` that came. A digest says which block it is, so what is
/// in here needs no trust.
#[derive(Debug)]
pub(super) struct Recent<B> {
    max: usize,
    blocks: BTreeMap<Digest, B>,
    order: VecDeque<Digest>,
}

impl<B: CertifiedBlock> Recent<B> {
    pub(super) const fn new(max: usize) -> Self {
        Self { max, blocks: BTreeMap::new(), order: VecDeque::new() }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<&B> {
        self.blocks.get(digest)
    }

    pub(super) fn insert(&mut self, block: B) {
        let digest = block.reference().digest;
        if self.blocks.insert(digest, block).is_some() {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
    }
}

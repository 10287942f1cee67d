//! Chains whose block at height 0 is known, so that a node without it names its chain as others do.

use super::wire::NO_GENESIS;
use alloy_primitives::{B256, b256};
use tidewatch_core::{BlockRef, Digest, Height};

/// The hash of the block at height 0, by chain id.
const KNOWN: &[(u64, B256)] = &[
    (1, b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3")),
    (10, b256!("7ca38a1916c42007829c55e69d3e9a73265554b586a499015373241b8a3fa48b")),
    (56, b256!("0d21840abff46b96c84b2ac9e10e4f5cdaeb5693cb665db62a2f3b02d2d57b5b")),
    (100, b256!("4f1dd23188aab3a76b463e4af801b52b1248ef073c648cbdc4c9333d3da79756")),
    (137, b256!("a9c28ce2141b56c474f1dc504bee9b01eb1bd7d1a507580d5519d4437a97de1b")),
    (8_453, b256!("f712aa9241cc24369b143cf6dce85f0902a9731e70d66818a3a5845b296c73dd")),
    (42_161, b256!("7ee576b35482195fc49205cec9af72ce14f003b9ae69f6ba0faef4514be8b442")),
    (42_220, b256!("19ea3339d3c8cda97235bc8293240d5b9dadcdfbb5d4b0b90ee731cac1bd11c3")),
    (59_144, b256!("b6762a65689107b2326364aefc18f94cda413209fab35c00d4af51eaa20ffbc6")),
];

/// The block at height 0 of the chain with this id, as its nodes call it. Nobody is believed for it but
/// this table: a node that has the block names it itself.
pub(super) fn known(chain_id: u64) -> BlockRef {
    let known = KNOWN.iter().find(|(id, _)| *id == chain_id);
    known.map_or(NO_GENESIS, |(_, hash)| BlockRef::new(Height::zero(), Digest(hash.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_known_by_its_number_or_not_at_all() {
        assert_eq!(known(31_337), NO_GENESIS);
        assert_eq!(known(1).digest.0, KNOWN[0].1.0);
        assert!(KNOWN.windows(2).all(|pair| pair[0].0 < pair[1].0), "each id once");
    }
}

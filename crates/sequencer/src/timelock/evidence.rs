//! What shows that an order was fixed, and opened rightly.

use super::AHEAD_MAX;
use crate::EVIDENCE_MAX;
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, FixedSize, RangeCfg, Read, ReadExt as _, Write};
use commonware_consensus::types::Round;
use commonware_cryptography::{
    bls12381::primitives::variant::{MinSig, Variant},
    ed25519,
};

/// Key holders of one network, at the most.
pub const HOLDERS_MAX: usize = 256;

/// Rounds that one preblock needs, at the most.
const SEEDS_MAX: usize = AHEAD_MAX as usize + 1;

const _: () = assert!(
    HOLDERS_MAX * (2 + ed25519::Signature::SIZE) + SEEDS_MAX * (20 + 48) + 64 < EVIDENCE_MAX,
    "the evidence of the largest network fits into a preblock"
);

/// The evidence of a preblock. Its parts are in ascending order, without repetition: there is one way to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The round as of which the order was fixed.
    pub fixed: Round,
    /// Who attested that: places among the holders, and signatures.
    pub attestations: Vec<(u16, ed25519::Signature)>,
    /// The seed of each round that had to be open.
    pub seeds: Vec<(Round, <MinSig as Variant>::Signature)>,
}

fn ascends<K: Ord, V>(items: &[(K, V)]) -> bool {
    items.windows(2).all(|pair| pair[0].0 < pair[1].0)
}

impl Write for Evidence {
    fn write(&self, buf: &mut impl BufMut) {
        self.fixed.write(buf);
        self.attestations.write(buf);
        self.seeds.write(buf);
    }
}

impl EncodeSize for Evidence {
    fn encode_size(&self) -> usize {
        self.fixed.encode_size() + self.attestations.encode_size() + self.seeds.encode_size()
    }
}

impl Read for Evidence {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let fixed = Round::read(buf)?;
        let many = RangeCfg::from(0..=HOLDERS_MAX);
        let attestations = Vec::read_cfg(buf, &(many, ((), ())))?;
        let seeds = Vec::read_cfg(buf, &(RangeCfg::from(0..=SEEDS_MAX), ((), ())))?;
        if !ascends(&attestations) || !ascends(&seeds) {
            return Err(Error::Invalid("Evidence", "not in ascending order"));
        }
        Ok(Self { fixed, attestations, seeds })
    }
}

//! An anchor: a boundary that publishers vouch for, so that a follower begins from there.

use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::types::Epoch;
use commonware_cryptography::{
    Signer as _, Verifier as _,
    ed25519::{PrivateKey, PublicKey, Signature},
};
use std::collections::BTreeSet;
use tidewatch_core::{BlockRef, ChainId};

/// What signatures of publishers are bound to.
const NAMESPACE: &[u8] = b"_TIDEWATCH_ANCHOR";

/// A boundary of a chain: its last block of an epoch, which carries the scheme of `epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The chain.
    pub chain: ChainId,
    /// The epoch that it gives the scheme of.
    pub epoch: Epoch,
    /// The boundary's name. Publishers vouch for this, and so for all of its content.
    pub block: BlockRef,
    /// The boundary, encoded.
    pub bytes: Bytes,
}

/// A publisher's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Who signed.
    pub publisher: PublicKey,
    /// Over the chain's name, the epoch and the boundary's name.
    pub signature: Signature,
}

impl Anchor {
    fn message(&self) -> Bytes {
        (self.chain.as_str().as_bytes(), (self.epoch, self.block)).encode()
    }

    /// A publisher's signature.
    pub fn sign(&self, key: &PrivateKey) -> Signed {
        let signature = key.sign(NAMESPACE, &self.message());
        Signed { publisher: key.public_key(), signature }
    }

    /// The `publishers` of whom there is a good signature among `signatures`.
    pub fn vouched_by(
        &self,
        publishers: &BTreeSet<PublicKey>,
        signatures: &[Signed],
    ) -> BTreeSet<PublicKey> {
        let message = self.message();
        signatures
            .iter()
            .filter(|signed| publishers.contains(&signed.publisher))
            .filter(|signed| signed.publisher.verify(NAMESPACE, &message, &signed.signature))
            .map(|signed| signed.publisher.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::{Digest, Height};

    #[test]
    fn a_publisher_counts_once_and_only_for_what_it_signed() {
        let anchor = Anchor {
            chain: ChainId::new("test:anchor").unwrap(),
            epoch: Epoch::new(3),
            block: BlockRef::new(Height::new(29), Digest([7; 32])),
            bytes: Bytes::from_static(b"block"),
        };
        let [one, two, stranger] = [1, 2, 3].map(PrivateKey::from_seed);
        let publishers = BTreeSet::from([one.public_key(), two.public_key()]);
        let other =
            Anchor { block: BlockRef::new(Height::new(29), Digest([8; 32])), ..anchor.clone() };
        let elsewhere = Anchor { chain: ChainId::new("test:other").unwrap(), ..anchor.clone() };
        let later = Anchor { epoch: Epoch::new(4), ..anchor.clone() };
        let table = [
            ("nobody", vec![], 0),
            ("one", vec![anchor.sign(&one)], 1),
            ("one, twice", vec![anchor.sign(&one), anchor.sign(&one)], 1),
            ("both", vec![anchor.sign(&two), anchor.sign(&one)], 2),
            ("a stranger", vec![anchor.sign(&stranger)], 0),
            ("another block", vec![other.sign(&one)], 0),
            ("another chain", vec![elsewhere.sign(&one)], 0),
            ("another epoch", vec![later.sign(&one)], 0),
            (
                "somebody's signature under another name",
                vec![Signed { publisher: one.public_key(), ..anchor.sign(&stranger) }],
                0,
            ),
        ];
        for (case, signatures, count) in table {
            assert_eq!(anchor.vouched_by(&publishers, &signatures).len(), count, "{case}");
        }
    }
}

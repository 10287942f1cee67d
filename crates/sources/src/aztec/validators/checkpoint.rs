//! Checkpoints: what is hashed of them, what is signed, and what a node says that was published.

use super::{
    ValidatorsError,
    abi::{Address, Word, word},
    signature::{Domain, Signature},
};
use crate::{
    aztec::{
        Field, Tree,
        header::{GasFees, address, number},
    },
    error::fault,
};
use alloy_primitives::keccak256;
use bytes::Bytes;
use commonware_cryptography::{Hasher as _, Sha256};
use serde::{Deserialize, Deserializer};
use tidewatch_core::{Digest, Fault};
use tidewatch_sentinel::ValidatorId;

/// Attestations in one answer, at the most: those of a committee, several times.
const ATTESTATIONS_MAX: usize = 4_096;

/// The header of a checkpoint, in the order in which it is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckpointHeader {
    last_archive_root: Field,
    block_headers_hash: Field,
    blobs_hash: Field,
    in_hash: Field,
    epoch_out_hash: Field,
    #[serde(deserialize_with = "number")]
    pub(super) slot_number: u64,
    #[serde(deserialize_with = "number")]
    timestamp: u64,
    #[serde(deserialize_with = "address")]
    coinbase: Address,
    fee_recipient: Field,
    gas_fees: GasFees,
    total_mana_used: Field,
}

impl CheckpointHeader {
    /// What is hashed.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(316);
        let roots = [
            &self.last_archive_root,
            &self.block_headers_hash,
            &self.blobs_hash,
            &self.in_hash,
            &self.epoch_out_hash,
        ];
        roots.iter().for_each(|field| bytes.extend_from_slice(field.bytes()));
        bytes.extend_from_slice(&word(self.slot_number));
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.coinbase);
        bytes.extend_from_slice(self.fee_recipient.bytes());
        bytes.extend_from_slice(&self.gas_fees.fee_per_da_gas.to_be_bytes());
        bytes.extend_from_slice(&self.gas_fees.fee_per_l2_gas.to_be_bytes());
        bytes.extend_from_slice(self.total_mana_used.bytes());
        bytes
    }

    /// Its hash: SHA-256 without the last byte, so that it is a field element.
    pub(super) fn hash(&self) -> Word {
        let hash = Sha256::hash(&[&self.bytes()]);
        let mut word = [0; 32];
        word[1..].copy_from_slice(&hash.as_ref()[..31]);
        word
    }
}

/// What validators agree on: a checkpoint, by its header and the archive that it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payload {
    pub(super) header: CheckpointHeader,
    archive: Field,
    #[serde(deserialize_with = "signed_number")]
    fee_asset_price_modifier: i128,
}

impl Payload {
    fn modifier(&self) -> Word {
        let mut word = [if self.fee_asset_price_modifier < 0 { 0xff } else { 0 }; 32];
        word[16..].copy_from_slice(&self.fee_asset_price_modifier.to_be_bytes());
        word
    }

    /// What an attestation to it signs, before Ethereum's prefix: the hash of the four words that layer 1 hashes.
    pub(super) fn digest(&self) -> Word {
        let words = [
            word(Domain::Attestation as u64),
            *self.archive.bytes(),
            self.modifier(),
            self.header.hash(),
        ];
        *keccak256(words.concat())
    }

    /// What its proposer signs, before Ethereum's prefix.
    pub(super) fn proposed(&self) -> Word {
        let mut bytes = (Domain::Proposal as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.bytes());
        *keccak256(bytes)
    }

    fn bytes(&self) -> Vec<u8> {
        [self.header.bytes().as_slice(), self.archive.bytes(), &self.modifier()].concat()
    }
}

fn signed_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom("no number in decimal digits"))
}

/// What layer 1 has of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnL1 {
    pub(super) number: u64,
    pub(super) archive: Word,
    pub(super) header: Word,
    pub(super) attestations: Word,
    pub(super) payload: Word,
    pub(super) slot: u64,
}

/// One place of the committee, as it was published: a signature, or whose is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Place {
    #[serde(deserialize_with = "address")]
    address: Address,
    signature: Signature,
}

/// A checkpoint as a node says that it was published.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Data {
    #[serde(deserialize_with = "number")]
    pub(super) checkpoint_number: u64,
    header: CheckpointHeader,
    archive: Tree,
    attestations: Vec<Place>,
}

/// A validator's message, and what it takes to check it: the payload, and the signature behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attested {
    pub(super) signer: ValidatorId,
    pub(super) bytes: Bytes,
}

/// A checkpoint that is on layer 1 just so, with the attestations that were published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) payload: Digest,
    /// Whose signatures were published, each once.
    pub(super) attested: Vec<Attested>,
}

/// An address as a validator.
pub(super) fn validator(address: &Address) -> Option<ValidatorId> {
    ValidatorId::new(address.to_vec()).ok()
}

/// The hash of attestations as layer 1 keeps it: which places have signatures as bits, then those signatures, and
/// addresses for the other places.
fn attestations_hash(places: &[Place]) -> Word {
    let mut bits = vec![0_u8; places.len().div_ceil(8)];
    let mut packed = Vec::with_capacity(places.len() * Signature::SIZE);
    for (at, place) in places.iter().enumerate() {
        // As the protocol has it: by `v` alone.
        if place.signature.v == 0 {
            packed.extend_from_slice(&place.address);
        } else {
            bits[at / 8] |= 0x80 >> (at % 8);
            packed.push(place.signature.v);
            packed.extend_from_slice(&place.signature.scalars);
        }
    }
    let padded = |bytes: &[u8]| {
        let mut padded = word(bytes.len() as u64).to_vec();
        padded.extend_from_slice(bytes);
        padded.resize(32 + bytes.len().next_multiple_of(32), 0);
        padded
    };
    let (bits, packed) = (padded(&bits), padded(&packed));
    let behind = word(64 + bits.len() as u64);
    *keccak256([&word(32), &word(64), &behind, bits.as_slice(), &packed].concat())
}

impl Data {
    /// Checks it against what layer 1 has, and recovers who signed. A signature that is nobody's is left out.
    ///
    /// # Errors
    ///
    /// Another header, archive, slot, or other attestations than layer 1 has.
    pub(super) fn check(&self, name: &str, on_l1: &OnL1) -> Result<Published, Fault> {
        let number = on_l1.number;
        let wrong = |error: ValidatorsError| Err(fault(name, error));
        let field = |word: &Word| Field::new(*word).unwrap_or(Field::ZERO);
        let hash = self.header.hash();
        if hash != on_l1.header {
            let (got, want) = (field(&hash), field(&on_l1.header));
            return wrong(ValidatorsError::Header { number, got, want });
        }
        if *self.archive.root.bytes() != on_l1.archive {
            let (got, want) = (self.archive.root, field(&on_l1.archive));
            return wrong(ValidatorsError::Archive { number, got, want });
        }
        if self.header.slot_number != on_l1.slot {
            let (got, want) = (self.header.slot_number, on_l1.slot);
            return wrong(ValidatorsError::Slot { number, got, want });
        }
        let (got, max) = (self.attestations.len(), ATTESTATIONS_MAX);
        if got > max {
            return wrong(ValidatorsError::TooMany { what: "attestations", got, max });
        }
        if attestations_hash(&self.attestations) != on_l1.attestations {
            return wrong(ValidatorsError::Attestations { number });
        }
        // The digest stands for what the checkpoint does not say: how its proposer moves the price of fees.
        let about =
            [self.header.bytes().as_slice(), self.archive.root.bytes(), &on_l1.payload].concat();
        let mut attested: Vec<Attested> = Vec::new();
        for Place { signature, .. } in &self.attestations {
            let signer = signature.signer(&on_l1.payload).as_ref().and_then(validator);
            let Some(signer) = signer else { continue };
            if attested.iter().all(|known| known.signer != signer) {
                let bytes = [about.as_slice(), &signature.bytes()].concat().into();
                attested.push(Attested { signer, bytes });
            }
        }
        Ok(Published { payload: Digest(on_l1.payload), attested })
    }
}

/// An attestation as a node heard it from other nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gossiped {
    payload: Payload,
    signature: Signature,
    proposer_signature: Signature,
}

/// An attestation that a node heard, and the proposal that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) payload: Digest,
    pub(super) attested: Attested,
    /// Whose signature the proposal bears; `None` if nobody's.
    pub(super) proposed: Option<Attested>,
}

/// What a node heard of `slot`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Pool(Vec<Gossiped>);

impl Pool {
    /// Recovers who signed. What nobody signed is left out.
    ///
    /// # Errors
    ///
    /// More attestations than can be, or one of another slot.
    pub(super) fn check(&self, name: &str, slot: u64) -> Result<Vec<Heard>, Fault> {
        let (got, max) = (self.0.len(), ATTESTATIONS_MAX);
        if got > max {
            let error = ValidatorsError::TooMany { what: "attestations", got, max };
            return Err(fault(name, error));
        }
        let mut heard = Vec::with_capacity(got);
        for Gossiped { payload, signature, proposer_signature } in &self.0 {
            let got = payload.header.slot_number;
            if got != slot {
                return Err(fault(name, ValidatorsError::OtherSlot { want: slot, got }));
            }
            let digest = payload.digest();
            let attested = |signature: &Signature, signed: &Word| {
                let signer = validator(&signature.signer(signed)?)?;
                let bytes = [payload.bytes().as_slice(), &signature.bytes()].concat().into();
                Some(Attested { signer, bytes })
            };
            let Some(by) = attested(signature, &digest) else { continue };
            let proposed = attested(proposer_signature, &payload.proposed());
            heard.push(Heard { payload: Digest(digest), attested: by, proposed });
        }
        Ok(heard)
    }
}

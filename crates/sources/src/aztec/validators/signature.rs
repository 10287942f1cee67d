//! Signatures of validators, and who made them.

use super::abi::{Address, Word};
use alloy_primitives::keccak256;
use commonware_formatting::from_hex;
use k256::ecdsa::{self, RecoveryId, VerifyingKey};
use serde::{Deserialize, Deserializer, de};

/// What keeps the payloads of one kind of message apart from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    /// An attestation to a checkpoint.
    Attestation = 1,
    /// The proposal of a checkpoint.
    Proposal = 3,
}

/// A signature as a node writes it: `r`, `s` and `v`, in hexadecimal; nothing but zeros where nobody signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    /// `r` and `s`.
    pub(super) scalars: [u8; 64],
    /// 27 or 28; 0 where nobody signed.
    pub(super) v: u8,
}

impl Signature {
    /// Bytes of one with its `v`.
    pub(super) const SIZE: usize = 65;

    /// `r`, `s`, `v`.
    pub(super) fn bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..64].copy_from_slice(&self.scalars);
        bytes[64] = self.v;
        bytes
    }

    /// Reads 128 digits and those of `v`, of which there is one where it is below 16.
    fn parse(text: &str) -> Option<Self> {
        let (scalars, v) = text.strip_prefix("0x")?.split_at_checked(128)?;
        let scalars = from_hex(scalars)?.try_into().ok()?;
        let known = matches!(v.len(), 1 | 2) && v.bytes().all(|digit| digit.is_ascii_hexdigit());
        let v = known.then(|| u8::from_str_radix(v, 16).ok())??;
        Some(Self { scalars, v })
    }

    /// Who signed `payload`, the hash of what is signed in its domain.
    ///
    /// `None` where nobody can have: there are no such signatures, or it is one that the protocol refuses, with
    /// another `v` than 27 and 28 or with the higher one of two possible `s`.
    pub(super) fn signer(&self, payload: &Word) -> Option<Address> {
        let signature = ecdsa::Signature::from_slice(&self.scalars).ok()?;
        if signature.normalize_s().is_some() {
            return None;
        }
        let id = RecoveryId::try_from(self.v.checked_sub(27)?).ok().filter(|_| self.v <= 28)?;
        let key = VerifyingKey::recover_from_prehash(&*signed(payload), &signature, id).ok()?;
        let point = key.to_encoded_point(false);
        let hash = keccak256(point.as_bytes().get(1..)?);
        hash[12..].try_into().ok()
    }
}

/// What is signed for a payload: Ethereum's prefix for messages of 32 bytes, and the hash.
fn signed(payload: &Word) -> alloy_primitives::B256 {
    let mut message = b"\x19Ethereum Signed Message:\n32".to_vec();
    message.extend_from_slice(payload);
    keccak256(message)
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Signature;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a signature: 0x and 129 or 130 hex digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Signature, E> {
                // The text itself may be of any length: it is not repeated.
                let refused = || E::invalid_value(de::Unexpected::Other("another text"), &self);
                Signature::parse(text).ok_or_else(refused)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

//! Elements of the field that the chain computes in, and the hash over them.

use ark_bn254::Fr;
use ark_ff::{BigInt, PrimeField as _};
use bytes::{Buf, BufMut};
use commonware_codec::{Error, FixedSize, Read, ReadExt as _, Write};
use serde::{Deserialize, Deserializer, de};
use std::fmt;
use taceo_poseidon2::bn254::t4;

/// Elements that one permutation of the sponge takes in.
const RATE: usize = 3;

/// An element of the scalar field of BN254: 32 bytes, the highest first, below the modulus.
///
/// In the JSON of a node it is a number, a string of decimal digits (below 2^128), or `0x` and at most 64
/// hex digits. Nothing else is taken for one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field([u8; 32]);

impl Field {
    /// Zero.
    pub const ZERO: Self = Self([0; 32]);

    /// The element with these bytes; `None` at and above the modulus.
    pub fn new(bytes: [u8; 32]) -> Option<Self> {
        Fr::from_bigint(limbs(&bytes)).map(|_| Self(bytes))
    }

    /// Its bytes, the highest first.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its value as a number of at most 64 bits.
    pub fn to_u64(self) -> Option<u64> {
        u64::try_from(self.to_u128()?).ok()
    }

    /// Its value as a number of at most 128 bits.
    pub fn to_u128(self) -> Option<u128> {
        let (high, low) = self.0.split_at(16);
        let low: [u8; 16] = low.try_into().ok()?;
        high.iter().all(|byte| *byte == 0).then(|| u128::from_be_bytes(low))
    }

    /// Its value as an address of layer 1, 160 bits.
    pub fn to_address(self) -> Option<[u8; 20]> {
        let (high, low) = self.0.split_at(12);
        let short = high.iter().all(|byte| *byte == 0);
        low.try_into().ok().filter(|_| short)
    }

    /// An address of layer 1 as an element.
    pub fn from_address(address: &[u8; 20]) -> Self {
        let mut bytes = [0; 32];
        bytes[12..].copy_from_slice(address);
        Self(bytes)
    }

    fn scalar(&self) -> Fr {
        Fr::from_be_bytes_mod_order(&self.0)
    }

    /// The number that `text` writes in decimal digits or, after `0x`, in hex ones.
    fn parse(text: &str) -> Option<Self> {
        let Some(digits) = text.strip_prefix("0x") else {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            return digits.then(|| text.parse::<u128>().ok())?.map(Self::from);
        };
        if digits.is_empty() || digits.len() > 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, digit) in digits.bytes().rev().enumerate() {
            let value = u8::try_from(char::from(digit).to_digit(16)?).ok()?;
            bytes[31 - at / 2] |= value << (at % 2 * 4);
        }
        Self::new(bytes)
    }
}

fn limbs(bytes: &[u8; 32]) -> BigInt<4> {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().rev().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_be_bytes(*bytes);
    }
    BigInt::new(limbs)
}

impl From<u128> for Field {
    fn from(value: u128) -> Self {
        let mut bytes = [0; 32];
        bytes[16..].copy_from_slice(&value.to_be_bytes());
        Self(bytes)
    }
}

impl From<u64> for Field {
    fn from(value: u64) -> Self {
        u128::from(value).into()
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", commonware_formatting::hex(&self.0))
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Write for Field {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl FixedSize for Field {
    const SIZE: usize = 32;
}

impl Read for Field {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Self::new(<[u8; 32]>::read(buf)?).ok_or(Error::Invalid("Field", "above the modulus"))
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field element: a number, decimal digits, or 0x and hex digits")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Field, E> {
                Ok(value.into())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Field, E> {
                // The text itself may be of any length: it is not repeated.
                let refused = || E::invalid_value(de::Unexpected::Other("another text"), &self);
                Field::parse(text).ok_or_else(refused)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The Poseidon2 hash of `inputs`, as Barretenberg computes it: a sponge over a state of four elements,
/// three of which take the inputs in; the fourth starts at the number of inputs, shifted by 64 bits.
pub(super) fn poseidon2(inputs: &[Field]) -> Field {
    let length = Field::from((inputs.len() as u128) << 64);
    let mut state = [Fr::default(), Fr::default(), Fr::default(), length.scalar()];
    for chunk in inputs.chunks(RATE) {
        for (lane, input) in state.iter_mut().zip(chunk) {
            *lane += input.scalar();
        }
        t4::permutation_in_place(&mut state);
    }
    let mut bytes = [0; 32];
    for (bytes, limb) in
        bytes.as_chunks_mut::<8>().0.iter_mut().zip(state[0].into_bigint().0.iter().rev())
    {
        *bytes = limb.to_be_bytes();
    }
    Field(bytes)
}

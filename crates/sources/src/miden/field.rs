//! Elements of the field that Miden computes in, and the hash of its headers.
//!
//! The field is that of integers modulo 2^64 - 2^32 + 1 (Goldilocks); the hash is Poseidon2 over states of
//! twelve elements, eight of which take in and four of which give out. The permutation, with the constants
//! that Miden uses, is that of the field's crate.

use bytes::{Buf, BufMut};
use commonware_codec::{Error, FixedSize, Read, Write};
use p3_field::{PrimeCharacteristicRing as _, PrimeField64 as _, integers::QuotientMap as _};
use p3_goldilocks::{Goldilocks, Poseidon2Goldilocks, default_goldilocks_poseidon2_12};
use p3_symmetric::Permutation as _;
use std::{fmt, sync::LazyLock};

/// Elements of a state.
const WIDTH: usize = 12;

/// Elements that are taken in at once.
const RATE: usize = 8;

static POSEIDON2: LazyLock<Poseidon2Goldilocks<WIDTH>> =
    LazyLock::new(default_goldilocks_poseidon2_12);

/// An element, if `value` is below the modulus.
pub(super) fn element(value: u64) -> Option<Goldilocks> {
    Goldilocks::from_canonical_checked(value)
}

/// A number of 32 bits as an element.
pub(super) fn small(value: u32) -> Goldilocks {
    Goldilocks::from_u32(value)
}

/// Four elements, each as its canonical number: what a hash is, and what a tree's root is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word([u64; 4]);

impl Word {
    /// How many bytes it has.
    pub(super) const BYTES: usize = 32;

    /// The word of four numbers; `None` if one is not below the modulus.
    pub fn new(numbers: [u64; 4]) -> Option<Self> {
        numbers.iter().all(|number| *number < Goldilocks::ORDER_U64).then_some(Self(numbers))
    }

    /// The word in `bytes`, each number with its lowest byte first; `None` if one is not below the modulus.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let mut numbers = [0; 4];
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *number = u64::from_le_bytes(*bytes);
        }
        Self::new(numbers)
    }

    /// Its bytes, each number with its lowest byte first.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (bytes, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *bytes = number.to_le_bytes();
        }
        bytes
    }

    pub(super) fn elements(self) -> [Goldilocks; 4] {
        self.0.map(Goldilocks::from_u64)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&commonware_formatting::hex(&self.to_bytes()))
    }
}

impl Write for Word {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.to_bytes());
    }
}

impl FixedSize for Word {
    const SIZE: usize = Self::BYTES;
}

impl Read for Word {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let bytes = <[u8; Self::BYTES]>::read_cfg(buf, &())?;
        Self::from_bytes(&bytes).ok_or(Error::Invalid("Word", "a number above the modulus"))
    }
}

/// Hashes elements. Of a number of them that is no multiple of [`RATE`], the last are followed by zeros.
pub(super) fn hash(elements: &[Goldilocks]) -> Word {
    let mut state = [Goldilocks::ZERO; WIDTH];
    // What is missing in the last round is part of what is hashed.
    state[RATE] = Goldilocks::from_usize(elements.len() % RATE);
    for taken in elements.chunks(RATE) {
        state[..RATE].fill(Goldilocks::ZERO);
        state[..taken.len()].copy_from_slice(taken);
        POSEIDON2.permute_mut(&mut state);
    }
    Word([0, 1, 2, 3].map(|at| state[at].as_canonical_u64()))
}

/// Hashes two words to one.
pub(super) fn merge(left: Word, right: Word) -> Word {
    let [left, right] = [left.elements(), right.elements()];
    hash(&[left, right].concat())
}

//! A block's header, and the commitment that names the block.

use super::field::{Word, element, hash, merge, small};
use crate::words::milliseconds;
use bytes::{Buf, BufMut};
use commonware_codec::{Error, FixedSize, Read, ReadExt as _, Write};
use tidewatch_core::{BlockRef, Digest, Height};

/// Bytes of a validator's key, compressed.
pub(super) const KEY_BYTES: usize = 33;

/// Bytes of an account's name.
pub(super) const ACCOUNT_BYTES: usize = 15;

/// How many elements of a header are hashed, but for the root of the notes.
const ELEMENTS: usize = 40;

/// The header of a block, in the order in which it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of the protocol.
    pub version: u32,
    /// The commitment of the block before; zeros in genesis.
    pub parent: Word,
    /// Height of the block.
    pub number: u32,
    /// All blocks before, as a forest of trees.
    pub chain: Word,
    /// Accounts.
    pub accounts: Word,
    /// Nullifiers.
    pub nullifiers: Word,
    /// Notes that were made in the block.
    pub notes: Word,
    /// Transactions of the block.
    pub transactions: Word,
    /// Programs that transactions may run under.
    pub kernels: Word,
    /// The validator's public key on secp256k1, compressed.
    pub validator: [u8; KEY_BYTES],
    /// The account whose asset fees are paid in.
    pub fee_faucet: Faucet,
    /// What the verification of a transaction costs.
    pub base_fee: u32,
    /// When the block was made, in seconds since the Unix epoch.
    pub timestamp: u32,
}

/// The name of an account that makes assets: two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faucet {
    prefix: u64,
    /// Its lowest byte is zero, and not written.
    suffix: u64,
}

impl Faucet {
    /// The name in `bytes`, the highest first; `None` if it is not of elements.
    pub fn from_bytes(bytes: &[u8; ACCOUNT_BYTES]) -> Option<Self> {
        let mut padded = [0; 16];
        padded[..ACCOUNT_BYTES].copy_from_slice(bytes);
        let joined = u128::from_be_bytes(padded);
        let (prefix, suffix) = ((joined >> 64) as u64, joined as u64);
        element(prefix).and(element(suffix)).map(|_| Self { prefix, suffix })
    }

    /// Its bytes, the highest first.
    pub fn to_bytes(self) -> [u8; ACCOUNT_BYTES] {
        let joined = u128::from(self.prefix) << 64 | u128::from(self.suffix);
        let mut bytes = [0; ACCOUNT_BYTES];
        bytes.copy_from_slice(&joined.to_be_bytes()[..ACCOUNT_BYTES]);
        bytes
    }
}

impl Header {
    /// Computes the commitment, which names the block and is what its validator signs.
    pub fn commitment(&self) -> Word {
        let mut elements = Vec::with_capacity(ELEMENTS);
        let words = [
            self.parent,
            self.chain,
            self.accounts,
            self.nullifiers,
            self.transactions,
            self.kernels,
        ];
        let key = hash(&packed(&self.validator));
        for word in words.into_iter().chain([key]) {
            elements.extend(word.elements());
        }
        elements.extend([self.number, self.version, self.timestamp, 0].map(small));
        elements.extend([0, self.base_fee].map(small));
        let Faucet { prefix, suffix } = self.fee_faucet;
        // Both are elements: a faucet is of nothing else.
        elements.extend([suffix, prefix].map(|half| element(half).unwrap_or_default()));
        elements.extend([0; 4].map(small));
        debug_assert_eq!(elements.len(), ELEMENTS);
        merge(hash(&elements), self.notes)
    }

    /// Names the block: its height, and the commitment, computed.
    pub fn reference(&self) -> BlockRef {
        BlockRef::new(self.height(), Digest(self.commitment().to_bytes()))
    }

    /// Its number, as a height.
    pub fn height(&self) -> Height {
        Height::new(self.number.into())
    }

    /// The block's own time, in milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> u64 {
        milliseconds(self.timestamp.into())
    }
}

/// Bytes as elements, four to each, the lowest first.
fn packed(bytes: &[u8]) -> Vec<p3_goldilocks::Goldilocks> {
    let pack = |chunk: &[u8]| chunk.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    bytes.chunks(4).map(|chunk| small(pack(chunk))).collect()
}

impl Write for Header {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_u32_le(self.version);
        self.parent.write(buf);
        buf.put_u32_le(self.number);
        let words = [
            self.chain,
            self.accounts,
            self.nullifiers,
            self.notes,
            self.transactions,
            self.kernels,
        ];
        words.iter().for_each(|word| word.write(buf));
        buf.put_slice(&self.validator);
        buf.put_slice(&self.fee_faucet.to_bytes());
        buf.put_u32_le(self.base_fee);
        buf.put_u32_le(self.timestamp);
    }
}

impl FixedSize for Header {
    const SIZE: usize = 4 * u32::SIZE + 7 * Word::BYTES + KEY_BYTES + ACCOUNT_BYTES;
}

fn number(buf: &mut impl Buf) -> Result<u32, Error> {
    <[u8; 4]>::read_cfg(buf, &()).map(u32::from_le_bytes)
}

impl Read for Header {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self {
            version: number(buf)?,
            parent: Word::read(buf)?,
            number: number(buf)?,
            chain: Word::read(buf)?,
            accounts: Word::read(buf)?,
            nullifiers: Word::read(buf)?,
            notes: Word::read(buf)?,
            transactions: Word::read(buf)?,
            kernels: Word::read(buf)?,
            validator: <[u8; KEY_BYTES]>::read(buf)?,
            fee_faucet: Faucet::from_bytes(&<[u8; ACCOUNT_BYTES]>::read(buf)?)
                .ok_or(Error::Invalid("Faucet", "a number above the modulus"))?,
            base_fee: number(buf)?,
            timestamp: number(buf)?,
        })
    }
}

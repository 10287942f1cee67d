//! A block of an Ethereum chain: its header.

use super::rule::{self, Rule};
use crate::words::milliseconds;
use alloy_consensus::Header;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::Encodable as _;
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, Write};
use std::{ops::Deref, sync::Arc};
use tidewatch_core::{Block, BlockRef, Digest, Height};

/// The longest header, in bytes of RLP. On the largest chains one is below 1 KiB; some put lists of
/// validators into it.
pub(super) const HEADER_MAX: usize = 64 * 1024;

/// A block of an Ethereum chain as a follower needs it: the header, with its hash computed here.
///
/// Chains whose hashes follow another rule than Ethereum's have other fields as well. Those that
/// [`header`](Self::header) has no place for are at their defaults there, and kept all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthBlock {
    header: Arc<Header>,
    hash: B256,
    /// What hashes to `hash`, where that is not the RLP of `header`.
    preimage: Option<Bytes>,
}

/// A header that is longer than any should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header of {0} bytes, more than {HEADER_MAX}")]
pub struct TooLong(pub(super) usize);

impl EthBlock {
    /// The block with `header`, whose preimage by `rule` is this.
    pub(super) fn seal(rule: &Rule, header: &Header, preimage: Vec<u8>) -> Result<Self, TooLong> {
        if preimage.len() > HEADER_MAX {
            return Err(TooLong(preimage.len()));
        }
        // Fields that have no part in the hash are as they will be when it is read again.
        let read = if rule.is_plain { None } else { (rule.header)(&preimage) };
        let header = read.unwrap_or_else(|| header.clone());
        Ok(Self::new(rule.is_plain, header, preimage.into()))
    }

    /// The block with `header`, hashed as on Ethereum.
    #[cfg(test)]
    pub(super) fn plain(header: &Header) -> Result<Self, TooLong> {
        Self::seal(&rule::ETHEREUM[0], header, alloy_rlp::encode(header))
    }

    fn new(is_plain: bool, header: Header, preimage: Bytes) -> Self {
        let hash = keccak256(&preimage);
        let preimage = (!is_plain).then_some(preimage);
        Self { header: Arc::new(header), hash, preimage }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the header hashes to.
    pub(super) const fn hash(&self) -> B256 {
        self.hash
    }

    /// Its time, in milliseconds since the Unix epoch, whatever unit its chain counts in.
    pub fn time_ms(&self) -> u64 {
        milliseconds(self.header.timestamp)
    }
}

impl Deref for EthBlock {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

impl Block for EthBlock {
    fn reference(&self) -> BlockRef {
        BlockRef::new(Height::new(self.header.number), Digest(self.hash.0))
    }

    fn parent(&self) -> Digest {
        Digest(self.header.parent_hash.0)
    }
}

/// What hashes to its digest, with the length of that before it: on Ethereum the header's RLP.
impl Write for EthBlock {
    fn write(&self, buf: &mut impl BufMut) {
        match &self.preimage {
            Some(preimage) => preimage.write(buf),
            None => alloy_rlp::encode(&*self.header).write(buf),
        }
    }
}

impl EncodeSize for EthBlock {
    fn encode_size(&self) -> usize {
        let length = self.preimage.as_ref().map_or_else(|| self.header.length(), Bytes::len);
        length.encode_size() + length
    }
}

impl Read for EthBlock {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let bytes = Vec::<u8>::read_cfg(buf, &(RangeCfg::new(..=HEADER_MAX), ()))?;
        let (is_plain, header) = rule::decode(&bytes)
            .ok_or(Error::Invalid("EthBlock", "not the one encoding of a header"))?;
        Ok(Self::new(is_plain, header, bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_codec::{DecodeExt as _, Encode};

    fn header() -> Header {
        Header {
            number: 7,
            parent_hash: B256::repeat_byte(3),
            timestamp: 1_700_000_000,
            base_fee_per_gas: Some(9),
            ..Header::default()
        }
    }

    #[test]
    fn its_reference_is_computed_and_survives_the_disk() {
        let block = EthBlock::plain(&header()).unwrap();
        let digest = Digest(header().hash_slow().0);
        assert_eq!(block.reference(), BlockRef::new(Height::new(7), digest));
        assert_eq!((block.parent(), block.time_ms()), (Digest([3; 32]), 1_700_000_000_000));
        let bytes = block.encode();
        assert_eq!(bytes.len(), block.encode_size());
        assert_eq!(EthBlock::decode(bytes.clone()).unwrap(), block);
        for cut in 0..bytes.len() {
            assert!(EthBlock::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn its_format_is_frozen() {
        let bytes = EthBlock::plain(&header()).unwrap().encode();
        let hash = format!("{:x}", keccak256(&bytes));
        assert_eq!(format!("{} {}", bytes.len(), &hash[..16]), "503 04c11f40b1271ee7");
    }

    #[test]
    fn no_other_bytes_than_the_rlp_of_a_header_decode() {
        let rlp = alloy_rlp::encode(header());
        let mut long = rlp.clone();
        long.push(0);
        for bytes in [vec![], vec![0xc0], long, rlp[1..].to_vec()] {
            assert!(EthBlock::decode(Encode::encode(&bytes)).is_err(), "{bytes:?}");
        }
        let extra_data = vec![0; HEADER_MAX].into();
        let long = Header { extra_data, ..header() };
        assert!(EthBlock::plain(&long).is_err());
    }
}

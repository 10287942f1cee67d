//! A block of an Ethereum chain: its header.

use alloy_consensus::Header;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Decodable as _, Encodable as _};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, Write};
use std::{ops::Deref, sync::Arc};
use tidewatch_core::{Block, BlockRef, Digest, Height};

/// The longest header, in bytes of RLP. On the largest chains one is below 1 KiB; some put lists of
/// validators into it.
const HEADER_MAX: usize = 64 * 1024;

/// A block of an Ethereum chain as a follower needs it: the header, with its hash computed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthBlock {
    header: Arc<Header>,
    hash: B256,
}

/// A header that is longer than any should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header of {0} bytes, more than {HEADER_MAX}")]
pub struct TooLong(usize);

impl EthBlock {
    /// The block with `header`, hashed.
    pub(crate) fn seal(header: Header) -> Result<Self, TooLong> {
        let length = header.length();
        if length > HEADER_MAX {
            return Err(TooLong(length));
        }
        let hash = header.hash_slow();
        Ok(Self { header: Arc::new(header), hash })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its time, in milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> u64 {
        self.header.timestamp.saturating_mul(1_000)
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

/// The header's RLP, with its length before it.
impl Write for EthBlock {
    fn write(&self, buf: &mut impl BufMut) {
        alloy_rlp::encode(&*self.header).write(buf);
    }
}

impl EncodeSize for EthBlock {
    fn encode_size(&self) -> usize {
        let length = self.header.length();
        length.encode_size() + length
    }
}

impl Read for EthBlock {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let bytes = Vec::<u8>::read_cfg(buf, &(RangeCfg::new(..=HEADER_MAX), ()))?;
        let mut rest = bytes.as_slice();
        let header = Header::decode(&mut rest)
            .map_err(|_| Error::Invalid("EthBlock", "not the RLP of a header"))?;
        // A header has one encoding: of another one the hash would be another's.
        if !rest.is_empty() || alloy_rlp::encode(&header) != bytes {
            return Err(Error::Invalid("EthBlock", "not the only encoding of its header"));
        }
        Ok(Self { header: Arc::new(header), hash: keccak256(&bytes) })
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
        let block = EthBlock::seal(header()).unwrap();
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
        let bytes = EthBlock::seal(header()).unwrap().encode();
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
        assert!(EthBlock::seal(Header { extra_data, ..header() }).is_err());
    }
}

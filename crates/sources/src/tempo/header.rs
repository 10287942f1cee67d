//! A header of Tempo: what hashes to a block's digest, and how nodes write it in JSON.
//!
//! The digest is the Keccak-256 hash of a list: the limit of gas that is not for payments, the shared limit, the
//! milliseconds of the timestamp, Ethereum's header as a list of its own, and the consensus context. A block from before the
//! context came has four items.

use alloy_consensus::Header;
use alloy_primitives::{B256, U64};
use alloy_rlp::{Decodable as _, Encodable as _, PayloadView};
use serde::Deserialize;

/// Where consensus stood when a block was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsensusContext {
    /// The epoch.
    pub epoch: u64,
    /// The view in it.
    pub view: u64,
    /// The view of the parent.
    pub parent_view: u64,
    /// The ed25519 key of who proposed it.
    pub proposer: B256,
}

/// A header of Tempo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TempoHeader {
    /// Gas for what is no payment.
    pub general_gas_limit: u64,
    /// Gas of the section that validators share.
    pub shared_gas_limit: u64,
    /// Milliseconds of the timestamp, beyond its seconds.
    pub timestamp_millis_part: u64,
    /// Ethereum's header.
    pub inner: Header,
    /// Where consensus stood; `None` before that was part of a header.
    pub consensus: Option<ConsensusContext>,
}

/// The list of what `payload` encodes.
fn list(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 9);
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// The items of the list that `bytes` are, each with its own head.
fn items(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    match alloy_rlp::Header::decode_raw(&mut bytes).ok()? {
        PayloadView::List(items) if bytes.is_empty() => Some(items),
        _ => None,
    }
}

fn number(mut item: &[u8]) -> Option<u64> {
    u64::decode(&mut item).ok()
}

impl ConsensusContext {
    fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        self.epoch.encode(&mut payload);
        self.view.encode(&mut payload);
        self.parent_view.encode(&mut payload);
        self.proposer.encode(&mut payload);
        list(&payload)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let items = items(bytes)?;
        let [epoch, view, parent_view, mut proposer] = *items.as_slice() else { return None };
        Some(Self {
            epoch: number(epoch)?,
            view: number(view)?,
            parent_view: number(parent_view)?,
            proposer: B256::decode(&mut proposer).ok()?,
        })
    }
}

impl TempoHeader {
    /// What hashes to the digest.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(1_024);
        self.general_gas_limit.encode(&mut payload);
        self.shared_gas_limit.encode(&mut payload);
        self.timestamp_millis_part.encode(&mut payload);
        self.inner.encode(&mut payload);
        if let Some(context) = &self.consensus {
            payload.extend(context.encode());
        }
        list(&payload)
    }

    /// The header that `bytes` are; `None` if they are none's. A header has one encoding: others are refused.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let items = items(bytes)?;
        let (fields, context) = items.split_at_checked(4)?;
        let consensus = match *context {
            [] => None,
            [context] => Some(ConsensusContext::decode(context)?),
            _ => return None,
        };
        let header = Self {
            general_gas_limit: number(fields[0])?,
            shared_gas_limit: number(fields[1])?,
            timestamp_millis_part: number(fields[2])?,
            inner: Header::decode(&mut &*fields[3]).ok()?,
            consensus,
        };
        (header.encode() == bytes).then_some(header)
    }

    /// Reads a header as nodes write it. What else stands beside its fields, the transactions above all, is skipped.
    ///
    /// # Errors
    ///
    /// It is no header, or lacks a field.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        /// The fields that Ethereum's header does not have.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Own {
            main_block_general_gas_limit: U64,
            shared_gas_limit: U64,
            timestamp_millis_part: U64,
            #[serde(default)]
            consensus_context: Option<ConsensusContext>,
        }
        let own: Own = serde_json::from_str(json)?;
        Ok(Self {
            general_gas_limit: own.main_block_general_gas_limit.to(),
            shared_gas_limit: own.shared_gas_limit.to(),
            timestamp_millis_part: own.timestamp_millis_part.to(),
            inner: serde_json::from_str(json)?,
            consensus: own.consensus_context,
        })
    }

    /// Its time, in milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> u64 {
        self.inner.timestamp.saturating_mul(1_000).saturating_add(self.timestamp_millis_part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;

    fn header() -> TempoHeader {
        let consensus = ConsensusContext {
            epoch: 3,
            view: 300,
            parent_view: 0,
            proposer: B256::repeat_byte(9),
        };
        TempoHeader {
            general_gas_limit: 30_000_000,
            shared_gas_limit: 0,
            timestamp_millis_part: 999,
            inner: Header { number: 7, timestamp: 9, ..Header::default() },
            consensus: Some(consensus),
        }
    }

    #[test]
    fn a_header_has_one_encoding_with_and_without_its_context() {
        let old = TempoHeader { consensus: None, ..header() };
        for header in [header(), old] {
            let bytes = header.encode();
            assert_eq!(TempoHeader::decode(&bytes), Some(header.clone()));
            for cut in 0..bytes.len() {
                assert_eq!(TempoHeader::decode(&bytes[..cut]), None, "cut at {cut}");
            }
            assert_eq!(TempoHeader::decode(&[&bytes[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn lists_of_another_shape_are_no_header() {
        let numbers = [0x01, 0x02, 0x03];
        let inner = alloy_rlp::encode(Header::default());
        let whole = [&numbers[..], &inner].concat();
        assert!(TempoHeader::decode(&list(&whole)).is_some());
        let table = [
            ("Ethereum's header by itself", inner.clone()),
            ("three items", list(&numbers)),
            ("an empty context", list(&[&whole[..], &[0xc0]].concat())),
            ("a context that is no list", list(&[&whole[..], &[0x80]].concat())),
            ("six items", list(&[&whole[..], &[0x80, 0x80]].concat())),
            ("a number with a zero in front", list(&[&[0x82, 0, 1, 2, 3][..], &inner].concat())),
            ("a text", alloy_rlp::encode(U256::MAX)),
        ];
        for (what, bytes) in table {
            assert_eq!(TempoHeader::decode(&bytes), None, "{what}");
        }
    }

    #[test]
    fn its_time_has_milliseconds_and_does_not_overflow() {
        assert_eq!(header().time_ms(), 9_999);
        let inner = Header { timestamp: u64::MAX, ..Header::default() };
        assert_eq!(TempoHeader { inner, ..header() }.time_ms(), u64::MAX);
    }
}

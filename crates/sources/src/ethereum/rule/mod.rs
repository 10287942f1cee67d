//! Which bytes hash to a block's digest: the rules of different chains.
//!
//! The digest of a block is the Keccak-256 hash of some bytes, its *preimage*. On Ethereum, and on most
//! chains that took its header, these are the RLP of the header. Others differ by a [`Rule`]:
//!
//! | file | chains | rule |
//! |---|---|---|
//! | `plain` | most, and all that follow the merge | fifteen fields, and those of each fork behind them |
//! | `aura` | Gnosis before the merge, others that OpenEthereum ran | step and signature where Ethereum has mix hash and nonce |
//! | `avalanche` | Avalanche's C-Chain and its relatives | the hash of the block's extra data behind the nonce, and fields of its own |
//! | `celo` | Celo until its fork Gingerbread | ten fields: no uncles, difficulty, gas limit, mix hash and nonce |
//! | `etherlink` | Etherlink | eleven fields, each as text |
//!
//! A rule is one file and one row of [`ETHEREUM`], or of the rules of another family. A family of chains brings
//! its rules, and nothing here knows chains by their number: of the family's rules, the claimed hash decides
//! which one a header follows. Bytes that hash to it are that block's, whichever rule named them.
//!
//! Validators that agree by Istanbul (Celo until it became a rollup, GoQuorum, Besu's IBFT and QBFT) add
//! their seals to the extra data after the hash was made; `sealed` takes them out again.

mod aura;
mod avalanche;
mod celo;
mod etherlink;
mod plain;
mod sealed;

use super::json::Json;
use alloy_consensus::Header;
use alloy_rlp::{Decodable, Encodable, PayloadView};
pub(super) use sealed::unsealed;
use std::fmt;

/// How the headers of some chains hash.
pub(crate) struct Rule {
    /// Whether the preimage is the RLP of the header, so that it need not be kept beside it.
    pub(super) is_plain: bool,
    /// The preimage of a header by this rule, with the fields that the node gave and [`Header`] has no place
    /// for; `None` if one is missing that the rule needs.
    pub(super) preimage: fn(&Header, &Json) -> Option<Vec<u8>>,
    /// The header in a preimage, as far as it has a place for its fields. A header has one preimage by each
    /// rule: all other bytes are refused.
    pub(super) header: fn(&[u8]) -> Option<Header>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("is_plain", &self.is_plain).finish_non_exhaustive()
    }
}

/// The rules of a family of chains, the most likely first.
pub(crate) type Rules = &'static [Rule];

/// Ethereum, and the chains that execution nodes serve as it.
pub(crate) const ETHEREUM: Rules = &[plain::RULE, aura::RULE, avalanche::RULE, celo::RULE];

/// Etherlink.
pub(crate) const ETHERLINK: Rules = &[etherlink::RULE, etherlink::NOBODYS];

/// The preimage of a header by Etherlink's rule.
#[cfg(test)]
pub(crate) fn etherlink(header: &Header) -> Option<Vec<u8>> {
    etherlink::encode(header, true)
}

/// The header in a preimage by any rule, and whether that is the RLP of the header; `None` if the bytes are
/// no header's. Preimages of different rules differ in the number and in the lengths of their fields.
pub(super) fn decode(preimage: &[u8]) -> Option<(bool, Header)> {
    let rules = ETHEREUM.iter().chain(ETHERLINK);
    let mut found = rules.filter_map(|rule| Some((rule.is_plain, (rule.header)(preimage)?)));
    found.next()
}

/// Items of an RLP list, one after another.
#[derive(Default)]
struct List(Vec<u8>);

impl List {
    fn push(&mut self, item: &dyn Encodable) -> &mut Self {
        item.encode(&mut self.0);
        self
    }

    /// The thirteen fields that most rules begin with.
    fn common(&mut self, h: &Header) -> &mut Self {
        self.push(&h.parent_hash).push(&h.ommers_hash).push(&h.beneficiary).push(&h.state_root);
        self.push(&h.transactions_root).push(&h.receipts_root).push(&h.logs_bloom);
        self.push(&h.difficulty).push(&h.number).push(&h.gas_limit).push(&h.gas_used);
        self.push(&h.timestamp).push(&h.extra_data)
    }

    /// Fields that came with forks: one that is absent ends the list.
    fn optional(&mut self, items: &[Option<&dyn Encodable>]) {
        let last = items.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        for item in &items[..last] {
            match item {
                Some(item) => self.push(*item),
                None => self.push(&""), // A gap, which no chain has: zero, as go-ethereum writes it.
            };
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() + 9);
        alloy_rlp::Header { list: true, payload_length: self.0.len() }.encode(&mut bytes);
        bytes.extend(self.0);
        bytes
    }
}

/// Reads items in their order. Whether they are in their only encoding shows when they are encoded again.
struct Items<'a>(std::vec::IntoIter<&'a [u8]>);

impl<'a> Items<'a> {
    /// The items of the list that `bytes` are.
    fn new(bytes: &'a [u8]) -> Option<Self> {
        list(bytes).map(|items| Self(items.into_iter()))
    }

    fn next<T: Decodable>(&mut self) -> Option<T> {
        T::decode(&mut self.0.next()?).ok()
    }

    /// A field that may be missing at the end; `None` if it is there and wrong.
    fn optional<T: Decodable>(&mut self) -> Option<Option<T>> {
        if self.0.len() == 0 { Some(None) } else { self.next().map(Some) }
    }

    fn common(&mut self) -> Option<Header> {
        Some(Header {
            parent_hash: self.next()?,
            ommers_hash: self.next()?,
            beneficiary: self.next()?,
            state_root: self.next()?,
            transactions_root: self.next()?,
            receipts_root: self.next()?,
            logs_bloom: self.next()?,
            difficulty: self.next()?,
            number: self.next()?,
            gas_limit: self.next()?,
            gas_used: self.next()?,
            timestamp: self.next()?,
            extra_data: self.next()?,
            ..Header::default()
        })
    }
}

/// The items of the list that `bytes` are, each with its own head.
fn list(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    match alloy_rlp::Header::decode_raw(&mut bytes).ok()? {
        PayloadView::List(items) if bytes.is_empty() => Some(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{B256, Bytes, U256, keccak256};

    /// Every rule's own preimage of a header with these fields.
    fn preimages() -> Vec<(&'static str, Vec<u8>)> {
        let header =
            Header { number: 7, timestamp: 9, difficulty: U256::from(3), ..Header::default() };
        let london = Header { base_fee_per_gas: Some(7), ..header.clone() };
        let signature = Bytes::from(vec![7; 65]);
        let first = avalanche::Own { ext_data_hash: B256::repeat_byte(9), ..Default::default() };
        let last = avalanche::Own {
            ext_data_gas_used: Some(U256::ZERO),
            block_gas_cost: Some(U256::from(7)),
            timestamp_ms: Some(9_000),
            min_delay_excess: Some(1),
            ext_data_hash: first.ext_data_hash,
        };
        let cancun = Header {
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::repeat_byte(3)),
            ..london.clone()
        };
        vec![
            ("plain", alloy_rlp::encode(&header)),
            ("plain, with a base fee", alloy_rlp::encode(&london)),
            ("aura", aura::encode(&header, 0, &signature)),
            ("aura, with a base fee", aura::encode(&london, u64::MAX, &signature)),
            ("celo", celo::encode(&header)),
            ("avalanche, its first form", avalanche::encode(&header, &first)),
            ("avalanche, its last form", avalanche::encode(&cancun, &last)),
            ("etherlink", etherlink::encode(&header, true).unwrap()),
            ("etherlink, nobody's", etherlink::encode(&header, false).unwrap()),
        ]
    }

    #[test]
    fn every_rule_is_told_from_the_others_by_its_bytes() {
        let mut hashes = std::collections::BTreeSet::new();
        for (what, bytes) in preimages() {
            let by: Vec<_> = ETHEREUM
                .iter()
                .chain(ETHERLINK)
                .filter_map(|rule| (rule.header)(&bytes))
                .map(|header| (header.number, header.timestamp))
                .collect();
            assert_eq!(by, [(7, 9)], "{what}: one rule reads it");
            assert_eq!(decode(&bytes).map(|(plain, _)| plain), Some(what.starts_with("plain")));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), None, "{what}");
            }
            assert_eq!(decode(&[&bytes[..], &[0]].concat()), None, "nothing follows a header");
            assert!(hashes.insert(keccak256(bytes)), "{what}");
        }
    }

    /// Whatever a changed preimage still is, it is one of a header that has just these bytes.
    #[test]
    fn bytes_that_decode_are_the_only_ones_of_their_header() {
        for (what, bytes) in preimages() {
            for at in 0..bytes.len() {
                for flip in [1, 0x20, 0x80] {
                    let mut changed = bytes.clone();
                    changed[at] ^= flip;
                    if let Some((true, header)) = decode(&changed) {
                        assert_eq!(alloy_rlp::encode(&header), changed, "{what}");
                    }
                }
            }
        }
    }
}

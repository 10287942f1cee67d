//! Ethereum's own rule: the RLP of the header.

use super::Rule;
use alloy_consensus::Header;
use alloy_rlp::Decodable as _;

pub(super) const RULE: Rule = Rule {
    is_plain: true,
    // Some nodes leave out a mix hash and a nonce that mean nothing.
    preimage: |header, json| json.is_whole().then(|| alloy_rlp::encode(header)),
    header: |bytes| {
        let header = Header::decode(&mut &*bytes).ok()?;
        (alloy_rlp::encode(&header) == bytes).then_some(header)
    },
};

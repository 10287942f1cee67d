//! Celo until its fork Gingerbread.

use super::{Items, List, Rule};
use alloy_consensus::Header;

pub(super) const RULE: Rule = Rule {
    is_plain: false,
    preimage: |header, _| Some(encode(header)),
    header: |bytes| {
        let mut items = Items::new(bytes)?;
        let header = Header {
            parent_hash: items.next()?,
            beneficiary: items.next()?,
            state_root: items.next()?,
            transactions_root: items.next()?,
            receipts_root: items.next()?,
            logs_bloom: items.next()?,
            number: items.next()?,
            gas_used: items.next()?,
            timestamp: items.next()?,
            extra_data: items.next()?,
            ..Header::default()
        };
        (encode(&header) == bytes).then_some(header)
    },
};

pub(super) fn encode(h: &Header) -> Vec<u8> {
    let mut list = List::default();
    list.push(&h.parent_hash).push(&h.beneficiary).push(&h.state_root);
    list.push(&h.transactions_root).push(&h.receipts_root).push(&h.logs_bloom);
    list.push(&h.number).push(&h.gas_used).push(&h.timestamp).push(&h.extra_data);
    list.finish()
}

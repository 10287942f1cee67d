//! Avalanche's C-Chain and its relatives.

use super::{Items, List, Rule};
use alloy_consensus::Header;
use alloy_primitives::{B64, B256, U256};

/// Fields of Avalanche's headers. All but the first came with a fork each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) ext_data_hash: B256,
    pub(super) ext_data_gas_used: Option<U256>,
    pub(super) block_gas_cost: Option<U256>,
    pub(super) timestamp_ms: Option<u64>,
    pub(super) min_delay_excess: Option<u64>,
}

pub(super) const RULE: Rule = Rule {
    is_plain: false,
    preimage: |header, json| {
        json.is_whole().then_some(())?;
        let own = Own {
            ext_data_hash: json.ext_data_hash?,
            ext_data_gas_used: json.ext_data_gas_used,
            block_gas_cost: json.block_gas_cost,
            timestamp_ms: json.timestamp_milliseconds.map(|field| field.to()),
            min_delay_excess: json.min_delay_excess.map(|field| field.to()),
        };
        Some(encode(header, &own))
    },
    header: |bytes| {
        let mut items = Items::new(bytes)?;
        let mut header = items.common()?;
        (header.mix_hash, header.nonce) = (items.next()?, items.next::<B64>()?);
        let mut own = Own { ext_data_hash: items.next()?, ..Own::default() };
        header.base_fee_per_gas = items.optional()?;
        own.ext_data_gas_used = items.optional()?;
        own.block_gas_cost = items.optional()?;
        header.blob_gas_used = items.optional()?;
        header.excess_blob_gas = items.optional()?;
        header.parent_beacon_block_root = items.optional()?;
        own.timestamp_ms = items.optional()?;
        own.min_delay_excess = items.optional()?;
        (encode(&header, &own) == bytes).then_some(header)
    },
};

pub(super) fn encode(h: &Header, own: &Own) -> Vec<u8> {
    let mut list = List::default();
    list.common(h).push(&h.mix_hash).push(&h.nonce).push(&own.ext_data_hash);
    list.optional(&[
        h.base_fee_per_gas.as_ref().map(|field| field as _),
        own.ext_data_gas_used.as_ref().map(|field| field as _),
        own.block_gas_cost.as_ref().map(|field| field as _),
        h.blob_gas_used.as_ref().map(|field| field as _),
        h.excess_blob_gas.as_ref().map(|field| field as _),
        h.parent_beacon_block_root.as_ref().map(|field| field as _),
        own.timestamp_ms.as_ref().map(|field| field as _),
        own.min_delay_excess.as_ref().map(|field| field as _),
    ]);
    list.finish()
}

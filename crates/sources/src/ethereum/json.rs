//! A header as nodes write it in JSON.

use super::{
    EthBlock, TooLong,
    rule::{Rules, unsealed},
};
use crate::words::excerpt;
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U64, U256};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, iter};

/// Fields that are named in one fault at the most.
const NAMED_MAX: usize = 8;

/// A header with all fields that any rule knows. Everything else in the answer is skipped while it is read,
/// the transactions above all.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Json {
    pub(super) hash: B256,
    parent_hash: B256,
    sha3_uncles: Option<B256>,
    miner: Address,
    state_root: B256,
    transactions_root: B256,
    receipts_root: B256,
    logs_bloom: Bloom,
    difficulty: Option<U256>,
    pub(super) number: U64,
    gas_limit: Option<U64>,
    gas_used: U64,
    timestamp: U64,
    extra_data: Bytes,
    mix_hash: Option<B256>,
    nonce: Option<B64>,
    base_fee_per_gas: Option<U64>,
    withdrawals_root: Option<B256>,
    blob_gas_used: Option<U64>,
    excess_blob_gas: Option<U64>,
    parent_beacon_block_root: Option<B256>,
    requests_hash: Option<B256>,
    block_access_list_hash: Option<B256>,
    slot_number: Option<U64>,
    /// AuRa, as Nethermind names it, and as Erigon does.
    #[serde(default, deserialize_with = "foreign")]
    pub(super) step: Option<U64>,
    #[serde(default, deserialize_with = "foreign")]
    pub(super) signature: Option<Bytes>,
    #[serde(default, deserialize_with = "foreign")]
    pub(super) aura_step: Option<U64>,
    #[serde(default, deserialize_with = "foreign")]
    pub(super) aura_seal: Option<Bytes>,
    /// Avalanche.
    #[serde(default, deserialize_with = "foreign")]
    pub(super) ext_data_hash: Option<B256>,
    #[serde(default, deserialize_with = "foreign")]
    pub(super) ext_data_gas_used: Option<U256>,
    #[serde(default, deserialize_with = "foreign")]
    pub(super) block_gas_cost: Option<U256>,
    #[serde(default, deserialize_with = "foreign")]
    pub(super) timestamp_milliseconds: Option<U64>,
    #[serde(default, deserialize_with = "foreign")]
    pub(super) min_delay_excess: Option<U64>,
}

/// Reads a field that headers of one family have. Others may call something else so: what is no such field
/// is none.
fn foreign<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// What a block is called by a node, whatever its header is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Named {
    pub(super) hash: B256,
    pub(super) number: U64,
}

/// Why a header is not what its node calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// It is longer than any should be.
    TooLong(TooLong),
    /// It hashes to something else by every rule.
    Hash {
        /// The hash that it has by Ethereum's; `None` where it lacks a field of that.
        ethereum: Option<B256>,
    },
}

impl Json {
    /// How long the extra data is, in bytes. Of the fields, it alone has no length of its own.
    pub(super) fn extra_len(&self) -> usize {
        self.extra_data.len()
    }

    /// The block that hashes to what the node calls it, by one of `rules`.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn verified(&self, rules: Rules) -> Result<EthBlock, Unverified> {
        let mut plain = None;
        let header = self.header();
        let unsealed = unsealed(&self.extra_data, self.mix_hash);
        let unsealed = unsealed.map(|extra_data| Header { extra_data, ..header.clone() });
        for rule in rules {
            for header in iter::once(&header).chain(&unsealed) {
                let Some(preimage) = (rule.preimage)(header, self) else { continue };
                let block = EthBlock::seal(rule, header, preimage);
                let block = block.map_err(Unverified::TooLong)?;
                let hash = block.hash();
                if hash == self.hash {
                    return Ok(block);
                }
                if rule.is_plain {
                    plain.get_or_insert(hash);
                }
            }
        }
        Err(Unverified::Hash { ethereum: plain })
    }

    /// It has the fields that all headers but Celo's begin with.
    pub(super) const fn is_whole(&self) -> bool {
        self.sha3_uncles.is_some() && self.difficulty.is_some() && self.gas_limit.is_some()
    }

    fn header(&self) -> Header {
        let quantity = |field: Option<U64>| field.map(|field| field.to());
        Header {
            parent_hash: self.parent_hash,
            ommers_hash: self.sha3_uncles.unwrap_or(EMPTY_OMMER_ROOT_HASH),
            beneficiary: self.miner,
            state_root: self.state_root,
            transactions_root: self.transactions_root,
            receipts_root: self.receipts_root,
            logs_bloom: self.logs_bloom,
            difficulty: self.difficulty.unwrap_or_default(),
            number: self.number.to(),
            gas_limit: quantity(self.gas_limit).unwrap_or_default(),
            gas_used: self.gas_used.to(),
            timestamp: self.timestamp.to(),
            extra_data: self.extra_data.clone(),
            mix_hash: self.mix_hash.unwrap_or_default(),
            nonce: self.nonce.unwrap_or_default(),
            base_fee_per_gas: quantity(self.base_fee_per_gas),
            withdrawals_root: self.withdrawals_root,
            blob_gas_used: quantity(self.blob_gas_used),
            excess_blob_gas: quantity(self.excess_blob_gas),
            parent_beacon_block_root: self.parent_beacon_block_root,
            requests_hash: self.requests_hash,
            block_access_list_hash: self.block_access_list_hash,
            slot_number: quantity(self.slot_number),
        }
    }
}

/// Fields that nodes add to the header in their answers and that no header has: the block's body, and what
/// follows from the header.
const BESIDES: &[&str] = &[
    "author",
    "calls",
    "sealFields",
    "size",
    "totalDifficulty",
    "transactions",
    "uncles",
    "withdrawals",
];

/// Names of fields that no header known here has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<String>);

impl Fields {
    /// Of the object that `json` is.
    pub(super) fn unknown(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "by a rule that is not known here");
        }
        write!(f, "with fields that are not known here ({})", self.0.join(", "))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    map.next_value::<IgnoredAny>()?;
                    let known = KNOWN.contains(&&*name) || BESIDES.contains(&&*name);
                    if !known && fields.0.len() < NAMED_MAX {
                        fields.0.push(excerpt(name.as_bytes()));
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// The fields of [`Json`].
const KNOWN: &[&str] = &[
    "hash",
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
    "blockAccessListHash",
    "slotNumber",
    "step",
    "signature",
    "auraStep",
    "auraSeal",
    "extDataHash",
    "extDataGasUsed",
    "blockGasCost",
    "timestampMilliseconds",
    "minDelayExcess",
];

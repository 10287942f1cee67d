//! Blocks of every fork, with transactions.

use alloy_consensus::{
    EMPTY_ROOT_HASH, Header,
    proofs::{calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::B256;
use alloy_rpc_types_eth::Header as RpcHeader;
use commonware_codec::{DecodeExt as _, Encode as _};
use serde_json::{Value, json};
use tidewatch_core::{Block as _, BlockRef};
use tidewatch_sources::ethereum::{EthBlock, EthBody};

/// What a block's header demands of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fork {
    Paris,
    Shanghai,
    Cancun,
    Prague,
}

/// A block with its body.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) header: Header,
    pub(crate) body: Value,
}

impl Whole {
    pub(crate) fn genesis() -> Self {
        let header = Header {
            timestamp: 1_700_000_000,
            base_fee_per_gas: Some(7),
            gas_limit: 30_000_000,
            ..Header::default()
        };
        Self { header, body: json!({ "transactions": [] }) }
    }

    /// A block on this one. `salt` makes it another one than its sisters.
    pub(crate) fn child(&self, fork: Fork, transactions: u64, salt: &[u8]) -> Self {
        let number = self.header.number + 1;
        let transfers: Vec<_> = (0..transactions).map(|at| transfer(number * 100 + at)).collect();
        let mut body = json!({ "transactions": transfers });
        if fork >= Fork::Shanghai {
            body["withdrawals"] = json!([{
                "index": "0x1",
                "validatorIndex": "0x2",
                "address": "0x3535353535353535353535353535353535353535",
                "amount": format!("{number:#x}"),
            }]);
        }
        let read: EthBody = serde_json::from_value(body.clone()).unwrap();
        let at_least = |from: Fork, root: B256| (fork >= from).then_some(root);
        let header = Header {
            number,
            parent_hash: self.header.hash_slow(),
            timestamp: self.header.timestamp + 12,
            gas_limit: self.header.gas_limit,
            base_fee_per_gas: Some(7),
            extra_data: salt.to_vec().into(),
            transactions_root: calculate_transaction_root(&read.transactions),
            receipts_root: EMPTY_ROOT_HASH,
            withdrawals_root: read.withdrawals.as_ref().map(|all| calculate_withdrawals_root(all)),
            blob_gas_used: (fork >= Fork::Cancun).then_some(0),
            excess_blob_gas: (fork >= Fork::Cancun).then_some(0),
            parent_beacon_block_root: at_least(Fork::Cancun, B256::repeat_byte(number as u8)),
            requests_hash: at_least(Fork::Prague, EMPTY_REQUESTS_HASH),
            ..Header::default()
        };
        Self { header, body }
    }

    pub(crate) fn hash(&self) -> B256 {
        self.header.hash_slow()
    }

    pub(crate) fn block(&self) -> EthBlock {
        EthBlock::decode(alloy_rlp::encode(&self.header).encode()).unwrap()
    }

    pub(crate) fn body(&self) -> EthBody {
        serde_json::from_value(self.body.clone()).unwrap()
    }

    pub(crate) fn reference(&self) -> BlockRef {
        self.block().reference()
    }

    /// As a node answers it; with hashes of transactions alone unless they are asked for.
    pub(crate) fn json(&self, full: bool) -> Value {
        let mut block = serde_json::to_value(RpcHeader::new(self.header.clone())).unwrap();
        block["uncles"] = json!([]);
        block["transactions"] = self.body["transactions"].clone();
        if !full {
            block["transactions"] = json!([]);
        }
        if let Some(withdrawals) = self.body.get("withdrawals") {
            block["withdrawals"] = withdrawals.clone();
        }
        block
    }
}

/// A transfer, with a signature of some other one: whoever executes nothing sees no difference.
fn transfer(nonce: u64) -> Value {
    json!({
        "type": "0x2",
        "hash": format!("{:#x}", B256::ZERO),
        "chainId": "0x1",
        "nonce": format!("{nonce:#x}"),
        "gas": "0x5208",
        "maxFeePerGas": "0x4a817c800",
        "maxPriorityFeePerGas": "0x0",
        "to": "0x3535353535353535353535353535353535353535",
        "value": "0xde0b6b3a7640000",
        "accessList": [],
        "input": "0x",
        "v": "0x1",
        "yParity": "0x1",
        "r": "0x28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276",
        "s": "0x67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83",
    })
}

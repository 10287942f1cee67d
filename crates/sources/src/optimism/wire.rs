//! What a rollup node says, read.

use crate::{
    error::fault,
    ethereum::wire::{chain_id, chain_name},
    rpc::{Answer, Call, Handshake, NodeError, read},
};
use alloy_primitives::B256;
use serde::Deserialize;
use serde_json::Value;
use tidewatch_core::{BlockRef, ChainInfo, Digest, Fault, Height};

/// A block of L1 as a rollup node names it. Numbers are JSON numbers, here and below.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct L1Id {
    pub(super) hash: B256,
    pub(super) number: u64,
}

/// A block of the rollup. What a node has yet to find out about is all zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct L2Ref {
    pub(super) hash: B256,
    pub(super) number: u64,
    #[serde(rename = "parentHash")]
    pub(super) parent_hash: B256,
    pub(super) timestamp: u64,
    pub(super) l1origin: L1Id,
}

/// The heads of `optimism_syncStatus` that may stand for a tier. Older nodes do not name all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct SyncStatus {
    pub(super) unsafe_l2: Option<L2Ref>,
    pub(super) cross_unsafe_l2: Option<L2Ref>,
    pub(super) local_safe_l2: Option<L2Ref>,
    pub(super) safe_l2: Option<L2Ref>,
    pub(super) finalized_l2: Option<L2Ref>,
}

pub(super) fn sync_status() -> Call {
    Call::new("optimism_syncStatus", vec![])
}

pub(super) fn read_status(name: &str, answer: &Answer) -> Result<SyncStatus, Fault> {
    read(name, &"the sync status", answer)
}

/// What a rollup node is asked first.
pub(super) fn handshake() -> Handshake {
    let calls = vec![Call::new("optimism_rollupConfig", vec![])];
    Handshake { calls, read: chain_info, same }
}

/// The number of a rollup that its node does not tell: it names the chain, or nothing.
const NO_NUMBER: &str = "op";

/// One chain begins at one block. Nodes that both tell its number tell the same.
fn same(ours: &ChainInfo, theirs: &ChainInfo) -> bool {
    let numbers = (number(ours), number(theirs));
    let agree = !matches!(numbers, (Some(ours), Some(theirs)) if ours != theirs);
    ours.genesis == theirs.genesis && agree
}

/// The number in the name of a chain.
pub(super) fn number(chain_info: &ChainInfo) -> Option<&str> {
    chain_info.id.as_str().split_once(':').map(|(_, number)| number)
}

/// The number that a rollup's configuration gives, in any of the forms that nodes give it in.
fn chain_number(value: &Value) -> Option<u64> {
    let text = match value {
        Value::Number(number) => return number.as_u64(),
        Value::String(text) => text,
        _ => return None,
    };
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Which chain a rollup node is of: the number of the rollup, and the block that it begins at, which need
/// not be at height 0.
fn chain_info(name: &str, answers: &[Answer]) -> Result<ChainInfo, Fault> {
    #[derive(Deserialize)]
    struct L2Id {
        hash: B256,
        number: u64,
    }
    #[derive(Deserialize)]
    struct Genesis {
        l2: L2Id,
    }
    #[derive(Deserialize)]
    struct RollupConfig {
        /// A number; its decimal or hexadecimal digits; or the name of a chain.
        l2_chain_id: Option<Value>,
        genesis: Genesis,
    }
    let [config] = answers else {
        return Err(fault(name, NodeError::ShortAnswers { got: answers.len(), want: 1 }));
    };
    let config: RollupConfig = read(name, &"the rollup's configuration", config)?;
    let L2Id { hash, number } = config.genesis.l2;
    let genesis = BlockRef::new(Height::new(number), Digest(hash.0));
    let id = config.l2_chain_id.as_ref().and_then(chain_number);
    // The genesis hash tells chains apart. What the number is, the execution node knows as well.
    let id = match id {
        Some(id) => chain_id("op", id, name)?,
        None => chain_name(NO_NUMBER, name)?,
    };
    Ok(ChainInfo { id, genesis })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidewatch_core::ChainId;

    #[test]
    fn the_number_of_a_rollup_is_read_in_every_form_or_left_to_the_execution_node() {
        let table = [
            (json!(8453), Some(8453)),
            (json!("8453"), Some(8453)),
            (json!("0x2105"), Some(8453)),
            (json!("base"), None),
            (json!("0xbase"), None),
            (json!(-1), None),
            (json!(null), None),
            (json!({"id": 8453}), None),
        ];
        for (value, want) in table {
            assert_eq!(chain_number(&value), want, "{value}");
        }
    }

    #[test]
    fn nodes_of_one_rollup_need_not_tell_its_number_alike() {
        let chain = |id: &str, fill| {
            let genesis = BlockRef::new(Height::zero(), Digest([fill; 32]));
            ChainInfo { id: ChainId::new(id).unwrap(), genesis }
        };
        let table = [
            (chain("op:8453", 1), chain("op:8453", 1), true),
            (chain("op:8453", 1), chain("op", 1), true),
            (chain("op", 1), chain("op", 1), true),
            (chain("op:8453", 1), chain("op:10", 1), false),
            (chain("op:8453", 1), chain("op", 2), false),
            (chain("op", 1), chain("op", 2), false),
        ];
        for (ours, theirs, want) in table {
            assert_eq!(same(&ours, &theirs), want, "{ours:?} {theirs:?}");
        }
    }
}

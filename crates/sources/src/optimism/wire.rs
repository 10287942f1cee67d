//! What a rollup node says, read.

use crate::{
    error::fault,
    ethereum::wire::chain_id,
    rpc::{Answer, Call, Handshake, NodeError, read},
};
use alloy_primitives::B256;
use serde::Deserialize;
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
    Handshake { calls: vec![Call::new("optimism_rollupConfig", vec![])], read: chain_info }
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
        l2_chain_id: u64,
        genesis: Genesis,
    }
    let [config] = answers else {
        return Err(fault(name, NodeError::ShortAnswers { got: answers.len(), want: 1 }));
    };
    let config: RollupConfig = read(name, &"the rollup's configuration", config)?;
    let L2Id { hash, number } = config.genesis.l2;
    let genesis = BlockRef::new(Height::new(number), Digest(hash.0));
    Ok(ChainInfo { id: chain_id("op", config.l2_chain_id, name)?, genesis })
}

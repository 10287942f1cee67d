//! What an execution client is given for a block.

use super::EngineError;
use crate::Payload;
use alloy_consensus::{Block, BlockBody};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::B256;
use alloy_rpc_types_engine::{ExecutionPayload, ExecutionPayloadSidecar};
use serde_json::{Value, json};
use std::sync::Arc;
use tidewatch_core::{Block as _, BlockRef, Digest};
use tidewatch_sources::ethereum::{EthBlock, EthBody};

/// Versions of `engine_newPayload`, by the fork that the block is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// Paris.
    V1,
    /// Shanghai: withdrawals.
    V2,
    /// Cancun: blobs, the root of the beacon block.
    V3,
    /// Prague: requests.
    V4,
}

impl Version {
    /// The version that a block's header demands.
    fn of(block: &EthBlock) -> Result<Self, EngineError> {
        let header = block.header();
        let reference = block.reference();
        if header.block_access_list_hash.is_some() || header.slot_number.is_some() {
            return Err(EngineError::UnknownFork(reference));
        }
        match (header.withdrawals_root, header.parent_beacon_block_root, header.requests_hash) {
            (None, None, None) => Ok(Self::V1),
            (Some(_), None, None) => Ok(Self::V2),
            (Some(_), Some(_), None) => Ok(Self::V3),
            (Some(_), Some(_), Some(EMPTY_REQUESTS_HASH)) => Ok(Self::V4),
            (Some(_), Some(_), Some(_)) => Err(EngineError::Requests(reference)),
            _ => Err(EngineError::UnknownFork(reference)),
        }
    }

    pub(super) const fn new_payload(self) -> &'static str {
        match self {
            Self::V1 => "engine_newPayloadV1",
            Self::V2 => "engine_newPayloadV2",
            Self::V3 => "engine_newPayloadV3",
            Self::V4 => "engine_newPayloadV4",
        }
    }

    pub(super) const fn forkchoice_updated(self) -> &'static str {
        match self {
            Self::V1 => "engine_forkchoiceUpdatedV1",
            Self::V2 => "engine_forkchoiceUpdatedV2",
            Self::V3 | Self::V4 => "engine_forkchoiceUpdatedV3",
        }
    }
}

/// A block as the Engine API takes it. It hashes to what the verified header does.
#[derive(Clone, Debug)]
pub struct EnginePayload {
    block: BlockRef,
    pub(super) version: Version,
    pub(super) params: Arc<Vec<Value>>,
}

impl Payload for EnginePayload {
    fn reference(&self) -> BlockRef {
        self.block
    }

    fn evidence(&self) -> String {
        json!({ "method": self.version.new_payload(), "params": *self.params }).to_string()
    }
}

impl EnginePayload {
    /// The payload of `block` with `body`.
    ///
    /// # Errors
    ///
    /// The block is of a fork that is not known here, or has requests, which no node tells; or the payload that
    /// came out hashes to something else than the header.
    pub fn new(block: &EthBlock, body: EthBody) -> Result<Self, EngineError> {
        let version = Version::of(block)?;
        let reference = block.reference();
        let EthBody { transactions, withdrawals } = body;
        let body = BlockBody { transactions, ommers: Vec::new(), withdrawals };
        let whole = Block::new(block.header().clone(), body);
        let hash = B256::from(reference.digest.0);
        let (payload, sidecar) = ExecutionPayload::from_block_unchecked(hash, &whole);
        check(reference, &payload, &sidecar)?;
        let params = params(version, &payload, &sidecar)
            .map_err(|error| EngineError::NotJson(error.to_string()))?;
        Ok(Self { block: reference, version, params: Arc::new(params) })
    }
}

/// Makes a block of the payload again, as the client will, and compares what it hashes to.
fn check(
    block: BlockRef,
    payload: &ExecutionPayload,
    sidecar: &ExecutionPayloadSidecar,
) -> Result<(), EngineError> {
    let other = |computed| EngineError::OtherPayload { block, computed };
    match payload.clone().into_block_with_sidecar_raw(sidecar) {
        Ok(again) => {
            let computed = Digest(again.header.hash_slow().0);
            if computed == block.digest { Ok(()) } else { Err(other(computed)) }
        }
        Err(_) => Err(other(Digest([0; 32]))),
    }
}

/// The parameters of `engine_newPayload`.
fn params(
    version: Version,
    payload: &ExecutionPayload,
    sidecar: &ExecutionPayloadSidecar,
) -> serde_json::Result<Vec<Value>> {
    let mut params = vec![serde_json::to_value(payload)?];
    if version >= Version::V3 {
        params.push(json!(sidecar.versioned_hashes()));
        params.push(json!(sidecar.parent_beacon_block_root()));
    }
    if version >= Version::V4 {
        // The header says that there are none.
        params.push(json!([]));
    }
    Ok(params)
}

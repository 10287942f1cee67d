//! What the beacon API answers, as far as it is read.

use crate::{error::fault, rpc::NodeError, words::excerpt};
use alloy_primitives::B256;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tidewatch_core::{BlockRef, Digest, Fault, Height};

/// The checkpoints of the head's state.
pub(super) const CHECKPOINTS: &str = "/eth/v1/beacon/states/head/finality_checkpoints";

/// Before the root of a block.
pub(super) const BLOCKS: &str = "/eth/v2/beacon/blocks/";

/// New heads, and new finalized checkpoints, as they come.
pub(super) const EVENTS: &str = "/eth/v1/events";

/// Of those. One parameter each: not every client takes a list, and one that does not answers with no events at all.
pub(super) const TOPICS: &str = "topics=head&topics=finalized_checkpoint";

#[derive(Debug, Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Debug, Deserialize)]
struct Checkpoints {
    current_justified: Checkpoint,
    finalized: Checkpoint,
}

#[derive(Debug, Deserialize)]
struct Checkpoint {
    root: B256,
}

#[derive(Debug, Deserialize)]
struct Signed {
    message: Block,
}

#[derive(Debug, Deserialize)]
struct Block {
    body: Body,
}

#[derive(Debug, Deserialize)]
struct Body {
    /// Blocks from before the merge have none.
    execution_payload: Option<Payload>,
}

#[derive(Debug, Deserialize)]
struct Payload {
    #[serde(deserialize_with = "decimal")]
    block_number: u64,
    block_hash: B256,
}

/// The API writes integers as strings.
fn decimal<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// The roots of the justified and of the finalized checkpoint; none where there is no such checkpoint yet.
///
/// # Errors
///
/// `UnexpectedContent` or `Malformed`.
pub(super) fn read_checkpoints(name: &str, body: &[u8]) -> Result<[Option<B256>; 2], Fault> {
    let Checkpoints { current_justified, finalized } = read(name, "the checkpoints", body)?;
    let root = |checkpoint: Checkpoint| Some(checkpoint.root).filter(|root| !root.is_zero());
    Ok([root(current_justified), root(finalized)])
}

/// The execution block inside of a beacon block; none in one from before the merge.
///
/// # Errors
///
/// `UnexpectedContent` or `Malformed`.
pub(super) fn read_block(name: &str, body: &[u8]) -> Result<Option<BlockRef>, Fault> {
    let Signed { message } = read(name, "a beacon block", body)?;
    let payload = message.body.execution_payload.filter(|payload| !payload.block_hash.is_zero());
    let block = |Payload { block_number, block_hash }| {
        BlockRef::new(Height::new(block_number), Digest(block_hash.0))
    };
    Ok(payload.map(block))
}

fn read<T: DeserializeOwned>(name: &str, what: &str, body: &[u8]) -> Result<T, Fault> {
    let shown = excerpt(body);
    if !body.trim_ascii_start().starts_with(b"{") {
        let content = "something else".into();
        return Err(fault(name, NodeError::NotJson { content, shown }));
    }
    let answer = serde_json::from_slice::<Answer<T>>(body).map_err(|error| {
        // The error may repeat what it is about, at any length.
        let error = excerpt(error.to_string().as_bytes());
        fault(name, NodeError::NotOne { what: what.into(), error, shown })
    })?;
    Ok(answer.data)
}

//! What an Etherlink node says beside its blocks.

use super::levels::{Level, Said};
use crate::{
    error::fault,
    ethereum::{
        EthereumError,
        wire::{chain_id, handshake as ethereum},
    },
    rpc::{Answer, Call, Handshake, NodeError, read},
};
use alloy_primitives::U64;
use serde::Deserialize;
use tidewatch_core::{ChainInfo, Fault, Height};

/// What a node is asked first: the same as an execution node, of a chain that is named by this family.
pub(super) fn handshake() -> Handshake {
    let read = |name: &str, answers: &[Answer]| {
        let Handshake { read, .. } = ethereum();
        let ChainInfo { id, genesis } = read(name, answers)?;
        let number = id.as_str().rsplit_once(':').and_then(|(_, number)| number.parse().ok());
        let number = number.ok_or_else(|| fault(name, EthereumError::Name(id.to_string())))?;
        Ok(ChainInfo { id: chain_id(super::PREFIX, number, name)?, genesis })
    };
    Handshake { read, ..ethereum() }
}

/// Asks which blocks a level of L1 made final.
pub(super) fn blocks_of(level: Level) -> Call {
    Call::new("tez_getFinalizedBlocksOfL1Level", vec![level.into()]).answered_by(4 * 1024)
}

/// What was answered.
///
/// # Errors
///
/// `Malformed`: an answer that is none.
pub(super) fn read_blocks_of(name: &str, level: Level, answer: &Answer) -> Result<Said, Fault> {
    /// As nodes spell it, and as they would if they spelt it right.
    #[derive(Deserialize)]
    struct Wire {
        #[serde(rename = "startBlockNumber")]
        start: U64,
        #[serde(rename = "endBlockkNumber", alias = "endBlockNumber")]
        end: U64,
    }
    const METHOD_NOT_FOUND: i32 = -32601;
    match answer {
        Err(error) if error.code == METHOD_NOT_FOUND => return Ok(Said::Never),
        Err(_) => return Ok(Said::Unknown),
        Ok(_) => {}
    }
    let what = format_args!("the blocks that level {level} of L1 made final");
    let Wire { start, end } = read(name, &what, answer)?;
    if start > end {
        let (what, shown) = (what.to_string(), format!("{start} to {end}"));
        return Err(fault(
            name,
            NodeError::NotOne { what, error: "it ends below its start".into(), shown },
        ));
    }
    Ok(Said::Final { after: Height::new(start.to()), end: Height::new(end.to()) })
}

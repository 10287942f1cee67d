//! What a node says of its blocks, read and checked.

use super::{EthBlock, EthereumError};
use crate::{
    error::fault,
    rpc::{Answer, Call, Handshake, NodeError, RpcError, read},
};
use alloy_primitives::U64;
use alloy_rpc_types_eth::Header as RpcHeader;
use serde_json::{Value, json};
use tidewatch_core::{Block as _, ChainId, ChainInfo, Digest, Fault, Height};

/// How a block is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By the name of a tier.
    Tag(&'static str),
    /// By its height, on the node's canonical chain.
    Height(Height),
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "the {tag} block"),
            Self::Height(height) => write!(f, "block {height}"),
        }
    }
}

impl By {
    /// The call that asks for it: its header, and no more of its transactions than a node must send.
    pub(crate) fn call(self) -> Call {
        let (method, block): (_, Value) = match self {
            Self::Tag(tag) => ("eth_getBlockByNumber", tag.into()),
            Self::Height(height) => ("eth_getBlockByNumber", json!(U64::from(height.get()))),
        };
        Call::new(method, vec![block, false.into()])
    }

    /// The block in `answer`, hashed and checked against what was asked for; `None` if the node does not
    /// have it.
    pub(crate) fn read(self, name: &str, answer: &Answer) -> Result<Option<EthBlock>, Fault> {
        if matches!(answer, Err(error) if is_absent(error)) {
            return Ok(None);
        }
        let Some(RpcHeader { hash, inner, .. }) = read::<Option<RpcHeader>>(name, &self, answer)?
        else {
            return Ok(None);
        };
        let block = EthBlock::seal(inner);
        let block = block.map_err(|error| fault(name, EthereumError::TooLong(error)))?;
        let got = block.reference();
        let claimed = Digest(hash.0);
        if got.digest != claimed {
            let error = EthereumError::WrongHash { by: self, claimed, computed: got.digest };
            return Err(fault(name, error));
        }
        if let Self::Height(height) = self
            && got.height != height
        {
            return Err(fault(name, EthereumError::OtherHeight { by: self, got }));
        }
        Ok(Some(block))
    }
}

/// Whether an error says that the node does not have the block, or does not know the tag.
fn is_absent(error: &RpcError) -> bool {
    const UNKNOWN_BLOCK: i32 = -39001;
    const INVALID_PARAMS: i32 = -32602;
    const SERVER: i32 = -32000;
    let words = ["not found", "unknown block", "header for hash", "not available yet"];
    match error.code {
        UNKNOWN_BLOCK | INVALID_PARAMS => true,
        SERVER => {
            let message = error.message.to_ascii_lowercase();
            words.iter().any(|word| message.contains(word))
        }
        _ => false,
    }
}

/// What an execution node is asked first.
pub(crate) fn handshake() -> Handshake {
    let genesis = By::Height(Height::zero()).call();
    Handshake { calls: vec![Call::new("eth_chainId", vec![]), genesis], read: chain_info }
}

/// Which chain an execution node is of: its chain id, and its block at height 0.
fn chain_info(name: &str, answers: &[Answer]) -> Result<ChainInfo, Fault> {
    let [id, genesis] = answers else {
        return Err(fault(name, NodeError::ShortAnswers { got: answers.len(), want: 2 }));
    };
    let id: U64 = read(name, &"the chain id", id)?;
    let genesis = By::Height(Height::zero()).read(name, genesis)?;
    let genesis = genesis.ok_or_else(|| fault(name, EthereumError::NoGenesis))?;
    Ok(ChainInfo { id: chain_id("eth", id.to(), name)?, genesis: genesis.reference() })
}

/// Names a chain by its family and its number.
pub(crate) fn chain_id(family: &str, id: u64, name: &str) -> Result<ChainId, Fault> {
    let named = ChainId::new(format!("{family}:{id}"));
    named.map_err(|error| fault(name, EthereumError::Name(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_block_says_so_in_many_ways() {
        let table = [
            (-39001, "Unknown block", true),
            (-32602, "invalid argument 0: hex string without 0x prefix", true),
            (-32000, "safe block not found", true),
            (-32000, "Finalized block not found", true),
            (-32000, "header not found", true),
            (-32000, "execution timeout", false),
            (-32005, "limit exceeded", false),
            (-32603, "internal error: not found", false),
            (429, "too many requests", false),
        ];
        for (code, message, absent) in table {
            let error = RpcError { code, message: message.into() };
            assert_eq!(is_absent(&error), absent, "{error}");
        }
    }
}

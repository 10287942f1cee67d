//! What a node says of its blocks, read and checked.

use super::{
    EthBlock, EthereumError, TooLong,
    block::HEADER_MAX,
    genesis,
    headers::Found,
    json::{Fields, Json, Named, Unverified},
    rule::{ETHEREUM, Rules},
};
use crate::{
    error::fault,
    rpc::{Answer, Call, Handshake, NodeError, Rpc, RpcError, Unanswered, read},
};
use alloy_primitives::U64;
use serde_json::{Value, json};
use tidewatch_core::{Block as _, BlockRef, ChainId, ChainInfo, Digest, Fault, Height};

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
    pub fn call(self) -> Call {
        let (method, block): (_, Value) = match self {
            Self::Tag(tag) => ("eth_getBlockByNumber", tag.into()),
            Self::Height(height) => ("eth_getBlockByNumber", json!(U64::from(height.get()))),
        };
        Call::new(method, vec![block, false.into()])
    }

    /// The block in `answer`, hashed and checked against what was asked for; `None` if the node does not
    /// have it. `name` is that of the node, whose chain is one of those that execution nodes serve.
    ///
    /// # Errors
    ///
    /// What is wrong with the answer.
    pub fn read(self, name: &str, answer: &Answer) -> Result<Option<EthBlock>, Fault> {
        self.read_by(ETHEREUM, name, answer)
    }

    /// The same of a chain whose headers hash by one of `rules`.
    pub(crate) fn read_by(self, rules: Rules, name: &str, answer: &Answer) -> Found {
        if self.is_absent(answer) {
            return Ok(None);
        }
        let Some(json) = read::<Option<Json>>(name, &self, answer)? else { return Ok(None) };
        let too_long = |long| fault(name, EthereumError::TooLong { by: self, long });
        if json.extra_len() > HEADER_MAX {
            return Err(too_long(TooLong(json.extra_len())));
        }
        let block = json.verified(rules).map_err(|unverified| {
            let (by, claimed) = (self, Digest(json.hash.0));
            let fields =
                || answer.as_ref().map(|raw| Fields::unknown(raw.get())).unwrap_or_default();
            match unverified {
                Unverified::TooLong(long) => too_long(long),
                Unverified::Hash { ethereum: Some(computed) } => {
                    let (computed, fields) = (Digest(computed.0), fields());
                    fault(name, EthereumError::WrongHash { by, claimed, computed, fields })
                }
                Unverified::Hash { ethereum: None } => {
                    fault(name, EthereumError::NoRule { by, claimed, fields: fields() })
                }
            }
        })?;
        let got = block.reference();
        if let Self::Height(height) = self
            && got.height != height
        {
            return Err(fault(name, EthereumError::OtherHeight { by: self, got }));
        }
        Ok(Some(block))
    }

    /// Whether the answer says that the node does not have the block.
    ///
    /// For a tag, every error does: nodes that do not know it say so in many ways, most of them by a code
    /// that means something else. There is no third tag to be had instead, and `latest` is always known.
    fn is_absent(self, answer: &Answer) -> bool {
        let Err(error) = answer else { return false };
        match self {
            Self::Tag("latest") | Self::Height(_) => is_absent(error),
            Self::Tag(_) => true,
        }
    }
}

/// Whether an error says that the node does not have the block: that there is none, or that it was
/// dropped with the history that it is part of.
fn is_absent(error: &RpcError) -> bool {
    const UNKNOWN_BLOCK: i32 = -39001;
    const INVALID_PARAMS: i32 = -32602;
    const NOT_FOUND: i32 = -32001;
    const PRUNED: i32 = 4444;
    const INTERNAL: i32 = -32603;
    let words = [
        "not found",
        "unknown block",
        "header for hash",
        "not available",
        "unavailable",
        "pruned",
        "history",
        "historical",
        "first available",
        "earliest",
    ];
    match error.code {
        UNKNOWN_BLOCK | INVALID_PARAMS | NOT_FOUND | PRUNED => true,
        INTERNAL => false,
        _ if error.is_limit() => false,
        _ => {
            let message = error.message.to_ascii_lowercase();
            words.iter().any(|word| message.contains(word))
        }
    }
}

/// The block at height 0 as the node calls it; `None` if it does not have it.
///
/// Its header is not hashed: that of some chains follows no rule of the blocks above it, and nothing that
/// is followed stands on more of it than its name.
pub(crate) fn read_genesis(name: &str, answer: &Answer) -> Result<Option<BlockRef>, Fault> {
    let by = By::Height(Height::zero());
    if by.is_absent(answer) {
        return Ok(None);
    }
    let Some(named) = read::<Option<Named>>(name, &by, answer)? else { return Ok(None) };
    let got = BlockRef::new(Height::new(named.number.to()), Digest(named.hash.0));
    if got.height != Height::zero() {
        return Err(fault(name, EthereumError::OtherHeight { by, got }));
    }
    Ok(Some(got))
}

/// What stands for the block at height 0 of a chain whose node does not have it: a node that was made from
/// a snapshot, or that dropped its history. No block hashes to it.
pub(crate) const NO_GENESIS: BlockRef = BlockRef::new(Height::zero(), Digest([0; 32]));

/// What an execution node is asked first.
pub(crate) fn handshake() -> Handshake {
    let genesis = By::Height(Height::zero()).call();
    let calls = vec![Call::new("eth_chainId", vec![]), genesis];
    Handshake { calls, read: chain_info, same }
}

/// Which chain `node` is of, from one request.
///
/// # Errors
///
/// It does not answer, or names no chain.
///
/// # Cancel safety
///
/// May be dropped at any await and called again.
pub async fn chain_of(node: &impl Rpc) -> Result<ChainInfo, Fault> {
    let answers = node.send(&handshake().calls).await.map_err(Unanswered::into_fault)?;
    chain_info(node.name(), &answers)
}

/// Which chain an execution node is of: its chain id, and its block at height 0.
fn chain_info(name: &str, answers: &[Answer]) -> Result<ChainInfo, Fault> {
    let [id, genesis] = answers else {
        return Err(fault(name, NodeError::ShortAnswers { got: answers.len(), want: 2 }));
    };
    let id: U64 = read(name, &"the chain id", id)?;
    let genesis = read_genesis(name, genesis)?.unwrap_or_else(|| genesis::known(id.to()));
    Ok(ChainInfo { id: chain_id("eth", id.to(), name)?, genesis })
}

/// One chain has one chain id, and one block at height 0 where both nodes have it.
fn same(ours: &ChainInfo, theirs: &ChainInfo) -> bool {
    let known = |chain_info: &ChainInfo| chain_info.genesis != NO_GENESIS;
    ours.id == theirs.id && (ours.genesis == theirs.genesis || !(known(ours) && known(theirs)))
}

/// Names a chain by its family and its number.
pub(crate) fn chain_id(family: &str, id: u64, name: &str) -> Result<ChainId, Fault> {
    chain_name(&format!("{family}:{id}"), name)
}

/// A chain's name of these characters.
pub(crate) fn chain_name(text: &str, name: &str) -> Result<ChainId, Fault> {
    ChainId::new(text).map_err(|error| fault(name, EthereumError::Name(error.to_string())))
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

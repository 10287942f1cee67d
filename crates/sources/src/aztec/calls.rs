//! What a node is asked, and what is believed of its answers.

use super::{
    AztecError, Field, Header, Tree,
    block::{Sealed, Wire},
    tips,
};
use crate::{
    error::fault,
    rpc::{Answer, Call, Handshake, NodeError, RpcError, read},
};
use serde_json::json;
use tidewatch_core::{BlockRef, ChainId, ChainInfo, Fault, TipSet};

/// The code of a refusal of parameters.
const REFUSED: i32 = -32701;

/// Before the number in a refusal of a range for its length.
const AT_MOST: &str = "less than or equal to ";

/// Asks for the tips.
pub(super) const fn tips() -> Call {
    Call::new("node_getL2Tips", Vec::new())
}

/// Asks for the header at `height`.
pub(super) fn header(height: u64) -> Call {
    Call::new("node_getBlockHeader", vec![json!(height)])
}

/// Asks for `count` blocks from `first`.
pub(super) fn blocks(first: u64, count: usize) -> Call {
    Call::new("node_getBlocks", vec![json!(first), json!(count)])
}

/// Asks which chain it is.
pub(super) fn handshake() -> Handshake {
    let call = |method| Call::new(method, Vec::new());
    let calls = vec![call("node_getChainId"), call("node_getVersion"), header(0)];
    Handshake { calls, read: read_identity, same: ChainInfo::eq }
}

/// Names the chain of a rollup: the chain that it lives on, and its version.
pub(super) fn chain(chain_id: u64, version: u64) -> ChainId {
    #[allow(clippy::expect_used)]
    ChainId::new(format!("aztec:{chain_id}:{version}")).expect("at most 47 printable characters")
}

/// Which chain the answers to [`handshake`] are of.
fn read_identity(name: &str, answers: &[Answer]) -> Result<ChainInfo, Fault> {
    let [chain_id, version, genesis] = answers else {
        return Err(fault(name, NodeError::ShortAnswers { got: answers.len(), want: 3 }));
    };
    let number = |what: &'static str, answer| {
        let number: Field = read(name, &what, answer)?;
        let larger = || fault(name, AztecError::Number { what, number });
        number.to_u64().ok_or_else(larger)
    };
    let chain = chain(number("the chain id", chain_id)?, number("the version", version)?);
    match read_header(name, 0, genesis)? {
        Some(header) => Ok(ChainInfo { id: chain, genesis: header.reference() }),
        None => Err(fault(name, AztecError::NoGenesis)),
    }
}

/// The proposed tip and all tiers; see [`tips::Wire::read`].
pub(super) fn read_tips(
    name: &str,
    genesis: BlockRef,
    answer: &Answer,
) -> Result<(BlockRef, TipSet), Fault> {
    read::<tips::Wire>(name, &"what it calls its tips", answer)?.read(name, genesis)
}

/// The header at `height`; `None` where the node has none.
pub(super) fn read_header(
    name: &str,
    height: u64,
    answer: &Answer,
) -> Result<Option<Header>, Fault> {
    let what = format_args!("the header at height {height}");
    let header: Option<Header> = read(name, &what, answer)?;
    match header {
        Some(header) if header.number != height => {
            Err(fault(name, AztecError::OtherHeader { want: height, got: header.number }))
        }
        header => Ok(header),
    }
}

/// The blocks of `chain` from `first`, at most `count`: hashed, consecutive, each standing on the one
/// before it.
pub(super) fn read_blocks(
    name: &str,
    chain: &ChainId,
    (first, count): (u64, usize),
    answer: &Answer,
) -> Result<Vec<Sealed>, Fault> {
    let wires: Vec<Wire> = read(name, &format_args!("what it sent from {first} up"), answer)?;
    if wires.len() > count {
        let error = AztecError::TooManyBlocks { got: wires.len(), first, max: count };
        return Err(fault(name, error));
    }
    let mut blocks: Vec<Sealed> = Vec::with_capacity(wires.len());
    for (wire, want) in wires.into_iter().zip(first..) {
        let header = &wire.header;
        if header.number != want {
            return Err(fault(name, AztecError::OtherHeight { want, got: header.number }));
        }
        let theirs = self::chain(header.chain_id, header.version);
        if theirs != *chain {
            let error = AztecError::OtherChain { height: want, theirs, ours: chain.clone() };
            return Err(fault(name, error));
        }
        let block = Sealed::from(wire);
        if let Some(below) = blocks.last().filter(|below| !below.is_parent_of(&block)) {
            return Err(not_linked(name, &block, below.archive));
        }
        blocks.push(block);
    }
    Ok(blocks)
}

/// `block` does not stand on the archive `below`, which the block before it left.
pub(super) fn not_linked(name: &str, block: &Sealed, below: Tree) -> Fault {
    let (stands, height) = (block.header.last_archive, block.header.number);
    fault(name, AztecError::NotLinked { height, stands, below })
}

/// How many blocks a node gives at once, if `error` is its refusal to give more.
pub(super) fn learned_limit(error: &RpcError) -> Option<usize> {
    let (_, rest) = error.message.split_once(AT_MOST).filter(|_| error.code == REFUSED)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok().filter(|limit| *limit > 0)
}

//! What a node is asked, and what is believed of its answers.

use super::{
    AztecError, Field, Header, Tree,
    block::{Sealed, Wire},
    names::is_unknown,
    tips,
};
use crate::{
    error::fault,
    rpc::{self, Answer, Call, Handshake, NodeError, RpcError},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};
use std::fmt;
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
    // Blocks come with what is in them.
    Call::new("node_getBlocks", vec![json!(first), json!(count)]).answered_by(usize::MAX)
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

/// The result of one call; see [`rpc::read`].
fn read<T: DeserializeOwned>(
    name: &str,
    what: &dyn fmt::Display,
    answer: &Answer,
) -> Result<T, Fault> {
    match answer {
        Err(error) if is_unknown(error) => {
            let error = error.clone();
            Err(fault(name, AztecError::UnknownMethod { what: what.to_string(), error }))
        }
        answer => rpc::read(name, what, answer),
    }
}

/// A block, of which the header is read.
#[derive(Deserialize)]
struct Whole {
    header: Header,
}

/// The header at `height`; `None` where the node has none.
pub(super) fn read_header(
    name: &str,
    height: u64,
    answer: &Answer,
) -> Result<Option<Header>, Fault> {
    let what = format_args!("the header at height {height}");
    // A node that has no headers by themselves answers with the block.
    let header = match read::<Option<Header>>(name, &what, answer) {
        Ok(header) => header,
        Err(fault) => Some(read::<Whole>(name, &what, answer).map_err(|_| fault)?.header),
    };
    match header {
        Some(header) if header.number != height => {
            Err(fault(name, AztecError::OtherHeader { want: height, got: header.number }))
        }
        header => Ok(header),
    }
}

/// The blocks of `chain` from `first`, at most `count`: hashed, consecutive, each standing on the one
/// before it. They end before one that cannot be, with what is wrong with it.
pub(super) fn read_blocks(
    name: &str,
    chain: &ChainId,
    (first, count): (u64, usize),
    answer: &Answer,
) -> Result<(Vec<Sealed>, Option<Fault>), Fault> {
    let answers: Vec<Box<RawValue>> =
        read(name, &format_args!("what it sent from {first} up"), answer)?;
    if answers.len() > count {
        let error = AztecError::TooManyBlocks { got: answers.len(), first, max: count };
        return Err(fault(name, error));
    }
    let mut blocks: Vec<Sealed> = Vec::with_capacity(answers.len());
    for (answer, want) in answers.into_iter().zip(first..) {
        match read_block(name, chain, want, blocks.last(), answer) {
            Ok(block) => blocks.push(block),
            Err(fault) => return Ok((blocks, Some(fault))),
        }
    }
    Ok((blocks, None))
}

/// The block of `chain` at height `want`, which stands on `below`.
fn read_block(
    name: &str,
    chain: &ChainId,
    want: u64,
    below: Option<&Sealed>,
    answer: Box<RawValue>,
) -> Result<Sealed, Fault> {
    let wire: Wire = read(name, &format_args!("block {want}"), &Ok(answer))?;
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
    match below.filter(|below| !below.is_parent_of(&block)) {
        Some(below) => Err(not_linked(name, &block, below.archive)),
        None => Ok(block),
    }
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

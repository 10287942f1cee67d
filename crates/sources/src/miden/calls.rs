//! What a node is asked, and what is believed of its answers.

use super::{
    Header, MidenBlock, MidenError,
    block::{Key, Unsigned},
    wire,
};
use crate::{
    error::fault,
    rpc::{Answer, Call, Handshake, NodeError, grpc},
    words::excerpt,
};
use prost::Message;
use std::fmt;
use tidewatch_core::{Block as _, BlockRef, ChainId, ChainInfo, Fault};

/// The service that all methods are of.
pub(super) const SERVICE: &str = "rpc.Api";

/// The longest answer with a block, in bytes: transactions and notes come with it. As many blocks of a
/// stream as fill half of it are one answer.
const BLOCKS_MAX: usize = 16 * 1024 * 1024;

/// The longest answer with no more than headers, in bytes.
const HEADER_MAX: usize = 64 * 1024;

/// Which tip is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// The highest block that is signed.
    Committed = 1,
    /// The highest block that is proven, with all below it.
    Proven = 2,
}

/// Asks for a tip, with its header and signature.
pub(super) fn tip(level: Level) -> Call {
    let request = wire::TipRequest { from: 0, level: level as i32 };
    grpc::call("SyncChainMmr", &request.encode_to_vec()).answered_by(HEADER_MAX)
}

/// Asks for the header at `number`.
pub(super) fn header(number: u32) -> Call {
    let request = wire::HeaderRequest { number: Some(number) };
    grpc::call("GetBlockHeaderByNumber", &request.encode_to_vec()).answered_by(HEADER_MAX)
}

/// Asks for the block at `number`.
pub(super) fn block(number: u32) -> Call {
    let request = wire::BlockRequest { number };
    grpc::call("GetBlockByNumber", &request.encode_to_vec()).answered_by(BLOCKS_MAX)
}

/// Asks for `count` blocks from `first`.
pub(super) fn blocks(first: u32, count: usize) -> Call {
    let request = wire::SubscriptionRequest { from: first };
    grpc::streamed("BlockSubscription", &request.encode_to_vec(), count).answered_by(BLOCKS_MAX)
}

/// Asks which chain it is.
pub(super) fn handshake() -> Handshake {
    Handshake { calls: vec![header(0)], read: read_identity, same: ChainInfo::eq }
}

/// Names the chain of a genesis: by half of its commitment, for nothing else names it.
pub(super) fn chain(genesis: BlockRef) -> ChainId {
    let half = commonware_formatting::hex(&genesis.digest.0[..16]);
    #[allow(clippy::expect_used)]
    ChainId::new(format!("miden:{half}")).expect("38 printable characters")
}

fn read_identity(name: &str, answers: &[Answer]) -> Result<ChainInfo, Fault> {
    let [answer] = answers else {
        return Err(fault(name, NodeError::ShortAnswers { got: answers.len(), want: 1 }));
    };
    match read_header(name, 0, answer)? {
        Some(header) => {
            let genesis = header.reference();
            Ok(ChainInfo { id: chain(genesis), genesis })
        }
        None => Err(fault(name, MidenError::NoGenesis)),
    }
}

/// The validator's key, which `genesis` names.
pub(super) fn key(name: &str, genesis: &Header) -> Result<Key, Fault> {
    let key = Key::from_bytes(genesis.validator);
    key.ok_or_else(|| fault(name, MidenError::NoKey { genesis: genesis.reference() }))
}

fn decode<M: Message + Default>(
    name: &str,
    what: &dyn fmt::Display,
    message: &[u8],
) -> Result<M, Fault> {
    M::decode(message).map_err(|error| undecodable(name, what, &error))
}

fn undecodable(name: &str, what: &dyn fmt::Display, error: &dyn fmt::Display) -> Fault {
    let error = excerpt(error.to_string().as_bytes());
    fault(name, MidenError::Undecodable { what: what.to_string(), error })
}

fn unfit(name: &str, what: &dyn fmt::Display, wire::Unfit(part): wire::Unfit) -> Fault {
    fault(name, MidenError::Unfit { what: what.to_string(), part })
}

/// A tip, signed.
pub(super) fn read_tip(
    name: &str,
    level: Level,
    key: &Key,
    answer: &Answer,
) -> Result<MidenBlock, Fault> {
    let what = match level {
        Level::Committed => "the committed tip",
        Level::Proven => "the proven tip",
    };
    let message = grpc::answered(name, &what, answer)?;
    let tip: wire::Tip = decode(name, &what, &message)?;
    let block = tip.block().map_err(|error| unfit(name, &what, error))?;
    check(name, key, &block)?;
    Ok(block)
}

/// The header at `number`, which nobody signed; `None` where the node has none.
pub(super) fn read_header(
    name: &str,
    number: u32,
    answer: &Answer,
) -> Result<Option<Header>, Fault> {
    let what = format_args!("the header at height {number}");
    let message = grpc::answered(name, &what, answer)?;
    let answer: wire::HeaderAnswer = decode(name, &what, &message)?;
    let Some(header) = &answer.header else { return Ok(None) };
    let header = Header::try_from(header).map_err(|error| unfit(name, &what, error))?;
    if header.number != number {
        let error = MidenError::OtherHeight { want: number, got: header.number };
        return Err(fault(name, error));
    }
    Ok(Some(header))
}

/// The block at `number`, signed; `None` where the node has none.
pub(super) fn read_block(
    name: &str,
    number: u32,
    key: &Key,
    answer: &Answer,
) -> Result<Option<MidenBlock>, Fault> {
    let what = format_args!("block {number}");
    let message = grpc::answered(name, &what, answer)?;
    let answer: wire::MaybeBlock = decode(name, &what, &message)?;
    // Where there is no block, some say so by an empty one.
    let Some(bytes) = answer.block.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    signed(name, number, key, &bytes).map(Some)
}

/// The blocks from `first`, at most `count`: signed, consecutive, each standing on the one before it. They
/// end before one that cannot be, with what is wrong with it.
pub(super) fn read_blocks(
    name: &str,
    (first, count): (u32, usize),
    key: &Key,
    answer: &Answer,
) -> Result<(Vec<MidenBlock>, Option<Fault>), Fault> {
    let what = format_args!("what it sent from {first} up");
    let messages = grpc::all_answered(name, &what, answer)?;
    if messages.len() > count {
        let error = MidenError::TooManyBlocks { got: messages.len(), first, max: count };
        return Err(fault(name, error));
    }
    let mut blocks: Vec<MidenBlock> = Vec::with_capacity(messages.len());
    for (message, want) in messages.iter().zip(first..) {
        let block = decode::<wire::Pushed>(name, &what, message)
            .and_then(|pushed| signed(name, want, key, &pushed.block))
            .and_then(|block| linked(name, blocks.last(), Some(block)));
        match block {
            Ok(block) => blocks.extend(block),
            Err(fault) => return Ok((blocks, Some(fault))),
        }
    }
    Ok((blocks, None))
}

/// The block in a message that was pushed. Nobody looked at its signature yet.
pub(super) fn read_pushed(name: &str, message: &[u8]) -> Result<MidenBlock, Fault> {
    let what = "what it pushed";
    let pushed: wire::Pushed = decode(name, &what, message)?;
    MidenBlock::of_node(&pushed.block).map_err(|error| undecodable(name, &what, &error))
}

/// The block in `bytes`, if it is the signed one at height `want`.
fn signed(name: &str, want: u32, key: &Key, bytes: &[u8]) -> Result<MidenBlock, Fault> {
    let block = MidenBlock::of_node(bytes)
        .map_err(|error| undecodable(name, &format_args!("block {want}"), &error))?;
    if block.number != want {
        return Err(fault(name, MidenError::OtherHeight { want, got: block.number }));
    }
    check(name, key, &block)?;
    Ok(block)
}

/// Whether the validator signed `block`.
pub(super) fn check(name: &str, key: &Key, block: &MidenBlock) -> Result<(), Fault> {
    key.check(block).map_err(|unsigned| {
        let block = block.reference();
        let error = match unsigned {
            Unsigned::OtherKey => MidenError::OtherKey { block },
            Unsigned::Signature => MidenError::NotSigned { block },
        };
        fault(name, error)
    })
}

/// `block`, if it stands on `below`.
pub(super) fn linked(
    name: &str,
    below: Option<&MidenBlock>,
    block: Option<MidenBlock>,
) -> Result<Option<MidenBlock>, Fault> {
    let pair = block.as_ref().zip(below.map(MidenBlock::reference));
    match pair.filter(|(block, below)| below.digest != block.parent()) {
        Some((block, below)) => {
            let (parent, block) = (block.parent(), block.reference());
            Err(fault(name, MidenError::NotLinked { block, parent, below }))
        }
        None => Ok(block),
    }
}

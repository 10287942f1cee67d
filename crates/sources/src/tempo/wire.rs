//! What a node of Tempo is asked, and how its answers are read. Nothing of them is believed here.

use super::{TempoBlock, TempoError, header::TempoHeader};
use crate::{
    error::fault,
    rpc::{Answer, Call, Handshake, NodeError, read},
    words::excerpt,
};
use alloy_primitives::{B256, U64};
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_codec::Write as _;
use commonware_formatting::from_hex;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::fmt;
use tidewatch_core::{Block as _, BlockRef, ChainId, ChainInfo, Digest, Fault, Height};

/// The longest answer with a certified block, in bytes: it brings all transactions.
const CERTIFIED_MAX: usize = 16 * 1_024 * 1_024;

/// The node's archive of certificates is not there yet.
const NOT_READY: i32 = 204;

/// The node does not have a certificate, its block, or any certificate at all.
const MISSING: i32 = 503;

/// Which finalization is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    Latest,
    Height(Height),
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("the latest finalization"),
            Self::Height(height) => write!(f, "the finalization of height {height}"),
        }
    }
}

/// A finalization, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// With its block, which is at a height.
    Whole { height: Height, certified: Bytes },
    /// Without: the block has to be asked for by its digest.
    Certificate { digest: Digest, certificate: Bytes },
}

/// What a node answers. Of its fields, the epoch, the view and the digest are in the certificate too.
#[derive(Deserialize)]
struct Certified<'a> {
    digest: B256,
    #[serde(borrow)]
    certificate: &'a RawValue,
    /// Older nodes have the height in its place.
    #[serde(borrow, default)]
    block: Option<Body<'a>>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    header: &'a RawValue,
}

impl Query {
    pub(super) fn call(self) -> Call {
        let query = match self {
            Self::Latest => json!("latest"),
            Self::Height(height) => json!({"height": height.get()}),
        };
        Call::new("consensus_getFinalization", vec![query]).answered_by(CERTIFIED_MAX)
    }

    /// What `answer` holds; `None` if the node `name` does not have it.
    ///
    /// # Errors
    ///
    /// The node is not ready; what is wrong with the answer.
    pub(super) fn read(self, name: &str, answer: &Answer) -> Result<Option<Sent>, Fault> {
        if let Err(error) = answer {
            match error.code {
                NOT_READY => {
                    return Err(fault(name, TempoError::NotReady { what: self.to_string() }));
                }
                MISSING => return Ok(None),
                _ => {}
            }
        }
        let Some(raw) = read::<Option<Box<RawValue>>>(name, &self, answer)? else {
            return Ok(None);
        };
        self.certified(name, &raw).map(Some)
    }

    fn certified(self, name: &str, raw: &RawValue) -> Result<Sent, Fault> {
        let what = || self.to_string();
        let certified: Certified<'_> = serde_json::from_str(raw.get()).map_err(|error| {
            let error = excerpt(error.to_string().as_bytes());
            let shown = excerpt(raw.get().as_bytes());
            fault(name, NodeError::NotOne { what: what(), error, shown })
        })?;
        let text = serde_json::from_str::<String>(certified.certificate.get()).ok();
        let certificate = text.and_then(|text| from_hex(text.strip_prefix("0x").unwrap_or(&text)));
        let certificate =
            certificate.ok_or_else(|| fault(name, TempoError::NotHex { what: what() }))?;
        let digest = Digest(certified.digest.0);
        let Some(Body { header }) = certified.block else {
            return Ok(Sent::Certificate { digest, certificate: certificate.into() });
        };
        let block = block(name, &self, header, Some(digest))?;
        let height = block.reference().height;
        if let Self::Height(want) = self
            && height != want
        {
            return Err(fault(name, TempoError::OtherHeight { what: what(), got: height }));
        }
        Ok(Sent::Whole { height, certified: joined(&certificate, &block) })
    }
}

/// A certificate and its block, as a transport hands them over.
pub(super) fn joined(certificate: &[u8], block: &TempoBlock) -> Bytes {
    let mut bytes = BytesMut::from(certificate);
    block.write(&mut bytes);
    bytes.freeze()
}

/// Reads the header `json`, which its node calls `claimed`.
fn block(
    name: &str,
    what: &dyn fmt::Display,
    json: &RawValue,
    claimed: Option<Digest>,
) -> Result<TempoBlock, Fault> {
    let header = TempoHeader::from_json(json.get()).map_err(|error| {
        let error = excerpt(error.to_string().as_bytes());
        fault(name, TempoError::NoHeader { what: what.to_string(), error })
    })?;
    let unfit = |why| fault(name, TempoError::Unfit { what: what.to_string(), why });
    let block = TempoBlock::seal(header).map_err(unfit)?;
    let computed = block.reference().digest;
    match claimed.filter(|claimed| *claimed != computed) {
        None => Ok(block),
        Some(claimed) => {
            let what = what.to_string();
            Err(fault(name, TempoError::WrongHash { what, claimed, computed }))
        }
    }
}

/// How a block is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Height(Height),
    Digest(Digest),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Height(height) => write!(f, "block {height}"),
            Self::Digest(digest) => write!(f, "block {digest}"),
        }
    }
}

impl By {
    /// The call that asks for it: its header, and no more of its transactions than a node must send.
    pub(super) fn call(self) -> Call {
        match self {
            Self::Height(height) => {
                let number = json!(U64::from(height.get()));
                Call::new("eth_getBlockByNumber", vec![number, false.into()])
            }
            Self::Digest(digest) => {
                Call::new("eth_getBlockByHash", vec![json!(B256::from(digest.0)), false.into()])
            }
        }
    }

    /// The block in `answer`, hashed; `None` if the node `name` does not have it.
    ///
    /// # Errors
    ///
    /// What is wrong with the answer.
    pub(super) fn read(self, name: &str, answer: &Answer) -> Result<Option<TempoBlock>, Fault> {
        /// What a node calls it.
        #[derive(Deserialize)]
        struct Named {
            hash: B256,
        }
        let Some(raw) = read::<Option<Box<RawValue>>>(name, &self, answer)? else {
            return Ok(None);
        };
        let named: Named = read(name, &self, answer)?;
        block(name, &self, &raw, Some(Digest(named.hash.0))).map(Some)
    }
}

/// What a node is asked first: which chain it is of.
pub(super) fn handshake() -> Handshake {
    let calls = vec![Call::new("eth_chainId", vec![]), By::Height(Height::zero()).call()];
    Handshake { calls, read: chain_info, same }
}

/// Stands for the block at height 0 where a node does not have it: one that was made from a snapshot.
const NO_GENESIS: BlockRef = BlockRef::new(Height::zero(), Digest([0; 32]));

fn chain_info(name: &str, answers: &[Answer]) -> Result<ChainInfo, Fault> {
    /// What a node calls it. Its header is not hashed here: it is ours that counts.
    #[derive(Deserialize)]
    struct Named {
        hash: B256,
    }
    let [id, genesis] = answers else {
        return Err(fault(name, NodeError::ShortAnswers { got: answers.len(), want: 2 }));
    };
    let id: U64 = read(name, &"the chain id", id)?;
    let genesis = match genesis {
        Ok(_) => read::<Option<Named>>(name, &"block 0", genesis)?,
        Err(_) => None,
    };
    let genesis =
        genesis.map_or(NO_GENESIS, |named| BlockRef::new(Height::zero(), Digest(named.hash.0)));
    Ok(ChainInfo { id: numbered(id.to()), genesis })
}

/// The name of the chain with this number, whatever its genesis is.
pub(super) fn numbered(chain: u64) -> ChainId {
    #[allow(clippy::expect_used)]
    ChainId::new(format!("tempo:{chain}")).expect("a few printable characters")
}

/// One chain has one number, and one block at height 0, where both know it.
fn same(ours: &ChainInfo, theirs: &ChainInfo) -> bool {
    ours.id == theirs.id && (ours.genesis == theirs.genesis || theirs.genesis == NO_GENESIS)
}

/// Blocks in one answer, each behind its length.
pub(super) fn framed(blocks: &[TempoBlock]) -> Bytes {
    let mut bytes = BytesMut::new();
    for block in blocks {
        let start = bytes.len();
        bytes.put_u32(0);
        block.write(&mut bytes);
        // A header is far shorter than that.
        let length = u32::try_from(bytes.len() - start - 4).unwrap_or(u32::MAX);
        bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    bytes.freeze()
}

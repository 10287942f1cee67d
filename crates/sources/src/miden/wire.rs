//! The messages of a node, as far as they are read and written: `proto/rpc.proto` and what it includes, of
//! Miden's node 0.15.

use super::{Header, MidenBlock, block::Signature, field::Word, header::Faucet};
use prost::Message;

/// `primitives.Digest`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Digest {
    #[prost(fixed64, tag = "1")]
    pub(super) d0: u64,
    #[prost(fixed64, tag = "2")]
    pub(super) d1: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) d2: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) d3: u64,
}

/// Some bytes: a validator's key, a block's signature, an account's name.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Octets {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) octets: Vec<u8>,
}

/// `blockchain.FeeParameters`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Fees {
    #[prost(message, optional, tag = "1")]
    pub(super) faucet: Option<Octets>,
    #[prost(fixed32, tag = "2")]
    pub(super) base_fee: u32,
}

/// `blockchain.BlockHeader`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct BlockHeader {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) parent: Option<Digest>,
    #[prost(fixed32, tag = "3")]
    pub(super) number: u32,
    #[prost(message, optional, tag = "4")]
    pub(super) chain: Option<Digest>,
    #[prost(message, optional, tag = "5")]
    pub(super) accounts: Option<Digest>,
    #[prost(message, optional, tag = "6")]
    pub(super) nullifiers: Option<Digest>,
    #[prost(message, optional, tag = "7")]
    pub(super) notes: Option<Digest>,
    #[prost(message, optional, tag = "8")]
    pub(super) transactions: Option<Digest>,
    #[prost(message, optional, tag = "9")]
    pub(super) validator: Option<Octets>,
    #[prost(message, optional, tag = "10")]
    pub(super) kernels: Option<Digest>,
    #[prost(message, optional, tag = "11")]
    pub(super) fees: Option<Fees>,
    #[prost(fixed32, tag = "12")]
    pub(super) timestamp: u32,
}

/// The part of a header, or of a block, that is left out or is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit(pub(super) &'static str);

fn word(digest: Option<&Digest>, part: &'static str) -> Result<Word, Unfit> {
    let Digest { d0, d1, d2, d3 } = *digest.ok_or(Unfit(part))?;
    Word::new([d0, d1, d2, d3]).ok_or(Unfit(part))
}

fn octets<const N: usize>(octets: Option<&Octets>, part: &'static str) -> Result<[u8; N], Unfit> {
    octets.and_then(|Octets { octets }| octets[..].try_into().ok()).ok_or(Unfit(part))
}

impl TryFrom<&BlockHeader> for Header {
    type Error = Unfit;

    fn try_from(wire: &BlockHeader) -> Result<Self, Unfit> {
        let fees = wire.fees.as_ref().ok_or(Unfit("fee parameters"))?;
        let faucet = "fee faucet";
        Ok(Self {
            version: wire.version,
            parent: word(wire.parent.as_ref(), "previous commitment")?,
            number: wire.number,
            chain: word(wire.chain.as_ref(), "chain commitment")?,
            accounts: word(wire.accounts.as_ref(), "account root")?,
            nullifiers: word(wire.nullifiers.as_ref(), "nullifier root")?,
            notes: word(wire.notes.as_ref(), "note root")?,
            transactions: word(wire.transactions.as_ref(), "transaction commitment")?,
            kernels: word(wire.kernels.as_ref(), "kernel commitment")?,
            validator: octets(wire.validator.as_ref(), "validator key")?,
            fee_faucet: Faucet::from_bytes(&octets(fees.faucet.as_ref(), faucet)?)
                .ok_or(Unfit(faucet))?,
            base_fee: fees.base_fee,
            timestamp: wire.timestamp,
        })
    }
}

/// `rpc.SyncChainMmrRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct TipRequest {
    /// What is known already; what is new since is not read.
    #[prost(fixed32, tag = "1")]
    pub(super) from: u32,
    #[prost(int32, tag = "2")]
    pub(super) level: i32,
}

/// `rpc.SyncChainMmrResponse`, but for what is new in the forest of blocks.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Tip {
    #[prost(message, optional, tag = "3")]
    pub(super) header: Option<BlockHeader>,
    #[prost(message, optional, tag = "4")]
    pub(super) signature: Option<Octets>,
}

impl Tip {
    pub(super) fn block(&self) -> Result<MidenBlock, Unfit> {
        let header = self.header.as_ref().ok_or(Unfit("header"))?;
        let signature = "signature";
        let octets = octets(self.signature.as_ref(), signature)?;
        let signature = Signature::from_bytes(&octets).ok_or(Unfit(signature))?;
        Ok(MidenBlock::new(header.try_into()?, signature))
    }
}

/// `rpc.BlockHeaderByNumberRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct HeaderRequest {
    #[prost(uint32, optional, tag = "1")]
    pub(super) number: Option<u32>,
}

/// `rpc.BlockHeaderByNumberResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct HeaderAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<BlockHeader>,
}

/// `blockchain.BlockRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct BlockRequest {
    #[prost(fixed32, tag = "1")]
    pub(super) number: u32,
}

/// `blockchain.MaybeBlock`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct MaybeBlock {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) block: Option<Vec<u8>>,
}

/// `rpc.BlockSubscriptionRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct SubscriptionRequest {
    #[prost(fixed32, tag = "1")]
    pub(super) from: u32,
}

/// `rpc.BlockSubscriptionResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Pushed {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) block: Vec<u8>,
}

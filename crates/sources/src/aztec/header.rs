//! A block's header, and the hash that names it.

use super::field::{Field, poseidon2};
use crate::words::milliseconds;
use bytes::{Buf, BufMut};
use commonware_codec::{Error, FixedSize, Read, ReadExt as _, Write};
use serde::{Deserialize, Deserializer};
use tidewatch_core::{BlockRef, Digest, Height};

/// Keeps the hash of a header apart from every other hash of the protocol: the constant
/// `BLOCK_HEADER_HASH`.
const SEPARATOR: u64 = 4_195_546_849;

/// Levels of the archive below its root.
pub(super) const ARCHIVE_HEIGHT: usize = 30;

/// How many elements of a header are hashed.
const FIELDS: usize = 22;

/// A tree that leaves are only ever appended to, as it stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Tree {
    /// Its root.
    pub root: Field,
    /// Where the next leaf goes.
    #[serde(rename = "nextAvailableLeafIndex", deserialize_with = "number")]
    pub next: u64,
}

impl Tree {
    /// The archive after the block at height 0: `genesis`, its hash, is the only leaf.
    pub(super) fn after_genesis(genesis: Field) -> Self {
        let (mut root, mut empty) = (genesis, Field::ZERO);
        for _ in 0..ARCHIVE_HEIGHT {
            root = poseidon2(&[root, empty]);
            empty = poseidon2(&[empty, empty]);
        }
        Self { root, next: 1 }
    }
}

/// The header of a block, in the order in which it is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Wire")]
pub struct Header {
    /// The archive, the tree of all headers' hashes, before this block.
    pub last_archive: Tree,
    /// Messages from the layer below.
    pub messages: Tree,
    /// Note hashes.
    pub notes: Tree,
    /// Nullifiers.
    pub nullifiers: Tree,
    /// Public state.
    pub public_data: Tree,
    /// Hash of the blobs that the block's effects are published in.
    pub sponge_blob_hash: Field,
    /// The layer 1 chain that the rollup lives on.
    pub chain_id: u64,
    /// The version of the rollup.
    pub version: u64,
    /// Height of the block.
    pub number: u64,
    /// Slot in which the block was proposed.
    pub slot: u64,
    /// When that was, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// The proposer's address on layer 1.
    pub coinbase: [u8; 20],
    /// The proposer's address on this chain.
    pub fee_recipient: Field,
    /// Price of data, for a unit of gas.
    pub fee_per_da_gas: u128,
    /// Price of work, for a unit of gas.
    pub fee_per_l2_gas: u128,
    /// What was paid in the block.
    pub total_fees: Field,
    /// What was used in the block.
    pub total_mana_used: Field,
}

impl Header {
    const fn trees(&self) -> [Tree; 5] {
        [self.last_archive, self.messages, self.notes, self.nullifiers, self.public_data]
    }

    /// What is hashed, in this order.
    pub fn fields(&self) -> [Field; FIELDS] {
        let mut fields = [Field::ZERO; FIELDS];
        let (trees, rest) = fields.split_at_mut(10);
        for (pair, tree) in trees.as_chunks_mut::<2>().0.iter_mut().zip(self.trees()) {
            *pair = [tree.root, tree.next.into()];
        }
        rest.copy_from_slice(&[
            self.sponge_blob_hash,
            self.chain_id.into(),
            self.version.into(),
            self.number.into(),
            self.slot.into(),
            self.timestamp.into(),
            Field::from_address(&self.coinbase),
            self.fee_recipient,
            self.fee_per_da_gas.into(),
            self.fee_per_l2_gas.into(),
            self.total_fees,
            self.total_mana_used,
        ]);
        fields
    }

    /// Computes the hash that names the block.
    pub fn digest(&self) -> Digest {
        let mut inputs = [Field::from(SEPARATOR); FIELDS + 1];
        inputs[1..].copy_from_slice(&self.fields());
        Digest(*poseidon2(&inputs).bytes())
    }

    /// Names the block: its height, and the hash, computed.
    pub fn reference(&self) -> BlockRef {
        BlockRef::new(self.height(), self.digest())
    }

    /// Its number, as a height.
    pub const fn height(&self) -> Height {
        Height::new(self.number)
    }

    /// The block's own time, in milliseconds since the Unix epoch.
    pub const fn time_ms(&self) -> u64 {
        milliseconds(self.timestamp)
    }
}

pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let larger = || serde::de::Error::custom("a number of more than 64 bits");
    Field::deserialize(deserializer)?.to_u64().ok_or_else(larger)
}

fn long_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    let larger = || serde::de::Error::custom("a number of more than 128 bits");
    Field::deserialize(deserializer)?.to_u128().ok_or_else(larger)
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 20], D::Error> {
    let larger = || serde::de::Error::custom("an address of more than 160 bits");
    Field::deserialize(deserializer)?.to_address().ok_or_else(larger)
}

/// A header as a node writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    last_archive: Tree,
    state: State,
    sponge_blob_hash: Field,
    global_variables: Globals,
    total_fees: Field,
    total_mana_used: Field,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    l1_to_l2_message_tree: Tree,
    partial: Partial,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Partial {
    note_hash_tree: Tree,
    nullifier_tree: Tree,
    public_data_tree: Tree,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Globals {
    #[serde(deserialize_with = "number")]
    chain_id: u64,
    #[serde(deserialize_with = "number")]
    version: u64,
    #[serde(deserialize_with = "number")]
    block_number: u64,
    #[serde(deserialize_with = "number")]
    slot_number: u64,
    #[serde(deserialize_with = "number")]
    timestamp: u64,
    #[serde(deserialize_with = "address")]
    coinbase: [u8; 20],
    fee_recipient: Field,
    gas_fees: GasFees,
}

/// Prices of gas as a node writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GasFees {
    #[serde(deserialize_with = "long_number")]
    pub(super) fee_per_da_gas: u128,
    #[serde(deserialize_with = "long_number")]
    pub(super) fee_per_l2_gas: u128,
}

impl From<Wire> for Header {
    fn from(wire: Wire) -> Self {
        let (trees, globals) = (wire.state.partial, wire.global_variables);
        Self {
            last_archive: wire.last_archive,
            messages: wire.state.l1_to_l2_message_tree,
            notes: trees.note_hash_tree,
            nullifiers: trees.nullifier_tree,
            public_data: trees.public_data_tree,
            sponge_blob_hash: wire.sponge_blob_hash,
            chain_id: globals.chain_id,
            version: globals.version,
            number: globals.block_number,
            slot: globals.slot_number,
            timestamp: globals.timestamp,
            coinbase: globals.coinbase,
            fee_recipient: globals.fee_recipient,
            fee_per_da_gas: globals.gas_fees.fee_per_da_gas,
            fee_per_l2_gas: globals.gas_fees.fee_per_l2_gas,
            total_fees: wire.total_fees,
            total_mana_used: wire.total_mana_used,
        }
    }
}

impl Write for Tree {
    fn write(&self, buf: &mut impl BufMut) {
        self.root.write(buf);
        self.next.write(buf);
    }
}

impl FixedSize for Tree {
    const SIZE: usize = Field::SIZE + u64::SIZE;
}

impl Read for Tree {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { root: Field::read(buf)?, next: u64::read(buf)? })
    }
}

impl Write for Header {
    fn write(&self, buf: &mut impl BufMut) {
        for tree in self.trees() {
            tree.write(buf);
        }
        self.sponge_blob_hash.write(buf);
        for number in [self.chain_id, self.version, self.number, self.slot, self.timestamp] {
            number.write(buf);
        }
        self.coinbase.write(buf);
        self.fee_recipient.write(buf);
        self.fee_per_da_gas.write(buf);
        self.fee_per_l2_gas.write(buf);
        self.total_fees.write(buf);
        self.total_mana_used.write(buf);
    }
}

impl FixedSize for Header {
    const SIZE: usize = 5 * Tree::SIZE + 4 * Field::SIZE + 5 * u64::SIZE + 20 + 2 * u128::SIZE;
}

impl Read for Header {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self {
            last_archive: Tree::read(buf)?,
            messages: Tree::read(buf)?,
            notes: Tree::read(buf)?,
            nullifiers: Tree::read(buf)?,
            public_data: Tree::read(buf)?,
            sponge_blob_hash: Field::read(buf)?,
            chain_id: u64::read(buf)?,
            version: u64::read(buf)?,
            number: u64::read(buf)?,
            slot: u64::read(buf)?,
            timestamp: u64::read(buf)?,
            coinbase: <[u8; 20]>::read(buf)?,
            fee_recipient: Field::read(buf)?,
            fee_per_da_gas: u128::read(buf)?,
            fee_per_l2_gas: u128::read(buf)?,
            total_fees: Field::read(buf)?,
            total_mana_used: Field::read(buf)?,
        })
    }
}

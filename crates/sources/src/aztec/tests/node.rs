//! A node in memory: answers in the shapes of a real one, of a chain that moves as it is told.

use crate::{
    aztec::{
        Field, Header, Tree, block::Sealed, field::poseidon2, header::ARCHIVE_HEIGHT,
        tests::recorded,
    },
    rpc::{
        Call,
        tests::node::{self, Backend},
    },
};
use serde_json::{Value, json};
use tidewatch_core::{BlockRef, Tier};
use tidewatch_testkit::node::{Answer, Chain, aztec, unknown};

const ID: u64 = 31_337;
const VERSION: u64 = 344_372_055;

/// A block, and what the archive after it grows from: the roots of its full subtrees, by height.
#[derive(Clone)]
struct Link {
    sealed: Sealed,
    subtrees: [Field; ARCHIVE_HEIGHT],
}

/// Appends a leaf; returns the archive after it.
fn append(subtrees: &mut [Field; ARCHIVE_HEIGHT], index: u64, leaf: Field) -> Tree {
    let next = index + 1;
    let mut node = leaf;
    let full = next.trailing_zeros() as usize;
    for subtree in &subtrees[..full] {
        node = poseidon2(&[*subtree, node]);
    }
    subtrees[full] = node;
    let (mut root, mut empty) = (Field::ZERO, Field::ZERO);
    for (level, subtree) in subtrees.iter().enumerate() {
        let pair = if next >> level & 1 == 1 { [*subtree, root] } else { [root, empty] };
        root = poseidon2(&pair);
        empty = poseidon2(&[empty, empty]);
    }
    Tree { root, next }
}

pub(crate) struct World {
    chain: Vec<Link>,
    /// Heights of checkpointed, proven and finalized.
    pub(super) tiers: [u64; 3],
    /// Blocks that it gives at once.
    pub(super) limit: u64,
    /// Larger ranges are too large an answer, where set.
    pub(super) oversized_above: Option<u64>,
    salt: u64,
}

/// The node; clones are the same one.
pub(super) type Node = node::Node<World>;

impl Node {
    /// A node whose chain is `length` blocks above the genesis of the recorded one. Tiers are at genesis.
    pub(super) fn new(length: u64) -> Self {
        let header = recorded::header(0);
        let digest = header.digest();
        let mut subtrees = [Field::ZERO; ARCHIVE_HEIGHT];
        let archive = append(&mut subtrees, 0, Field::new(digest.0).unwrap());
        let genesis = Link { sealed: Sealed { header, digest, archive }, subtrees };
        let mut world = World {
            chain: vec![genesis],
            tiers: [0; 3],
            limit: 50,
            oversized_above: None,
            salt: 0,
        };
        world.extend(length);
        let node = Self::instant("node", world);
        node.change(|world| world.rings = false);
        node
    }

    pub(super) fn grow_by(&self, blocks: u64) {
        self.change(|world| world.extend(blocks));
    }

    /// Takes the highest `depth` blocks away, and puts `blocks` others there. Tiers come down with them.
    pub(super) fn fork(&self, depth: u64, blocks: u64) {
        self.change(|world| world.reorg(depth, blocks));
    }

    pub(super) fn settle(&self, tiers: [u64; 3]) {
        self.change(|world| world.tiers = tiers);
    }

    pub(super) fn at(&self, height: u64) -> BlockRef {
        self.world.lock().chain[height as usize].sealed.reference()
    }

    pub(super) fn tip(&self) -> BlockRef {
        self.world.lock().chain.last().unwrap().sealed.reference()
    }
}

impl Chain for World {
    fn id(&self) -> u64 {
        ID
    }

    fn tip(&self, tier: Tier) -> Option<u64> {
        let [checkpointed, proven, finalized] = self.tiers;
        Some(match tier {
            Tier::Proposed => self.chain.len() as u64 - 1,
            Tier::Checkpointed => checkpointed,
            Tier::Proven => proven,
            Tier::Finalized => finalized,
        })
    }

    fn block(&self, height: u64) -> Option<Value> {
        self.chain.get(height as usize).map(|link| block_json(&link.sealed))
    }

    fn hash(&self, height: u64) -> Option<Value> {
        if height == 0 {
            return Some(recorded::GENESIS.into());
        }
        let digest = self.chain.get(height as usize)?.sealed.digest;
        Some(Field::new(digest.0).unwrap().to_string().into())
    }
}

impl Backend for World {
    fn answer(&mut self, method: &str, params: &[Value]) -> Answer {
        assert!(method != "node_getBlocks" || params[0] != 0, "genesis is in no range");
        let answer = aztec::answer(self, VERSION, self.limit, method, params);
        answer.unwrap_or_else(|| unknown(method))
    }

    fn is_oversized(&self, calls: &[Call]) -> bool {
        let large = |call: &Call| {
            let count = call.params.get(1).and_then(Value::as_u64);
            call.method == "node_getBlocks" && count > self.oversized_above
        };
        self.oversized_above.is_some() && calls.iter().any(large)
    }

    fn extend(&mut self, blocks: u64) {
        for _ in 0..blocks {
            let Link { sealed: below, mut subtrees } = self.chain.last().unwrap().clone();
            let number = below.header.number + 1;
            let header = Header {
                last_archive: below.archive,
                chain_id: ID,
                version: VERSION,
                number,
                slot: number * 2,
                timestamp: 1_795_240_661 + number * 72,
                coinbase: [7; 20],
                fee_per_l2_gas: 2_100_010_100_000,
                total_mana_used: Field::from(self.salt),
                ..below.header
            };
            let digest = header.digest();
            let archive = append(&mut subtrees, number, Field::new(digest.0).unwrap());
            self.chain.push(Link { sealed: Sealed { header, digest, archive }, subtrees });
        }
    }

    fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        let tip = self.chain.len() as u64 - 1;
        assert!(depth <= tip - self.tiers[2], "a finalized block stays");
        self.chain.truncate((tip - depth + 1) as usize);
        self.tiers = self.tiers.map(|tier| tier.min(tip - depth));
        self.salt += 1;
        self.extend(blocks);
        true
    }

    fn finalize(&mut self, blocks: u64) -> bool {
        let [checkpointed, proven, finalized] = self.tiers;
        let finalized = finalized + blocks;
        self.tiers = [checkpointed.max(finalized), proven.max(finalized), finalized];
        true
    }
}

fn tree_json(tree: Tree) -> Value {
    json!({"root": tree.root.to_string(), "nextAvailableLeafIndex": tree.next})
}

/// A header as a node writes it.
pub(super) fn header_json(header: &Header) -> Value {
    let hex = |number: u64| Field::from(number).to_string();
    json!({
        "lastArchive": tree_json(header.last_archive),
        "state": {
            "l1ToL2MessageTree": tree_json(header.messages),
            "partial": {
                "noteHashTree": tree_json(header.notes),
                "nullifierTree": tree_json(header.nullifiers),
                "publicDataTree": tree_json(header.public_data),
            },
        },
        "spongeBlobHash": header.sponge_blob_hash.to_string(),
        "globalVariables": {
            "chainId": hex(header.chain_id),
            "version": hex(header.version),
            "blockNumber": header.number,
            "slotNumber": hex(header.slot),
            "timestamp": header.timestamp.to_string(),
            "coinbase": format!("0x{}", commonware_formatting::hex(&header.coinbase)),
            "feeRecipient": header.fee_recipient.to_string(),
            "gasFees": {
                "feePerDaGas": header.fee_per_da_gas.to_string(),
                "feePerL2Gas": header.fee_per_l2_gas.to_string(),
            },
        },
        "totalFees": header.total_fees.to_string(),
        "totalManaUsed": header.total_mana_used.to_string(),
    })
}

/// A block as a node writes it.
fn block_json(block: &Sealed) -> Value {
    json!({
        "archive": tree_json(block.archive),
        "header": header_json(&block.header),
        "body": {"txEffects": []},
        "checkpointNumber": block.header.number,
        "indexWithinCheckpoint": 0,
    })
}

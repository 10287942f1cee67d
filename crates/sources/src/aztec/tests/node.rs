//! A node in memory: answers in the shapes of a real one, of a chain that moves as it is told.

use crate::{
    aztec::{
        Field, Header, Tree, block::Sealed, field::poseidon2, header::ARCHIVE_HEIGHT,
        tests::recorded,
    },
    rpc::{Answer, Call, Rpc, RpcError, Unanswered},
};
use commonware_runtime::reschedule;
use commonware_utils::sync::Mutex;
use serde_json::{Value, json, value::to_raw_value};
use std::sync::Arc;
use tidewatch_conformance::Stage;
use tidewatch_core::{BlockRef, Fault};

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

type Tamper = Arc<dyn Fn(&Call, Answer) -> Answer + Send + Sync>;

pub(super) struct World {
    chain: Vec<Link>,
    /// Heights of checkpointed, proven and finalized.
    pub(super) tiers: [u64; 3],
    /// Blocks that it gives at once.
    pub(super) limit: u64,
    /// Larger ranges are too large an answer, where set.
    pub(super) oversized_above: Option<u64>,
    salt: u64,
    /// Changes answers.
    pub(super) tamper: Option<Tamper>,
    /// Is answered in place of everything.
    pub(super) fault: Option<Fault>,
    /// Every request.
    pub(super) requests: Vec<Vec<Call>>,
}

/// The node; clones are the same one.
#[derive(Clone)]
pub(super) struct Node(pub(super) Arc<Mutex<World>>);

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Node")
    }
}

impl Node {
    /// A node whose chain is `length` blocks above the genesis of the recorded one. Tiers are at genesis.
    pub(super) fn new(length: u64) -> Self {
        let header = recorded::header(0);
        let digest = header.digest();
        let mut subtrees = [Field::ZERO; ARCHIVE_HEIGHT];
        let archive = append(&mut subtrees, 0, Field::new(digest.0).unwrap());
        let genesis = Link { sealed: Sealed { header, digest, archive }, subtrees };
        let node = Self(Arc::new(Mutex::new(World {
            chain: vec![genesis],
            tiers: [0; 3],
            limit: 50,
            oversized_above: None,
            salt: 0,
            tamper: None,
            fault: None,
            requests: Vec::new(),
        })));
        node.grow_by(length);
        node
    }

    pub(super) fn grow_by(&self, blocks: u64) {
        let mut world = self.0.lock();
        for _ in 0..blocks {
            let Link { sealed: below, mut subtrees } = world.chain.last().unwrap().clone();
            let number = below.header.number + 1;
            let header = Header {
                last_archive: below.archive,
                chain_id: 31337,
                version: 344_372_055,
                number,
                slot: number * 2,
                timestamp: 1_795_240_661 + number * 72,
                coinbase: [7; 20],
                fee_per_l2_gas: 2_100_010_100_000,
                total_mana_used: Field::from(world.salt),
                ..below.header
            };
            let digest = header.digest();
            let archive = append(&mut subtrees, number, Field::new(digest.0).unwrap());
            world.chain.push(Link { sealed: Sealed { header, digest, archive }, subtrees });
        }
    }

    /// Takes the highest `depth` blocks away, and puts `blocks` others there. Tiers come down with them.
    pub(super) fn fork(&self, depth: u64, blocks: u64) {
        {
            let mut world = self.0.lock();
            let tip = world.tip().height.get();
            assert!(depth <= tip - world.tiers[2], "a finalized block stays");
            world.chain.truncate((tip - depth + 1) as usize);
            world.tiers = world.tiers.map(|tier| tier.min(tip - depth));
            world.salt += 1;
        }
        self.grow_by(blocks);
    }

    pub(super) fn settle(&self, tiers: [u64; 3]) {
        self.0.lock().tiers = tiers;
    }

    pub(super) fn at(&self, height: u64) -> BlockRef {
        self.0.lock().chain[height as usize].sealed.reference()
    }

    pub(super) fn tip(&self) -> BlockRef {
        self.0.lock().tip()
    }

    pub(super) fn requests(&self) -> usize {
        self.0.lock().requests.len()
    }

    /// What it answers a call if nobody tampers.
    pub(super) fn truth(&self, call: &Call) -> Answer {
        self.0.lock().result(call).map(|value| to_raw_value(&value).unwrap())
    }

    /// The calls since the last time, request by request, by method.
    pub(super) fn take_requests(&self) -> Vec<Vec<Call>> {
        std::mem::take(&mut self.0.lock().requests)
    }

    /// Changes every result of `method` from now on.
    pub(super) fn tamper(
        &self,
        method: &'static str,
        change: impl Fn(&[Value], &mut Value) + Send + Sync + 'static,
    ) {
        self.0.lock().tamper = Some(Arc::new(move |call, answer| {
            let Ok(result) = &answer else { return answer };
            if call.method != method {
                return answer;
            }
            let mut value = serde_json::from_str(result.get()).unwrap();
            change(&call.params, &mut value);
            Ok(to_raw_value(&value).unwrap())
        }));
    }
}

impl World {
    fn tip(&self) -> BlockRef {
        self.chain.last().unwrap().sealed.reference()
    }

    fn result(&self, call: &Call) -> Result<Value, RpcError> {
        let height = |at: usize| call.params[at].as_u64().unwrap();
        let refused = |code, message: String| Err(RpcError { code, message });
        Ok(match call.method {
            "node_getChainId" => json!(31337),
            "node_getVersion" => json!(344_372_055),
            "node_getL2Tips" => self.tips(),
            // Without a result where there is none, which is null by the time it comes here.
            "node_getBlockHeader" => self
                .chain
                .get(height(0) as usize)
                .map_or(Value::Null, |link| header_json(&link.sealed.header)),
            "node_getBlocks" if height(1) > self.limit => {
                let limit = self.limit;
                return refused(
                    -32701,
                    format!("Number must be less than or equal to {limit} (1)"),
                );
            }
            "node_getBlocks" => {
                assert!(height(0) > 0, "genesis is in no range");
                let blocks = self.chain.iter().skip(height(0) as usize).take(height(1) as usize);
                blocks.map(|link| block_json(&link.sealed)).collect()
            }
            method => return refused(-32601, format!("Method not found: {method}")),
        })
    }

    fn tips(&self) -> Value {
        let name = |height: u64| match height {
            0 => json!({"number": 0, "hash": recorded::GENESIS}),
            _ => {
                let digest = self.chain[height as usize].sealed.digest;
                json!({"number": height, "hash": Field::new(digest.0).unwrap().to_string()})
            }
        };
        let tip = |height: u64| {
            let checkpoint = json!({"number": height, "hash": Field::from(height + 1).to_string()});
            json!({"block": name(height), "checkpoint": checkpoint})
        };
        let [checkpointed, proven, finalized] = self.tiers.map(tip);
        json!({
            "proposed": name(self.tip().height.get()),
            "proven": proven,
            "finalized": finalized,
            "checkpointed": checkpointed,
        })
    }
}

impl Rpc for Node {
    fn name(&self) -> &str {
        "node"
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        self.0.lock().requests.push(calls.to_vec());
        reschedule().await;
        let world = self.0.lock();
        if let Some(fault) = &world.fault {
            return Err(Unanswered::Fault(fault.clone()));
        }
        let large = |call: &&Call| {
            let count = call.params.get(1).and_then(Value::as_u64);
            call.method == "node_getBlocks" && count > world.oversized_above
        };
        if world.oversized_above.is_some() && calls.iter().any(|call| large(&call)) {
            let fault = tidewatch_core::FaultKind::Oversized.fault("node", "too large an answer");
            return Err(if calls.len() > 1 {
                Unanswered::TooMany(fault)
            } else {
                Unanswered::Fault(fault)
            });
        }
        let answer = |call| {
            let answer = world.result(call).map(|value| to_raw_value(&value).unwrap());
            match &world.tamper {
                Some(tamper) => tamper(call, answer),
                None => answer,
            }
        };
        Ok(calls.iter().map(answer).collect())
    }
}

impl Stage for Node {
    fn is_still(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.grow_by(blocks);
        true
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        self.fork(depth, blocks);
        true
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        let [checkpointed, proven, finalized] = self.0.lock().tiers;
        let finalized = finalized + blocks;
        self.settle([checkpointed.max(finalized), proven.max(finalized), finalized]);
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

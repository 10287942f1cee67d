//! A network of Tempo whose committees are known here: it makes blocks, certifies them, changes its key, and answers as a
//! node does.

use crate::{
    rpc::tests::node::Backend,
    tempo::{ConsensusContext, NAMESPACE, Network, Scheme, TempoBlock, TempoHeader},
};
use alloy_consensus::Header;
use alloy_primitives::{B256, U64};
use bytes::Bytes;
use commonware_codec::{Encode as _, Write as _};
use commonware_consensus::{
    simplex::types::{Finalization, Finalize, Proposal},
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    Signer as _,
    bls12381::{
        dkg::feldman_desmedt::{Output, deal},
        primitives::{sharing::Mode, variant::MinSig},
    },
    ed25519::{PrivateKey, PublicKey},
};
use commonware_formatting::hex;
use commonware_parallel::Sequential;
use commonware_utils::{N3f1, non_empty, ordered::Set, sync::Mutex};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use tidewatch_core::{Block as _, BlockRef, Digest, Tier};
use tidewatch_testkit::node::{Answer, Chain, ethereum, refused, unknown};

/// The number of the chain.
pub(super) const ID: u64 = 4_242;

/// The time of genesis's first child, in milliseconds.
const BEGAN_MS: u64 = 1_764_000_000_250;

/// Validators that hold the shares of one key.
pub(super) struct Committee {
    output: Output<MinSig, PublicKey>,
    players: Set<PublicKey>,
    signers: Vec<Scheme>,
}

impl Committee {
    /// The committee of `seed`. The same for equal seeds, whoever asks.
    pub(super) fn of(seed: u64) -> Arc<Self> {
        static ALL: Mutex<BTreeMap<u64, Arc<Committee>>> = Mutex::new(BTreeMap::new());
        ALL.lock().entry(seed).or_insert_with(|| Arc::new(Self::deal(seed))).clone()
    }

    fn deal(seed: u64) -> Self {
        let keys = (0..4).map(|member| PrivateKey::from_seed(seed * 100 + member));
        let players = Set::from_iter_dedup(keys.map(|key| key.public_key()));
        let (output, shares) = deal::<MinSig, _, N3f1>(
            StdRng::seed_from_u64(seed),
            Mode::NonZeroCounter,
            players.clone(),
        )
        .unwrap();
        let signer = |share: &_| {
            let polynomial = output.public().clone();
            Scheme::signer(NAMESPACE, players.clone(), polynomial, Clone::clone(share)).unwrap()
        };
        let signers = shares.values().iter().map(signer).collect();
        Self { output, players, signers }
    }

    /// The outcome that makes this the committee of `epoch`, as extra data.
    pub(super) fn outcome(&self, epoch: u64, is_next_full: bool) -> Bytes {
        let mut bytes = Vec::new();
        Epoch::new(epoch).write(&mut bytes);
        self.output.write(&mut bytes);
        self.players.write(&mut bytes);
        is_next_full.write(&mut bytes);
        bytes.into()
    }

    fn finalize(&self, proposal: &Proposal<Digest>) -> Bytes {
        let sign = |signer| Finalize::sign(signer, proposal.clone()).unwrap();
        let votes: Vec<_> = self.signers.iter().map(sign).collect();
        let votes = non_empty![@&votes];
        Finalization::from_finalizes(&self.signers[0], votes, &Sequential).unwrap().encode()
    }
}

/// A network of Tempo, and how its nodes behave.
pub(super) struct World {
    pub(super) genesis: Value,
    pub(super) network: Network,
    length: u64,
    /// The committee of each epoch, by its seed; the last one stays.
    keys: Vec<u64>,
    pub(super) blocks: Vec<TempoBlock>,
    by_digest: HashMap<Digest, u64>,
    /// Heights whose blocks are final by the certificate of the next one.
    pub(super) without: BTreeSet<u64>,
    /// Whether the archive of certificates is there.
    pub(super) ready: bool,
    /// Whether it gives a height in place of the block, as older nodes do.
    pub(super) old: bool,
    /// How far the node is behind its chain.
    pub(super) lag: u64,
    certificates: HashMap<u64, Bytes>,
}

impl World {
    /// A network with epochs of `length` blocks, certified by the committees of `keys`, with `blocks` above genesis.
    pub(super) fn new(length: u64, keys: &[u64], blocks: u64) -> Self {
        let extra =
            Committee::of(keys[0]).outcome(0, keys.get(1).is_some_and(|key| *key != keys[0]));
        let genesis = json!({
            "config": {
                "chainId": ID, "londonBlock": 0, "shanghaiTime": 0, "cancunTime": 0, "pragueTime": 0,
                "osakaTime": 0, "epochLength": length,
            },
            "nonce": "0x42", "timestamp": "0x0", "extraData": format!("0x{}", hex(&extra)),
            "gasLimit": "0x1dcd6500", "difficulty": "0x0", "baseFeePerGas": "0x2540be400",
            "alloc": { format!("0x{:040x}", 7): { "balance": "0x7", "code": "0xef", "storage": {
                format!("0x{:064x}", 1): "0x1", format!("0x{:064x}", 2): format!("0x{:064x}", 0),
            } } },
        });
        let network = Network::from_genesis(&genesis.to_string()).unwrap();
        let first = network.genesis().clone();
        let mut world = Self {
            genesis,
            length,
            keys: keys.to_vec(),
            by_digest: HashMap::from([(first.reference().digest, 0)]),
            blocks: vec![first],
            network,
            without: BTreeSet::new(),
            ready: true,
            old: false,
            lag: 0,
            certificates: HashMap::new(),
        };
        world.extend(blocks);
        world
    }

    fn key(&self, epoch: u64) -> u64 {
        self.keys.get(epoch as usize).or(self.keys.last()).copied().unwrap()
    }

    pub(super) fn height(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }

    pub(super) fn reference(&self, height: u64) -> BlockRef {
        self.blocks[height as usize].reference()
    }

    pub(super) fn tip(&self) -> BlockRef {
        self.reference(self.height())
    }

    pub(super) fn extend(&mut self, blocks: u64) {
        for _ in 0..blocks {
            let below = self.blocks.last().unwrap();
            let height = below.inner.number + 1;
            let (epoch, view) = (height / self.length, self.view(height));
            let ends = (height + 1).is_multiple_of(self.length);
            let extra_data = if ends {
                let changes = self.key(epoch + 2) != self.key(epoch + 1);
                Committee::of(self.key(epoch + 1)).outcome(epoch + 1, changes)
            } else {
                Bytes::new()
            };
            let time_ms = BEGAN_MS + height * 500;
            let header = TempoHeader {
                general_gas_limit: 30_000_000,
                shared_gas_limit: 0,
                timestamp_millis_part: time_ms % 1_000,
                inner: Header {
                    parent_hash: below.reference().digest.0.into(),
                    number: height,
                    timestamp: time_ms / 1_000,
                    extra_data: extra_data.into(),
                    gas_limit: 500_000_000,
                    base_fee_per_gas: Some(600_000_000),
                    withdrawals_root: Some(B256::repeat_byte(1)),
                    blob_gas_used: Some(0),
                    excess_blob_gas: Some(0),
                    parent_beacon_block_root: Some(B256::ZERO),
                    requests_hash: Some(B256::repeat_byte(2)),
                    ..Header::default()
                },
                consensus: Some(ConsensusContext {
                    epoch,
                    view,
                    parent_view: view - 1,
                    proposer: B256::repeat_byte(3),
                }),
            };
            let block = TempoBlock::seal(header).unwrap();
            self.by_digest.insert(block.reference().digest, height);
            self.blocks.push(block);
        }
    }

    /// Views begin anew in each epoch.
    fn view(&self, height: u64) -> u64 {
        1 + height % self.length
    }

    /// The certificate of the block at `height`, by the committee of its epoch.
    pub(super) fn certificate(&mut self, height: u64) -> Bytes {
        if let Some(made) = self.certificates.get(&height) {
            return made.clone();
        }
        let made = self.forged(self.key(height / self.length), height, height / self.length);
        self.certificates.insert(height, made.clone());
        made
    }

    /// The certificate of the block at `height` as the committee of `seed` would sign it in `epoch`.
    pub(super) fn forged(&self, seed: u64, height: u64, epoch: u64) -> Bytes {
        let view = self.view(height);
        let round = Round::new(Epoch::new(epoch), View::new(view));
        let digest = self.reference(height).digest;
        Committee::of(seed).finalize(&Proposal::new(round, View::new(view - 1), digest))
    }

    /// A header as nodes write it.
    fn header(&self, height: u64) -> Value {
        let block = &self.blocks[height as usize];
        let mut header = serde_json::to_value(&block.inner).unwrap();
        header["mainBlockGeneralGasLimit"] = json!(U64::from(block.general_gas_limit));
        header["sharedGasLimit"] = json!(U64::from(block.shared_gas_limit));
        header["timestampMillisPart"] = json!(U64::from(block.timestamp_millis_part));
        if let Some(context) = &block.consensus {
            header["consensusContext"] = json!({
                "epoch": context.epoch, "view": context.view, "parentView": context.parent_view,
                "proposer": context.proposer,
            });
        }
        header
    }

    fn json(&self, height: u64) -> Value {
        let mut block = self.header(height);
        block["hash"] = json!(B256::from(self.reference(height).digest.0));
        block["timestampMillis"] = json!(U64::from(self.blocks[height as usize].time_ms()));
        block["transactions"] = json!([]);
        block["uncles"] = json!([]);
        block["withdrawals"] = json!([]);
        block["size"] = json!("0x300");
        block
    }

    /// A block with its certificate.
    pub(super) fn certified(&mut self, height: u64) -> Value {
        let block = &self.blocks[height as usize];
        let (epoch, view) = (height / self.length, self.view(height));
        let digest = B256::from(block.reference().digest.0);
        let certificate = hex(&self.certificate(height));
        let mut certified =
            json!({"epoch": epoch, "view": view, "digest": digest, "certificate": certificate});
        match self.old {
            true => certified["height"] = json!(height),
            false => {
                let body = json!({"transactions": [], "ommers": [], "withdrawals": []});
                certified["block"] = json!({"header": self.header(height), "body": body});
            }
        }
        certified
    }

    /// What is pushed of the newest block.
    pub(super) fn event(&mut self) -> Value {
        let mut event = self.certified(self.height());
        event["type"] = json!("finalized");
        event["seen"] = json!(1_764_000_000_000_u64);
        event
    }

    /// The highest block that the node has.
    fn newest(&self) -> u64 {
        self.height().saturating_sub(self.lag)
    }

    /// What a node answers.
    pub(super) fn answer(&mut self, method: &str, params: &[Value]) -> Answer {
        let missing = || {
            let words =
                "the consensus subservice was not available, but the request can be retried later";
            refused(503, words)
        };
        if let Some(answer) = ethereum::answer(self, method, params) {
            return answer;
        }
        Ok(match (method, params) {
            ("consensus_getFinalization", [query]) if query == "latest" => match self.newest() {
                0 => return missing(),
                newest => {
                    let highest = (1..=newest).rev().find(|height| !self.without.contains(height));
                    self.certified(highest.unwrap())
                }
            },
            ("consensus_getFinalization", [query]) => {
                let height = query["height"].as_u64().unwrap();
                if !self.ready {
                    return refused(204, "the requested content was not available");
                }
                let has = height > 0 && height <= self.newest() && !self.without.contains(&height);
                if !has {
                    return missing();
                }
                self.certified(height)
            }
            ("consensus_getLatest", []) => {
                let newest = self.newest();
                let finalized = if newest == 0 { Value::Null } else { self.certified(newest) };
                json!({"finalized": finalized, "notarized": null})
            }
            (method, _) => return unknown(method),
        })
    }
}

impl Chain for World {
    fn id(&self) -> u64 {
        ID
    }

    fn tip(&self, _: Tier) -> Option<u64> {
        Some(self.newest())
    }

    fn block(&self, height: u64) -> Option<Value> {
        (height <= self.newest()).then(|| self.json(height))
    }

    fn hashed(&self, hash: &Value) -> Option<Value> {
        let hash: B256 = serde_json::from_value(hash.clone()).unwrap();
        self.block(*self.by_digest.get(&Digest(hash.0))?)
    }
}

impl Backend for World {
    const GREETS: bool = true;

    fn answer(&mut self, method: &str, params: &[Value]) -> Answer {
        Self::answer(self, method, params)
    }

    fn extend(&mut self, blocks: u64) {
        Self::extend(self, blocks);
    }
}

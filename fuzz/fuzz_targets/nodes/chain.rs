//! Test chains, and the responses of an honest node.

use alloy_consensus::Header as EthHeader;
use alloy_primitives::B256;
use alloy_rpc_types_eth::Header as RpcHeader;
use arbitrary::Arbitrary;
use commonware_codec::Encode as _;
use commonware_formatting::hex;
use serde_json::{Value, json, value::to_raw_value};
use std::{collections::BTreeMap, sync::LazyLock};
use tidewatch_core::{BlockRef, ChainId, ChainInfo, Digest, Height, Tier};
use tidewatch_sources::{
    aztec,
    rpc::{Answer, Call, RpcError},
};
use tidewatch_testkit::node::{self, Chain, Refused, ethereum, optimism};

/// Recorded requests and responses of a real Aztec node.
const RECORDED: &str =
    include_str!("../../../crates/sources/src/aztec/tests/fixtures/recorded.json");

const CHAIN: u64 = 31_337;
const VERSION: u64 = 344_372_055;

/// Family of a chain.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ethereum,
    Optimism,
    Aztec,
}

/// A block, and its JSON encoding by a node.
#[derive(Clone)]
struct Link {
    name: BlockRef,
    json: Value,
    /// Its encoding in a store.
    encoded: Vec<u8>,
}

/// A chain from genesis, by height.
type Branch = BTreeMap<u64, Link>;

/// Forks of one genesis, and one chain of another genesis.
pub struct Chains {
    pub family: Family,
    branches: Vec<Branch>,
}

/// State of a node, as chosen by the fuzzer.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub struct Move {
    branch: u8,
    top: u8,
    tiers: [Option<u8>; 3],
}

/// State of a node, resolved to blocks and heights.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    branch: usize,
    pub top: BlockRef,
    /// Heights of checkpointed, proven, finalized.
    tiers: [Option<u64>; 3],
}

static ETHEREUM: LazyLock<Chains> = LazyLock::new(|| Chains::new(Family::Ethereum));
static OPTIMISM: LazyLock<Chains> = LazyLock::new(|| Chains::new(Family::Optimism));
static AZTEC: LazyLock<Chains> = LazyLock::new(|| Chains::new(Family::Aztec));

impl Chains {
    /// The chains of a family.
    pub fn of(family: Family) -> &'static Self {
        match family {
            Family::Ethereum => &ETHEREUM,
            Family::Optimism => &OPTIMISM,
            Family::Aztec => &AZTEC,
        }
    }

    fn new(family: Family) -> Self {
        let make = if family == Family::Aztec { aztec_link } else { eth_link };
        let grow = |mut branch: Branch, heights: &mut dyn Iterator<Item = u64>, fork| {
            for height in heights {
                let below = branch.last_key_value().map(|(_, link)| link.clone());
                branch.insert(height, make(below.as_ref(), height, fork));
            }
            branch
        };
        let from =
            |branch: &Branch, at| branch.range(..=at).map(|(k, v)| (*k, v.clone())).collect();
        let first = grow(Branch::new(), &mut (0..=40), 0);
        let branches = vec![
            grow(from(&first, 20), &mut (21..=45), 1),
            grow(from(&first, 4), &mut (5..=30), 2),
            // At the maximum height.
            grow(from(&first, 0), &mut (u64::MAX - 7..=u64::MAX), 3),
            grow(Branch::new(), &mut (0..=12), 4),
            first,
        ];
        Self { family, branches }
    }

    /// Resolves the state of a node.
    pub fn stand(&self, moved: Move) -> Stand {
        let branch = usize::from(moved.branch) % self.branches.len();
        let links: Vec<_> = self.branches[branch].values().collect();
        let top = usize::from(moved.top) % links.len();
        let mut tiers = moved.tiers.map(|at| at.map(|at| usize::from(at) % (top + 1)));
        tiers.sort_unstable_by(|a, b| b.cmp(a));
        let tiers = tiers.map(|at| at.map(|at| links[at].name.height.get()));
        Stand { branch, top: links[top].name, tiers }
    }

    /// Chain info that a node in this state reports.
    pub fn chain_info(&self, stand: &Stand) -> ChainInfo {
        let chain = match self.family {
            Family::Ethereum => format!("eth:{CHAIN}"),
            Family::Optimism => format!("op:{CHAIN}"),
            Family::Aztec => format!("aztec:{CHAIN}:{VERSION}"),
        };
        let genesis = self.branches[stand.branch][&0].name;
        ChainInfo { id: ChainId::new(chain).expect("printable"), genesis }
    }

    /// The block at `height`, up to the top.
    pub fn at(&self, stand: &Stand, height: u64) -> Option<BlockRef> {
        self.link(stand, height).map(|link| link.name)
    }

    /// Whether there is a block at every height, and each links to its parent. The blocks of an Aztec
    /// chain do not link to a genesis that was not recorded, because its archive root is unknown.
    pub fn is_sound(&self, stand: &Stand) -> bool {
        let whole = self.at(stand, 1).is_some() || stand.top.height == Height::zero();
        let recorded = self.branches[0][&0].name == self.branches[stand.branch][&0].name;
        whole && (recorded || self.family != Family::Aztec)
    }

    /// A block of the first chain, as encoded in a store.
    pub fn encoded(&self, height: u8) -> Vec<u8> {
        let branch = &self.branches[self.branches.len() - 1];
        branch[&(u64::from(height) % branch.len() as u64)].encoded.clone()
    }

    fn link(&self, stand: &Stand, height: u64) -> Option<&Link> {
        let known = height <= stand.top.height.get();
        self.branches[stand.branch].get(&height).filter(|_| known)
    }

    /// The response of an honest node that returns at most `limit` blocks.
    pub fn answer(&self, stand: &Stand, limit: u64, Call { method, params, .. }: &Call) -> Answer {
        let at = At { chains: self, stand };
        let answer = ethereum::answer(&at, method, params)
            .or_else(|| optimism::answer(&at, method))
            .or_else(|| node::aztec::answer(&at, VERSION, limit, method, params))
            .unwrap_or_else(|| panic!("unexpected method {method}"));
        match answer {
            Ok(value) => Ok(to_raw_value(&value).expect("JSON")),
            Err(Refused { code, message }) => Err(RpcError { code, message }),
        }
    }
}

/// A chain, as a node in this state has it.
struct At<'a> {
    chains: &'a Chains,
    stand: &'a Stand,
}

impl Chain for At<'_> {
    fn id(&self) -> u64 {
        CHAIN
    }

    fn tip(&self, tier: Tier) -> Option<u64> {
        let [checkpointed, proven, finalized] = self.stand.tiers;
        match tier {
            Tier::Proposed => Some(self.stand.top.height.get()),
            Tier::Checkpointed => checkpointed,
            Tier::Proven => proven,
            Tier::Finalized => finalized,
        }
    }

    fn block(&self, height: u64) -> Option<Value> {
        self.chains.link(self.stand, height).map(|link| link.json.clone())
    }

    fn hash(&self, height: u64) -> Option<Value> {
        self.chains.link(self.stand, height).map(|link| text(link.name.digest).into())
    }
}

fn text(digest: Digest) -> String {
    format!("0x{}", hex(&digest))
}

fn eth_link(below: Option<&Link>, number: u64, fork: u64) -> Link {
    let parent = below.map_or(Digest([0; 32]), |below| below.name.digest);
    let header = EthHeader {
        number,
        parent_hash: B256::from(parent.0),
        timestamp: number / 2,
        nonce: fork.to_be_bytes().into(),
        ..EthHeader::default()
    };
    let name = BlockRef::new(Height::new(number), Digest(header.hash_slow().0));
    let encoded = alloy_rlp::encode(&header).encode().to_vec();
    let mut json = serde_json::to_value(RpcHeader::new(header)).expect("JSON");
    json["transactions"] = json!([]);
    Link { name, json, encoded }
}

/// The header in a recorded response.
fn recorded(height: u64) -> Value {
    let calls: Vec<Value> = serde_json::from_str(RECORDED).expect("JSON");
    let asked = |call: &&Value| {
        call["method"] == "node_getBlockHeader" && call["params"] == json!([height])
    };
    calls.iter().find(asked).expect("recorded")["response"]["result"].clone()
}

static GENESIS: LazyLock<Value> = LazyLock::new(|| recorded(0));
static FIRST: LazyLock<Value> = LazyLock::new(|| recorded(1));

fn aztec_link(below: Option<&Link>, number: u64, fork: u64) -> Link {
    let mut header = if number == 0 { GENESIS.clone() } else { FIRST.clone() };
    header["globalVariables"]["blockNumber"] = number.into();
    header["totalManaUsed"] = fork.to_string().into();
    if let Some(below) = below {
        header["lastArchive"] = below.json["archive"].clone();
    }
    let read: aztec::Header = serde_json::from_value(header.clone()).expect("a header");
    let name = read.reference();
    // Sources compute the archive root after genesis themselves; those of other blocks are only links.
    let archive = match (number, fork) {
        (0, 0) => FIRST["lastArchive"].clone(),
        _ => json!({"root": text(name.digest), "nextAvailableLeafIndex": number.saturating_add(1)}),
    };
    let parent = below.map_or(Digest([0; 32]), |below| below.name.digest);
    let after: aztec::Tree = serde_json::from_value(archive.clone()).expect("a tree");
    let encoded = [read.encode(), after.encode(), parent.encode()].concat();
    let json = json!({"archive": archive, "header": header, "body": {"txEffects": []}});
    Link { name, json, encoded }
}

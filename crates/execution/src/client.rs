//! A client in memory that writes behind, and crashes at any call, drawn from a seed.

use crate::{Aside, Execution, Forkchoice, Payload, Standing, Verdict};
use commonware_runtime::{Clock as _, deterministic};
use commonware_utils::sync::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};
use tidewatch_core::{Block, BlockRef, Digest, Fault, FaultKind, Height, watch::Receiver};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::ScriptedSource,
};

impl Payload for TestBlock {
    fn reference(&self) -> BlockRef {
        Block::reference(self)
    }

    fn evidence(&self) -> String {
        format!("{self:?}")
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chaos {
    /// The client crashes before it does what it was asked.
    Before,
    /// It does it, and crashes before it answers.
    After,
    /// The view's process ends.
    Killed,
    /// The client says that it cannot say.
    Aside(Aside),
}

/// What a client has.
#[derive(Clone)]
pub(crate) struct Has {
    pub(crate) blocks: BTreeMap<Digest, TestBlock>,
    pub(crate) at: Forkchoice,
}

impl Has {
    /// The blocks under the head, the highest first.
    pub(crate) fn chain(&self) -> impl Iterator<Item = BlockRef> + '_ {
        let parent = |block: &BlockRef| self.blocks.get(&self.blocks.get(&block.digest)?.parent());
        std::iter::successors(Some(self.at.head), move |block| parent(block).map(Block::reference))
    }
}

pub(crate) struct State {
    pub(crate) memory: Has,
    pub(crate) disk: Has,
    /// How many blocks the disk is behind.
    lag: u64,
    /// What is drawn for each call, and how often anything is still.
    rng: StdRng,
    pub(crate) left: u32,
    pub(crate) crashes: u64,
    pub(crate) killed: bool,
    pub(crate) floor: Option<Receiver<Option<BlockRef>>>,
    pub(crate) source: Option<ScriptedSource>,
}

impl State {
    fn draw(&mut self) -> Option<Chaos> {
        if self.left == 0 || self.killed || !self.rng.random_bool(0.1) {
            return None;
        }
        self.left -= 1;
        Some(match self.rng.random_range(0..5) {
            0 => Chaos::Before,
            1 => Chaos::After,
            2 => Chaos::Killed,
            3 => Chaos::Aside(Aside::Syncing),
            _ => Chaos::Aside(Aside::Accepted),
        })
    }

    fn crash(&mut self) -> Fault {
        self.memory = self.disk.clone();
        self.crashes += 1;
        // What the source may have forgotten, the client still has.
        if let Some(floor) = self.floor.as_ref().and_then(Receiver::current) {
            assert!(self.memory.chain().any(|block| block == floor), "{floor} was lost");
        }
        let told = self.source.as_ref().and_then(|source| source.durable().last().copied());
        if let Some(told) = told.and_then(|told| told.delivered) {
            let has = self.memory.chain().any(|block| block.height == told.height);
            assert!(has, "{told} was lost, and the source may have forgotten it");
        }
        FaultKind::Unreachable.fault("client", "it has crashed")
    }

    fn point(&mut self, to: &Forkchoice) -> Verdict {
        if !self.memory.blocks.contains_key(&to.head.digest) {
            return Verdict::NotYet(Aside::Syncing);
        }
        if let (Some(before), Some(after)) = (self.memory.at.finalized, to.finalized) {
            assert!(before.height <= after.height, "finalized goes back to {after}");
        }
        self.memory.at = *to;
        let chain: Vec<_> = self.memory.chain().collect();
        assert!(to.finalized.is_none_or(|finalized| chain.contains(&finalized)), "{to}");
        let kept: Vec<_> = self.disk.chain().collect();
        let behind = chain.iter().position(|block| kept.contains(block)).unwrap_or_default();
        let at = behind.min(usize::try_from(self.lag).unwrap_or_default());
        for block in &chain[at..] {
            let whole = self.memory.blocks[&block.digest].clone();
            self.disk.blocks.insert(block.digest, whole);
        }
        let head = chain[at];
        let below = |block: &BlockRef| block.height <= head.height;
        let [safe, finalized] = [to.safe, to.finalized].map(|block| block.filter(below));
        self.disk.at = Forkchoice { head, safe, finalized };
        Verdict::Valid(to.head.digest)
    }
}

/// A client in memory, without any Engine API.
#[derive(Clone)]
pub(crate) struct Client {
    context: Arc<deterministic::Context>,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Client {
    pub(crate) fn new(context: deterministic::Context, chain: &Chain, seed: u64) -> Self {
        let genesis = chain.blocks()[0].clone();
        let at = Forkchoice { head: chain.at(0), safe: None, finalized: None };
        let memory = Has { blocks: BTreeMap::from([(chain.at(0).digest, genesis)]), at };
        let state = State {
            disk: memory.clone(),
            memory,
            lag: seed % 5,
            rng: StdRng::seed_from_u64(seed),
            left: 0,
            crashes: 0,
            killed: false,
            floor: None,
            source: None,
        };
        Self { context: Arc::new(context), state: Arc::new(Mutex::new(state)) }
    }

    /// One call, with whatever happens to it.
    async fn call<T>(
        &self,
        aside: Option<fn(Aside) -> T>,
        call: impl FnOnce(&mut State) -> T,
    ) -> Result<T, Fault> {
        self.context.sleep(Duration::from_millis(1)).await;
        let drawn = self.state.lock().draw();
        match (drawn, aside) {
            (Some(Chaos::Before), _) => Err(self.state.lock().crash()),
            (Some(Chaos::After), _) => {
                let mut state = self.state.lock();
                call(&mut state);
                Err(state.crash())
            }
            (Some(Chaos::Killed), _) => {
                self.state.lock().killed = true;
                pending().await
            }
            (Some(Chaos::Aside(said)), Some(aside)) => Ok(aside(said)),
            _ => Ok(call(&mut self.state.lock())),
        }
    }
}

impl Execution for Client {
    type Block = TestBlock;
    type Payload = TestBlock;

    fn name(&self) -> &str {
        "client"
    }

    async fn prepare(&self, blocks: &[TestBlock]) -> Result<Vec<TestBlock>, Fault> {
        Ok(blocks.to_vec())
    }

    async fn give(&self, block: &TestBlock) -> Result<Verdict, Fault> {
        let give = |state: &mut State| {
            if !state.memory.blocks.contains_key(&block.parent()) {
                return Verdict::NotYet(Aside::Syncing);
            }
            let digest = Block::reference(block).digest;
            state.memory.blocks.insert(digest, block.clone());
            Verdict::Valid(digest)
        };
        self.call(Some(Verdict::NotYet), give).await
    }

    async fn point(&self, to: &Forkchoice) -> Result<Verdict, Fault> {
        self.call(Some(Verdict::NotYet), |state| state.point(to)).await
    }

    async fn standing(&self) -> Result<Standing, Fault> {
        let standing = |state: &mut State| Standing { forkchoice: state.memory.at, order: None };
        self.call(None, standing).await
    }

    async fn at(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let at = |state: &mut State| {
            let chain: Vec<_> = state.memory.chain().collect();
            let find = |height: &Height| chain.iter().find(|block| block.height == *height);
            heights.iter().map(|height| find(height).copied()).collect()
        };
        self.call(None, at).await
    }

    async fn durable(&self) -> Result<Option<Height>, Fault> {
        self.call(None, |state| Some(state.disk.at.head.height)).await
    }
}

#[cfg(feature = "marshal")]
impl crate::application::History for Client {
    async fn block_at(&self, height: Height) -> Result<Option<TestBlock>, Fault> {
        let at = |state: &mut State| {
            let found = state.memory.chain().find(|block| block.height == height)?;
            state.memory.blocks.get(&found.digest).cloned()
        };
        self.call(None, at).await
    }

    async fn block_by_digest(&self, digest: Digest) -> Result<Option<TestBlock>, Fault> {
        self.call(None, |state| state.memory.blocks.get(&digest).cloned()).await
    }
}

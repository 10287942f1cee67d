//! A source with one flaw.

use bytes::Bytes;
use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use commonware_utils::sync::Mutex;
use futures::{pin_mut, stream::poll_fn};
use std::{
    collections::BTreeMap,
    future::{Future as _, pending},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{
    Block as _, BlockRef, ChainId, ChainInfo, Digest, Doorbell, Fault, FaultKind, Height, Ladder,
    Limits, Snapshot, Source, Tier, TierProof, TierProofs, Tip, TipSet,
};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::ScriptedSource,
};

/// Flaw of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Nothing,
    OtherIdentity,
    OtherGenesis,
    LadderBroken,
    ProofOfAnother,
    Flickers,
    TierOffChain,
    SortsDigests,
    OneDigestAtOnce,
    DigestsAboveTip,
    BlocksAboveTip,
    SkipsABlock,
    BlocksOfAnotherFork,
    TooManyBlocks,
    StopsBelowTip,
    Careless,
    StaysBusy,
    OneAtATime,
    DeafAfterOne,
    StealsRings,
    NoBlocks,
    Frozen,
    FinalityFrozen,
    DigestsCached,
    TipCachedByHeight,
    NeverShorter,
    FailsWhenTorn,
    TierSways,
    OtherDigest,
    AsksNeverQuiet,
    LadderSways,
    ForgetsDigests,
    Hangs,
    Panics,
}

/// A scripted source with delayed responses and one flaw.
pub(super) struct Flawed {
    inner: ScriptedSource,
    clock: deterministic::Context,
    wrong: Wrong,
    asked: AtomicU64,
    busy: AtomicBool,
    /// Whether blocks were requested since the last snapshot (`fetched`), and between the last two
    /// snapshots (`sways`).
    fetched: AtomicBool,
    sways: AtomicBool,
    running: AtomicU64,
    first: Mutex<Option<TipSet>>,
    tips: Mutex<BTreeMap<Height, Tip>>,
    digests: Mutex<BTreeMap<Height, Option<Digest>>>,
    /// One doorbell for everybody who asks for one.
    shared: Arc<Mutex<Doorbell>>,
}

/// Counts a call in flight while it is alive.
struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Flawed {
    pub(super) fn new(
        context: &deterministic::Context,
        inner: &ScriptedSource,
        wrong: Wrong,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: inner.clone(),
            clock: context.child("flawed"),
            wrong,
            asked: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            fetched: AtomicBool::new(false),
            sways: AtomicBool::new(false),
            running: AtomicU64::new(0),
            first: Mutex::new(None),
            tips: Mutex::default(),
            digests: Mutex::default(),
            shared: Arc::new(Mutex::new(inner.doorbell())),
        })
    }

    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == wrong
    }

    /// Delays a call, in two steps.
    async fn think(&self) -> Result<(), Fault> {
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        if self.is(Wrong::OneAtATime) && before > 0 {
            return Err(FaultKind::Bug.fault("flawed", "one at a time"));
        }
        if self.is(Wrong::StaysBusy) && self.busy.swap(true, Ordering::Relaxed) {
            return Err(FaultKind::Bug.fault("flawed", "still busy"));
        }
        self.clock.sleep(Duration::from_millis(1)).await;
        self.clock.sleep(Duration::from_millis(1)).await;
        self.busy.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn top(&self) -> u64 {
        let mut top = 0;
        self.inner.change(|world| top = world.chain.tip());
        top
    }

    fn nth(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    fn bend(&self, mut tips: TipSet) -> TipSet {
        let Some(proposed) = tips.get(Tier::Proposed) else { return tips };
        let other = |tip: Tip| Tip::from(BlockRef::new(tip.block.height, Digest([7; 32])));
        match self.wrong {
            Wrong::LadderBroken => {
                let above = BlockRef::new(proposed.block.height.next(), Digest([7; 32]));
                tips.with(Tier::Finalized, above)
            }
            Wrong::Flickers if self.nth().is_multiple_of(2) => {
                tips.with(Tier::Proposed, other(proposed))
            }
            // The order obeys the ladder, but the block is not on the chain.
            Wrong::TierOffChain | Wrong::AsksNeverQuiet => {
                let below = BlockRef::new(Height::new(1), Digest([7; 32]));
                tips.with(Tier::Checkpointed, below)
            }
            Wrong::Frozen => *self.first.lock().get_or_insert(tips),
            Wrong::FinalityFrozen => {
                tips.set(Tier::Finalized, None);
                tips
            }
            Wrong::TipCachedByHeight => {
                let mut known = self.tips.lock();
                tips.with(Tier::Proposed, *known.entry(proposed.block.height).or_insert(proposed))
            }
            Wrong::NeverShorter => {
                let mut highest = self.first.lock();
                let height = |tips: &TipSet| tips.block(Tier::Proposed).map(|tip| tip.height);
                if highest.is_none_or(|highest| height(&highest) <= height(&tips)) {
                    *highest = Some(tips);
                }
                highest.unwrap_or(tips)
            }
            Wrong::TierSways if self.nth().is_multiple_of(5) => {
                tips.set(Tier::Proven, tips.get(Tier::Finalized));
                tips
            }
            _ => tips,
        }
    }

    fn bend_digest(&self, height: Height, digest: Option<Digest>) -> Option<Digest> {
        match self.wrong {
            Wrong::DigestsAboveTip => digest.or(Some(Digest([7; 32]))),
            // Only for blocks well below the tip.
            Wrong::DigestsCached if digest.is_some() && height.get() + 2 <= self.top() => {
                *self.digests.lock().entry(height).or_insert(digest)
            }
            // Only for blocks that were recently within the window below the tip.
            Wrong::ForgetsDigests if height.get() < self.top().saturating_sub(20) => None,
            Wrong::OtherDigest if height.get() == 2 => Some(Digest([7; 32])),
            _ => digest,
        }
    }

    async fn bend_blocks(
        &self,
        from: Height,
        tip: BlockRef,
        mut blocks: Vec<TestBlock>,
    ) -> Result<Vec<TestBlock>, Fault> {
        match self.wrong {
            Wrong::BlocksAboveTip if from > tip.height => {
                blocks.push(TestBlock::new(from.get(), 'x', tip.digest));
            }
            Wrong::SkipsABlock if blocks.len() > 2 => drop(blocks.remove(1)),
            Wrong::BlocksOfAnotherFork if !blocks.is_empty() => {
                let last = blocks.last().map_or(from, |block| block.reference().height);
                blocks = Chain::new('x', tip.height.get() + 1).range(from.get(), last.get());
            }
            Wrong::StopsBelowTip => blocks.retain(|block| block.reference() != tip),
            Wrong::NoBlocks => blocks.clear(),
            Wrong::FailsWhenTorn if blocks.is_empty() && from <= tip.height => {
                return Err(FaultKind::WrongDigest.fault("flawed", format!("{tip} is gone")));
            }
            Wrong::Hangs => pending().await,
            _ => {}
        }
        Ok(blocks)
    }
}

impl Source for Flawed {
    type Block = TestBlock;

    fn name(&self) -> &str {
        "flawed"
    }

    fn ladder(&self) -> Ladder {
        match self.wrong {
            Wrong::LadderSways if self.sways.load(Ordering::Relaxed) => Ladder::Certified,
            _ => self.inner.ladder(),
        }
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.think().await?;
        let mut chain_info = self.inner.chain_info().await?;
        if self.is(Wrong::OtherIdentity) {
            chain_info.id = ChainId::new(format!("test:{}", self.nth())).unwrap();
        }
        if self.is(Wrong::OtherGenesis) {
            chain_info.genesis = Chain::of_network('x', 'a', 0).at(0);
        }
        Ok(chain_info)
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.think().await?;
        let fetched = self.fetched.swap(false, Ordering::Relaxed);
        self.sways.store(fetched, Ordering::Relaxed);
        let snapshot = self.inner.snapshot().await?;
        let tips = self.bend(snapshot.tips);
        let of = |tier| tips.block(tier);
        let block =
            if self.is(Wrong::ProofOfAnother) { of(Tier::Proposed) } else { of(Tier::Finalized) };
        let bytes = Bytes::from_static(b"proof");
        let proofs = block.map_or_else(TierProofs::none, |block| {
            TierProofs::none().with(Tier::Finalized, TierProof { block, bytes })
        });
        Ok(Snapshot { tips, proofs, ..Snapshot::default() })
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        assert!(!self.is(Wrong::Panics), "as told");
        self.think().await?;
        if self.is(Wrong::OneDigestAtOnce) && heights.len() > 8 {
            return Err(FaultKind::Oversized.fault("flawed", "one at a time"));
        }
        let mut heights = heights.to_vec();
        if self.is(Wrong::SortsDigests) {
            heights.sort();
        }
        let digests = self.inner.digests(tip, &heights).await?;
        let bend = |(height, digest): (&Height, Option<Digest>)| self.bend_digest(*height, digest);
        Ok(heights.iter().zip(digests).map(bend).collect())
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<TestBlock>, Fault> {
        self.think().await?;
        self.fetched.store(true, Ordering::Relaxed);
        self.sways.store(false, Ordering::Relaxed);
        let mut blocks = self.inner.blocks(tip, from).await?;
        if self.is(Wrong::TooManyBlocks) {
            while let Some(last) = blocks.last().map(|block| block.reference())
                && last != tip
            {
                blocks.extend(self.inner.blocks(tip, last.height.next()).await?);
            }
        }
        self.bend_blocks(from, tip, blocks).await
    }

    fn doorbell(&self) -> Doorbell {
        match self.wrong {
            Wrong::DeafAfterOne if self.nth() > 0 => Doorbell::silent(),
            Wrong::StealsRings => {
                let shared = self.shared.clone();
                Doorbell::new(poll_fn(move |context| {
                    let mut bell = shared.lock();
                    let rung = bell.rung();
                    pin_mut!(rung);
                    rung.poll(context).map(Some)
                }))
            }
            _ => self.inner.doorbell(),
        }
    }
}

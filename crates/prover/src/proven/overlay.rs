//! A source with the proven tier that is made here.

use crate::scheduler::Proven;
use commonware_utils::sync::Mutex;
use futures::stream::unfold;
use std::fmt;
use tidewatch_core::{
    BlockRange, BlockRef, ChainInfo, Digest, Doorbell, Fault, Height, Ladder, Limits, Snapshot,
    Source, Tier, TierProof, Tip, Watermarks, watch::Receiver,
};

/// What was found out of one pair of tips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    proposed: BlockRef,
    proven: BlockRef,
    floor: Option<BlockRef>,
    /// Whether the proven tip is on the chain of the proposed one, and whether the floor is.
    on_chain: (bool, bool),
}

#[derive(Debug, Default)]
struct State {
    asked: Option<Asked>,
    /// The proven tier of the view.
    floor: Option<BlockRef>,
}

/// Lays a proven tier over a source: see the [module](super). For one driver: what its view has announced is
/// what the tier does not go back behind.
pub struct ProvenOverlay<S> {
    source: S,
    proven: Receiver<Proven>,
    state: Mutex<State>,
}

impl<S: fmt::Debug> fmt::Debug for ProvenOverlay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProvenOverlay").field("source", &self.source).finish_non_exhaustive()
    }
}

impl<S: Source> ProvenOverlay<S> {
    /// `source` with `proven` as its proven tier. A proven tier of its own is not taken.
    pub fn new(source: S, proven: Receiver<Proven>) -> Self {
        Self { source, proven, state: Mutex::default() }
    }

    /// The source under it.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Whether the proven tip and the floor are on the chain of `proposed`. Not known is not on it.
    async fn on_chain(
        &self,
        proposed: BlockRef,
        proven: BlockRef,
        floor: Option<BlockRef>,
    ) -> (bool, bool) {
        let on = |block: BlockRef| block == proposed;
        let mut asks: Vec<BlockRef> = [Some(proven), floor].into_iter().flatten().collect();
        asks.retain(|block| block.height < proposed.height);
        asks.dedup();
        asks.truncate(self.source.limits().digests_max.get());
        let known = self.state.lock().asked;
        if let Some(Asked { on_chain, .. }) = known.filter(|asked| {
            (asked.proposed, asked.proven, asked.floor) == (proposed, proven, floor)
        }) {
            return on_chain;
        }
        let heights: Vec<Height> = asks.iter().map(|block| block.height).collect();
        let digests = if heights.is_empty() {
            Ok(Vec::new())
        } else {
            self.source.digests(proposed, &heights).await
        };
        // A source that cannot tell is asked again with the next snapshot.
        let Ok(digests) = digests else { return (false, true) };
        let agrees = |block: BlockRef| {
            let at = asks.iter().position(|asked| *asked == block);
            on(block) || at.and_then(|at| digests.get(at).copied().flatten()) == Some(block.digest)
        };
        let on_chain = (agrees(proven), floor.is_some_and(agrees));
        self.state.lock().asked = Some(Asked { proposed, proven, floor, on_chain });
        on_chain
    }

    /// The proven tier of `snapshot`.
    async fn tier(&self, snapshot: &Snapshot) -> Option<(Tip, Option<TierProof>)> {
        let Proven { tip, proof, .. } = self.proven.current();
        let proposed = snapshot.tips.block(Tier::Proposed)?;
        let floor = self.state.lock().floor;
        let (ours, behind) = self.on_chain(proposed, tip, floor).await;
        if !ours {
            return None;
        }
        let ladder = self.source.ladder().tiers();
        let at = ladder.iter().position(|tier| *tier == Tier::Proven)?;
        let bound = ladder[..at].iter().rev().find_map(|tier| snapshot.tips.get(*tier))?;
        let (tip, proof) = if tip.height > bound.block.height {
            (bound, None)
        } else {
            (Tip::from(tip), proof.filter(|proof| proof.block == tip))
        };
        let below = ladder[at + 1..].iter().find_map(|tier| snapshot.tips.block(*tier));
        let back = floor.is_some_and(|floor| behind && tip.block.height < floor.height);
        let low = below.is_some_and(|below| tip.block.height < below.height);
        (!back && !low).then_some((tip, proof))
    }
}

impl<S: Source> Source for ProvenOverlay<S> {
    type Block = S::Block;

    fn name(&self) -> &str {
        self.source.name()
    }

    fn ladder(&self) -> Ladder {
        self.source.ladder()
    }

    fn limits(&self) -> Limits {
        self.source.limits()
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.source.chain_info().await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let mut snapshot = self.source.snapshot().await?;
        snapshot.proving_stalled = self.proven.current().stalled;
        let tier = self.tier(&snapshot).await;
        snapshot.tips.set(Tier::Proven, tier.as_ref().map(|(tip, _)| *tip));
        if let Some((_, Some(proof))) = tier {
            snapshot.proofs = snapshot.proofs.with(Tier::Proven, proof);
        }
        Ok(snapshot)
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        self.source.digests(tip, heights).await
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<S::Block>, Fault> {
        self.source.blocks(tip, from).await
    }

    async fn range(&self, tip: BlockRef, from: Height) -> Result<BlockRange<S::Block>, Fault> {
        self.source.range(tip, from).await
    }

    fn doorbell(&self) -> Doorbell {
        let moved = unfold(self.proven.clone(), |mut proven| async move {
            proven.changed().await.ok()?;
            Some(((), proven))
        });
        Doorbell::any([self.source.doorbell(), Doorbell::new(moved)])
    }

    fn durable(&self, watermarks: &Watermarks) {
        self.state.lock().floor = watermarks.tips.block(Tier::Proven);
        self.source.durable(watermarks);
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.source.judged(verdict);
    }
}

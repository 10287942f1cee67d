//! Back to a block that both sides have: ancestor search, second look, prune.

use super::{Ended, Guard, Pass, Report};
use crate::{
    Error, Foreign,
    reconcile::{clamp, coherent},
    search::{Found, Search},
};
use std::collections::{BTreeMap, BTreeSet};
use tidewatch_core::{
    BlockRef, Change, Conflict, Digest, Fault, Height, LocalView, Snapshot, Source, Tier, TipSet,
    Watermarks,
};

/// What became of a view whose head is not known to be on the source's chain.
#[expect(clippy::large_enum_variant, reason = "made once in a pass that pruned")]
pub(super) enum Realigned {
    /// It stands on the source's chain now, or always did: go on from here.
    Aligned(Snapshot, Watermarks),
    /// The source contradicts what is finalized: the view was pruned as far as that allows, and
    /// nothing may follow.
    Conflicted(Snapshot),
}

impl<S, V, G> Pass<'_, S, V, G>
where
    S: Source,
    V: LocalView<Block = S::Block>,
    G: Guard,
{
    /// A source whose whole chain ends below what is finalized here is an old answer, or another
    /// chain: neither is a reason to drop anything.
    pub(super) async fn behind(
        &mut self,
        watermarks: &Watermarks,
        proposed: BlockRef,
    ) -> Result<Option<Report>, Fault> {
        let Some(finalized) = watermarks.tips.block(Tier::Finalized) else { return Ok(None) };
        if proposed.height >= finalized.height {
            return Ok(None);
        }
        let ours = self.final_at(watermarks, proposed.height).await?;
        if ours == Some(proposed) {
            return Err(self.fault(Error::Behind { tip: proposed, finalized }));
        }
        self.same_network(proposed).await?;
        if ours.is_none() {
            return Err(self.fault(Error::Behind { tip: proposed, finalized }));
        }
        let (again, proposed) = self.look_again().await?;
        if proposed.height >= finalized.height {
            return Err(self.fault(Error::Unconfirmed { ours: finalized, tip: proposed }));
        }
        match self.final_at(watermarks, proposed.height).await? {
            Some(ours) if ours != proposed => {
                self.conflict(Conflict { ours, theirs: proposed }).await?;
                Ok(Some(self.report(Ended::Conflicted, again)))
            }
            _ => Err(self.fault(Error::Behind { tip: proposed, finalized })),
        }
    }

    /// The block at `height`, at or below finalized, that is final here: a delivered one stands under the
    /// finalized block. What a view without blocks was told of down there was never linked to it.
    async fn final_at(
        &self,
        watermarks: &Watermarks,
        height: Height,
    ) -> Result<Option<BlockRef>, Fault> {
        if height.get() == 0 {
            return Ok(Some(self.chain_info.genesis));
        }
        if watermarks.delivered.is_none() {
            let finalized = watermarks.tips.block(Tier::Finalized);
            return Ok(finalized.filter(|finalized| finalized.height == height));
        }
        Ok(self.locator(height).await?.filter(|ours| ours.height == height))
    }

    /// Refuses a source on whose chain another genesis is, also where it says so only here.
    async fn same_network(&mut self, tip: BlockRef) -> Result<(), Fault> {
        let zero = Height::zero();
        let theirs =
            if tip.height == zero { Some(tip.digest) } else { self.digest(tip, zero).await? };
        match theirs.map(|digest| BlockRef::new(zero, digest)) {
            Some(theirs) if theirs != self.chain_info.genesis => {
                Err(self.other_genesis(theirs).await)
            }
            _ => Ok(()), // A node that has no old blocks any more cannot say.
        }
    }

    /// A second look at what contradicts `ours`, which is finalized here: one wrong answer is no evidence.
    /// Returns what the source says the second time, if that contradicts it too.
    async fn confirm(&mut self, ours: BlockRef) -> Result<(Snapshot, BlockRef), Fault> {
        let (again, proposed) = self.look_again().await?;
        if proposed.height < ours.height {
            return Err(self.fault(Error::Behind { tip: proposed, finalized: ours }));
        }
        let Some(theirs) = self.digest(proposed, ours.height).await? else {
            return Err(self.fault(Error::NoDigest { height: ours.height, tip: proposed }));
        };
        if theirs == ours.digest {
            return Err(self.fault(Error::Unconfirmed { ours, tip: proposed }));
        }
        self.same_network(proposed).await?;
        Ok((again, BlockRef::new(ours.height, theirs)))
    }

    /// Finds the ancestor and prunes to it.
    pub(super) async fn realign(
        &mut self,
        watermarks: &Watermarks,
        snapshot: Snapshot,
    ) -> Result<Realigned, Fault> {
        let (Some(head), Some(proposed)) = (watermarks.head(), snapshot.tips.block(Tier::Proposed))
        else {
            return Ok(Realigned::Aligned(snapshot, *watermarks));
        };
        let top = head.height.min(proposed.height);
        match self.search(watermarks, proposed, top).await? {
            Found::Ancestor(ancestor) if ancestor == head => {
                self.agree();
                Ok(Realigned::Aligned(snapshot, *watermarks))
            }
            Found::Ancestor(ancestor) => self.prune(watermarks, ancestor).await,
            Found::FloorDiffers { ours, theirs } if ours.height.get() == 0 => {
                Err(self.other_genesis(theirs).await)
            }
            Found::FloorDiffers { ours, .. } => {
                let (again, theirs) = self.confirm(ours).await?;
                self.conflict(Conflict { ours, theirs }).await?;
                if head.height > ours.height {
                    // Whatever the source says of its tiers is of a chain that is not ours.
                    self.drop_above(watermarks, ours, &TipSet::unknown()).await?;
                }
                Ok(Realigned::Conflicted(again))
            }
            Found::Nothing { lowest } => {
                let below = lowest.and_then(|(ours, _)| ours.height.previous());
                self.rebase(watermarks, below.unwrap_or(top)).await
            }
        }
    }

    /// An answer has another genesis under it. That this is another chain only the source itself can
    /// say: a single answer may as well be a lie, and a lie must not end a follower.
    pub(super) async fn other_genesis(&mut self, theirs: impl Into<Foreign>) -> Fault {
        self.cost.chain_info += 1;
        let (ours, theirs) = (self.chain_info.genesis, theirs.into());
        match self.guard.wait(self.source.chain_info()).await {
            Ok(chain_info) if chain_info == *self.chain_info => {
                self.fault(Error::OtherGenesis { ours, theirs })
            }
            Ok(_) => self.fault(Error::WrongGenesis { ours, theirs }),
            Err(fault) => fault,
        }
    }

    /// Keeps both sides of a contradiction, and says so.
    pub(super) async fn conflict(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.faults.push(Fault::finality_conflict(self.source.name(), conflict));
        self.view.keep_evidence(conflict).await
    }

    /// The highest block that both sides have, not below finalized.
    async fn search(
        &mut self,
        watermarks: &Watermarks,
        proposed: BlockRef,
        top: Height,
    ) -> Result<Found, Fault> {
        let finalized = watermarks.tips.block(Tier::Finalized);
        let floor = finalized.map_or(Height::zero(), |block| block.height);
        let batch = self.source.limits().digests_max.get();
        let mut search = Search::new(floor, top, batch);
        loop {
            let heights = search.question();
            if heights.is_empty() {
                return Ok(search.found());
            }
            let mut ours = self.locate(&heights).await?;
            for (height, ours) in heights.iter().zip(&mut ours) {
                *ours =
                    remembered(watermarks, *height).into_iter().chain(*ours).max_by_key(by_height);
            }
            let mut named: Vec<_> = ours.iter().flatten().map(|block| block.height).collect();
            named.dedup(); // Where the view is sparse, one block stands for many heights.
            // The tip's own digest is in the snapshot: a shorter chain is told from another one
            // without a call.
            let theirs = match ours[0] {
                Some(ours) if ours == proposed => vec![Some(proposed.digest)],
                _ if named.is_empty() => Vec::new(),
                _ => self.digests(proposed, &named).await?,
            };
            let theirs: BTreeMap<_, _> = named.into_iter().zip(theirs).collect();
            let there = |ours: BlockRef| (ours, theirs.get(&ours.height).copied().flatten());
            let answers: Vec<_> = heights
                .iter()
                .zip(&ours)
                .map(|(height, ours)| (*height, ours.map(there)))
                .collect();
            search.answer(&answers).map_err(|unanswered| {
                self.fault(Error::NoDigest { height: unanswered.0, tip: proposed })
            })?;
        }
    }

    pub(super) async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let locators = self.view.locate(heights).await?;
        if locators.len() != heights.len() {
            let (got, want) = (locators.len(), heights.len());
            return Err(Fault::new("view", Error::LocatorCount { got, want }));
        }
        Ok(locators)
    }

    async fn locator(&self, height: Height) -> Result<Option<BlockRef>, Fault> {
        Ok(self.locate(&[height]).await?.pop().flatten())
    }

    /// The source's digests at `heights` under `tip`, in their order.
    async fn digests(
        &mut self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        debug_assert!(heights.iter().all(|height| *height <= tip.height), "above the tip");
        self.cost.reorg += 1;
        let digests = self.guard.wait(self.source.digests(tip, heights)).await?;
        if digests.len() != heights.len() {
            let (got, want) = (digests.len(), heights.len());
            return Err(self.fault(Error::DigestCount { got, want }));
        }
        Ok(digests)
    }

    async fn digest(&mut self, tip: BlockRef, height: Height) -> Result<Option<Digest>, Fault> {
        Ok(self.digests(tip, &[height]).await?.pop().flatten())
    }

    /// A second look at the source, after the divergence was established: what a prune says about the
    /// tiers is read here, and no longer in the first one.
    async fn look_again(&mut self) -> Result<(Snapshot, BlockRef), Fault> {
        let again = self.snapshot().await?;
        match again.tips.block(Tier::Proposed) {
            Some(proposed) => Ok((again, proposed)),
            None => Err(self.fault(Error::NoProposed)),
        }
    }

    /// Prunes to `ancestor`, which must still be there at the second look; or to the source's tip,
    /// where that has come down below it on the same chain.
    async fn prune(
        &mut self,
        watermarks: &Watermarks,
        ancestor: BlockRef,
    ) -> Result<Realigned, Fault> {
        let (again, proposed) = self.look_again().await?;
        let chain = self.second_chain(watermarks, proposed, ancestor.height).await?;
        if chain.has(watermarks.head()) {
            self.agree();
            return Ok(Realigned::Aligned(again, *watermarks));
        }
        let to = match proposed.height.cmp(&ancestor.height) {
            std::cmp::Ordering::Less => self.locator(proposed.height).await?,
            _ => Some(ancestor),
        };
        let Some(to) = to.filter(|to| chain.has(Some(*to))) else {
            return Err(self.fault(Error::AncestorGone { ancestor, tip: proposed }));
        };
        let finalized = watermarks.tips.block(Tier::Finalized);
        if let Some(finalized) = finalized.filter(|finalized| to.height < finalized.height) {
            return Err(self.fault(Error::Behind { tip: proposed, finalized }));
        }
        self.leave(watermarks, &chain, to.height).await?;
        let known = self.known(watermarks, &again.tips, &[]).await?;
        let watermarks = self.drop_above(watermarks, to, &coherent(&again.tips, &known)).await?;
        Ok(Realigned::Aligned(again, watermarks))
    }

    /// Prunes everything: no block that the view knows is on the source's chain, and it knows none at
    /// `below` or under it. What remains is a block that the view never had: the source's at that
    /// height, or its tip where that is lower still.
    async fn rebase(&mut self, watermarks: &Watermarks, below: Height) -> Result<Realigned, Fault> {
        let (again, proposed) = self.look_again().await?;
        let chain = self.second_chain(watermarks, proposed, below).await?;
        if chain.has(watermarks.head()) {
            self.agree();
            return Ok(Realigned::Aligned(again, *watermarks));
        }
        let below = below.min(proposed.height);
        let Some(to) = chain.at(below) else {
            return Err(self.fault(Error::NoBase { height: below }));
        };
        if to.height.get() == 0 && to != self.chain_info.genesis {
            return Err(self.other_genesis(to).await);
        }
        self.leave(watermarks, &chain, to.height).await?;
        let watermarks = self.drop_above(watermarks, to, &again.tips).await?;
        Ok(Realigned::Aligned(again, watermarks))
    }

    /// What the source has at the second look: under `tip`, at `height`, at the view's head, and where
    /// heads were left lately, in one question.
    async fn second_chain(
        &mut self,
        watermarks: &Watermarks,
        tip: BlockRef,
        height: Height,
    ) -> Result<Blocks, Fault> {
        let head = watermarks.head().map(|head| head.height);
        let left = self.forks.iter().flat_map(|forks| forks.heights(tip.height));
        let mut wanted: Vec<_> = std::iter::once(height).chain(head).chain(left).collect();
        wanted.retain(|height| *height < tip.height);
        let mut seen = BTreeSet::new();
        wanted.retain(|height| seen.insert(*height));
        // Where a question names few heights, whether the source flaps is not asked.
        wanted.truncate(self.source.limits().digests_max.get());
        let mut blocks = BTreeMap::from([(tip.height, tip.digest)]);
        if !wanted.is_empty() {
            let theirs = self.digests(tip, &wanted).await?;
            blocks.extend(wanted.into_iter().zip(theirs).filter_map(|(at, it)| Some((at, it?))));
        }
        Ok(Blocks(blocks))
    }

    /// Leaves the view's head for `chain` by a prune to `to`, unless the source has done that to and fro too
    /// often: to a head that was left before, or from a chain on which one is.
    async fn leave(
        &mut self,
        watermarks: &Watermarks,
        chain: &Blocks,
        to: Height,
    ) -> Result<(), Fault> {
        let (Some(forks), Some(head)) = (self.forks.as_deref(), watermarks.head()) else {
            return Ok(());
        };
        let left: Vec<_> = forks.heights(head.height).filter(|height| *height > to).collect();
        let ours = if left.is_empty() { Vec::new() } else { self.locate(&left).await? };
        let Some(forks) = self.forks.as_deref_mut() else { return Ok(()) };
        let has = |left: &BlockRef| chain.has(Some(*left)) || ours.contains(&Some(*left));
        if forks.leave(head, to, has) {
            return Ok(());
        }
        Err(self.fault(Error::Flapping { head }))
    }

    /// Prunes to `to` and clamps the tiers, in one step.
    async fn drop_above(
        &mut self,
        watermarks: &Watermarks,
        to: BlockRef,
        source: &TipSet,
    ) -> Result<Watermarks, Fault> {
        let tips = clamp(self.source.ladder(), &watermarks.tips, source, to);
        self.commit(vec![Change::Pruned { to, tips }]).await
    }
}

/// Blocks of the source's chain, as far as it was asked.
struct Blocks(BTreeMap<Height, Digest>);

impl Blocks {
    fn at(&self, height: Height) -> Option<BlockRef> {
        self.0.get(&height).map(|digest| BlockRef::new(height, *digest))
    }

    /// Whether `block` is one of them.
    fn has(&self, block: Option<BlockRef>) -> bool {
        block.is_some_and(|block| self.at(block.height) == Some(block))
    }
}

const fn by_height(block: &BlockRef) -> u64 {
    block.height.get()
}

/// The highest block at or below `height` that the watermarks themselves name. A view that lost digests, or
/// keeps few, still has these.
fn remembered(watermarks: &Watermarks, height: Height) -> Option<BlockRef> {
    let tips = Tier::ALL.into_iter().filter_map(|tier| watermarks.tips.block(tier));
    watermarks
        .delivered
        .into_iter()
        .chain(tips)
        .filter(|block| block.height <= height)
        .max_by_key(by_height)
}

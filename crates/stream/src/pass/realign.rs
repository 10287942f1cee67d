//! Back to a block that both sides have: ancestor search, second look, prune.

use super::{Ended, Guard, Pass, Report};
use crate::{
    Error, Foreign,
    reconcile::{clamp, coherent},
    search::{Found, Search},
};
use std::collections::BTreeMap;
use tidewatch_core::{
    BlockRef, Change, Conflict, Digest, Fault, Height, LocalView, Rule, Snapshot, Source, Tier,
    TipSet, Watermarks,
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
        snapshot: &Snapshot,
        proposed: BlockRef,
    ) -> Result<Option<Report>, Fault> {
        let Some(finalized) = watermarks.tips.block(Tier::Finalized) else { return Ok(None) };
        if proposed.height >= finalized.height {
            return Ok(None);
        }
        let ours = self.locator(proposed.height).await?;
        match ours.filter(|ours| ours.height == proposed.height && *ours != proposed) {
            Some(ours) if ours.height.get() == 0 => Err(self.other_genesis(proposed).await),
            Some(ours) => {
                self.conflict(Conflict { ours, theirs: proposed }).await?;
                Ok(Some(self.report(Ended::Conflicted, snapshot.clone())))
            }
            None => Err(self.fault(Error::Behind { tip: proposed, finalized })),
        }
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
                Ok(Realigned::Aligned(snapshot, *watermarks))
            }
            Found::Ancestor(ancestor) => self.prune(watermarks, snapshot, ancestor).await,
            Found::FloorDiffers { ours, theirs } if ours.height.get() == 0 => {
                Err(self.other_genesis(theirs).await)
            }
            Found::FloorDiffers { ours, theirs } => {
                self.conflict(Conflict { ours, theirs }).await?;
                if head.height > ours.height {
                    // Whatever the source says of its tiers is of a chain that is not ours.
                    self.drop_above(watermarks, ours, &TipSet::unknown()).await?;
                }
                Ok(Realigned::Conflicted(snapshot))
            }
            Found::Nothing { lowest } => {
                let below = lowest.and_then(|(ours, _)| ours.height.previous());
                self.rebase(watermarks, snapshot, below.unwrap_or(top)).await
            }
        }
    }

    /// An answer has another genesis under it. That this is another chain only the source itself can
    /// say: a single answer may as well be a lie, and a lie must not end a follower.
    pub(super) async fn other_genesis(&mut self, theirs: impl Into<Foreign>) -> Fault {
        self.cost.chain_info += 1;
        let (ours, theirs) = (self.chain_info.genesis, theirs.into());
        match self.guard.wait(self.source.chain_info()).await {
            Ok(chain_info) if chain_info == *self.chain_info && Rule::OtherGenesis.kept() => {
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
        let finalized = watermarks.tips.block(Tier::Finalized).filter(|_| Rule::Floor.kept());
        let floor = finalized.map_or(Height::zero(), |block| block.height);
        let max = self.source.limits().digests_max.get();
        let batch = if Rule::Question.kept() { max } else { max + 1 };
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
    /// tiers is read here, and no longer in the `first` one.
    async fn look_again(&mut self, first: Snapshot) -> Result<(Snapshot, BlockRef), Fault> {
        let again = if Rule::SecondLook.kept() { self.snapshot().await? } else { first };
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
        first: Snapshot,
        ancestor: BlockRef,
    ) -> Result<Realigned, Fault> {
        let (again, proposed) = self.look_again(first).await?;
        let (to, theirs) = match proposed.height.cmp(&ancestor.height) {
            std::cmp::Ordering::Less => {
                (self.locator(proposed.height).await?, Some(proposed.digest))
            }
            std::cmp::Ordering::Equal => (Some(ancestor), Some(proposed.digest)),
            std::cmp::Ordering::Greater => {
                (Some(ancestor), self.digest(proposed, ancestor.height).await?)
            }
        };
        let there = to.filter(|to| theirs == Some(to.digest) && to.height <= proposed.height);
        let Some(to) = there else {
            return Err(self.fault(Error::AncestorGone { ancestor, tip: proposed }));
        };
        let finalized = watermarks.tips.block(Tier::Finalized).filter(|_| Rule::Floor.kept());
        if let Some(finalized) = finalized.filter(|finalized| to.height < finalized.height) {
            return Err(self.fault(Error::Behind { tip: proposed, finalized }));
        }
        let known = self.known(watermarks, &again.tips, &[]).await?;
        let watermarks = self.drop_above(watermarks, to, &coherent(&again.tips, &known)).await?;
        Ok(Realigned::Aligned(again, watermarks))
    }

    /// Prunes everything: no block that the view knows is on the source's chain, and it knows none at
    /// `below` or under it. What remains is a block that the view never had: the source's at that
    /// height, or its tip where that is lower still.
    async fn rebase(
        &mut self,
        watermarks: &Watermarks,
        first: Snapshot,
        below: Height,
    ) -> Result<Realigned, Fault> {
        let (again, proposed) = self.look_again(first).await?;
        let to = if proposed.height <= below {
            proposed
        } else {
            let digest = self.digest(proposed, below).await?;
            let gone = || self.fault(Error::NoBase { height: below });
            BlockRef::new(below, digest.ok_or_else(gone)?)
        };
        if to.height.get() == 0 && to != self.chain_info.genesis {
            return Err(self.other_genesis(to).await);
        }
        let watermarks = self.drop_above(watermarks, to, &again.tips).await?;
        Ok(Realigned::Aligned(again, watermarks))
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

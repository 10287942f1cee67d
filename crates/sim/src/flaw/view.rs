//! Views that are wrong.

use super::Flaw;
use futures::FutureExt as _;
use tidewatch_core::{
    BlockRef, ChainInfo, Change, Conflict, Fault, Height, LocalView, Tier, Watermarks,
};
use tidewatch_testkit::chain::TestBlock;

/// How often a view goes back to a fork and up again.
const TIMES: usize = 8;

/// A view in front of another one, with a flaw at the most.
#[derive(Debug)]
pub(crate) struct View<V> {
    inner: V,
    flaw: Option<Flaw>,
    /// Where the last prune went, until the next blocks, or until proposed moves.
    pruned: Option<BlockRef>,
}

impl<V: LocalView<Block = TestBlock>> View<V> {
    pub(crate) const fn new(inner: V, flaw: Option<Flaw>) -> Self {
        Self { inner, flaw, pruned: None }
    }

    async fn back_and_forth(&mut self, changes: Vec<Change<TestBlock>>) -> Result<(), Fault> {
        self.inner.commit(changes.clone()).boxed().await?;
        let to = changes.iter().find_map(pruned_to);
        self.pruned = to.or(self.pruned);
        let blocks = |change: &Change<TestBlock>| matches!(change, Change::Blocks(_));
        if !changes.iter().any(blocks) {
            return Ok(());
        }
        let Some(to) = self.pruned.take() else { return Ok(()) };
        let up = |change: &&Change<TestBlock>| {
            matches!(change, Change::Blocks(_) | Change::Advanced { .. })
        };
        let again: Vec<_> = changes.iter().filter(up).cloned().collect();
        for _ in 0..TIMES {
            let mut tips = self.inner.watermarks().await?.tips;
            for tier in Tier::ALL {
                if tips.block(tier).is_some_and(|tip| tip.height > to.height) {
                    tips.set(tier, Some(to.into()));
                }
            }
            self.inner.commit(vec![Change::Pruned { to, tips }]).boxed().await?;
            self.inner.commit(again.clone()).boxed().await?;
        }
        Ok(())
    }
}

const fn pruned_to(change: &Change<TestBlock>) -> Option<BlockRef> {
    match change {
        Change::Pruned { to, .. } => Some(*to),
        _ => None,
    }
}

const fn moves_proposed(change: &Change<TestBlock>) -> bool {
    matches!(
        change,
        Change::Advanced { tier: Tier::Proposed, .. }
            | Change::Regressed { tier: Tier::Proposed, .. }
    )
}

impl<V: LocalView<Block = TestBlock>> LocalView for View<V> {
    type Block = TestBlock;

    fn chain_info(&self) -> &ChainInfo {
        self.inner.chain_info()
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        let mut watermarks = self.inner.watermarks().await?;
        if self.flaw == Some(Flaw::ForgottenTip) {
            watermarks.tips.set(Tier::Proposed, None);
        }
        Ok(watermarks)
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.inner.locate(heights).await
    }

    async fn commit(&mut self, mut changes: Vec<Change<TestBlock>>) -> Result<(), Fault> {
        match self.flaw {
            Some(Flaw::EmptyCommit) => self.inner.commit(Vec::new()).await?,
            Some(Flaw::BackAndForth) => return self.back_and_forth(changes).boxed().await,
            Some(Flaw::OrderOfTiers)
                if changes.iter().all(|change| matches!(change, Change::Advanced { .. })) =>
            {
                changes.reverse();
            }
            Some(Flaw::SilentPrune) => {
                self.pruned = changes.iter().find_map(pruned_to).or(self.pruned);
                if changes.iter().any(moves_proposed) && self.pruned.take().is_some() {
                    changes.retain(|change| !moves_proposed(change));
                }
                if changes.is_empty() {
                    return Ok(());
                }
            }
            _ => {}
        }
        self.inner.commit(changes).boxed().await
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.inner.keep_evidence(conflict).await
    }
}

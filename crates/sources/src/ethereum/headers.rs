//! The chain of an execution node, header by header.

use super::{EthBlock, wire::By};
use crate::{
    error::fault,
    rpc::{Answer, NodeError, Recent, Rpc, Upstreams},
};
use commonware_runtime::Clock;
use commonware_utils::{NZUsize, sync::Mutex};
use std::{collections::BTreeMap, fmt, num::NonZeroUsize};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, Height, Limits};

/// Digests that one question may name. The search of a pass goes by powers of that.
const DIGESTS_MAX: usize = 64;

/// Headers of a chain, from execution nodes. What was fetched and verified lately is not fetched again.
pub(crate) struct Headers<E: Clock, R> {
    upstreams: Upstreams<E, R>,
    recent: Mutex<Recent<EthBlock>>,
}

impl<E: Clock, R> fmt::Debug for Headers<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Headers").field(&self.upstreams).finish()
    }
}

impl<E: Clock, R: Rpc> Headers<E, R> {
    pub(crate) fn new(upstreams: Upstreams<E, R>, recent_max: NonZeroUsize) -> Self {
        Self { upstreams, recent: Mutex::new(Recent::new(recent_max.get())) }
    }

    pub(crate) const fn upstreams(&self) -> &Upstreams<E, R> {
        &self.upstreams
    }

    fn name(&self) -> &str {
        self.upstreams.name()
    }

    /// Every question is one batch, with room for the call that binds it to the tip, and for genesis.
    pub(crate) fn limits(&self) -> Limits {
        let batch = self.upstreams.batch_max();
        let without = |calls: usize| NonZeroUsize::new(batch.saturating_sub(calls));
        let digests_max = without(2).unwrap_or(NonZeroUsize::MIN).min(NZUsize!(DIGESTS_MAX));
        Limits { digests_max, blocks_max: without(1).unwrap_or(NonZeroUsize::MIN) }
    }

    /// Asks for blocks, and keeps those that verify. `None` where the node has none.
    pub(crate) async fn ask(&self, wanted: &[By]) -> Result<Vec<Option<EthBlock>>, Fault> {
        let calls: Vec<_> = wanted.iter().map(|by| by.call()).collect();
        let answers: Vec<Answer> = self.upstreams.ask(&calls).await?;
        let blocks = wanted.iter().zip(&answers).map(|(by, answer)| by.read(self.name(), answer));
        let blocks = blocks.collect::<Result<Vec<_>, _>>();
        let blocks = blocks.map_err(|fault| self.upstreams.refuse(fault))?;
        let mut recent = self.recent.lock();
        blocks.iter().flatten().for_each(|block| recent.keep(block.clone()));
        Ok(blocks)
    }

    /// The digests at `heights` of the chain that ends in `tip`.
    ///
    /// They are asked for where two chains part, and blocks are dropped on the strength of them: whether
    /// it is still the same chain at all is asked with them.
    ///
    /// # Errors
    ///
    /// `Torn`: the node's chain has left the tip by now. `WrongChain`: it is another one.
    pub(crate) async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        // What has to be asked anyway also brings the blocks of digests that are known: they are what is
        // downloaded next.
        let (mut digests, unknown): (Vec<_>, Vec<_>) = {
            let mut recent = self.recent.lock();
            let digests = heights.iter().map(|height| recent.digest(tip, *height)).collect();
            let below = heights.iter().copied().filter(|height| *height <= tip.height);
            (digests, below.filter(|height| recent.range(*height, tip, 1).is_empty()).collect())
        };
        let missing = |digests: &[Option<Digest>]| {
            let mut both = heights.iter().zip(digests);
            both.any(|(height, digest)| digest.is_none() && *height <= tip.height)
        };
        if !missing(&digests) {
            return Ok(digests);
        }
        let asked: Vec<_> = unknown.iter().copied().chain([Height::zero()]).collect();
        let Some(mut blocks) = self.under(tip, &asked).await? else {
            self.recent.lock().forget();
            return Err(self.upstreams.refuse(fault(self.name(), NodeError::LeftTip { tip })));
        };
        self.begins(blocks.pop().flatten()).await?;
        let found: BTreeMap<_, _> = unknown.into_iter().zip(blocks).collect();
        for (height, digest) in heights.iter().zip(&mut digests) {
            let block = found.get(height).and_then(Option::as_ref);
            *digest = digest.or_else(|| Some(block?.reference().digest));
        }
        Ok(digests)
    }

    /// Makes sure that the block at height 0 is the one that it was.
    pub(crate) async fn begins(&self, with: Option<EthBlock>) -> Result<(), Fault> {
        let theirs = with.map(|block| block.reference());
        if theirs == self.upstreams.genesis() {
            return Ok(());
        }
        self.recent.lock().forget();
        Err(self.upstreams.doubt(theirs).await)
    }

    /// Linked blocks from `from` upwards on the chain under `tip`; none if the node has another chain.
    pub(crate) async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<EthBlock>, Fault> {
        let max = self.limits().blocks_max.get();
        let known = self.recent.lock().range(from, tip, max);
        let whole = known.last().is_some_and(|last| last.reference() == tip) || known.len() == max;
        if whole || from > tip.height {
            return Ok(known);
        }
        let to = from.get().saturating_add(max as u64 - 1).min(tip.height.get());
        let heights: Vec<_> = (from.get()..=to).map(Height::new).collect();
        let mut slots: Vec<_> = {
            let mut recent = self.recent.lock();
            heights.iter().map(|height| recent.range(*height, tip, 1).pop()).collect()
        };
        let unknown = heights.iter().zip(&slots).filter(|(_, known)| known.is_none());
        let unknown: Vec<_> = unknown.map(|(height, _)| *height).collect();
        let Some(fetched) = self.under(tip, &unknown).await? else {
            return Ok(Vec::new());
        };
        let empty = slots.iter_mut().filter(|slot| slot.is_none());
        empty.zip(fetched).for_each(|(slot, block)| *slot = block);
        let mut range: Vec<EthBlock> = Vec::new();
        for block in slots.into_iter().map_while(|slot| slot) {
            if range.last().is_some_and(|below| below.reference().digest != block.parent()) {
                break; // Parts of two chains: what is whole is an answer, the pass asks on from there.
            }
            range.push(block);
        }
        // The node may have refused so long a range just now. What was fetched is remembered.
        range.truncate(self.limits().blocks_max.get());
        Ok(range)
    }

    /// The blocks at `heights` of the chain under `tip`; nothing if the node has another block at the
    /// tip's height by now. That it has none at some height is bound to the tip as well: a node that
    /// lags, or another one behind the same address, has none where there is one.
    async fn under(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Option<Vec<Option<EthBlock>>>, Fault> {
        let mut wanted: Vec<_> = heights.iter().copied().map(By::Height).collect();
        let bound = heights.iter().position(|height| *height == tip.height);
        let bound = bound.unwrap_or_else(|| {
            wanted.push(By::Height(tip.height));
            heights.len()
        });
        let mut blocks = self.ask(&wanted).await?;
        let top = blocks.get(bound).and_then(Option::as_ref);
        if top.is_none_or(|block| block.reference() != tip) {
            return Ok(None);
        }
        blocks.truncate(heights.len());
        let mut recent = self.recent.lock();
        for block in blocks.iter().flatten() {
            let BlockRef { height, digest } = block.reference();
            recent.add(tip, height, digest);
        }
        Ok(Some(blocks))
    }
}

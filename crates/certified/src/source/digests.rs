//! Digests at heights.

use super::CertifiedSource;
use crate::{CertifiedBlock, Check, Epochs, Transport};
use commonware_runtime::Clock;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::BTreeMap;
use tidewatch_core::{Digest, Fault, Height, Severity};

/// Heights above one without an answer that are tried for a certificate to walk down from.
const REACH: u64 = 8;

impl<E, T, X, B> CertifiedSource<E, T, X, B>
where
    E: Clock,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    /// Digests at `heights`: those that memory links to the tip cost nothing, each other one a request
    /// and a certificate check.
    pub(super) async fn digests_at(
        &self,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let Some(lowest) = heights.iter().min() else { return Ok(Vec::new()) };
        let linked = self.linked(*lowest);
        let ceiling = linked.keys().next_back().copied().unwrap_or_else(Height::zero);
        let digests = heights.iter().map(|height| {
            let known = linked.get(height).copied();
            async move {
                match known {
                    Some(digest) => Ok(Some(digest)),
                    None if *height > ceiling => Ok(None),
                    None => self.proved(*height).await,
                }
            }
        });
        // Collected first: the futures of a lazy iterator would borrow it across awaits.
        let digests: Vec<_> = digests.collect();
        stream::iter(digests).buffered(self.config.concurrency.get()).try_collect().await
    }

    /// Digests that memory links to the tip that was given out last, down to `lowest`, and genesis.
    fn linked(&self, lowest: Height) -> BTreeMap<Height, Digest> {
        let genesis = self.identity.genesis;
        let mut linked = BTreeMap::from([(genesis.height, genesis.digest)]);
        let known = self.shared.known.lock();
        let mut name = known.newest_issued().map(|tip| *tip);
        while let Some(block) = name.filter(|name| name.height >= lowest) {
            linked.insert(block.height, block.digest);
            name = known.block(&block.digest).and_then(|child| {
                let height = block.height.previous()?;
                Some(tidewatch_core::BlockRef::new(height, child.parent()))
            });
        }
        linked
    }

    /// The digest at `height`, from its own certificate, or from the nearest one above and the blocks in
    /// between; `None` where neither is to be had.
    async fn proved(&self, height: Height) -> Result<Option<Digest>, Fault> {
        for reach in 0..=REACH {
            let above = Height::new(height.get().saturating_add(reach));
            let mut name = match self.certified(above, Check::Digest).await {
                Ok(Some(name)) => name,
                Ok(None) => continue,
                Err(fault) if fault.severity() == Severity::Lied => {
                    self.ledger.absorbed(&fault);
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            while name.height > height {
                let child = match self.ancestor(&name).await {
                    Ok(child) => child,
                    Err(fault) if fault.severity() == Severity::Transient => return Err(fault),
                    Err(fault) => {
                        self.ledger.absorbed(&fault);
                        return Ok(None);
                    }
                };
                let Some(parent) = child.vouched() else { return Ok(None) };
                name = parent;
            }
            return Ok(Some(name.digest));
        }
        Ok(None)
    }
}

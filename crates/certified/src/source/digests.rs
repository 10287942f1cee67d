//! Digests at heights.

use super::CertifiedSource;
use crate::{
    CertifiedBlock, Check, Epochs, Error, Transport, Verified, error::another_may_do,
    known::VerifiedTip,
};
use commonware_runtime::Clock;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::BTreeMap;
use tidewatch_core::{BlockRef, Digest, Fault, Height, Severity};

/// Heights above one without an answer that are tried for a certificate to walk down from.
const REACH: u64 = 8;

impl<E, T, X, B> CertifiedSource<E, T, X, B>
where
    E: Clock,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    /// Digests at `heights` on the chain that ends in `tip`: those that memory links to the tip cost
    /// nothing, each other one a request and, at or below finality, a certificate check.
    pub(super) async fn digests_at(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let Some(lowest) = heights.iter().min() else { return Ok(Vec::new()) };
        let Some(tip) = self.verified(tip) else {
            return Err(self.metrics.reject(Error::Unproved { tip }));
        };
        let linked = self.linked(tip, *lowest).await?;
        let digests = heights.iter().map(|height| {
            let known = linked.get(height).copied();
            async move {
                match known {
                    Some(digest) => Ok(Some(digest)),
                    // A certificate puts a block on the chain of the tip only up to what is final there.
                    None if *height > tip.base => Ok(None),
                    None => self.proved(*height).await,
                }
            }
        });
        // Collected first: the futures of a lazy iterator would borrow it across awaits.
        let digests: Vec<_> = digests.collect();
        stream::iter(digests).buffered(self.config.concurrency.get()).try_collect().await
    }

    /// Digests that `tip` is linked to, down to `lowest`, and genesis: as far as memory goes, and down to
    /// finality in any case. Above it nothing but the hash chain proves a digest, so what memory lacks
    /// there is asked for.
    async fn linked(
        &self,
        VerifiedTip { tip, base }: VerifiedTip,
        lowest: Height,
    ) -> Result<BTreeMap<Height, Digest>, Fault> {
        let genesis = self.chain_info.genesis;
        let mut linked = BTreeMap::from([(genesis.height, genesis.digest)]);
        let above = Height::new(lowest.get().saturating_add(1));
        let mut next = Some(tip);
        while let Some(name) = next {
            linked.insert(name.height, name.digest);
            // The name of a block is in the one above it: that at `lowest` is not needed.
            let (lacking, path) = self.remembered(name, above);
            let names = path.iter().filter_map(Verified::vouched);
            linked.extend(names.map(|name| (name.height, name.digest)));
            next = match lacking.filter(|lacking| lacking.height > base) {
                None => None,
                Some(lacking) => match self.ancestor(&lacking).await {
                    Ok(block) => block.vouched(),
                    Err(fault) if fault.severity() == Severity::Transient => return Err(fault),
                    Err(fault) => {
                        self.metrics.absorbed(&fault);
                        None
                    }
                },
            };
        }
        Ok(linked)
    }

    /// The digest at `height`, from its own certificate, or from the nearest one above and the blocks in
    /// between; `None` where neither is to be had.
    async fn proved(&self, height: Height) -> Result<Option<Digest>, Fault> {
        for reach in 0..=REACH {
            let above = Height::new(height.get().saturating_add(reach));
            let mut name = match self.certified(above, Check::Digest).await {
                Ok(Some(certified)) => certified.block().name(),
                Ok(None) => continue,
                Err(fault) if another_may_do(&fault) => {
                    self.metrics.absorbed(&fault);
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            while name.height > height {
                let child = match self.ancestor(&name).await {
                    Ok(child) => child,
                    Err(fault) if fault.severity() == Severity::Transient => return Err(fault),
                    Err(fault) => {
                        self.metrics.absorbed(&fault);
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

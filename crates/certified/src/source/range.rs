//! A range of history. See the [module](super) for the steps.

use super::{CertifiedSource, gather::Gathered};
use crate::{
    CertificateKind, Certified, CertifiedBlock, Check, Claim, Epochs, Error, Key, Transport,
    Verified, error::another_may_do, known::VerifiedTip,
};
use bytes::Bytes;
use commonware_runtime::Clock;
use futures::{StreamExt as _, stream};
use std::future::ready;
use tidewatch_core::{BlockRange, BlockRef, Fault, Height, Severity, TierProof};

/// Where the hash chain ends: the index of a block that cannot be had, and why.
struct Broken {
    index: usize,
    fault: Fault,
}

/// The verified name of the block that a range ends with.
struct End {
    name: Verified<BlockRef>,
    /// Its certificate, if it is not the hash chain that leads to it.
    certificate: Option<TierProof>,
}

impl End {
    const fn linked(name: Verified<BlockRef>) -> Self {
        Self { name, certificate: None }
    }

    fn certified<B: CertifiedBlock>(certified: &Verified<Certified<B>>) -> Self {
        let name = certified.block().name();
        let certificate = TierProof { block: *name, bytes: certified.proof.clone() };
        Self { name, certificate: Some(certificate) }
    }
}

impl<E, T, X, B> CertifiedSource<E, T, X, B>
where
    E: Clock,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    /// Blocks from `from` upwards on the chain that ends in `tip`, and the certificates that were verified of them.
    pub(super) async fn certified_range(
        &self,
        tip: BlockRef,
        from: Height,
    ) -> Result<BlockRange<B>, Fault> {
        let Some(verified) = self.verified(tip) else { return Ok(Vec::new().into()) };
        let VerifiedTip { tip, base } = verified;
        if from > tip.height {
            return Ok(Vec::new().into());
        }
        let max = self.config.blocks_max.get();
        let (below, path) = self.remembered(tip, from);
        let (mut blocks, end) = match below {
            None => (Vec::new(), None),
            Some(below) => match self.verified_range(from, below, base).await {
                // The tip was replaced, and the endpoint dropped what is not on its chain any more.
                Err(fault) if fault.severity() == Severity::Behind && self.superseded(verified) => {
                    return Ok(Vec::new().into());
                }
                range => range?,
            },
        };
        let reached = blocks.last().map(|block| block.reference());
        if reached == below.as_deref().copied() {
            let room = max.saturating_sub(blocks.len());
            blocks.reserve_exact(room.min(path.len()));
            blocks.extend(path.into_iter().rev().take(room));
        }
        let blocks: Vec<_> = blocks.into_iter().map(Verified::into_inner).collect();
        for block in blocks.iter().take_while(|block| block.reference().height <= base) {
            self.verifier.learn(block, None);
        }
        let mut certificates = self.boundary_certificates(&blocks, base).await;
        if let Some(end) = end
            && certificates.last().is_none_or(|last| last.block.height < end.block.height)
        {
            certificates.push(end);
        }
        Ok(BlockRange { blocks, certificates })
    }

    /// The certificates of those final `blocks` that end an epoch: whoever verifies this chain from what we hold
    /// walks over them. One that was passed over, because the group's key or the hash chain sufficed, is asked for
    /// where the configuration says so. What cannot be had is reported and fails nothing.
    async fn boundary_certificates(&self, blocks: &[B], base: Height) -> Vec<TierProof> {
        let epochs = self.verifier.epochs();
        let names = blocks.iter().map(|block| block.reference());
        let ends = names.filter(|name| name.height <= base && epochs.is_boundary(name.height));
        let certificates = ends.map(|name| async move {
            if self.config.boundary_certificates
                && epochs.certificate(name).is_none()
                && let Err(fault) = self.certified(name.height, Check::Epoch).await
            {
                self.metrics.absorbed(&fault);
            }
            epochs.certificate(name).map(|bytes| TierProof { block: name, bytes })
        });
        let certificates: Vec<_> = certificates.collect();
        let certificates = stream::iter(certificates).buffered(self.config.concurrency.get());
        certificates.filter_map(ready).collect().await
    }

    /// What verifies `tip`, found again by its content: a certificate over it, or the hash chain down
    /// from the newest finalized block. `None`: the chain moved away from it.
    pub(super) fn verified(&self, tip: BlockRef) -> Option<VerifiedTip> {
        let (found, finalized) = {
            let known = self.shared.known.lock();
            (known.tip(tip), known.finalized().map(|finalized| finalized.block().name()))
        };
        if tip == self.chain_info.genesis {
            return Some(VerifiedTip::finalized(self.verifier.genesis().name()));
        }
        found.or_else(|| {
            // A tip that was notarized, and that others were finalized on top of since.
            let finalized = finalized.filter(|finalized| tip.height < finalized.height)?;
            let (lacking, path) = self.remembered(finalized, tip.height.next());
            let name = path.last().filter(|_| lacking.is_none())?.vouched()?;
            (*name == tip).then(|| VerifiedTip::finalized(name))
        })
    }

    /// Whether `tip` can have been replaced: it is not final, and a newer certificate is known.
    fn superseded(&self, tip: VerifiedTip) -> bool {
        !tip.is_final() && self.shared.known.lock().newest() != Some(*tip.tip)
    }

    /// The blocks that memory has from `tip` downwards, and the name of the first that it lacks; `None`
    /// if it lacks none down to `from`.
    pub(super) fn remembered(
        &self,
        tip: Verified<BlockRef>,
        from: Height,
    ) -> (Option<Verified<BlockRef>>, Vec<Verified<B>>) {
        let known = self.shared.known.lock();
        let (mut below, mut path) = (Some(tip), Vec::new());
        while let Some(name) = below.filter(|name| name.height >= from) {
            let block = match name.height == self.chain_info.genesis.height {
                true => Some(self.verifier.genesis().into_inner()),
                false => known.block(&name.digest).cloned(),
            };
            // A remembered block is under its own digest. If the height is not the named one, the chain
            // is broken there: asking for it says so.
            let block = block.and_then(|block| self.verifier.admit(&name, block).ok());
            let Some(block) = block else { return (Some(name), path) };
            below = block.vouched();
            path.push(block);
        }
        (None, path)
    }

    /// Blocks from `from` upwards to `below`, or to a lower height. Never empty.
    ///
    /// A certificate proves a block final, and up to `base` that puts it on the chain that was asked
    /// for. Above it, the hash chain from `below` is the only proof. Returns the certificate that the range ends with, if
    /// it does.
    async fn verified_range(
        &self,
        from: Height,
        below: Verified<BlockRef>,
        base: Height,
    ) -> Result<(Vec<Verified<B>>, Option<TierProof>), Fault> {
        let mut gathered = self.gather(from, below.height).await;
        let final_len =
            base.get().checked_sub(from.get()).map_or(0, |_| index(from, base).saturating_add(1));
        let whole = gathered.top() == Some(below.height);
        if !whole {
            gathered.slots.truncate(final_len);
        }
        let mut anchor = match gathered.top() {
            Some(_) if whole => End::linked(below),
            Some(_) => self.anchor(&mut gathered, base).await?,
            None => return Err(self.cut(&mut gathered, from)),
        };
        if let Some(fault) = gathered.cut.take() {
            self.metrics.absorbed(&fault);
        }
        let mut repairs = self.config.repairs_max.get();
        gathered.slots.truncate(index(from, anchor.name.height) + 1);
        // What is not final has no certificate to end at.
        let may_end = gathered.slots.len() <= final_len;
        if !self.fill(&mut gathered, &anchor.name, may_end).await
            && let Some(missing @ 1..) = gathered.slots.iter().position(Option::is_none)
        {
            gathered.slots.truncate(missing);
            anchor = self.anchor(&mut gathered, base).await?;
            gathered.slots.truncate(index(from, anchor.name.height) + 1);
        }
        let mut limit = usize::MAX;
        loop {
            let missing = gathered.slots.iter().position(Option::is_none);
            let Broken { index, fault } =
                match self.settle(&mut gathered, anchor.name, &mut repairs).await {
                    Ok(blocks) => return Ok((blocks, anchor.certificate)),
                    Err(broken) => broken,
                };
            let keep = index.min(missing.unwrap_or(index)).min(limit).min(final_len);
            if keep == 0 {
                return Err(fault);
            }
            self.metrics.absorbed(&fault);
            gathered.slots.truncate(keep);
            anchor = self.anchor(&mut gathered, base).await?;
            gathered.slots.truncate(self::index(from, anchor.name.height) + 1);
            // An endpoint that breaks every range anew costs a logarithm of attempts.
            limit = gathered.slots.len() / 2;
        }
    }

    /// Why nothing was gathered at all.
    fn cut(&self, gathered: &mut Gathered<X::Scheme, B>, from: Height) -> Fault {
        gathered.cut.take().unwrap_or_else(|| self.metrics.reject(Error::NoHeight { height: from }))
    }

    /// Finds the highest of the gathered heights whose certificate verifies; or goes down from the one above them,
    /// where none of them has one.
    async fn anchor(
        &self,
        gathered: &mut Gathered<X::Scheme, B>,
        base: Height,
    ) -> Result<End, Fault> {
        let mut last = None;
        let usable = (0..gathered.slots.len()).rev().filter(|slot| gathered.slots[*slot].is_some());
        for slot in usable.take(self.config.range_certificates_max.get()) {
            match self.certified(gathered.height(slot), Check::Range).await {
                Ok(Some(certified)) => return Ok(End::certified(&certified)),
                Ok(None) => {}
                Err(fault) if another_may_do(&fault) => {
                    self.metrics.absorbed(&fault);
                    last = Some(fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        if let Some(above) = gathered.above.take().filter(|above| above.reference().height <= base)
        {
            return self.descend(above, gathered).await;
        }
        Err(last
            .unwrap_or_else(|| self.metrics.reject(Error::NoFinalization { from: gathered.from })))
    }

    /// The block at the top of what was gathered, by the hash chain down from the certificate `above`.
    async fn descend(
        &self,
        above: Claim<X::Scheme, B>,
        gathered: &Gathered<X::Scheme, B>,
    ) -> Result<End, Fault> {
        let from = gathered.from;
        let none = || self.metrics.reject(Error::NoFinalization { from });
        let top = gathered.top().ok_or_else(none)?;
        if index(top, above.reference().height) > self.config.gap_max.get() {
            return Err(none());
        }
        let certified = self.certify(above, Check::Range).await?;
        let mut name = certified.block().name();
        let mut blocks = self.walk_ranges(*name, top.next(), false).await;
        while name.height > top {
            let block = match blocks.pop() {
                Some(block) => self.verifier.admit(&name, block)?,
                None => self.ancestor(&name).await?,
            };
            name = block.vouched().ok_or_else(none)?;
        }
        Ok(End::linked(name))
    }

    /// What was sent as the finalization at `height`: it decodes, and its block is of that height.
    pub(super) fn claim_at(
        &self,
        height: Height,
        bytes: Bytes,
    ) -> Result<Claim<X::Scheme, B>, Fault> {
        let claim = self.verifier.claim(CertificateKind::Finalized, bytes)?;
        let found = claim.reference();
        match found.height == height {
            true => Ok(claim),
            false => Err(self.metrics.reject(Error::OtherHeight { found, height })),
        }
    }

    /// The block that a certificate proves to be at `height`.
    pub(super) async fn certified(
        &self,
        height: Height,
        check: Check,
    ) -> Result<Option<Verified<Certified<B>>>, Fault> {
        let Some(bytes) = self.requests.get(Key::Height(height)).await? else { return Ok(None) };
        let claim = self.claim_at(height, bytes)?;
        self.certify(claim, check).await.map(Some)
    }

    /// Goes from the anchor downwards: each block must be the one that its child names. What is not is
    /// asked for by that name, `repairs` times at most.
    async fn settle(
        &self,
        gathered: &mut Gathered<X::Scheme, B>,
        anchor: Verified<BlockRef>,
        repairs: &mut usize,
    ) -> Result<Vec<Verified<B>>, Broken> {
        let mut blocks = Vec::with_capacity(gathered.slots.len());
        let mut name = anchor;
        for index in (0..gathered.slots.len()).rev() {
            let admitted = gathered.slots[index].take().and_then(|block| {
                let admitted = self.verifier.admit(&name, block);
                admitted.inspect_err(|fault| self.metrics.absorbed(fault)).ok()
            });
            let block = match admitted {
                Some(block) => block,
                None => {
                    let repaired = match repairs.checked_sub(1) {
                        Some(left) => {
                            *repairs = left;
                            self.ancestor(&name).await
                        }
                        None => Err(self.metrics.reject(Error::TooManyRepairs { name: *name })),
                    };
                    repaired.map_err(|fault| Broken { index, fault: at(fault, name.height) })?
                }
            };
            if let Some(vouched) = block.vouched() {
                name = vouched;
            }
            blocks.push(block);
        }
        blocks.reverse();
        Ok(blocks)
    }
}

/// Position of `height` in a run that starts at `from`.
pub(super) fn index(from: Height, height: Height) -> usize {
    usize::try_from(height.get().saturating_sub(from.get())).unwrap_or(usize::MAX)
}

/// Says at which height a fault was met.
fn at(mut fault: Fault, height: Height) -> Fault {
    fault.detail = format!("at height {height}: {}", fault.detail);
    fault
}

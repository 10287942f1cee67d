//! One snapshot.

use super::{CertifiedSource, ask::Plan};
use crate::{
    CertificateKind, Certified, CertifiedBlock, Check, Epochs, Error, Key, Transport, Verified,
    known::Relevance,
};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::{FutureExt as _, join};
use tidewatch_core::{
    BlockRef, Fault, FaultKind, Snapshot, Tier, TierProof, TierProofs, TipSet, Trust,
};

impl<E, T, X, B> CertifiedSource<E, T, X, B>
where
    E: Clock,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    pub(super) async fn tips(&self) -> Result<Snapshot, Fault> {
        let link = *self.shared.link.lock();
        let plan = self.asked.lock().plan(self.requests.clock.current(), &link, &self.config);
        if plan != Plan::Remember {
            self.asked.lock().attempted = Some(self.requests.clock.current());
            self.shared.link.lock().ahead = false;
            match self.ask().await {
                // Nobody who has nothing is remembered as an answer.
                Ok(()) if self.shared.known.lock().newest().is_none() => {}
                Ok(()) => {
                    self.fill_gap().await;
                    let now = self.requests.clock.current();
                    self.asked.lock().answered = Some((now, link.generation));
                }
                Err(fault) if plan == Plan::Try || self.is_ahead(&fault) => {
                    self.metrics.absorbed(&fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        let conflict = self.shared.known.lock().take_conflict();
        if let Some(conflict) = conflict.or_else(|| self.verifier.epochs().take_conflict()) {
            return Err(self
                .metrics
                .refused(Fault::finality_conflict(self.metrics.name(), conflict)));
        }
        self.compose().await
    }

    /// Whether the chain went on into an epoch that is not in our table yet, beyond tips that we have
    /// verified. Those are the answer until the table knows it; the tip is requested for each snapshot.
    fn is_ahead(&self, fault: &Fault) -> bool {
        fault.kind == FaultKind::UnknownEpoch && self.shared.known.lock().finalized().is_some()
    }

    /// Asks for both tips and takes the answers in. Only the finalized one must come.
    async fn ask(&self) -> Result<(), Fault> {
        let (finalized, notarized) = join!(
            self.requests.get(Key::LatestFinalization),
            self.requests.get(Key::LatestNotarization),
        );
        // One after the other: a notarization that is older than the finalization costs no check.
        let finalized = match finalized {
            Ok(bytes) => self.take(CertificateKind::Finalized, bytes).await,
            Err(fault) => Err(fault),
        };
        let notarized = match notarized {
            Ok(bytes) => self.take(CertificateKind::Notarized, bytes).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = notarized {
            self.metrics.absorbed(&fault);
        }
        finalized
    }

    /// Takes in an answer for a tip. One that says less than what is known is ignored.
    async fn take(&self, kind: CertificateKind, bytes: Option<Bytes>) -> Result<(), Fault> {
        let Some(bytes) = bytes else {
            if kind == CertificateKind::Finalized && self.shared.known.lock().finalized().is_some()
            {
                self.metrics.stale();
            }
            return Ok(());
        };
        let claim = self.verifier.claim(kind, bytes)?;
        self.shared.link.lock().seen = Some(claim.reference().height);
        let relevance = self.shared.known.lock().judge(kind, claim.round(), claim.reference());
        match (relevance, kind) {
            (Relevance::Known, _) => return Ok(()),
            (Relevance::Stale, CertificateKind::Finalized) => {
                self.metrics.stale();
                return Ok(());
            }
            // The newest notarization is not newer than the finalization: the chain is quiet.
            (Relevance::Stale, CertificateKind::Notarized) => return Ok(()),
            (Relevance::New, _) => {}
        }
        let certified = self.certify(claim, Check::Tip).await?;
        self.shared.known.lock().take(certified);
        Ok(())
    }

    /// Makes a snapshot of what is known. Genesis alone is none: we know it without anybody's answer.
    async fn compose(&self) -> Result<Snapshot, Fault> {
        let finalized = self.shared.known.lock().finalized().cloned();
        let genesis = self.verifier.genesis();
        let base = finalized.as_ref().map_or_else(|| genesis.name(), |tip| tip.block().name());
        let proposed = self.proposed(base).await;
        if proposed.is_none() && finalized.is_none() {
            return Err(self.metrics.reject(Error::NothingVerified));
        }
        let tip = proposed.as_ref().map_or(base, |tip| tip.block().name());
        let proofs = [(Tier::Finalized, &finalized), (Tier::Proposed, &proposed)];
        let proofs = proofs.into_iter().filter_map(|(tier, certified)| {
            let Certified { block, proof, .. } = &**certified.as_ref()?;
            Some((tier, TierProof { block: block.reference(), bytes: proof.clone() }))
        });
        let proofs =
            proofs.fold(TierProofs::none(), |proofs, (tier, proof)| proofs.with(tier, proof));
        Ok(Snapshot {
            tips: TipSet::unknown().with(Tier::Proposed, *tip).with(Tier::Finalized, *base),
            proofs,
            time_ms: proposed.or(finalized).and_then(|tip| tip.block.time_ms()),
            trust: self.verifier.epochs().trust().map(|(epoch, anchor, time_ms)| {
                let seen = self.shared.link.lock().seen;
                Trust { epoch: epoch.get(), anchor, time_ms, seen }
            }),
            ..Snapshot::default()
        })
    }

    /// The newest notarized block whose ancestry down to `base` is at hand.
    async fn proposed(&self, base: Verified<BlockRef>) -> Option<Verified<Certified<B>>> {
        let limit = self.config.ancestors_time_max;
        let deadline = self.requests.clock.sleep(limit).shared();
        let candidates = self.shared.known.lock().candidates();
        for candidate in candidates {
            let descends = select! {
                descends = self.descends(&candidate, *base) => descends,
                () = deadline.clone() => {
                    let tip = candidate.block.reference();
                    Err(self.metrics.reject(Error::NoAncestry { tip, limit }))
                },
            };
            let Err(fault) = descends else {
                self.shared.known.lock().descends(candidate.round, base.height);
                return Some(candidate);
            };
            self.metrics.absorbed(&fault);
            self.shared.known.lock().discard(candidate.round);
        }
        None
    }

    /// Walks from `candidate` down to `base` by parent digest, fetching what is not at hand.
    async fn descends(
        &self,
        candidate: &Verified<Certified<B>>,
        base: BlockRef,
    ) -> Result<(), Fault> {
        let tip = candidate.block.reference();
        let astray = || Err(self.metrics.reject(Error::NotADescendant { tip, finalized: base }));
        if tip.height <= base.height {
            return astray();
        }
        let mut name = candidate.block().vouched();
        for _ in 0..self.config.ancestors_max.get() {
            let Some(parent) = name else { return astray() };
            if *parent == base {
                return Ok(());
            }
            if parent.height <= base.height {
                return astray();
            }
            name = self.ancestor(&parent).await?.vouched();
        }
        Err(self.metrics.reject(Error::TooFar { tip, finalized: base }))
    }

    /// The block that a verified one names: from memory, or asked for by digest and kept.
    pub(super) async fn ancestor(&self, name: &Verified<BlockRef>) -> Result<Verified<B>, Fault> {
        if name.height == self.chain_info.genesis.height {
            return self.verifier.admit(name, self.verifier.genesis().into_inner());
        }
        let remembered = self.shared.known.lock().block(&name.digest).cloned();
        if let Some(block) = remembered {
            return self.verifier.admit(name, block);
        }
        let Some(bytes) = self.requests.get(Key::Digest(name.digest)).await? else {
            return Err(self.metrics.reject(Error::NoBlock { name: **name }));
        };
        let block = self.verifier.resolve(name, bytes)?;
        self.shared.known.lock().keep((*block).clone());
        Ok(block)
    }
}

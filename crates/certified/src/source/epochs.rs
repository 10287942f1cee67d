//! The walk to an epoch that is not known: see [`Epochs`] for how it goes.

use super::CertifiedSource;
use crate::{
    Certified, CertifiedBlock, Check, Claim, Epochs, Error, Finality, Finalized, Key, Transport,
    Verified,
    epochs::{Step, Walk},
};
use bytes::Bytes;
use commonware_consensus::{
    Reporter,
    types::{Epoch, Height},
};
use commonware_runtime::Clock;
use futures::future::join_all;
use std::{collections::BTreeMap, sync::atomic::Ordering};
use tidewatch_core::{BlockRef, Fault, FaultKind, within};

/// Times in a row that a boundary which was passed over may not be had.
const UNFILLED_MAX: u32 = 3;

/// Answers to requests for boundaries, by the epoch that each one ends.
type Answers = BTreeMap<Epoch, Result<Option<Bytes>, Fault>>;

/// What a boundary was good for.
enum Taken {
    /// It verified, and gave the next scheme.
    Learned,
    /// It did not verify under the key that was kept so far.
    Refused,
}

impl<E, T, X, B> CertifiedSource<E, T, X, B>
where
    E: Clock,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    /// Checks a certificate. If its epoch is not known, the boundaries on the way there are fetched and
    /// verified first.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it keeps what it learned; the next one goes on from there.
    pub(super) async fn certify(
        &self,
        claim: Claim<X::Scheme, B>,
        check: Check,
    ) -> Result<Verified<Certified<B>>, Fault> {
        let height = claim.reference().height;
        let Some(mut walk) = self.verifier.epochs().walk(height) else {
            return self.verifier.check(claim, check).await;
        };
        let walks = self.verifier.epochs().at(height).is_none();
        let unknown = match self.verifier.check(claim.clone(), check).await {
            Err(fault) if fault.kind == FaultKind::UnknownEpoch && walks => fault,
            verdict => return verdict,
        };
        let target = walk.target();
        let limit = self.config.walk_time_max;
        let walked = self.walk_to(&mut walk, claim, check, unknown);
        within(&*self.requests.clock, limit, walked).await.unwrap_or_else(|| {
            let newest = self.verifier.epochs().newest_below(target).unwrap_or_default();
            Err(self.metrics.reject(Error::Walking { epoch: target, newest }))
        })
    }

    async fn walk_to(
        &self,
        walk: &mut Walk,
        claim: Claim<X::Scheme, B>,
        check: Check,
        mut unknown: Fault,
    ) -> Result<Verified<Certified<B>>, Fault> {
        let epochs = self.verifier.epochs();
        let height = claim.reference().height;
        // The first check was a try, if there was a key to try.
        let mut tried = epochs.candidate(height).is_some();
        let _turn = self.walking.lock().await;
        let (mut answers, mut ahead) = (Answers::new(), 1);
        loop {
            let step = epochs.step(walk);
            if std::mem::take(&mut tried) {
                walk.tried();
                continue;
            }
            match step {
                None => return Err(unknown),
                Some(Step::Check) => match self.verifier.check(claim.clone(), check).await {
                    Err(fault)
                        if fault.kind == FaultKind::UnknownEpoch && epochs.at(height).is_none() =>
                    {
                        unknown = fault;
                        walk.tried();
                    }
                    verdict => return verdict,
                },
                Some(Step::Boundary(epoch)) => {
                    let known = epochs.newest_below(walk.target());
                    if !answers.contains_key(&epoch) {
                        // Epochs that are walked one by one are requested some at once.
                        ahead = match known == Some(epoch) {
                            true => (ahead * 2).min(self.config.walk_ahead_max.get() as u64),
                            false => 1,
                        };
                        answers = self.boundaries(epoch, walk.target(), ahead).await;
                    }
                    let Some(answer) = answers.remove(&epoch) else { return Err(unknown) };
                    match self.take_boundary(epoch, answer?).await? {
                        Taken::Refused => walk.refused(epoch),
                        // What verified and taught nothing would be asked for again, for ever.
                        Taken::Learned if epochs.newest_below(walk.target()) == known => {
                            return Err(unknown);
                        }
                        Taken::Learned => {}
                    }
                }
            }
        }
    }

    /// Requests the boundaries that end `epoch` and those after it, `count` of them, below `target`.
    async fn boundaries(&self, epoch: Epoch, target: Epoch, count: u64) -> Answers {
        let end = epoch.get().saturating_add(count).min(target.get());
        let requests = (epoch.get()..end).map(Epoch::new).filter_map(|epoch| {
            let height = self.verifier.epochs().boundary(epoch)?;
            Some(async move { (epoch, self.requests.get(Key::Height(height)).await) })
        });
        join_all(requests.collect::<Vec<_>>()).await.into_iter().collect()
    }

    /// Verifies the boundary that ends `epoch`; what it carries is learned with that.
    async fn take_boundary(&self, epoch: Epoch, answer: Option<Bytes>) -> Result<Taken, Fault> {
        let Some(height) = self.verifier.epochs().boundary(epoch) else {
            return Ok(Taken::Refused);
        };
        let Some(bytes) = answer else {
            return Err(self.metrics.reject(Error::NoBoundary { epoch: epoch.next(), height }));
        };
        let claim = self.claim_at(height, bytes)?;
        match self.verifier.check(claim, Check::Epoch).await {
            Ok(_) => Ok(Taken::Learned),
            Err(fault) if fault.kind == FaultKind::UnknownEpoch => Ok(Taken::Refused),
            Err(fault) => Err(fault),
        }
    }

    /// The boundary at `height` with its finalization, fetched and verified; the boundaries on the way to its
    /// epoch are too, where they are not known.
    ///
    /// # Errors
    ///
    /// [`Error::NoHeight`] if the endpoint does not have it; what a request and a check fail with.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it keeps what it learned; the next one goes on from there.
    pub async fn boundary(
        &self,
        height: Height,
    ) -> Result<Verified<Finalized<X::Scheme, B>>, Fault> {
        let missing = || self.metrics.reject(Error::NoHeight { height });
        let bytes = self.requests.get(Key::Height(height)).await?.ok_or_else(missing)?;
        let claim = self.claim_at(height, bytes)?;
        let claimed = claim.finalized();
        let certified = self.certify(claim, Check::Epoch).await?;
        claimed.and_then(|claimed| certified.typed(claimed)).ok_or_else(missing)
    }

    /// Verifies what somebody reports of its own history, such as an execution layer of the blocks that it
    /// holds: `said` is its block at the height of a boundary. If that is the boundary, all
    /// blocks that it links below it are of the chain.
    ///
    /// # Errors
    ///
    /// [`Error::OtherHistory`] if the certificate proves another block; as [`CertifiedSource::boundary`].
    pub async fn verify_history(
        &self,
        said: BlockRef,
    ) -> Result<Verified<Finalized<X::Scheme, B>>, Fault> {
        let proved = self.boundary(said.height).await?;
        match proved.block.reference() {
            found if found == said => Ok(proved),
            found => Err(self.metrics.reject(Error::OtherHistory { said, proved: found })),
        }
    }

    /// Reports every finalization that is checked from now on, whatever it came with, to `reporter`, typed.
    /// There is one reporter: a second one is refused with `false`.
    pub fn report_to<R>(&self, reporter: R) -> bool
    where
        R: Reporter<Activity = Finality<X::Scheme, B>> + Sync,
    {
        self.verifier.report_to(reporter)
    }

    /// Fetches the lowest boundary that was passed over by the group's key alone, if there is one. What
    /// goes wrong is reported and fails nothing: everything was verified without it. An upstream that does not
    /// have it is not asked for ever.
    pub(super) async fn fill_gap(&self) {
        if self.unfilled.load(Ordering::Relaxed) >= UNFILLED_MAX {
            return;
        }
        let Some(height) = self.verifier.epochs().gap() else { return };
        let Some(epoch) = self.verifier.epochs().epoch(height) else { return };
        let filled = match self.requests.get(Key::Height(height)).await {
            Ok(answer) => self.take_boundary(epoch, answer).await.map(drop),
            Err(fault) => Err(fault),
        };
        match filled {
            Ok(()) => self.unfilled.store(0, Ordering::Relaxed),
            Err(fault) => {
                self.unfilled.fetch_add(1, Ordering::Relaxed);
                self.metrics.absorbed(&fault);
            }
        }
    }
}

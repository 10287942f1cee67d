//! What a verifier reports as it goes: finality, typed, for those who hand it to other parts of commonware.

use super::{Certificate, CertificateKind, Certified, Claim, Verified, Verifier};
use crate::{CertifiedBlock, Epochs, Error, Scheme};
use commonware_codec::Encode as _;
use commonware_consensus::{Reporter, simplex::types::Finalization, types::Round};
use tidewatch_core::{BlockRef, Digest, Fault};

/// A block with its finalization, decoded.
#[derive(Clone, Debug)]
pub struct Finalized<S: Scheme, B> {
    /// The certificate. Its payload is the block's digest.
    pub finalization: Finalization<S, Digest>,
    /// The block.
    pub block: B,
}

/// A finalization that came in.
#[derive(Clone, Debug)]
pub enum Finality<S: Scheme, B> {
    /// It verified.
    Verified(Verified<Finalized<S, B>>),
    /// It is of an epoch that is not known, and nothing that it says is proved.
    Unknown {
        /// The block that it is about.
        block: BlockRef,
        /// The round that it names.
        round: Round,
    },
}

/// Whoever is notified of finality.
pub(super) type Reports<S, B> = Box<dyn Fn(Finality<S, B>) + Send + Sync>;

impl<S: Scheme, B: CertifiedBlock> Claim<S, B> {
    /// What it claims, if that is finality.
    pub(crate) fn finalized(&self) -> Option<Finalized<S, B>> {
        let Certificate::Finalization(finalization) = &self.certificate else { return None };
        Some(Finalized { finalization: finalization.clone(), block: self.block.clone() })
    }
}

impl<B: CertifiedBlock> Verified<Certified<B>> {
    /// The same, typed: `claimed` is the claim that was checked.
    pub(crate) fn typed<S: Scheme>(
        &self,
        claimed: Finalized<S, B>,
    ) -> Option<Verified<Finalized<S, B>>> {
        let same = claimed.finalization.encode() == self.0.proof
            && claimed.block.reference() == self.0.block.reference();
        same.then_some(Verified(claimed))
    }
}

impl<X: Epochs, B: CertifiedBlock> Verifier<X, B> {
    /// Reports every finalization that is checked from now on to `reporter`. There is one reporter: a second
    /// one is refused.
    pub fn report_to<R>(&self, reporter: R) -> bool
    where
        R: Reporter<Activity = Finality<X::Scheme, B>> + Sync,
    {
        // What it answers changes nothing here: it has an overflow policy of its own.
        let report = move |finality| {
            let _ = reporter.clone().report(finality);
        };
        self.reports.set(Box::new(report)).is_ok()
    }

    pub(super) fn report(&self, finalized: Option<Finalized<X::Scheme, B>>) {
        if let Some((reports, finalized)) = self.reports.get().zip(finalized) {
            reports(Finality::Verified(Verified(finalized)));
        }
    }

    /// Refuses a certificate of an epoch that is not known.
    pub(super) fn unknown(&self, kind: CertificateKind, block: BlockRef, round: Round) -> Fault {
        if kind == CertificateKind::Finalized
            && let Some(reports) = self.reports.get()
        {
            reports(Finality::Unknown { block, round });
        }
        self.metrics.reject(Error::UnknownEpoch { kind, block, round })
    }
}

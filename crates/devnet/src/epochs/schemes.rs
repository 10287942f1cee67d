//! The certificate schemes of the epochs, as one validator knows them.

use crate::Certify;
use alto_types::{CertificateMode, Identity, NAMESPACE, PublicKey};
use commonware_consensus::{simplex::elector::RoundRobin, types::Epoch};
use commonware_cryptography::{
    bls12381::primitives::variant::MinSig,
    certificate::{Provider, Scoped},
};
use commonware_glue::dkg::{Registrar, types::SchemeInfo};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tidewatch_sentinel::{
    evidence::Committee,
    simplex::{Electorate, Term},
};

/// Number of epochs whose schemes are kept. Consensus needs the current one and the one before it.
const KEPT: usize = 8;

/// Filled by the resharing as epochs begin, read by everything that signs or verifies.
///
/// Resharing keeps the group's key, so a certificate of any epoch is verified by the identity alone, and
/// only voting needs the scheme of the epoch itself.
pub(super) struct Schemes<S> {
    verifier: Arc<S>,
    epochs: Arc<Mutex<BTreeMap<Epoch, Arc<S>>>>,
    /// Notified of every committee, for who watches from inside.
    electorate: Electorate,
}

impl<S> Clone for Schemes<S> {
    fn clone(&self) -> Self {
        Self {
            verifier: self.verifier.clone(),
            epochs: self.epochs.clone(),
            electorate: self.electorate.clone(),
        }
    }
}

impl<S: Certify> Schemes<S> {
    pub(super) fn new(identity: Identity, electorate: Electorate) -> Self {
        let verifier = Arc::new(S::certificate_verifier(NAMESPACE, identity));
        Self { verifier, epochs: Arc::default(), electorate }
    }

    /// Verifies certificates of every epoch.
    pub(super) fn verifier(&self) -> &S {
        &self.verifier
    }

    fn get(&self, epoch: Epoch) -> Option<Arc<S>> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).get(&epoch).cloned()
    }
}

impl<S: Certify> Provider for Schemes<S> {
    type Scope = Epoch;
    type Scheme = S;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<S>> {
        let verifier = || Scoped::verifier(self.verifier.clone());
        Some(self.get(epoch).map_or_else(verifier, Scoped::scheme))
    }

    fn scheme(&self, epoch: Epoch) -> Option<Arc<S>> {
        self.get(epoch)
    }
}

impl<S: Certify> Registrar for Schemes<S> {
    type Variant = MinSig;
    type PublicKey = PublicKey;

    async fn register(&self, epoch: Epoch, info: SchemeInfo<MinSig, PublicKey>) {
        let (SchemeInfo::Verifier { participants, sharing }
        | SchemeInfo::Signer { participants, sharing, .. }) = &info;
        let vrf = S::MODE == CertificateMode::Vrf;
        let committee = Committee::threshold(NAMESPACE, participants.clone(), sharing.clone(), vrf);
        let leaders = Term::round_robin::<S>(RoundRobin::default(), participants);
        let scheme = match info {
            SchemeInfo::Verifier { participants, sharing } => S::verifying(participants, sharing),
            SchemeInfo::Signer { participants, sharing, share } => {
                S::signing(participants.clone(), sharing.clone(), share).unwrap_or_else(|| {
                    tracing::error!(%epoch, "a share of another committee: this validator does not vote");
                    S::verifying(participants, sharing)
                })
            }
        };
        let scheme = Arc::new(scheme);
        match committee {
            Ok(committee) => {
                self.electorate.begin(epoch, Term::new(scheme.clone(), committee, leaders));
            }
            Err(error) => tracing::error!(%epoch, %error, "a committee that nobody can watch"),
        }
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.insert(epoch, scheme);
        while epochs.len() > KEPT {
            epochs.pop_first();
        }
    }
}

//! Who is believed, and what they must have signed.

use super::{
    Evidence, HOLDERS_MAX, NotSealed, seal,
    sealed::{awaited, open, sealed_to},
};
use crate::{Content, Identity, Opened, Preblock, Proposal, Sender};
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::{
    simplex::scheme::{Namespace, bls12381_threshold::vrf},
    types::Round,
};
use commonware_cryptography::{
    Signer as _, Verifier as _,
    bls12381::primitives::{
        ops,
        variant::{MinSig, Variant},
    },
    ed25519,
};
use commonware_utils::{
    N3f1,
    ordered::{Quorum as _, Set},
};
use rand::CryptoRng;
use std::collections::BTreeMap;

/// The seed of a round.
pub type Seed = vrf::Seed<MinSig>;

/// In which holders attest, and nothing else.
const NAMESPACE: &[u8] = b"_TIDEWATCH_ORDER";

/// Why a preblock is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// The identity names other content, another order or another place.
    #[error("its identity does not name its content")]
    Broken,
    /// Something else stands where the evidence should.
    #[error("its evidence is none: {0}")]
    Evidence(String),
    /// The order is not fixed.
    #[error("{have} of {holders} key holders attested its order, {quorum} are needed")]
    TooFew {
        /// Who attested.
        have: usize,
        /// Who there is.
        holders: usize,
        /// How many are needed.
        quorum: usize,
    },
    /// Nobody has that place among the holders.
    #[error("there is no key holder {0}")]
    NoHolder(u16),
    /// Another content, order, place or round was attested, or by somebody else.
    #[error("key holder {0} did not attest this order as of this round")]
    NotAttested(u16),
    /// Another list of rounds than the one that its transactions need.
    #[error("it shows the seeds of {shown:?}, and needs those of {needed:?}")]
    Rounds {
        /// Views whose seeds it shows.
        shown: Vec<u64>,
        /// Views whose seeds it needs.
        needed: Vec<u64>,
    },
    /// The validators did not sign that.
    #[error("the seed of round {0} is not the validators'")]
    WrongSeed(u64),
    /// A transaction says something else than its ciphertext.
    #[error("transaction {0} is not what its ciphertext says")]
    NotItsCiphertext(usize),
}

/// What a key holder attests: this content in this place, before any certificate of the round or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The proposal, in whichever attempt.
    pub identity: Identity,
    /// The round as of which its order is fixed.
    pub fixed: Round,
}

/// The keys of a network: what a sequencer is configured with, and believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The namespace that the validators sign in, without a suffix.
    pub namespace: Vec<u8>,
    /// The validators' group key.
    pub identity: <MinSig as Variant>::Public,
    /// The key holders.
    pub holders: Set<ed25519::PublicKey>,
}

impl Keys {
    /// How many key holders must attest an order.
    pub fn quorum(&self) -> usize {
        self.holders.quorum::<N3f1>() as usize
    }

    /// Encrypts what `sender` says under `nonce` to `round`.
    ///
    /// # Errors
    ///
    /// [`NotSealed`].
    pub fn seal<R: CryptoRng>(
        &self,
        rng: &mut R,
        round: Round,
        (sender, nonce): (Sender, u64),
        clear: &[u8],
    ) -> Result<Bytes, NotSealed> {
        seal(rng, (&self.namespace, &self.identity), round, (sender, nonce), clear)
    }

    /// Whether the validators signed the round.
    pub fn is_seed(&self, seed: &Seed) -> bool {
        let namespace = Namespace::new(&self.namespace).seed;
        let round = seed.round.encode();
        ops::verify_message::<MinSig>(&self.identity, &namespace, &round, &seed.signature).is_ok()
    }

    fn message(&self, statement: &Statement) -> Vec<u8> {
        let Identity { number, parent, content, .. } = statement.identity;
        let parts = (self.identity, number.get(), (parent, content), statement.fixed);
        parts.encode().to_vec()
    }

    /// Signs a statement with a holder's `key`.
    pub fn attest(&self, key: &ed25519::PrivateKey, statement: &Statement) -> ed25519::Signature {
        key.sign(NAMESPACE, &self.message(statement))
    }

    /// The rounds that must be open before `content`, whose order was fixed as of `fixed`, can be opened.
    pub fn awaited(content: &Content, fixed: Round) -> Vec<Round> {
        awaited(&content.transactions, fixed)
    }

    /// The round that `payload` is sealed to; `None` if it is no envelope, and so never says anything.
    pub fn sealed_to(payload: &[u8]) -> Option<Round> {
        sealed_to(payload)
    }

    /// Opens a proposal whose order is fixed. `None` if a seed is missing.
    pub fn open(proposal: Proposal, evidence: &Evidence) -> Option<Preblock> {
        let Proposal { identity, content } = proposal;
        let seeds: BTreeMap<_, _> = evidence.seeds.iter().copied().collect();
        let opened: Option<Vec<_>> = (content.transactions.iter())
            .map(|transaction| open(transaction, evidence.fixed, &seeds))
            .collect();
        Some(Preblock { identity, content, opened: opened?, evidence: evidence.encode() })
    }

    /// Whether the holders fixed the order of `preblock`, and each transaction in it is what its ciphertext says.
    /// Pure.
    ///
    /// # Errors
    ///
    /// [`NotVerified`].
    pub fn verify(&self, preblock: &Preblock) -> Result<(), NotVerified> {
        if !preblock.is_whole() {
            return Err(NotVerified::Broken);
        }
        let evidence = Evidence::decode(preblock.evidence.clone())
            .map_err(|error| NotVerified::Evidence(error.to_string()))?;
        self.verify_order(preblock.identity, &evidence)?;
        let seeds = self.verify_seeds(&preblock.content, &evidence)?;
        let said = preblock.content.transactions.iter().zip(&preblock.opened);
        for (index, (transaction, opened)) in said.enumerate() {
            let ours: Option<Opened> = open(transaction, evidence.fixed, &seeds);
            if ours.as_ref() != Some(opened) {
                return Err(NotVerified::NotItsCiphertext(index));
            }
        }
        Ok(())
    }

    fn verify_order(&self, identity: Identity, evidence: &Evidence) -> Result<(), NotVerified> {
        let holders = self.holders.len().min(HOLDERS_MAX);
        let (have, quorum) = (evidence.attestations.len(), self.quorum());
        if have < quorum {
            return Err(NotVerified::TooFew { have, holders, quorum });
        }
        let message = self.message(&Statement { identity, fixed: evidence.fixed });
        for (place, signature) in &evidence.attestations {
            let holder = self.holders.iter().nth(usize::from(*place));
            let holder = holder.ok_or(NotVerified::NoHolder(*place))?;
            if !holder.verify(NAMESPACE, &message, signature) {
                return Err(NotVerified::NotAttested(*place));
            }
        }
        Ok(())
    }

    fn verify_seeds(
        &self,
        content: &Content,
        evidence: &Evidence,
    ) -> Result<BTreeMap<Round, <MinSig as Variant>::Signature>, NotVerified> {
        let needed = Self::awaited(content, evidence.fixed);
        if !evidence.seeds.iter().map(|(round, _)| round).eq(&needed) {
            let views = |rounds: &[Round]| rounds.iter().map(|round| round.view().get()).collect();
            let shown: Vec<_> = evidence.seeds.iter().map(|(round, _)| *round).collect();
            return Err(NotVerified::Rounds { shown: views(&shown), needed: views(&needed) });
        }
        for (round, signature) in &evidence.seeds {
            if !self.is_seed(&Seed::new(*round, *signature)) {
                return Err(NotVerified::WrongSeed(round.view().get()));
            }
        }
        Ok(evidence.seeds.iter().copied().collect())
    }
}

//! Whether evidence is true.

use super::{Committee, Evidence, Offence, Refusal, SchemeKind};
use bytes::Buf as _;
use commonware_codec::{Encode as _, Error, ReadExt as _};
use commonware_consensus::{
    Roundable as _, Viewable as _,
    simplex::{
        scheme::{
            Scheme,
            bls12381_threshold::{standard, vrf},
            ed25519,
        },
        types::{Attributable as _, Finalize, Notarize, Nullify, Proposal, Vote},
    },
    types::{Epoch, View},
};
use commonware_cryptography::{
    Hasher as _, Sha256, bls12381::primitives::variant::MinSig, certificate, ed25519::PublicKey,
    sha256::Digest,
};
use commonware_parallel::Sequential;
use commonware_utils::{Participant, ordered::Quorum as _};
use rand::{CryptoRng, SeedableRng as _, rngs::StdRng};

/// What whoever checks trusts. Nothing is pinned by default, and a finding says only what the module says then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    /// [`Committee::fingerprint`] of the committee of the epoch.
    pub committee: Option<String>,
    /// The group's public key in hex.
    pub identity: Option<String>,
    /// The namespace of the network.
    pub namespace: Option<Vec<u8>>,
}

/// One of the two messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `notarize`, `finalize` or `nullify`.
    pub kind: &'static str,
    /// What was voted for; nothing is by `nullify`.
    pub proposal: Option<(View, Digest)>,
}

/// What evidence shows: `signer` signed both messages, of the same view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which kinds of messages contradict each other.
    pub offence: Offence,
    /// How they are signed.
    pub scheme: SchemeKind,
    /// Whether it convinces whoever did not receive the votes.
    pub attributable: bool,
    /// Fingerprint of the committee that it was judged by.
    pub committee: String,
    /// Whether that committee was pinned by whoever checks.
    pub pinned: bool,
    /// The epoch of both messages.
    pub epoch: Epoch,
    /// Their view.
    pub view: View,
    /// Index of the signer in the committee.
    pub signer: u32,
    /// Its key in the committee.
    pub key: PublicKey,
    /// The messages; those of a proposal with the view of its parent.
    pub messages: [Message; 2],
}

impl Evidence {
    /// Checks that it is of what is `trusted`, that the messages contradict each other, and that one member of the
    /// committee signed both.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] with what is wrong.
    pub fn check(&self, trusted: &Trusted) -> Result<Finding, Refusal> {
        let committee = self.pinned(trusted)?;
        // What weighs signatures against each other is drawn after they are fixed.
        let rng = &mut StdRng::from_seed(Sha256::hash(&[&self.encode()]).0);
        let (namespace, members) = (self.committee.namespace(), self.committee.members().clone());
        match (self.committee.kind(), self.committee.polynomial().cloned()) {
            (SchemeKind::Standard, Some(polynomial)) => {
                let scheme =
                    standard::Scheme::<_, MinSig>::verifier(namespace, members, polynomial);
                self.found(&self.contradiction(rng, &scheme)?, committee, trusted)
            }
            (SchemeKind::Vrf, Some(polynomial)) => {
                let scheme = vrf::Scheme::<_, MinSig>::verifier(namespace, members, polynomial);
                self.found(&self.contradiction(rng, &scheme)?, committee, trusted)
            }
            _ => {
                let scheme = ed25519::Scheme::verifier(namespace, members);
                self.found(&self.contradiction(rng, &scheme)?, committee, trusted)
            }
        }
    }

    fn found<S: certificate::Scheme>(
        &self,
        [first, second]: &[Vote<S, Digest>; 2],
        committee: String,
        trusted: &Trusted,
    ) -> Result<Finding, Refusal> {
        let (index, round) = (signer(first), first.round());
        let key = self.committee.members().key(index).cloned();
        Ok(Finding {
            offence: self.offence,
            scheme: self.committee.kind(),
            attributable: self.committee.kind().is_attributable(),
            committee,
            pinned: trusted.committee.is_some(),
            epoch: round.epoch(),
            view: round.view(),
            signer: index.get(),
            key: key.ok_or_else(|| self.outsider(index.get()))?,
            messages: [message(first), message(second)],
        })
    }

    /// Refuses what is not of what is trusted; returns the committee's fingerprint.
    fn pinned(&self, trusted: &Trusted) -> Result<String, Refusal> {
        let committee: &Committee = &self.committee;
        if let Some(namespace) = &trusted.namespace
            && namespace != committee.namespace()
        {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (found, trusted) = (text(committee.namespace()), text(namespace));
            return Err(Refusal::OtherNamespace { found, trusted });
        }
        if let Some(identity) = &trusted.identity {
            let found = committee.identity_hex().unwrap_or_else(|| "none".into());
            if !found.eq_ignore_ascii_case(identity) {
                return Err(Refusal::OtherIdentity { found, trusted: identity.clone() });
            }
        }
        let found = committee.fingerprint();
        match &trusted.committee {
            Some(trusted) if !trusted.eq_ignore_ascii_case(&found) => {
                Err(Refusal::OtherCommittee { found, trusted: trusted.clone() })
            }
            _ => Ok(found),
        }
    }

    fn outsider(&self, signer: u32) -> Refusal {
        Refusal::Outsider { signer, members: self.committee.members().len() }
    }

    /// Both messages, if they contradict each other and are signed by the same member.
    fn contradiction<S>(
        &self,
        rng: &mut impl CryptoRng,
        scheme: &S,
    ) -> Result<[Vote<S, Digest>; 2], Refusal>
    where
        S: Scheme<Digest, PublicKey = PublicKey>,
    {
        let votes = self
            .votes::<S>()
            .map_err(|error| Refusal::Malformed { part: "messages", reason: error.to_string() })?;
        let [first, second] = &votes;
        let (one, other) = (signer(first).get(), signer(second).get());
        if one != other {
            return Err(Refusal::TwoSigners { first: one, second: other });
        }
        if first.round() != second.round() {
            let at = |vote: &Vote<S, Digest>| (vote.round().epoch(), vote.round().view());
            return Err(Refusal::TwoViews { first: at(first), second: at(second) });
        }
        // Messages of two kinds differ; of the same kind, the proposals have to.
        if proposal(first).is_some() && proposal(first) == proposal(second) {
            return Err(Refusal::Equal { view: first.view() });
        }
        if self.committee.members().key(signer(first)).is_none() {
            return Err(self.outsider(one));
        }
        for (vote, which) in [(first, "first"), (second, "second")] {
            if !verify(vote, rng, scheme) {
                return Err(Refusal::Unsigned { which, signer: one });
            }
        }
        Ok(votes)
    }

    /// Decodes both messages, and nothing but them.
    fn votes<S>(&self) -> Result<[Vote<S, Digest>; 2], Error>
    where
        S: Scheme<Digest, PublicKey = PublicKey>,
    {
        let bytes = &mut self.messages.clone();
        let votes = match self.offence {
            Offence::ConflictingNotarize => {
                [Vote::Notarize(Notarize::read(bytes)?), Vote::Notarize(Notarize::read(bytes)?)]
            }
            Offence::ConflictingFinalize => {
                [Vote::Finalize(Finalize::read(bytes)?), Vote::Finalize(Finalize::read(bytes)?)]
            }
            Offence::NullifyFinalize => {
                [Vote::Nullify(Nullify::read(bytes)?), Vote::Finalize(Finalize::read(bytes)?)]
            }
        };
        match bytes.remaining() {
            0 => Ok(votes),
            extra => Err(Error::ExtraData(extra)),
        }
    }
}

fn signer<S: certificate::Scheme>(vote: &Vote<S, Digest>) -> Participant {
    match vote {
        Vote::Notarize(vote) => vote.signer(),
        Vote::Finalize(vote) => vote.signer(),
        Vote::Nullify(vote) => vote.signer(),
    }
}

const fn proposal<S: certificate::Scheme>(vote: &Vote<S, Digest>) -> Option<&Proposal<Digest>> {
    match vote {
        Vote::Notarize(vote) => Some(&vote.proposal),
        Vote::Finalize(vote) => Some(&vote.proposal),
        Vote::Nullify(_) => None,
    }
}

fn verify<S: Scheme<Digest>>(vote: &Vote<S, Digest>, rng: &mut impl CryptoRng, scheme: &S) -> bool {
    match vote {
        Vote::Notarize(vote) => vote.verify(rng, scheme, &Sequential),
        Vote::Finalize(vote) => vote.verify(rng, scheme, &Sequential),
        Vote::Nullify(vote) => vote.verify::<_, Digest>(rng, scheme, &Sequential),
    }
}

/// What a finding says of a vote.
fn message<S: certificate::Scheme>(vote: &Vote<S, Digest>) -> Message {
    let kind = match vote {
        Vote::Notarize(_) => "notarize",
        Vote::Finalize(_) => "finalize",
        Vote::Nullify(_) => "nullify",
    };
    let proposal = proposal(vote).map(|proposal| (proposal.parent, proposal.payload));
    Message { kind, proposal }
}

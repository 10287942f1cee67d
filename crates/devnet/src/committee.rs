//! The keys that sign a development chain.
//!
//! # Overview
//!
//! A committee is dealt from a seed: ed25519 identities, and shares of one BLS12-381 group key with the
//! quorum that Simplex requires. Equal seeds and sizes give equal keys, so that a restart on the same
//! directory continues the same chain.
//!
//! Validators sign with their shares. A readymade chain is signed with the group key itself, which is
//! recovered from a quorum of the shares: BLS signatures are unique, so the result is the same bytes as
//! a certificate assembled from a quorum of partial signatures, at a quarter of the cost.

use crate::Error;
use alto_types::{
    CertificateMode, Identity, NAMESPACE, PublicKey, Scheme, Signature, StandardScheme, VrfScheme,
};
use commonware_codec::Encode;
use commonware_consensus::{
    simplex::{
        scheme::{Namespace, bls12381_threshold::vrf},
        types::Proposal,
    },
    types::Round,
};
use commonware_cryptography::{
    Signer as _,
    bls12381::{
        certificate::threshold,
        dkg::feldman_desmedt::{Output, deal},
        primitives::{
            group::{Private, Scalar, Share},
            ops,
            sharing::{Mode, Sharing},
            variant::MinSig,
        },
    },
    ed25519::PrivateKey,
    sha256::Digest,
};
use commonware_formatting::hex;
use commonware_math::poly::Interpolator;
use commonware_parallel::Sequential;
use commonware_utils::{
    N3f1,
    ordered::{Map, Quorum as _, Set},
};
use rand::{SeedableRng as _, rngs::StdRng};
use std::fmt;
use tidewatch_sequencer::timelock::Keys;

/// Minimum size: the smallest committee that tolerates one faulty member.
pub const MEMBERS_MIN: u32 = 4;
/// Maximum size: what one process runs comfortably.
pub const MEMBERS_MAX: u32 = 16;

/// Kind of a vote for a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    Notarize,
    Finalize,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for alto_types::StandardScheme {}
    impl Sealed for alto_types::VrfScheme {}
}

/// The two certificate schemes of alto chains.
pub trait Certify: Scheme + sealed::Sealed {
    /// Mode of the scheme.
    const MODE: CertificateMode;

    /// Builds a certificate from the group's signatures over the vote and, in VRF mode, over the round.
    /// `None` if the scheme requires a seed and `seed` is `None`.
    fn certificate(vote: Signature, seed: Option<Signature>) -> Option<Self::Certificate>;

    /// Scheme of a member, which votes. `None` if the share does not belong to the polynomial.
    fn signing(
        participants: Set<PublicKey>,
        polynomial: Sharing<MinSig>,
        share: Share,
    ) -> Option<Self>;

    /// Scheme of everybody else, who verifies votes and certificates.
    fn verifying(participants: Set<PublicKey>, polynomial: Sharing<MinSig>) -> Self;
}

impl Certify for StandardScheme {
    const MODE: CertificateMode = CertificateMode::Standard;

    fn certificate(vote: Signature, _: Option<Signature>) -> Option<Self::Certificate> {
        Some(threshold::Certificate::new(vote))
    }

    fn signing(
        participants: Set<PublicKey>,
        polynomial: Sharing<MinSig>,
        share: Share,
    ) -> Option<Self> {
        Self::signer(NAMESPACE, participants, polynomial, share)
    }

    fn verifying(participants: Set<PublicKey>, polynomial: Sharing<MinSig>) -> Self {
        Self::verifier(NAMESPACE, participants, polynomial)
    }
}

impl Certify for VrfScheme {
    const MODE: CertificateMode = CertificateMode::Vrf;

    fn certificate(vote: Signature, seed: Option<Signature>) -> Option<Self::Certificate> {
        Some(vrf::Signature { vote_signature: vote, seed_signature: seed? }.into())
    }

    fn signing(
        participants: Set<PublicKey>,
        polynomial: Sharing<MinSig>,
        share: Share,
    ) -> Option<Self> {
        Self::signer(NAMESPACE, participants, polynomial, share)
    }

    fn verifying(participants: Set<PublicKey>, polynomial: Sharing<MinSig>) -> Self {
        Self::verifier(NAMESPACE, participants, polynomial)
    }
}

/// One member's secrets.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) key: PrivateKey,
    pub(crate) share: Share,
}

/// Keys of a development chain. Insecure by design: see the limits of the crate.
pub struct Committee {
    seed: u64,
    participants: Set<PublicKey>,
    members: Vec<Member>,
    output: Output<MinSig, PublicKey>,
    secret: Private,
    namespace: Namespace,
}

impl fmt::Debug for Committee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committee")
            .field("seed", &self.seed)
            .field("members", &self.members.len())
            .field("identity", &self.identity_hex())
            .finish_non_exhaustive()
    }
}

impl Committee {
    /// Deals a committee of `members` from `seed`.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if `members` is not from [`MEMBERS_MIN`] to [`MEMBERS_MAX`].
    pub fn deal(seed: u64, members: u32) -> Result<Self, Error> {
        if !(MEMBERS_MIN..=MEMBERS_MAX).contains(&members) {
            return Err(Error::Setting {
                setting: "validators",
                value: members.to_string(),
                expected: format!("from {MEMBERS_MIN} to {MEMBERS_MAX}"),
            });
        }
        let failed = |reason: String| Error::Committee { members, seed, reason };
        let mut keys: Vec<_> = (0..members).map(|index| key(seed, index)).collect();
        keys.sort_by_key(|key| key.public_key());
        let participants = Set::from_iter_dedup(keys.iter().map(|key| key.public_key()));

        let (output, shares) = deal::<MinSig, _, N3f1>(
            StdRng::from_seed(expand(seed, members)),
            Mode::NonZeroCounter,
            participants.clone(),
        )
        .map_err(|error| failed(error.to_string()))?;
        let quorum = participants.quorum::<N3f1>() as usize;
        let secret = group_key(&shares.values()[..quorum.min(shares.len())])
            .filter(|secret| ops::compute_public::<MinSig>(secret) == *output.public().public())
            .ok_or_else(|| failed("the shares do not recover the group key".into()))?;
        let members = keys
            .into_iter()
            .zip(shares.values().iter().cloned())
            .map(|(key, share)| Member { key, share })
            .collect();
        let namespace = Namespace::new(NAMESPACE);
        Ok(Self { seed, participants, members, output, secret, namespace })
    }

    /// The group's public key, which verifies every certificate.
    pub fn identity(&self) -> Identity {
        *self.polynomial().public()
    }

    /// The group's public key in hex, as in the configuration of a follower.
    pub fn identity_hex(&self) -> String {
        hex(&self.identity().encode())
    }

    /// Seed of the keys.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// What a sequencer is configured with to verify what this committee orders: each member is a key holder.
    pub fn keys(&self) -> Keys {
        Keys {
            namespace: NAMESPACE.to_vec(),
            identity: self.identity(),
            holders: self.participants.clone(),
        }
    }

    pub(crate) const fn participants(&self) -> &Set<PublicKey> {
        &self.participants
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) const fn polynomial(&self) -> &Sharing<MinSig> {
        self.output.public()
    }

    /// What the dealer published.
    pub(crate) const fn output(&self) -> &Output<MinSig, PublicKey> {
        &self.output
    }

    /// The group's signature over a vote for `proposal`.
    pub(crate) fn vote(&self, vote: Vote, proposal: &Proposal<Digest>) -> Signature {
        let namespace = match vote {
            Vote::Notarize => &self.namespace.notarize,
            Vote::Finalize => &self.namespace.finalize,
        };
        ops::sign_message::<MinSig>(&self.secret, namespace, &proposal.encode())
    }

    /// The group's signature over a round, which is the round's random seed.
    pub(crate) fn seed_of(&self, round: Round) -> Signature {
        ops::sign_message::<MinSig>(&self.secret, &self.namespace.seed, &round.encode())
    }
}

/// Identity of the member of an index below [`MEMBERS_MAX`]; those of different seeds do not overlap.
pub(crate) fn key(seed: u64, index: u32) -> PrivateKey {
    let base = seed.wrapping_mul(u64::from(MEMBERS_MAX));
    PrivateKey::from_seed(base.wrapping_add(u64::from(index)))
}

/// Seed of the dealer's randomness. It includes the size, because the group key is the first number
/// drawn and must differ between committees of different sizes.
fn expand(seed: u64, members: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes[8..12].copy_from_slice(&members.to_be_bytes());
    bytes
}

/// Interpolates the group's private key from a quorum of shares.
fn group_key(shares: &[Share]) -> Option<Private> {
    // `Mode::NonZeroCounter` evaluates the polynomial at the member's index plus one.
    let points = shares
        .iter()
        .map(|share| (share.index, Scalar::from_u64(u64::from(share.index.get()) + 1)));
    let evaluations = Map::from_iter_dedup(
        shares.iter().map(|share| (share.index, share.private.expose(Clone::clone))),
    );
    let secret = Interpolator::new(points).interpolate(&evaluations, &Sequential)?;
    Some(Private::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alto_types::EPOCH;
    use commonware_consensus::{
        simplex::types::{Finalization, Finalize},
        types::View,
    };
    use commonware_cryptography::{Hasher as _, Sha256};
    use commonware_utils::non_empty;

    fn proposal() -> Proposal<Digest> {
        Proposal::new(Round::new(EPOCH, View::new(9)), View::new(7), Sha256::hash(&[b"block"]))
    }

    #[test]
    fn equal_seeds_deal_equal_committees_and_other_seeds_do_not() {
        let identity = |seed, n| Committee::deal(seed, n).unwrap().identity_hex();
        assert_eq!(identity(1, 4), identity(1, 4));
        assert_ne!(identity(1, 4), identity(2, 4));
        assert_ne!(identity(1, 4), identity(1, 5));
    }

    #[test]
    fn the_default_committee_is_frozen_because_directories_and_configurations_hold_it() {
        let identity = Committee::deal(0, 4).unwrap().identity_hex();
        assert_eq!(
            identity,
            "b00ab565696658acedeb2fd249e4f60da63d8710dac308bd094d12484bb6f174\
             7d50ba52a5628219997c281d6bd3b9100dd716c704dc380230a36b0e5e3528d5\
             9fd8522ded9af5bdcfe51ad8f96fd4685bcb0306fa15f14a2d2722fb3ffec64e"
        );
    }

    #[test]
    fn a_committee_outside_the_limits_is_refused() {
        for members in [0, 1, MEMBERS_MIN - 1, MEMBERS_MAX + 1, u32::MAX] {
            let error = Committee::deal(0, members).unwrap_err();
            assert!(matches!(error, Error::Setting { setting: "validators", .. }), "{error}");
        }
        for members in [MEMBERS_MIN, 7, MEMBERS_MAX] {
            Committee::deal(0, members).unwrap();
        }
    }

    #[test]
    fn the_group_key_signs_the_very_bytes_that_a_quorum_of_shares_assembles_to() {
        let committee = Committee::deal(3, 4).unwrap();
        let proposal = proposal();
        let signature = committee.vote(Vote::Finalize, &proposal);
        let seed = committee.seed_of(proposal.round);

        macro_rules! by_shares {
            ($scheme:ty) => {{
                let schemes: Vec<_> = committee
                    .members()
                    .iter()
                    .map(|member| {
                        <$scheme>::signer(
                            NAMESPACE,
                            committee.participants().clone(),
                            committee.polynomial().clone(),
                            member.share.clone(),
                        )
                        .unwrap()
                    })
                    .collect();
                let votes: Vec<_> = schemes[1..]
                    .iter()
                    .map(|scheme| Finalize::sign(scheme, proposal.clone()).unwrap())
                    .collect();
                let assembled = Finalization::from_finalizes(
                    &schemes[0],
                    non_empty![@&votes],
                    &Sequential,
                )
                .unwrap();
                let certificate = <$scheme as Certify>::certificate(signature, Some(seed)).unwrap();
                assert_eq!(assembled.certificate.encode(), certificate.encode());
            }};
        }
        by_shares!(StandardScheme);
        by_shares!(VrfScheme);
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let text = format!("{:?}", Committee::deal(3, 4).unwrap());
        assert!(text.starts_with("Committee { seed: 3, members: 4, identity: \""), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

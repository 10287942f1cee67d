use super::*;
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::{
        scheme::{
            Scheme,
            bls12381_threshold::{standard, vrf},
            ed25519,
        },
        types::{
            Activity, ConflictingFinalize, ConflictingNotarize, Finalize, Notarize, Nullify,
            NullifyFinalize, Proposal,
        },
    },
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    Hasher as _, Sha256, Signer as _,
    bls12381::{
        dkg::feldman_desmedt::deal,
        primitives::{
            sharing::{Mode, Sharing},
            variant::MinSig,
        },
    },
    ed25519::{PrivateKey, PublicKey},
    sha256::Digest,
};
use commonware_utils::{N3f1, ordered::Set};
use rand::{SeedableRng as _, rngs::StdRng};

const NAMESPACE: &[u8] = b"_TEST";
type Standard = standard::Scheme<PublicKey, MinSig>;
type Vrf = vrf::Scheme<PublicKey, MinSig>;

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn keys() -> (Vec<PrivateKey>, Set<PublicKey>) {
    let mut keys: Vec<_> = (0..4).map(PrivateKey::from_seed).collect();
    keys.sort_by_key(|key| key.public_key());
    let members = Set::from_iter_dedup(keys.iter().map(|key| key.public_key()));
    (keys, members)
}

fn polynomial(
    seed: u64,
) -> (Sharing<MinSig>, Vec<commonware_cryptography::bls12381::primitives::group::Share>) {
    let (output, shares) =
        deal::<MinSig, _, N3f1>(StdRng::seed_from_u64(seed), Mode::NonZeroCounter, keys().1)
            .unwrap();
    (output.public().clone(), shares.values().to_vec())
}

fn proposal(view: u64, block: &[u8]) -> Proposal<Digest> {
    let round = Round::new(Epoch::new(3), View::new(view));
    Proposal::new(round, View::new(view - 1), Sha256::hash(&[block]))
}

/// All three contradictions of the signer of `scheme`, in view 9.
fn contradictions<S: Scheme<Digest, PublicKey = PublicKey>>(
    scheme: &S,
) -> [Activity<S, Digest>; 3] {
    let (a, b) = (proposal(9, b"a"), proposal(9, b"b"));
    let notarize = |proposal: &Proposal<_>| Notarize::sign(scheme, proposal.clone()).unwrap();
    let finalize = |proposal: &Proposal<_>| Finalize::sign(scheme, proposal.clone()).unwrap();
    let nullify = Nullify::sign::<Digest>(scheme, a.round).unwrap();
    [
        Activity::ConflictingNotarize(ConflictingNotarize::new(notarize(&a), notarize(&b))),
        Activity::ConflictingFinalize(ConflictingFinalize::new(finalize(&a), finalize(&b))),
        Activity::NullifyFinalize(NullifyFinalize::new(nullify, finalize(&a))),
    ]
}

/// Evidence of ed25519 against member 2.
fn evidence() -> Evidence {
    let (keys, members) = keys();
    let scheme = ed25519::Scheme::signer(NAMESPACE, members.clone(), keys[2].clone()).unwrap();
    let committee = Committee::ed25519(NAMESPACE, members).unwrap();
    Evidence::of(&committee, &contradictions(&scheme)[0]).unwrap()
}

/// Evidence like [`evidence`] with other messages.
fn with(offence: Offence, messages: impl IntoIterator<Item = Bytes>) -> Evidence {
    let messages: Vec<u8> = messages.into_iter().flatten().collect();
    Evidence { offence, messages: messages.into(), ..evidence() }
}

fn refused(evidence: &Evidence) -> Refusal {
    evidence.check(&Trusted::default()).unwrap_err()
}

#[test]
fn each_contradiction_is_found_by_file_under_each_scheme() {
    fn each<S: Scheme<Digest, PublicKey = PublicKey>>(scheme: &S, committee: &Committee) {
        let offences = [
            (Offence::ConflictingNotarize, ["notarize", "notarize"]),
            (Offence::ConflictingFinalize, ["finalize", "finalize"]),
            (Offence::NullifyFinalize, ["nullify", "finalize"]),
        ];
        for (activity, (offence, kinds)) in contradictions(scheme).iter().zip(offences) {
            let file = Evidence::of(committee, activity).unwrap().to_file();
            let trusted = Trusted {
                committee: Some(committee.fingerprint()),
                identity: committee.identity_hex(),
                namespace: Some(NAMESPACE.to_vec()),
            };
            let found = Evidence::from_file(&file).unwrap().check(&trusted).unwrap();
            assert_eq!(found.offence, offence);
            assert_eq!((found.epoch, found.view), (Epoch::new(3), View::new(9)));
            assert_eq!((found.signer, &found.key), (2, &keys().1[2]));
            assert_eq!(found.messages.each_ref().map(|message| message.kind), kinds);
            assert_eq!(found.attributable, committee.kind() == SchemeKind::Ed25519);
            assert!(found.pinned);
        }
    }
    let (keys, members) = keys();
    let scheme = ed25519::Scheme::signer(NAMESPACE, members.clone(), keys[2].clone()).unwrap();
    each(&scheme, &Committee::ed25519(NAMESPACE, members.clone()).unwrap());
    let (polynomial, shares) = polynomial(1);
    let of = |vrf| Committee::threshold(NAMESPACE, members.clone(), polynomial.clone(), vrf);
    let signer = (members.clone(), polynomial.clone(), shares[2].clone());
    let scheme = Standard::signer(NAMESPACE, signer.0, signer.1, signer.2).unwrap();
    each(&scheme, &of(false).unwrap());
    let signer = (members.clone(), polynomial.clone(), shares[2].clone());
    let scheme = Vrf::signer(NAMESPACE, signer.0, signer.1, signer.2).unwrap();
    each(&scheme, &of(true).unwrap());
}

#[test]
fn what_is_no_contradiction_is_no_evidence() {
    let (keys, members) = keys();
    let scheme = ed25519::Scheme::signer(NAMESPACE, members.clone(), keys[2].clone()).unwrap();
    let committee = Committee::ed25519(NAMESPACE, members).unwrap();
    let vote = Notarize::sign(&scheme, proposal(9, b"a")).unwrap();
    assert!(Evidence::of(&committee, &Activity::Notarize(vote)).is_none());
}

#[test]
fn every_flipped_bit_is_refused() {
    let file = evidence().to_file();
    for at in 0..file.len() {
        let mut flipped = file.to_vec();
        flipped[at] ^= 1 << (at % 8);
        let refused = Evidence::from_file(&flipped).unwrap_err();
        let expected = match at {
            0..6 => matches!(refused, Refusal::Foreign),
            6..8 => matches!(refused, Refusal::Version { .. }),
            8..12 => matches!(
                refused,
                Refusal::Cut { .. } | Refusal::Longer { .. } | Refusal::Oversized { .. }
            ),
            _ => matches!(refused, Refusal::Damaged { .. }),
        };
        assert!(expected, "byte {at}: {refused:?}");
    }
}

#[test]
fn a_flipped_bit_under_a_hash_that_is_right_is_refused_too() {
    let (file, whole) = (evidence().to_file(), evidence());
    let mut accepted = 0;
    for at in 12..file.len() - 32 {
        let mut body = file[..file.len() - 32].to_vec();
        body[at] ^= 1 << (at % 8);
        let hash = Sha256::hash(&[&body]);
        body.extend_from_slice(&hash);
        let Ok(read) = Evidence::from_file(&body) else { continue };
        let trusted =
            Trusted { committee: Some(whole.committee().fingerprint()), ..Trusted::default() };
        accepted += usize::from(read.check(&trusted).is_ok());
    }
    assert_eq!(accepted, 0);
}

#[test]
fn every_cut_is_refused_as_one() {
    let file = evidence().to_file();
    assert_eq!(Evidence::from_file(&[]), Err(Refusal::Foreign));
    for cut in 1..file.len() {
        let refused = Evidence::from_file(&file[..cut]).unwrap_err();
        assert!(matches!(refused, Refusal::Cut { have, need } if have == cut && need > cut));
    }
    let longer = [&*file, &[0]].concat();
    assert_eq!(Evidence::from_file(&longer), Err(Refusal::Longer { extra: 1 }));
}

#[test]
fn a_file_beyond_the_limit_is_refused_unread() {
    let large = vec![b'T'; FILE_MAX + 1];
    assert_eq!(Evidence::from_file(&large), Err(Refusal::Oversized { max: FILE_MAX }));
    let mut head = BytesMut::from(&b"TWEVID01"[..]);
    head.put_u32(u32::MAX);
    assert_eq!(Evidence::from_file(&head), Err(Refusal::Oversized { max: FILE_MAX }));
}

#[test]
fn the_largest_committee_fits_into_a_file() {
    let keys = (0..u64::from(MEMBERS_MAX)).map(PrivateKey::from_seed);
    let members = Set::from_iter_dedup(keys.map(|key| key.public_key()));
    let committee = Committee::ed25519(&[7; NAMESPACE_MAX], members.clone()).unwrap();
    let file = Evidence { committee, ..evidence() }.to_file();
    assert!(Evidence::from_file(&file).is_ok());
    let (output, _) =
        deal::<MinSig, _, N3f1>(rng(), Mode::NonZeroCounter, members.clone()).unwrap();
    let committee =
        Committee::threshold(NAMESPACE, members, output.public().clone(), false).unwrap();
    assert!(Evidence::from_file(&Evidence { committee, ..evidence() }.to_file()).is_ok());
}

#[test]
fn messages_that_do_not_contradict_each_other_are_refused_with_why() {
    let (keys, members) = keys();
    let signer =
        |at: usize| ed25519::Scheme::signer(NAMESPACE, members.clone(), keys[at].clone()).unwrap();
    let notarize = |at, view, block: &[u8]| {
        Notarize::sign(&signer(at), proposal(view, block)).unwrap().encode()
    };
    let both = |messages: [Bytes; 2]| refused(&with(Offence::ConflictingNotarize, messages));
    assert_eq!(
        both([notarize(2, 9, b"a"), notarize(2, 9, b"a")]),
        Refusal::Equal { view: View::new(9) }
    );
    assert_eq!(
        both([notarize(2, 9, b"a"), notarize(2, 8, b"b")]),
        Refusal::TwoViews {
            first: (Epoch::new(3), View::new(9)),
            second: (Epoch::new(3), View::new(8)),
        }
    );
    assert_eq!(
        both([notarize(2, 9, b"a"), notarize(1, 9, b"b")]),
        Refusal::TwoSigners { first: 2, second: 1 }
    );
    let nullify = Nullify::sign::<Digest>(&signer(2), proposal(8, b"a").round).unwrap().encode();
    let finalize = Finalize::sign(&signer(2), proposal(9, b"a")).unwrap().encode();
    assert!(matches!(
        refused(&with(Offence::NullifyFinalize, [nullify, finalize])),
        Refusal::TwoViews { .. }
    ));
}

#[test]
fn bytes_that_are_no_messages_are_refused() {
    let (keys, members) = keys();
    let scheme = ed25519::Scheme::signer(NAMESPACE, members, keys[2].clone()).unwrap();
    let vote = |block: &[u8]| Notarize::sign(&scheme, proposal(9, block)).unwrap().encode();
    let malformed = |messages: Vec<Bytes>| {
        let refused = refused(&with(Offence::ConflictingNotarize, messages));
        assert!(matches!(refused, Refusal::Malformed { part: "messages", .. }), "{refused:?}");
    };
    malformed(vec![]);
    malformed(vec![vote(b"a")]);
    malformed(vec![vote(b"a"), vote(b"b"), Bytes::from_static(&[0])]);
    malformed(vec![Bytes::from(vec![0xff; 200])]);
}

#[test]
fn a_signer_outside_of_the_committee_is_refused() {
    let (keys, _) = keys();
    let outsider = PrivateKey::from_seed(99);
    let five = keys.iter().chain([&outsider]).map(|key| key.public_key());
    let five = Set::from_iter_dedup(five);
    let index = five.position(&outsider.public_key()).unwrap();
    let scheme = ed25519::Scheme::signer(NAMESPACE, five.clone(), outsider).unwrap();
    let committee = Committee::ed25519(NAMESPACE, five).unwrap();
    let whole = Evidence::of(&committee, &contradictions(&scheme)[0]).unwrap();
    assert!(whole.check(&Trusted::default()).is_ok());
    // Judged by a committee that it is not in: its index is past the end, or is somebody else's.
    let small = Evidence { messages: whole.messages, ..evidence() };
    match refused(&small) {
        Refusal::Outsider { signer, members: 4 } => assert_eq!((signer, index), (4, 4)),
        Refusal::Unsigned { which: "first", signer } => assert_eq!(signer as usize, index),
        other => panic!("{other:?}"),
    }
    // Past the end for certain.
    let (keys, members) = self::keys();
    let three = Set::from_iter_dedup(members.iter().take(3).cloned());
    let scheme = ed25519::Scheme::signer(NAMESPACE, members, keys[3].clone()).unwrap();
    let committee = Committee::ed25519(NAMESPACE, three).unwrap();
    let activity = &contradictions(&scheme)[1];
    let evidence = Evidence::of(&committee, activity).unwrap();
    assert_eq!(refused(&evidence), Refusal::Outsider { signer: 3, members: 3 });
}

#[test]
fn a_message_that_somebody_else_signed_is_refused() {
    let (keys, members) = keys();
    let scheme = |namespace, at: usize| {
        ed25519::Scheme::signer(namespace, members.clone(), keys[at].clone()).unwrap()
    };
    let mut forged = Notarize::sign(&scheme(NAMESPACE, 1), proposal(9, b"b")).unwrap();
    let whole = Notarize::sign(&scheme(NAMESPACE, 2), proposal(9, b"a")).unwrap();
    forged.attestation.signer = whole.attestation.signer;
    let forged = with(Offence::ConflictingNotarize, [whole.encode(), forged.encode()]);
    assert_eq!(refused(&forged), Refusal::Unsigned { which: "second", signer: 2 });
    let elsewhere = Notarize::sign(&scheme(b"_OTHER", 2), proposal(9, b"b")).unwrap();
    let other = with(Offence::ConflictingNotarize, [elsewhere.encode(), whole.encode()]);
    assert_eq!(refused(&other), Refusal::Unsigned { which: "first", signer: 2 });
}

#[test]
fn what_is_pinned_is_what_counts() {
    let evidence = evidence();
    let pin = |trusted: Trusted| evidence.check(&trusted).map(|found| found.pinned);
    let own = Some(evidence.committee().fingerprint());
    assert_eq!(pin(Trusted::default()), Ok(false));
    assert_eq!(pin(Trusted { committee: own, ..Trusted::default() }), Ok(true));
    let other = Trusted { committee: Some("00".repeat(32)), ..Trusted::default() };
    assert!(matches!(pin(other), Err(Refusal::OtherCommittee { .. })));
    let identity = Trusted { identity: Some("ab".into()), ..Trusted::default() };
    assert!(matches!(pin(identity), Err(Refusal::OtherIdentity { .. })));
    let namespace = Trusted { namespace: Some(b"_OTHER".to_vec()), ..Trusted::default() };
    assert!(matches!(pin(namespace), Err(Refusal::OtherNamespace { .. })));
}

#[test]
fn a_polynomial_with_the_same_group_key_is_another_committee() {
    // What the module says of identities: anything but the constant term can be made up.
    let members = keys().1;
    let (polynomial, _) = polynomial(1);
    let whole =
        Committee::threshold(NAMESPACE, members.clone(), polynomial.clone(), false).unwrap();
    let fewer = Set::from_iter_dedup(members.iter().take(3).cloned());
    assert!(matches!(
        Committee::threshold(NAMESPACE, fewer, polynomial.clone(), false),
        Err(Refusal::Committee { members: 3, total: 4, required: 3 })
    ));
    let vrf = Committee::threshold(NAMESPACE, members, polynomial, true).unwrap();
    assert_eq!(whole.identity(), vrf.identity());
    assert_ne!(whole.fingerprint(), vrf.fingerprint());
}

#[test]
fn committees_that_the_schemes_would_panic_over_are_refused() {
    assert!(Committee::ed25519(NAMESPACE, Set::default()).is_err());
    assert!(Committee::ed25519(&[0; NAMESPACE_MAX + 1], keys().1).is_err());
}

#[test]
fn the_format_is_frozen() {
    let file = evidence().to_file();
    let hash = Sha256::hash(&[&file]).to_string();
    assert_eq!(format!("{} {}", file.len(), &hash[..16]), "383 1f06d7e24964f55e");
}

use super::*;
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::types::{Epoch, View};
use commonware_cryptography::{
    Signer as _,
    bls12381::primitives::{group::Private, ops},
    ed25519::PrivateKey,
};
use commonware_math::algebra::Random as _;
use rand::{SeedableRng as _, rngs::StdRng};
use tidewatch_core::{BlockRef, Digest, Height};
use tidewatch_sequencer::{Content, Opened, Preblock, Proposal, Sender, Transaction};

const NAMESPACE: &[u8] = b"_TEST";

const fn round(view: u64) -> Round {
    Round::new(Epoch::zero(), View::new(view))
}

/// A chain whose seeds the test makes, and key holders.
struct World {
    secret: Private,
    identity: Identity,
    holders: Vec<PrivateKey>,
    committee: Committee,
    rng: StdRng,
}

impl World {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let (secret, identity) = ops::keypair::<_, MinSig>(&mut rng);
        let holders: Vec<_> = (0..10).map(|_| PrivateKey::random(&mut rng)).collect();
        let keys = holders.iter().map(|holder| holder.public_key()).collect();
        let committee = Committee::new(keys).unwrap();
        Self { secret, identity, holders, committee, rng }
    }

    fn seed(&self, view: u64) -> Seed {
        let namespace = [NAMESPACE, b"_SEED"].concat();
        let message = round(view).encode();
        Seed::new(round(view), ops::sign_message::<MinSig>(&self.secret, &namespace, &message))
    }

    fn seal(&mut self, view: u64, clear: &[u8]) -> Bytes {
        let chain = (&self.identity, NAMESPACE);
        seal(&mut self.rng, chain, round(view), clear).unwrap().encode()
    }

    /// What the network makes of these payloads, where `newest` was the newest open view.
    fn preblock(&self, newest: u64, payloads: Vec<(Sender, Bytes)>) -> Preblock {
        let transaction = |(nonce, (sender, payload))| Transaction { sender, nonce, payload };
        let transactions = (0..).zip(payloads).map(transaction).collect();
        let parent = BlockRef::new(Height::new(4), Digest([3; 32]));
        let Proposal { identity, content } =
            Proposal::new(parent, Content { time_ms: 1_000, transactions });
        let opened = open(&content, round(newest), |at| Some(self.seed(at.view().get()))).unwrap();
        let order = Order { identity, open: round(newest) };
        let attest = |(place, key): (usize, &PrivateKey)| order.attest(place as u32, key);
        let attestations = self.holders.iter().enumerate().map(attest).collect();
        let seeds = (newest + 1..newest + 4).map(|view| self.seed(view)).collect();
        let evidence = Evidence { open: round(newest), attestations, seeds };
        Preblock { identity, content, opened, evidence: (&evidence).into() }
    }

    fn verify(&self, preblock: &Preblock) -> Result<(), NotVerified> {
        self.committee.verify(preblock, seeds_of(self.identity, NAMESPACE))
    }
}

const USER: Sender = Sender([1; 32]);

#[test]
fn a_sealed_transaction_opens_with_the_seed_of_its_round_and_with_no_other() {
    let mut world = World::new();
    for clear in [&b""[..], b"a transaction", &[7; 100_000]] {
        let payload = world.seal(9, clear);
        let sealed = Sealed::of(&payload).unwrap();
        assert_eq!(sealed.round, round(9));
        assert_eq!(sealed.open(&world.seed(9)).as_deref(), Some(clear));
        assert_eq!(sealed.open(&world.seed(10)), None);
        // The seed of another round, under this one's name.
        let renamed = Seed::new(round(9), world.seed(8).signature);
        assert_eq!(sealed.open(&renamed), None);
        assert!(!payload.windows(13).any(|window| window == b"a transaction"));
        // Changed anywhere, it does not open, and nothing panics.
        for at in (0..payload.len()).step_by(1 + payload.len() / 64) {
            let mut changed = payload.to_vec();
            changed[at] ^= 1;
            let opened = Sealed::of(&changed.into()).and_then(|it| it.open(&world.seed(9)));
            assert_eq!(opened, None, "changed at {at}");
        }
    }
    let large = vec![0; tidewatch_sequencer::TRANSACTION_BYTES_MAX];
    let chain = (&world.identity, NAMESPACE);
    let refused = seal(&mut world.rng, chain, round(9), &large);
    assert!(matches!(refused, Err(NotSealed::Oversized { .. })));
    let largest = vec![0; tidewatch_sequencer::TRANSACTION_BYTES_MAX - 512];
    assert!(world.seal(9, &largest).len() <= tidewatch_sequencer::TRANSACTION_BYTES_MAX);
}

#[test]
fn each_transaction_comes_to_what_its_round_and_its_seed_say_and_holds_nobody_up() {
    let mut world = World::new();
    let mut torn = world.seal(21, b"torn").to_vec();
    *torn.last_mut().unwrap() ^= 1;
    let payloads = vec![
        (USER, world.seal(21, b"first")),
        (USER, world.seal(20, b"read before")),
        (USER, world.seal(20 + ROUNDS_AHEAD + 1, b"held up")),
        (USER, Bytes::from_static(b"not sealed")),
        (USER, torn.into()),
        (Sender::DELAYED, Bytes::from_static(b"delayed")),
        (USER, world.seal(23, b"last")),
    ];
    let preblock = world.preblock(20, payloads);
    let dropped = |why: &str| Opened::Dropped(why.into());
    let expected = [
        Opened::Clear(Bytes::from_static(b"first")),
        dropped("its round was open before its order was fixed"),
        dropped("its round is too far ahead"),
        dropped("it is not sealed"),
        dropped("it does not open with the seed of its round"),
        Opened::Clear(Bytes::from_static(b"delayed")),
        Opened::Clear(Bytes::from_static(b"last")),
    ];
    assert_eq!(preblock.opened, expected);
    assert_eq!(world.verify(&preblock), Ok(()));
    // Not before the rounds are open.
    let until = |at: Round| (at.view().get() < 23).then(|| world.seed(at.view().get()));
    assert_eq!(open(&preblock.content, round(20), until), Err(round(23)));
}

/// More than four fifths have to attest an order.
#[test]
fn a_quorum_is_more_than_four_fifths() {
    let mut world = World::new();
    let quorums = [(1, 1), (4, 4), (5, 5), (6, 5), (9, 8), (10, 9), (100, 81)];
    for (holders, quorum) in quorums {
        let keys = (0..holders).map(|_| PrivateKey::random(&mut world.rng).public_key()).collect();
        assert_eq!(Committee::new(keys).unwrap().quorum(), quorum, "of {holders}");
    }
    let one = world.holders[0].public_key();
    assert!(Committee::new(vec![one.clone(), one]).is_none(), "a holder has one voice");
    assert!(Committee::new(Vec::new()).is_none());
}

#[test]
fn a_preblock_that_the_network_did_not_fix_like_that_does_not_verify() {
    let mut world = World::new();
    let payloads = vec![(USER, world.seal(21, b"first")), (USER, world.seal(22, b"second"))];
    let right = world.preblock(20, payloads);
    assert_eq!(world.verify(&right), Ok(()));
    let again = Preblock { identity: again(&right), ..right.clone() };
    assert_eq!(world.verify(&again), Ok(()), "attempts differ in nothing else");
    let changed = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = Evidence::decode(right.evidence.clone()).unwrap();
        change(&mut evidence);
        let preblock = Preblock { evidence: (&evidence).into(), ..right.clone() };
        world.verify(&preblock).unwrap_err()
    };
    let cut = |left| changed(&|evidence| evidence.attestations.truncate(left));
    assert_eq!(cut(8), NotVerified::TooFew { attested: 8, quorum: 9 });
    let twice = changed(&|evidence| evidence.attestations[1] = evidence.attestations[0].clone());
    assert_eq!(twice, NotVerified::Stranger(0));
    assert_eq!(changed(&|it| it.attestations[3].holder = 10), NotVerified::Stranger(10));
    let forged = changed(&|it| it.attestations[3].signature = it.attestations[4].signature.clone());
    assert_eq!(forged, NotVerified::Attestation(3));
    // They attested that another round was the newest.
    assert_eq!(changed(&|it| it.open = round(19)), NotVerified::Attestation(0));
    let other = world.seed(40).signature;
    let seed = changed(&|it| it.seeds[1] = Seed::new(round(22), other));
    assert_eq!(seed, NotVerified::Seed(round(22)));
    assert_eq!(
        changed(&|it| it.seeds.retain(|seed| seed.round != round(22))),
        NotVerified::NoSeed(round(22))
    );
    let with = |change: &dyn Fn(&mut Preblock)| {
        let mut preblock = right.clone();
        change(&mut preblock);
        world.verify(&preblock).unwrap_err()
    };
    let lie = Opened::Dropped("it does not open".into());
    assert_eq!(with(&|it| it.opened[1] = lie.clone()), NotVerified::Opened(1));
    assert_eq!(with(&|it| it.opened.swap(0, 1)), NotVerified::Opened(0));
    assert_eq!(with(&|it| it.content.transactions.swap(0, 1)), NotVerified::Broken);
    assert_eq!(with(&|it| it.content.time_ms += 1), NotVerified::Broken);
    assert_eq!(with(&|it| it.evidence = Bytes::from_static(b"?")), NotVerified::Malformed);
    // Another proposal, whole, under the same attestations.
    let mut other = right.clone();
    other.content.transactions.pop();
    other.opened.pop();
    other.identity.content = other.content.digest(other.identity.number, other.identity.parent);
    assert_eq!(world.verify(&other), Err(NotVerified::Attestation(0)));
}

fn again(preblock: &Preblock) -> tidewatch_sequencer::Identity {
    let mut identity = preblock.identity;
    identity.attempt = identity.attempt.saturating_add(1);
    identity
}

#[test]
fn evidence_decodes_to_itself_and_a_part_of_it_does_not_decode() {
    let mut world = World::new();
    let sealed = world.seal(21, b"first");
    let bytes = world.preblock(20, vec![(USER, sealed)]).evidence;
    let evidence = Evidence::decode(bytes.clone()).unwrap();
    assert_eq!((evidence.attestations.len(), evidence.seeds.len()), (10, 3));
    assert_eq!(evidence.encode(), bytes);
    for cut in 0..bytes.len() {
        assert!(Evidence::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
}

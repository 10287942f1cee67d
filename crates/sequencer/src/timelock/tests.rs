//! A network of keys without anything that runs.

use super::*;
use crate::{Content, Identity, Opened, Preblock, Proposal, Sender, Transaction};
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::{
    simplex::scheme::Namespace,
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    Signer as _,
    bls12381::primitives::{
        group::Private,
        ops,
        variant::{MinSig, Variant},
    },
    ed25519,
};
use commonware_utils::ordered::Set;
use rand::{SeedableRng as _, rngs::StdRng};
use tidewatch_core::{BlockRef, Digest, Height};

const VALIDATORS: &[u8] = b"_TEST";

struct Network {
    keys: Keys,
    secret: Private,
    holders: Vec<ed25519::PrivateKey>,
}

const fn round(view: u64) -> Round {
    Round::new(Epoch::zero(), View::new(view))
}

fn sender(fill: u8) -> Sender {
    Sender([fill; 32])
}

impl Network {
    fn new() -> Self {
        let (secret, identity) = ops::keypair::<_, MinSig>(&mut StdRng::seed_from_u64(1));
        let mut holders: Vec<_> = (0..4).map(ed25519::PrivateKey::from_seed).collect();
        holders.sort_by_key(|key| key.public_key());
        let public = Set::from_iter_dedup(holders.iter().map(|key| key.public_key()));
        let keys = Keys { namespace: VALIDATORS.to_vec(), identity, holders: public };
        Self { keys, secret, holders }
    }

    fn seed(&self, view: u64) -> (Round, <MinSig as Variant>::Signature) {
        let namespace = Namespace::new(VALIDATORS).seed;
        let message = round(view).encode();
        (round(view), ops::sign_message::<MinSig>(&self.secret, &namespace, &message))
    }

    fn sealed(&self, fill: u8, nonce: u64, view: u64, clear: &[u8]) -> Transaction {
        let by = (sender(fill), nonce);
        let rng = &mut StdRng::seed_from_u64(7);
        let payload = self.keys.seal(rng, round(view), by, clear).unwrap();
        Transaction { sender: by.0, nonce, payload }
    }

    /// The preblock of `transactions`, attested by the first `quorum` holders as of `fixed`, with the seeds of
    /// `views`.
    fn preblock(
        &self,
        transactions: Vec<Transaction>,
        fixed: u64,
        quorum: usize,
        views: &[u64],
    ) -> Option<Preblock> {
        let parent = BlockRef::new(Height::new(8), Digest([3; 32]));
        let proposal = Proposal::new(parent, Content { time_ms: 5, transactions });
        let statement = Statement { identity: proposal.identity, fixed: round(fixed) };
        let attested = self.holders.iter().take(quorum).enumerate();
        let evidence = Evidence {
            fixed: round(fixed),
            attestations: attested
                .map(|(place, key)| (place as u16, self.keys.attest(key, &statement)))
                .collect(),
            seeds: views.iter().map(|view| self.seed(*view)).collect(),
        };
        Keys::open(proposal, &evidence)
    }
}

/// The keys of such a network.
pub(crate) fn keys() -> Keys {
    Network::new().keys
}

/// The seed of another round than of `view`, in hex.
pub(crate) fn foreign_seed(view: u64) -> String {
    commonware_formatting::hex(&Network::new().seed(view + 1).1.encode())
}

/// Sealed by the sender of this byte to this view.
pub(crate) fn sealed(fill: u8, nonce: u64, view: u64, clear: &[u8]) -> Transaction {
    Network::new().sealed(fill, nonce, view, clear)
}

fn clear(text: &'static [u8]) -> Opened {
    Opened::Clear(Bytes::from_static(text))
}

#[test]
fn a_preblock_says_what_its_transactions_say_and_verifies() {
    let network = Network::new();
    let one = network.sealed(1, 0, 12, b"one");
    let two = network.sealed(2, 4, 14, b"two");
    let delayed = Transaction {
        sender: Sender::DELAYED,
        nonce: 0,
        payload: Bytes::from_static(b"in the clear"),
    };
    let all = vec![delayed, one, two];
    assert_eq!(network.preblock(all.clone(), 11, 3, &[12]), None, "a round is not open yet");
    let preblock = network.preblock(all, 11, 3, &[12, 14]).unwrap();
    assert_eq!(preblock.opened, [clear(b"in the clear"), clear(b"one"), clear(b"two")]);
    network.keys.verify(&preblock).unwrap();
}

#[test]
fn the_length_of_an_envelope_is_bounded() {
    let network = Network::new();
    let mebibyte = vec![7; 1024 * 1024 - OVERHEAD_MAX];
    let sealed = network.sealed(1, 0, 12, &mebibyte);
    assert!(sealed.payload.len() <= crate::TRANSACTION_BYTES_MAX);
    let preblock = network.preblock(vec![sealed], 11, 3, &[12]).unwrap();
    assert_eq!(preblock.opened, [Opened::Clear(mebibyte.into())]);
}

#[test]
fn what_does_not_open_is_dropped_with_its_reason_and_holds_up_nobody() {
    let network = Network::new();
    let good = network.sealed(1, 0, 12, b"good");
    let dropped = |why: Unopened| Opened::Dropped(why.to_string());
    let change = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut payload = good.payload.to_vec();
        edit(&mut payload);
        Transaction { payload: payload.into(), ..good.clone() }
    };
    let last = good.payload.len() - 1;
    // Sealed to another round, and the round that it names is open first.
    let elsewhere = network.sealed(1, 0, 13, b"later");
    let renamed = {
        let mut payload = elsewhere.payload.to_vec();
        payload[..good.payload.len().min(3)].copy_from_slice(&good.payload[..3]);
        Transaction { payload: payload.into(), ..elsewhere }
    };
    let cases = [
        (change(&|payload| payload.clear()), Unopened::Malformed),
        (change(&|payload| payload[0] = 9), Unopened::Malformed),
        (change(&|payload| payload.truncate(50)), Unopened::Malformed),
        (change(&|payload| payload.truncate(170)), Unopened::Malformed),
        (change(&|payload| payload[last] ^= 1), Unopened::Body),
        (Transaction { sender: sender(2), ..good.clone() }, Unopened::Body),
        (Transaction { nonce: 1, ..good.clone() }, Unopened::Body),
        (renamed, Unopened::Key),
        (network.sealed(1, 0, 10, b"x"), Unopened::TooEarly { round: 10, fixed: 11 }),
        (
            network.sealed(1, 0, 12 + AHEAD_MAX, b"x"),
            Unopened::TooFar { round: 12 + AHEAD_MAX, fixed: 11 },
        ),
    ];
    for (bad, why) in cases {
        let preblock = network.preblock(vec![bad, good.clone()], 11, 3, &[12]).unwrap();
        assert_eq!(preblock.opened, [dropped(why), clear(b"good")], "{why}");
        network.keys.verify(&preblock).unwrap();
    }
}

#[test]
fn a_preblock_that_was_not_fixed_and_opened_so_is_refused_for_what_is_wrong() {
    let network = Network::new();
    let [one, two] = [(1, b"one"), (2, b"two")].map(|(by, say)| network.sealed(by, 0, 12, say));
    let good = network.preblock(vec![one.clone(), two.clone()], 11, 3, &[12]).unwrap();
    network.keys.verify(&good).unwrap();
    let again = |content: &Content| {
        let Identity { number, parent, .. } = good.identity;
        Identity { content: content.digest(number, parent), ..good.identity }
    };
    let swapped = Content { transactions: vec![two, one], ..good.content.clone() };
    let evidence = |edit: &dyn Fn(&mut Evidence)| {
        let mut evidence = Evidence::decode(good.evidence.clone()).unwrap();
        edit(&mut evidence);
        Preblock { evidence: evidence.encode(), ..good.clone() }
    };
    let foreign = ed25519::PrivateKey::from_seed(9);
    let statement = Statement { identity: good.identity, fixed: round(11) };
    let cases: Vec<(&str, Preblock, NotVerified)> = vec![
        (
            "another order under the same name",
            Preblock { content: swapped.clone(), ..good.clone() },
            NotVerified::Broken,
        ),
        (
            "another order under its own name",
            Preblock { identity: again(&swapped), content: swapped, ..good.clone() },
            NotVerified::NotAttested(0),
        ),
        (
            "another place",
            Preblock {
                identity: Identity {
                    number: Height::new(10),
                    content: good.content.digest(Height::new(10), good.identity.parent),
                    ..good.identity
                },
                ..good.clone()
            },
            NotVerified::NotAttested(0),
        ),
        (
            "no evidence",
            Preblock { evidence: Bytes::new(), ..good.clone() },
            NotVerified::Evidence(
                "Unexpected End-of-Buffer: Not enough bytes remaining to read data".into(),
            ),
        ),
        (
            "too few attestations",
            evidence(&|evidence| evidence.attestations.truncate(2)),
            NotVerified::TooFew { have: 2, holders: 4, quorum: 3 },
        ),
        (
            "one holder twice",
            evidence(&|evidence| {
                let first = evidence.attestations[0].clone();
                evidence.attestations[1] = first;
            }),
            NotVerified::Evidence(
                "Validation Error: Context(Evidence), Message(not in ascending order)".into(),
            ),
        ),
        (
            "a holder that there is not",
            evidence(&|evidence| evidence.attestations[2].0 = 4),
            NotVerified::NoHolder(4),
        ),
        (
            "somebody else's signature",
            evidence(&|evidence| {
                evidence.attestations[1].1 = network.keys.attest(&foreign, &statement);
            }),
            NotVerified::NotAttested(1),
        ),
        (
            "as of another round",
            evidence(&|evidence| evidence.fixed = round(10)),
            NotVerified::NotAttested(0),
        ),
        (
            "no seed",
            evidence(&|evidence| evidence.seeds.clear()),
            NotVerified::Rounds { shown: vec![], needed: vec![12] },
        ),
        (
            "the seed of a round that nobody needs",
            evidence(&|evidence| evidence.seeds.push(network.seed(13))),
            NotVerified::Rounds { shown: vec![12, 13], needed: vec![12] },
        ),
        (
            "a seed of another round",
            evidence(&|evidence| evidence.seeds[0].1 = network.seed(13).1),
            NotVerified::WrongSeed(12),
        ),
        (
            "a transaction that says something else",
            Preblock { opened: vec![clear(b"one"), clear(b"owt")], ..good.clone() },
            NotVerified::NotItsCiphertext(1),
        ),
        (
            "a transaction that is dropped for nothing",
            Preblock {
                opened: vec![Opened::Dropped("because".into()), clear(b"two")],
                ..good.clone()
            },
            NotVerified::NotItsCiphertext(0),
        ),
        (
            "fewer of them than there are",
            Preblock { opened: vec![clear(b"one")], ..good.clone() },
            NotVerified::Broken,
        ),
    ];
    for (what, preblock, why) in cases {
        assert_eq!(network.keys.verify(&preblock), Err(why), "{what}");
    }
    // Whichever attempt it answers, the order is the same.
    let attempt = std::num::NonZeroU32::new(3).unwrap();
    let later = Preblock { identity: Identity { attempt, ..good.identity }, ..good.clone() };
    network.keys.verify(&later).unwrap();
}

#[test]
fn a_payload_says_which_round_it_is_sealed_to_if_it_is_an_envelope() {
    let network = Network::new();
    let good = network.sealed(1, 0, 300, b"").payload;
    assert_eq!(Keys::sealed_to(&good), Some(round(300)));
    for cut in 0..good.len() {
        assert_eq!(Keys::sealed_to(&good[..cut]), None, "cut at {cut}");
    }
    // What stands in the clear, another format, a round in another spelling, and a key that is none.
    let changed = |at: usize, byte: u8| {
        let mut payload = good.to_vec();
        payload[at] = byte;
        payload
    };
    let long = [&[1, 0x80, 0x00][..], &good[2..]].concat();
    for payload in [b"plain".to_vec(), changed(0, 2), long, changed(4, 0xff)] {
        assert_eq!(Keys::sealed_to(&payload), None, "{payload:02x?}");
    }
}

#[test]
fn evidence_decodes_to_itself_and_no_part_of_it_decodes() {
    let network = Network::new();
    let one = network.sealed(1, 0, 12, b"one");
    let preblock = network.preblock(vec![one], 11, 3, &[12]).unwrap();
    let bytes = preblock.evidence;
    assert_eq!(Evidence::decode(bytes.clone()).unwrap().encode(), bytes);
    for cut in 0..bytes.len() {
        assert!(Evidence::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
}

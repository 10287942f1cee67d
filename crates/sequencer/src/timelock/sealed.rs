//! One sealed transaction.

use crate::{Opened, Sender, Transaction, shortened};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use commonware_codec::{Encode as _, EncodeSize as _, FixedSize as _, ReadExt as _, Write as _};
use commonware_consensus::{simplex::scheme::bls12381_threshold::vrf, types::Round};
use commonware_cryptography::{
    bls12381::{
        primitives::variant::{MinSig, Variant},
        tle::{Block, Ciphertext},
    },
    handshake::{RecvCipher, SendCipher, TAG_SIZE},
    transcript::{Transcript, Version},
};
use rand::CryptoRng;
use std::collections::BTreeMap;

/// Rounds above the one as of which an order was fixed that a transaction may be sealed to: with a round each 400 ms,
/// 13 seconds.
pub const AHEAD_MAX: u64 = 32;

/// The version of the envelope.
const FORMAT: u8 = 1;

/// Bytes that a seal adds to what is sealed, at the most: the format, a round, an encrypted key, and a tag.
pub const OVERHEAD_MAX: usize =
    1 + 20 + <MinSig as Variant>::Public::SIZE + 2 * Block::SIZE + TAG_SIZE;

/// Why nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSealed {
    /// The key of the network is no key.
    #[error("the network's key is the identity of the group: nothing would be secret")]
    Key,
    /// The cipher failed.
    #[error("the cipher failed")]
    Cipher,
}

/// Why a transaction says nothing. It takes its place, and its nonce is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It is no envelope.
    #[error("it is not a sealed transaction")]
    Malformed,
    /// Everybody could read it before its order was fixed.
    #[error("round {round} was open before the order was fixed, as of round {fixed}")]
    TooEarly {
        /// The view that it was sealed to.
        round: u64,
        /// The view as of which the order was fixed.
        fixed: u64,
    },
    /// It would hold up the others.
    #[error(
        "round {round} is more than {AHEAD_MAX} above round {fixed}, as of which the order was fixed"
    )]
    TooFar {
        /// The view that it was sealed to.
        round: u64,
        /// The view as of which the order was fixed.
        fixed: u64,
    },
    /// Its key was not encrypted to the round that it names.
    #[error("its key is not encrypted to its round")]
    Key,
    /// What it says was encrypted with another key, or for another sender or nonce.
    #[error("it does not decrypt with its key, sender and nonce")]
    Body,
}

/// Encrypts what `sender` says under `nonce` to `round` of the network with this `identity`, whose validators sign
/// in `namespace`.
///
/// # Errors
///
/// [`NotSealed`].
pub fn seal<R: CryptoRng>(
    rng: &mut R,
    (namespace, identity): (&[u8], &<MinSig as Variant>::Public),
    round: Round,
    (sender, nonce): (Sender, u64),
    clear: &[u8],
) -> Result<Bytes, NotSealed> {
    let mut secret = [0; Block::SIZE];
    rng.fill_bytes(&mut secret);
    let secret = Block::new(secret);
    let key = vrf::encrypt::<_, MinSig>(rng, *identity, namespace, round, secret.clone())
        .map_err(|_| NotSealed::Key)?;
    let rng = transcript(&secret, round, sender, nonce).noise(LABEL);
    let body = SendCipher::new(rng).send(clear).map_err(|_| NotSealed::Cipher)?;
    let mut sealed = BytesMut::with_capacity(OVERHEAD_MAX + clear.len());
    sealed.put_u8(FORMAT);
    round.write(&mut sealed);
    key.write(&mut sealed);
    sealed.put_slice(&body);
    Ok(sealed.freeze())
}

const LABEL: &[u8] = b"body";

/// What the key of a body is derived from: an envelope that is copied under another sender or nonce does not open.
fn transcript(secret: &Block, round: Round, sender: Sender, nonce: u64) -> Transcript {
    let mut transcript = Transcript::new(b"tidewatch-sealed", Version::V1);
    transcript.commit(secret.as_ref());
    transcript.commit(round.encode());
    transcript.commit(sender.0.as_slice());
    transcript.commit(nonce.to_be_bytes().as_slice());
    transcript
}

/// What a payload is, before its round is open.
#[derive(Debug)]
enum Envelope<'a> {
    /// It waits for the seed of the round.
    Sealed { round: Round, key: Box<Ciphertext<MinSig>>, body: &'a [u8] },
    /// It never says anything.
    Nothing(Unopened),
}

/// The round that `payload` names, and the rest.
fn round(payload: &[u8]) -> Option<(Round, &[u8])> {
    let mut rest = payload;
    let format = u8::read(&mut rest).ok()?;
    let round = Round::read(&mut rest).ok()?;
    // One spelling of a round, as of everything.
    let canonical = format == FORMAT && 1 + round.encode_size() == payload.len() - rest.len();
    canonical.then_some((round, rest))
}

/// The encrypted key and the body that stand after a round.
fn key_and_body(mut rest: &[u8]) -> Option<(Box<Ciphertext<MinSig>>, &[u8])> {
    let key = Ciphertext::read(&mut rest).ok()?;
    (rest.remaining() >= TAG_SIZE).then(|| (Box::new(key), rest))
}

/// The round that `payload` is sealed to; `None` if it is no envelope, and so never says anything. Whether its key is
/// encrypted to that round is seen when it is open.
pub fn sealed_to(payload: &[u8]) -> Option<Round> {
    let (round, rest) = round(payload)?;
    key_and_body(rest).map(|_| round)
}

/// The round that `payload` names, without a look at the rest.
pub(crate) fn named(payload: &[u8]) -> Option<Round> {
    round(payload).map(|(round, _)| round)
}

fn envelope(payload: &[u8], fixed: Round) -> Envelope<'_> {
    let Some((round, rest)) = round(payload) else { return Envelope::Nothing(Unopened::Malformed) };
    if let Err(why) = window(round, fixed) {
        return Envelope::Nothing(why);
    }
    match key_and_body(rest) {
        Some((key, body)) => Envelope::Sealed { round, key, body },
        None => Envelope::Nothing(Unopened::Malformed),
    }
}

/// Whether what is sealed to `round` was secret as of `fixed`, and opens soon enough.
fn window(round: Round, fixed: Round) -> Result<(), Unopened> {
    let (view, as_of) = (round.view().get(), fixed.view().get());
    if round < fixed {
        return Err(Unopened::TooEarly { round: view, fixed: as_of });
    }
    if round.epoch() != fixed.epoch() || view - as_of > AHEAD_MAX {
        return Err(Unopened::TooFar { round: view, fixed: as_of });
    }
    Ok(())
}

/// The rounds that must be open to open `transactions`, whose order was fixed as of `fixed`.
pub(super) fn awaited(transactions: &[Transaction], fixed: Round) -> Vec<Round> {
    let sealed = transactions.iter().filter(|transaction| transaction.sender != Sender::DELAYED);
    let mut rounds: Vec<_> = sealed
        .filter_map(|transaction| named(&transaction.payload))
        .filter(|round| window(*round, fixed).is_ok())
        .collect();
    rounds.sort_unstable();
    rounds.dedup();
    rounds
}

/// What `transaction` says, whose order was fixed as of `fixed`, with the seeds of the rounds that it may need.
/// `None` if its round is not among them.
pub(super) fn open(
    transaction: &Transaction,
    fixed: Round,
    seeds: &BTreeMap<Round, <MinSig as Variant>::Signature>,
) -> Option<Opened> {
    if transaction.sender == Sender::DELAYED {
        return Some(Opened::Clear(transaction.payload.clone()));
    }
    let dropped = |why: Unopened| Opened::Dropped(shortened(&why.to_string()));
    let (round, key, body) = match envelope(&transaction.payload, fixed) {
        Envelope::Nothing(why) => return Some(dropped(why)),
        Envelope::Sealed { round, key, body } => (round, key, body),
    };
    let seed = vrf::Seed::new(round, *seeds.get(&round)?);
    let Some(secret) = vrf::decrypt(&seed, &key) else { return Some(dropped(Unopened::Key)) };
    let rng = transcript(&secret, round, transaction.sender, transaction.nonce).noise(LABEL);
    Some(match RecvCipher::new(rng).recv(body) {
        Ok(clear) => Opened::Clear(clear.into()),
        Err(_) => dropped(Unopened::Body),
    })
}

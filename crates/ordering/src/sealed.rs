//! Sealing and opening one transaction.

use crate::{Identity, Round, Seed};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{
    DecodeExt as _, Encode as _, EncodeSize, Error, RangeCfg, Read, ReadExt as _, Write,
};
use commonware_consensus::simplex::scheme::bls12381_threshold::vrf;
use commonware_cryptography::bls12381::{primitives::variant::MinSig, tle};
use rand::CryptoRng;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use tidewatch_sequencer::TRANSACTION_BYTES_MAX;

/// A transaction that can be read once its round is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The round.
    pub round: Round,
    /// The key of the body, locked until then.
    key: tle::Ciphertext<MinSig>,
    /// The transaction, encrypted with that key.
    body: Bytes,
}

/// A transaction cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSealed {
    /// The chain's key is none.
    #[error("the key that transactions are sealed to is the identity of the group")]
    InvalidIdentity,
    /// It is too large.
    #[error("a transaction of {bytes} bytes, of {max} at the most")]
    Oversized {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// What sealing adds at the most, in bytes.
const OVERHEAD: usize = 512;

fn cipher(key: &[u8]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?))
}

/// Every key encrypts one body.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Seals `clear` to `round` of the chain with `identity` and `namespace`.
///
/// # Errors
///
/// It is too large, or the identity is none.
pub fn seal(
    rng: &mut impl CryptoRng,
    (identity, namespace): (&Identity, &[u8]),
    round: Round,
    clear: &[u8],
) -> Result<Sealed, NotSealed> {
    let (bytes, max) = (clear.len(), TRANSACTION_BYTES_MAX - OVERHEAD);
    if bytes > max {
        return Err(NotSealed::Oversized { bytes, max });
    }
    let mut secret = [0; 32];
    rng.fill_bytes(&mut secret);
    let key = vrf::encrypt::<_, MinSig>(rng, *identity, namespace, round, tle::Block::new(secret));
    let key = key.map_err(|_| NotSealed::InvalidIdentity)?;
    let mut body = clear.to_vec();
    let cipher = cipher(&secret).ok_or(NotSealed::InvalidIdentity)?;
    // The round is part of what is authenticated: a body does not open under another one.
    let sealed = cipher.seal_in_place_append_tag(nonce(), Aad::from(round.encode()), &mut body);
    sealed.map_err(|_| NotSealed::Oversized { bytes, max })?;
    Ok(Sealed { round, key, body: body.into() })
}

impl Sealed {
    /// What `payload` holds, if it is sealed.
    pub fn of(payload: &Bytes) -> Option<Self> {
        Self::decode(payload.clone()).ok()
    }

    /// What it says; `None` if it does not open with `seed`, whatever the reason.
    pub fn open(&self, seed: &Seed) -> Option<Bytes> {
        if seed.round != self.round {
            return None;
        }
        let secret = seed.decrypt(&self.key)?;
        let mut body = self.body.to_vec();
        let cipher = cipher(secret.as_ref())?;
        let clear =
            cipher.open_in_place(nonce(), Aad::from(self.round.encode()), &mut body).ok()?;
        Some(Bytes::copy_from_slice(clear))
    }
}

impl Write for Sealed {
    fn write(&self, buf: &mut impl BufMut) {
        self.round.write(buf);
        self.key.write(buf);
        self.body.write(buf);
    }
}

impl EncodeSize for Sealed {
    fn encode_size(&self) -> usize {
        self.round.encode_size() + self.key.encode_size() + self.body.encode_size()
    }
}

impl Read for Sealed {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let round = Round::read(buf)?;
        let key = tle::Ciphertext::read(buf)?;
        let body = Bytes::read_cfg(buf, &RangeCfg::from(0..=TRANSACTION_BYTES_MAX))?;
        Ok(Self { round, key, body })
    }
}

//! What key holders attest, and what follows from it.

use crate::{Round, Seed, sealed::Sealed};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{
    DecodeExt as _, Encode as _, EncodeSize, Error, FixedSize as _, RangeCfg, Read, ReadExt as _,
    Write,
};
use commonware_cryptography::{
    Signer as _, Verifier as _,
    ed25519::{PrivateKey, PublicKey, Signature},
};
use std::collections::{BTreeMap, BTreeSet};
use tidewatch_sequencer::{Content, Identity, Opened, Preblock, Sender};

/// Key holders of one network, at the most.
pub const HOLDERS_MAX: usize = 256;
/// Rounds that one preblock is opened with, at the most.
pub const SEEDS_MAX: usize = 64;
/// A transaction may be sealed to a round so far above the newest open one, and no farther.
pub const ROUNDS_AHEAD: u64 = 32;
/// What attestations sign, apart from anything else that the same key signs.
const NAMESPACE: &[u8] = b"_TIDEWATCH_ORDER";

/// What a key holder attests: the order of a proposal, and the newest round that was open by then.
///
/// It says nothing of the attempt: attempts differ in nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The proposal.
    pub identity: Identity,
    /// The newest round that was open when its order was fixed.
    pub open: Round,
}

impl Order {
    fn message(&self) -> Vec<u8> {
        let Identity { number, parent, content, .. } = self.identity;
        let mut message = Vec::with_capacity(96);
        number.write(&mut message);
        parent.write(&mut message);
        content.write(&mut message);
        self.open.write(&mut message);
        message
    }

    /// The attestation of the holder with this key.
    pub fn attest(&self, holder: u32, key: &PrivateKey) -> Attestation {
        Attestation { holder, signature: key.sign(NAMESPACE, &self.message()) }
    }
}

/// One holder's word for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// Its place in the committee.
    pub holder: u32,
    /// Its signature.
    pub signature: Signature,
}

/// What shows that a preblock is what the network fixed, and that it was opened rightly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The newest round that was open when the order was fixed.
    pub open: Round,
    /// The holders' words, each once, by their places.
    pub attestations: Vec<Attestation>,
    /// The seeds of the rounds that its transactions are sealed to.
    pub seeds: Vec<Seed>,
}

impl Write for Evidence {
    fn write(&self, buf: &mut impl BufMut) {
        self.open.write(buf);
        buf.put_u16(self.attestations.len().min(HOLDERS_MAX) as u16);
        for Attestation { holder, signature } in self.attestations.iter().take(HOLDERS_MAX) {
            buf.put_u32(*holder);
            signature.write(buf);
        }
        self.seeds.write(buf);
    }
}

impl EncodeSize for Evidence {
    fn encode_size(&self) -> usize {
        let attestations = self.attestations.len().min(HOLDERS_MAX) * (4 + Signature::SIZE);
        self.open.encode_size() + 2 + attestations + self.seeds.encode_size()
    }
}

impl Read for Evidence {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let open = Round::read(buf)?;
        let count = usize::from(u16::read(buf)?);
        if count > HOLDERS_MAX {
            return Err(Error::InvalidLength(count));
        }
        let attestation =
            |_| Ok(Attestation { holder: u32::read(buf)?, signature: Signature::read(buf)? });
        let attestations = (0..count).map(attestation).collect::<Result<_, Error>>()?;
        let seeds = Vec::read_cfg(buf, &(RangeCfg::from(0..=SEEDS_MAX), ()))?;
        Ok(Self { open, attestations, seeds })
    }
}

/// Why a preblock is not what the network fixed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// The evidence does not decode.
    #[error("its evidence does not decode")]
    Malformed,
    /// The identity does not name what is in it.
    #[error("its identity does not name what is in it")]
    Broken,
    /// A holder is not of the committee, or attests twice.
    #[error("holder {0} is not of the committee, or attests twice")]
    Stranger(u32),
    /// An attestation that does not verify.
    #[error("the attestation of holder {0} does not verify")]
    Attestation(u32),
    /// Too few holders attest it.
    #[error("{attested} holders attest it, and {quorum} are needed")]
    TooFew {
        /// How many attest it.
        attested: usize,
        /// How many have to.
        quorum: usize,
    },
    /// A seed that does not verify.
    #[error("the seed of round {0:?} does not verify")]
    Seed(Round),
    /// A seed that is needed is not there.
    #[error("the seed of round {0:?} is missing")]
    NoSeed(Round),
    /// A transaction is not what opening it gives.
    #[error("transaction {0} is not what it opens to")]
    Opened(usize),
}

/// Who holds the keys.
#[derive(Clone, Debug)]
pub struct Committee {
    holders: Vec<PublicKey>,
}

impl Committee {
    /// These holders, at most [`HOLDERS_MAX`] of them; their places are those of this list.
    pub fn new(holders: Vec<PublicKey>) -> Option<Self> {
        let different: BTreeSet<_> = holders.iter().collect();
        let fits = !holders.is_empty() && holders.len() <= HOLDERS_MAX;
        (fits && different.len() == holders.len()).then_some(Self { holders })
    }

    /// How many have to attest an order: more than four fifths.
    pub const fn quorum(&self) -> usize {
        self.holders.len() * 4 / 5 + 1
    }

    /// Whether a holder attested `order`.
    ///
    /// # Errors
    ///
    /// It is not of the committee, or the signature is not its own.
    pub fn attested(&self, order: &Order, by: &Attestation) -> Result<(), NotVerified> {
        let place = usize::try_from(by.holder).ok();
        let holder = place.and_then(|place| self.holders.get(place));
        let holder = holder.ok_or(NotVerified::Stranger(by.holder))?;
        if holder.verify(NAMESPACE, &order.message(), &by.signature) {
            Ok(())
        } else {
            Err(NotVerified::Attestation(by.holder))
        }
    }

    /// Whether the network fixed the order of `preblock`, and opened its transactions rightly. `seed` says whether a
    /// seed is one of the chain's. Cheap checks come first: nothing is decrypted that was not attested.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn verify(
        &self,
        preblock: &Preblock,
        seed: impl Fn(&Seed) -> bool,
    ) -> Result<(), NotVerified> {
        let evidence = Evidence::decode(preblock.evidence.clone());
        let Evidence { open: newest, attestations, seeds } =
            evidence.map_err(|_| NotVerified::Malformed)?;
        if !preblock.is_whole() {
            return Err(NotVerified::Broken);
        }
        let (attested, quorum) = (attestations.len(), self.quorum());
        if attested < quorum {
            return Err(NotVerified::TooFew { attested, quorum });
        }
        let order = Order { identity: preblock.identity, open: newest };
        let mut seen = BTreeSet::new();
        for attestation in &attestations {
            if !seen.insert(attestation.holder) {
                return Err(NotVerified::Stranger(attestation.holder));
            }
            self.attested(&order, attestation)?;
        }
        let mut known = BTreeMap::new();
        for given in seeds {
            if !seed(&given) {
                return Err(NotVerified::Seed(given.round));
            }
            known.insert(given.round, given);
        }
        let opened = open(&preblock.content, newest, |round| known.get(&round).cloned());
        let opened = opened.map_err(NotVerified::NoSeed)?;
        let differs = opened.iter().zip(&preblock.opened).position(|(ours, theirs)| ours != theirs);
        differs.map_or(Ok(()), |at| Err(NotVerified::Opened(at)))
    }
}

/// What the transactions of `content` come to, where `newest` was the newest open round when their order was fixed: a
/// function of these and of the seeds.
///
/// # Errors
///
/// The round whose seed is needed and not there yet.
pub fn open(
    content: &Content,
    newest: Round,
    seed: impl Fn(Round) -> Option<Seed>,
) -> Result<Vec<Opened>, Round> {
    let dropped = |why: &str| Ok(Opened::Dropped(why.into()));
    let transactions = content.transactions.iter().map(|transaction| {
        if transaction.sender == Sender::DELAYED {
            return Ok(Opened::Clear(transaction.payload.clone()));
        }
        let Some(sealed) = Sealed::of(&transaction.payload) else {
            return dropped("it is not sealed");
        };
        if sealed.round <= newest {
            return dropped("its round was open before its order was fixed");
        }
        let ahead = sealed.round.view().get().saturating_sub(newest.view().get());
        if sealed.round.epoch() != newest.epoch() || ahead > ROUNDS_AHEAD {
            return dropped("its round is too far ahead");
        }
        let seed = seed(sealed.round).ok_or(sealed.round)?;
        match sealed.open(&seed) {
            Some(clear) => Ok(Opened::Clear(clear)),
            None => dropped("it does not open with the seed of its round"),
        }
    });
    transactions.collect()
}

/// The evidence as a preblock carries it.
impl From<&Evidence> for Bytes {
    fn from(evidence: &Evidence) -> Self {
        evidence.encode()
    }
}

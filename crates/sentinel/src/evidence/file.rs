//! Evidence as bytes.

use super::{Committee, Refusal};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use commonware_codec::{
    DecodeExt as _, Encode as _, EncodeSize, Error, RangeCfg, Read, ReadExt as _, Write,
};
use commonware_consensus::simplex::types::Activity;
use commonware_cryptography::{
    Hasher as _, Sha256, certificate::Scheme, ed25519::PublicKey, sha256::Digest,
};
use commonware_formatting::hex;

/// Bytes of a body at most: a committee of [`MEMBERS_MAX`](super::MEMBERS_MAX) members needs some 100 KiB.
pub const BODY_MAX: usize = 256 * 1024;
/// Bytes of a file at most.
pub const FILE_MAX: usize = HEAD + BODY_MAX + HASH;

const MAGIC: &[u8; 6] = b"TWEVID";
const VERSION: &str = "01";
/// Magic, version, length.
const HEAD: usize = 12;
const HASH: usize = 32;
/// Bytes of both messages at most: each is a round, a parent, a digest, an index and one or two signatures.
const MESSAGES_MAX: usize = 1_024;

/// Which two messages contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Notarizations of two proposals.
    ConflictingNotarize,
    /// Finalizations of two proposals.
    ConflictingFinalize,
    /// A nullification and a finalization.
    NullifyFinalize,
}

impl Offence {
    /// Name in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConflictingNotarize => "conflicting_notarize",
            Self::ConflictingFinalize => "conflicting_finalize",
            Self::NullifyFinalize => "nullify_finalize",
        }
    }
}

/// Two contradicting messages of one validator, and the committee to judge them by. Nothing about them is
/// believed: see [`Evidence::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub(super) committee: Committee,
    pub(super) offence: Offence,
    /// Both, as consensus encodes them.
    pub(super) messages: Bytes,
}

impl Evidence {
    /// The evidence in `activity`, if there is any. It is to be checked before it is kept: consensus does not
    /// verify the signatures of conflicts that it reports.
    pub fn of<S>(committee: &Committee, activity: &Activity<S, Digest>) -> Option<Self>
    where
        S: Scheme<PublicKey = PublicKey>,
    {
        let (offence, messages) = match activity {
            Activity::ConflictingNotarize(both) => (Offence::ConflictingNotarize, both.encode()),
            Activity::ConflictingFinalize(both) => (Offence::ConflictingFinalize, both.encode()),
            Activity::NullifyFinalize(both) => (Offence::NullifyFinalize, both.encode()),
            _ => return None,
        };
        Some(Self { committee: committee.clone(), offence, messages })
    }

    /// The committee that the file brings. See [the module](super) for what it is worth.
    pub const fn committee(&self) -> &Committee {
        &self.committee
    }

    /// Which two messages it says contradict each other.
    pub const fn offence(&self) -> Offence {
        self.offence
    }

    /// The bytes of a file.
    pub fn to_file(&self) -> Bytes {
        let body = self.encode();
        let mut file = BytesMut::with_capacity(HEAD + body.len() + HASH);
        file.put_slice(MAGIC);
        file.put_slice(VERSION.as_bytes());
        file.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
        file.put_slice(&body);
        let hash = Sha256::hash(&[&file]);
        file.put_slice(&hash);
        file.freeze()
    }

    /// Reads the bytes of a file. Costs no more than the bytes that are there.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] for everything that no [`Evidence::to_file`] wrote.
    pub fn from_file(file: &[u8]) -> Result<Self, Refusal> {
        if file.len() > FILE_MAX {
            return Err(Refusal::Oversized { max: FILE_MAX });
        }
        if !file.starts_with(MAGIC) {
            // Less than a head that begins as one does is a file that was cut.
            return Err(match MAGIC.starts_with(file) && !file.is_empty() {
                true => Refusal::Cut { have: file.len(), need: HEAD },
                false => Refusal::Foreign,
            });
        }
        if file.len() < HEAD {
            return Err(Refusal::Cut { have: file.len(), need: HEAD });
        }
        let (head, rest) = file.split_at(HEAD);
        let (version, mut length) = head[MAGIC.len()..].split_at(VERSION.len());
        if version != VERSION.as_bytes() {
            let found = String::from_utf8_lossy(version).into_owned();
            return Err(Refusal::Version { found, known: VERSION });
        }
        let length = length.get_u32() as usize;
        if length > BODY_MAX {
            return Err(Refusal::Oversized { max: FILE_MAX });
        }
        let need = HEAD + length + HASH;
        if file.len() < need {
            return Err(Refusal::Cut { have: file.len(), need });
        }
        if file.len() > need {
            return Err(Refusal::Longer { extra: file.len() - need });
        }
        let (body, stated) = rest.split_at(length);
        let computed = Sha256::hash(&[head, body]);
        if &*computed != stated {
            let (computed, stated) = (computed.to_string(), hex(stated));
            return Err(Refusal::Damaged { computed, stated });
        }
        Self::decode(body)
            .map_err(|error| Refusal::Malformed { part: "body", reason: error.to_string() })
    }
}

impl Write for Evidence {
    fn write(&self, buf: &mut impl BufMut) {
        self.committee.write(buf);
        let offence: u8 = match self.offence {
            Offence::ConflictingNotarize => 0,
            Offence::ConflictingFinalize => 1,
            Offence::NullifyFinalize => 2,
        };
        offence.write(buf);
        self.messages.write(buf);
    }
}

impl EncodeSize for Evidence {
    fn encode_size(&self) -> usize {
        self.committee.encode_size() + 1 + self.messages.encode_size()
    }
}

impl Read for Evidence {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let committee = Committee::read(buf)?;
        let offence = match u8::read(buf)? {
            0 => Offence::ConflictingNotarize,
            1 => Offence::ConflictingFinalize,
            2 => Offence::NullifyFinalize,
            other => return Err(Error::InvalidEnum(other)),
        };
        let messages = Bytes::read_cfg(buf, &RangeCfg::from(..=MESSAGES_MAX))?;
        Ok(Self { committee, offence, messages })
    }
}

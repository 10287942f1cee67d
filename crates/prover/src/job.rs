//! What a job is about, and how an attempt at it can fail.

use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, FixedSize as _, RangeCfg, Read, ReadExt as _, Write};
use commonware_cryptography::{Hasher as _, Sha256};
use std::{fmt, time::Duration};
use tidewatch_core::{BlockRef, Digest, Height};

/// A moment, as the time since the scheduler started. It never goes back: see
/// [`Stopwatch`](crate::Stopwatch).
pub type Time = Duration;

/// What a proof is about: a block, by its commitment, under a program; or a range of blocks that ends in it. Two
/// blocks at one height are two keys, and so is one block under two programs, and so are two ranges with one last
/// block: a proof of one never counts for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The block that is proven; of a range its last.
    pub block: BlockRef,
    /// Identifies the statement and its verification key.
    pub program: Digest,
    /// The first height of the range, which is that of the block where one block is all. Never above it.
    pub first: Height,
}

impl Key {
    /// The key of one block.
    pub const fn one(block: BlockRef, program: Digest) -> Self {
        Self { block, program, first: block.height }
    }

    /// The block's height.
    pub const fn height(&self) -> u64 {
        self.block.height.get()
    }

    /// How many blocks are proven.
    pub const fn blocks(&self) -> u64 {
        self.height().saturating_sub(self.first.get()) + 1
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.blocks() > 1 {
            write!(f, "{} to ", self.first)?;
        }
        self.block.fmt(f)
    }
}

/// Names a job at its prover: what the prover answered to the submission.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(String);

/// The text is no handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a handle has 1 to {} characters of A-Z, a-z, 0-9, '-', '_' and '.'", Handle::MAX)]
pub struct NoHandle;

impl Handle {
    /// Length limit, in characters.
    pub const MAX: usize = 200;

    /// Validates a handle: 1 to [`Handle::MAX`] letters, digits, `-`, `_` and `.`, so that it can stand in
    /// an address and in a log as it is.
    ///
    /// # Errors
    ///
    /// [`NoHandle`] if it is anything else.
    pub fn new(text: impl Into<String>) -> Result<Self, NoHandle> {
        let text = text.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let dots = text.bytes().all(|byte| byte == b'.');
        let fits = !text.is_empty() && text.len() <= Self::MAX;
        (fits && !dots && text.bytes().all(plain)).then_some(Self(text)).ok_or(NoHandle)
    }

    /// The handle of `key` at a prover that names jobs by what they are about: the same job submitted twice
    /// is the same job there.
    pub fn of(key: &Key) -> Self {
        let Key { block, program, first } = key;
        let from = if key.blocks() > 1 { format!("{first}_") } else { String::new() };
        Self(format!("{from}{}-{}-{program}", block.height, block.digest))
    }

    /// The key that [`Handle::of`] made this of; `None` of any other handle.
    pub fn key(&self) -> Option<Key> {
        let mut parts = self.0.split('-');
        let heights = parts.next()?;
        let (first, height) = heights.split_once('_').unwrap_or((heights, heights));
        let (first, height): (u64, u64) = (first.parse().ok()?, height.parse().ok()?);
        let block = BlockRef::new(Height::new(height), digest(parts.next()?)?);
        let key = Key { block, program: digest(parts.next()?)?, first: Height::new(first) };
        // The one spelling: `+7` and `07` parse too.
        (first <= height && Self::of(&key) == *self).then_some(key)
    }

    /// The handle as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The digest that `text` is the lower-case hex of.
pub(crate) fn digest(text: &str) -> Option<Digest> {
    let text = text.as_bytes();
    let nibble = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(&pair[0])? << 4 | nibble(&pair[1])?;
    }
    Some(Digest(bytes))
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Write for Handle {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.as_bytes().write(buf);
    }
}

impl EncodeSize for Handle {
    fn encode_size(&self) -> usize {
        self.0.as_bytes().encode_size()
    }
}

impl Read for Handle {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let bytes = Vec::<u8>::read_cfg(buf, &(RangeCfg::from(0..=Self::MAX), ()))?;
        let text = String::from_utf8(bytes).map_err(|_| Error::Invalid("Handle", "not text"))?;
        Self::new(text).map_err(|_| Error::Invalid("Handle", "not a handle"))
    }
}

/// Bytes in a file: what they hash to, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 of them.
    pub digest: Digest,
    /// How many.
    pub bytes: u64,
}

impl Stored {
    /// What `bytes` are once they are stored.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Sha256::hash(&[bytes]), bytes: bytes.len() as u64 }
    }
}

impl Write for Stored {
    fn write(&self, buf: &mut impl BufMut) {
        self.digest.write(buf);
        buf.put_u64(self.bytes);
    }
}

impl EncodeSize for Stored {
    fn encode_size(&self) -> usize {
        Digest::SIZE + u64::SIZE
    }
}

impl Read for Stored {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { digest: Digest::read(buf)?, bytes: u64::read(buf)? })
    }
}

/// Why an attempt brought no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The prover has no free slot. Flow control: no failure of anybody.
    #[error("the prover is full")]
    Full,
    /// The prover could not be asked, or broke off.
    #[error("the prover is not available: {0}")]
    Unavailable(String),
    /// No proof within the deadline of an attempt.
    #[error("no proof within {0:?}")]
    TimedOut(Duration),
    /// The prover gave no sign of life for the length of a lease.
    #[error("no sign of life for {0:?}")]
    Silent(Duration),
    /// The prover does not know the job any more: it was started anew, or its worker died.
    #[error("the prover lost the job")]
    Lost,
    /// The prover says that no proof exists, or its program failed on these inputs.
    #[error("not provable: {0}")]
    Unprovable(String),
    /// What the prover returned does not prove the block.
    #[error("a proof that does not verify: {0}")]
    Rejected(String),
}

/// What a failure counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Nothing: the job waits until a slot is free.
    Flow,
    /// The prover and what is between. Retried for ever, with a back-off, and an alert when it takes long.
    Infrastructure,
    /// The block. After a few, it is poisoned.
    Logical,
}

impl Failure {
    /// Longest reason that is kept, in bytes.
    pub const REASON_MAX: usize = 500;

    /// What it counts against.
    pub const fn class(&self) -> Class {
        match self {
            Self::Full => Class::Flow,
            Self::Unavailable(_) | Self::TimedOut(_) | Self::Silent(_) | Self::Lost => {
                Class::Infrastructure
            }
            Self::Unprovable(_) | Self::Rejected(_) => Class::Logical,
        }
    }

    /// Name in metrics and lists.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unavailable(_) => "unavailable",
            Self::TimedOut(_) => "timed_out",
            Self::Silent(_) => "silent",
            Self::Lost => "lost",
            Self::Unprovable(_) => "unprovable",
            Self::Rejected(_) => "rejected",
        }
    }

    /// The reason as it is kept: at most [`Failure::REASON_MAX`] bytes, without control characters.
    pub fn reason(&self) -> String {
        let text = self.to_string();
        let plain = text.chars().map(|char| if char.is_control() { ' ' } else { char });
        let mut reason = String::new();
        for char in plain {
            if reason.len() + char.len_utf8() > Self::REASON_MAX {
                break;
            }
            reason.push(char);
        }
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_can_stand_in_an_address() {
        for good in ["a", "7-00ff_A.b", &"x".repeat(Handle::MAX)] {
            assert!(Handle::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a?b", "é", &"x".repeat(Handle::MAX + 1)] {
            assert_eq!(Handle::new(bad), Err(NoHandle), "{bad}");
        }
    }

    #[test]
    fn a_reason_is_bounded_and_plain() {
        let reason = Failure::Unprovable("é\n".repeat(1_000)).reason();
        assert!(reason.len() <= Failure::REASON_MAX && !reason.contains('\n'));
        assert!(reason.starts_with("not provable: é é"));
    }
}

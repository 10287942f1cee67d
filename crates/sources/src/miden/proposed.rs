//! What a sequencer asks to have a block proven from.

use super::{Header, block::Key};
use commonware_codec::{FixedSize as _, ReadExt as _};
use tidewatch_core::{BlockRef, Height};

/// Most batches of transactions in a block.
const BATCHES_MAX: u8 = 64;

/// Bytes between the number of batches and the header at the least: a time, three numbers of things of which there
/// are none, a forest of no trees, and no blocks.
const BETWEEN_MIN: usize = 4 + 3;

/// A `ProposedBlock` of version 0.15, as far as it is read: how many batches of transactions it has, and the header of the
/// block before, which is at its end. What is between is as long as its transactions make it, and is not looked at; where
/// there are none, its time comes first, and is above that of the block before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    batches: u8,
    parent: Header,
}

/// The bytes are no proposed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProposed {
    /// Fewer bytes than one without transactions has.
    #[error("{got} bytes, and a proposed block has {min} at the least")]
    Short {
        /// How many there are.
        got: usize,
        /// Those of the shortest one.
        min: usize,
    },
    /// It does not begin with a number of batches.
    #[error("it begins with no number of batches, which are {BATCHES_MAX} at the most")]
    Batches,
    /// It does not end with a header.
    #[error("it does not end with the header of the block before")]
    Header,
    /// It has no transactions, and is not later than the block before.
    #[error("it was made at {time} s, and the block before at {before} s")]
    Time {
        /// Its time, in seconds since the Unix epoch.
        time: u32,
        /// That of the block before.
        before: u32,
    },
    /// The block before is the last one that there can be.
    #[error("no block comes after height {0}")]
    Last(Height),
}

impl Proposed {
    /// Reads what is known of `bytes`.
    ///
    /// # Errors
    ///
    /// Why they are none.
    pub fn read(bytes: &[u8]) -> Result<Self, NotProposed> {
        let min = 1 + BETWEEN_MIN + Header::SIZE;
        let short = NotProposed::Short { got: bytes.len(), min };
        let (front, mut back) = bytes
            .split_at_checked(bytes.len().saturating_sub(Header::SIZE))
            .filter(|(front, _)| front.len() > BETWEEN_MIN)
            .ok_or(short)?;
        // A number below 128 is one byte: twice the number, and one.
        let batches = front.first().filter(|byte| *byte % 2 == 1).map(|byte| byte / 2);
        let batches = batches.filter(|number| *number <= BATCHES_MAX);
        let batches = batches.ok_or(NotProposed::Batches)?;
        let parent = Header::read(&mut back).map_err(|_| NotProposed::Header)?;
        Key::from_bytes(parent.validator).ok_or(NotProposed::Header)?;
        let time = front[1..].first_chunk().map(|time| u32::from_le_bytes(*time));
        let late = time.filter(|time| batches == 0 && *time <= parent.timestamp);
        if let Some(time) = late {
            return Err(NotProposed::Time { time, before: parent.timestamp });
        }
        if parent.number == u32::MAX {
            return Err(NotProposed::Last(parent.height()));
        }
        Ok(Self { batches, parent })
    }

    /// Height of the block.
    pub fn height(&self) -> Height {
        Height::new(u64::from(self.parent.number) + 1)
    }

    /// The block before.
    pub fn parent(&self) -> BlockRef {
        self.parent.reference()
    }

    /// How many batches of transactions it has.
    pub const fn batches(&self) -> u8 {
        self.batches
    }
}

//! The lines on disk.

use super::{Basis, Change, EpochRecord, Filed, Kept, Outcome, Row, Vote};
use crate::{
    Act, Conflict, Contradiction, Epoch, Event, Inactive, Lineage, NotJudged, Performance,
    Proposal, Signed, Slot, ValidatorId, Verdict, What,
    bits::{Bits, MEMBERS_MAX},
    judge::Judged,
    port::Committee,
    seen::{MESSAGE_MAX, PAYLOADS_MAX},
};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, ReadExt as _, Write, varint::UInt};
use tidewatch_core::{BlockRef, ChainId, Digest};

/// The version of this format.
pub(crate) const FORMAT: u8 = 2;
/// Rows, epochs or events in one line, at the most.
const PER_LINE: usize = 1 << 16;
/// Strangers of one slot that are kept, at the most.
pub(super) const STRANGERS_MAX: usize = 64;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// What the history is of. What follows, up to [`Record::Whole`], says everything once more.
    Base(ChainId),
    /// Everything since the base was said.
    Whole,
    /// What one pass changed: all of it or nothing.
    Change(Box<Change>),
    /// Events up to here were taken by the output.
    Given(u64),
    /// A base of another format.
    Foreign(u8),
}

/// A count, or a position.
fn write_count(count: usize, buf: &mut impl BufMut) {
    UInt(count as u64).write(buf);
}

fn read_count(buf: &mut impl Buf, max: usize) -> Result<usize, Error> {
    let count: u64 = UInt::read(buf)?.into();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > max { Err(Error::InvalidLength(count)) } else { Ok(count) }
}

/// Something with a codec inside of a line: `size` is what `write` puts.
trait Part: Sized {
    fn put(&self, buf: &mut impl BufMut);
    fn size(&self) -> usize;
    fn get(buf: &mut impl Buf) -> Result<Self, Error>;
}

macro_rules! plain {
    ($($type:ty),+) => {$(
        impl Part for $type {
            fn put(&self, buf: &mut impl BufMut) {
                self.write(buf);
            }

            fn size(&self) -> usize {
                self.encode_size()
            }

            fn get(buf: &mut impl Buf) -> Result<Self, Error> {
                Self::read(buf)
            }
        }
    )+};
}

plain!(Slot, Epoch, ValidatorId, BlockRef, Digest, Bits, bool);

macro_rules! parts {
    ($name:ty { $($field:ident),+ }) => {
        impl Part for $name {
            fn put(&self, buf: &mut impl BufMut) {
                $(self.$field.put(buf);)+
            }

            fn size(&self) -> usize {
                0 $(+ self.$field.size())+
            }

            fn get(buf: &mut impl Buf) -> Result<Self, Error> {
                $(let $field = Part::get(buf)?;)+
                Ok(Self { $($field),+ })
            }
        }
    };
}

/// A value that is one of a few, as its position among them.
macro_rules! one_of {
    ($name:ty, $all:expr) => {
        impl Part for $name {
            fn put(&self, buf: &mut impl BufMut) {
                buf.put_u8($all.iter().position(|each| each == self).unwrap_or_default() as u8);
            }

            fn size(&self) -> usize {
                1
            }

            fn get(buf: &mut impl Buf) -> Result<Self, Error> {
                let tag = u8::read(buf)?;
                $all.get(usize::from(tag)).copied().ok_or(Error::InvalidEnum(tag))
            }
        }
    };
}

one_of!(Proposal, Proposal::ALL);
one_of!(NotJudged, NotJudged::ALL);
one_of!(Contradiction, Contradiction::ALL);

macro_rules! number {
    ($type:ty) => {
        impl Part for $type {
            fn put(&self, buf: &mut impl BufMut) {
                UInt(*self).write(buf);
            }

            fn size(&self) -> usize {
                UInt(*self).encode_size()
            }

            fn get(buf: &mut impl Buf) -> Result<Self, Error> {
                Ok(UInt::read(buf)?.into())
            }
        }
    };
}

number!(u32);
number!(u64);

impl<T: Part> Part for Option<T> {
    fn put(&self, buf: &mut impl BufMut) {
        self.is_some().write(buf);
        self.iter().for_each(|part| part.put(buf));
    }

    fn size(&self) -> usize {
        1 + self.as_ref().map_or(0, Part::size)
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        bool::read(buf)?.then(|| T::get(buf)).transpose()
    }
}

impl<T: Part> Part for Box<T> {
    fn put(&self, buf: &mut impl BufMut) {
        (**self).put(buf);
    }

    fn size(&self) -> usize {
        (**self).size()
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        T::get(buf).map(Self::new)
    }
}

impl<A: Part, B: Part> Part for (A, B) {
    fn put(&self, buf: &mut impl BufMut) {
        self.0.put(buf);
        self.1.put(buf);
    }

    fn size(&self) -> usize {
        self.0.size() + self.1.size()
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        Ok((A::get(buf)?, B::get(buf)?))
    }
}

impl<T: Part> Part for Vec<T> {
    fn put(&self, buf: &mut impl BufMut) {
        write_count(self.len(), buf);
        self.iter().for_each(|part| part.put(buf));
    }

    fn size(&self) -> usize {
        UInt(self.len() as u64).encode_size() + self.iter().map(Part::size).sum::<usize>()
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        let count = read_count(buf, PER_LINE.max(MEMBERS_MAX))?;
        // No room is made for what was only announced.
        let mut parts = Self::with_capacity(count.min(1_024));
        for _ in 0..count {
            parts.push(T::get(buf)?);
        }
        Ok(parts)
    }
}

impl Part for Committee {
    fn put(&self, buf: &mut impl BufMut) {
        write_count(self.len(), buf);
        self.iter().for_each(|member| member.write(buf));
    }

    fn size(&self) -> usize {
        let members: usize = self.iter().map(EncodeSize::encode_size).sum();
        UInt(self.len() as u64).encode_size() + members
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        Ok(Vec::get(buf)?.into())
    }
}

impl Part for Act {
    fn put(&self, buf: &mut impl BufMut) {
        let tag = match self {
            Self::Block(_) => 0,
            Self::Proposal(_) => 1,
            Self::Attestation(_) => 2,
            Self::Commit(_) => 3,
            Self::Skip => 4,
        };
        buf.put_u8(tag);
        self.payload().iter().for_each(|payload| payload.write(buf));
    }

    fn size(&self) -> usize {
        1 + self.payload().map_or(0, |payload| payload.encode_size())
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        match u8::read(buf)? {
            0 => Ok(Self::Block(Digest::read(buf)?)),
            1 => Ok(Self::Proposal(Digest::read(buf)?)),
            2 => Ok(Self::Attestation(Digest::read(buf)?)),
            3 => Ok(Self::Commit(Digest::read(buf)?)),
            4 => Ok(Self::Skip),
            tag => Err(Error::InvalidEnum(tag)),
        }
    }
}

impl Part for Verdict {
    fn put(&self, buf: &mut impl BufMut) {
        match self {
            Self::Unvalidated => buf.put_u8(0),
            Self::Invalid => buf.put_u8(1),
            Self::Valid(None) => buf.put_u8(2),
            Self::Valid(Some(Lineage::First)) => buf.put_u8(3),
            Self::Valid(Some(Lineage::On { number, digest })) => {
                buf.put_u8(4);
                number.put(buf);
                digest.write(buf);
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Valid(Some(Lineage::On { number, digest })) => {
                1 + number.size() + digest.encode_size()
            }
            _ => 1,
        }
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        match u8::read(buf)? {
            0 => Ok(Self::Unvalidated),
            1 => Ok(Self::Invalid),
            2 => Ok(Self::Valid(None)),
            3 => Ok(Self::Valid(Some(Lineage::First))),
            4 => {
                let (number, digest) = (u64::get(buf)?, Digest::read(buf)?);
                Ok(Self::Valid(Some(Lineage::On { number, digest })))
            }
            tag => Err(Error::InvalidEnum(tag)),
        }
    }
}

impl Part for Signed {
    fn put(&self, buf: &mut impl BufMut) {
        self.slot.write(buf);
        self.validator.write(buf);
        self.act.put(buf);
        self.bytes.write(buf);
    }

    fn size(&self) -> usize {
        self.slot.encode_size()
            + self.validator.encode_size()
            + self.act.size()
            + self.bytes.encode_size()
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        let (slot, validator, act) = (Slot::read(buf)?, ValidatorId::read(buf)?, Act::get(buf)?);
        let bytes = Bytes::read_cfg(buf, &RangeCfg::from(0..=MESSAGE_MAX))?;
        Ok(Self { slot, validator, act, bytes })
    }
}

parts!(Conflict { kind, first, second });
parts!(Performance { missed, total });
parts!(Inactive { validator, performance, penalty });
parts!(Judged { proposal, attested, expected, contradicted });
parts!(Filed { committee, proposer, judged });
parts!(Vote { act, by });
parts!(Basis { tip, loose, kept });
parts!(Row { slot, epoch, outcome, basis });
parts!(EpochRecord { epoch, committee, performances, verdict });
parts!(Event { sequence, what });
parts!(Change { committees, rows, processed, epochs, evaluated, events });

impl Part for Kept {
    fn put(&self, buf: &mut impl BufMut) {
        self.votes.put(buf);
        self.checked.put(buf);
        self.contradicted.put(buf);
        self.strangers.put(buf);
        self.partial.put(buf);
    }

    fn size(&self) -> usize {
        self.votes.size()
            + self.checked.size()
            + self.contradicted.size()
            + self.strangers.size()
            + self.partial.size()
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        let (votes, checked) = (Vec::get(buf)?, Vec::get(buf)?);
        let (contradicted, strangers): (_, Vec<_>) = (Vec::get(buf)?, Vec::get(buf)?);
        let kept = Self { votes, checked, contradicted, strangers, partial: bool::get(buf)? };
        if kept.checked.len() > PAYLOADS_MAX || kept.strangers.len() > STRANGERS_MAX {
            return Err(Error::Invalid("Kept", "more than is ever kept"));
        }
        Ok(kept)
    }
}

impl Part for Outcome {
    fn put(&self, buf: &mut impl BufMut) {
        match self {
            Self::Judged(filed) => {
                buf.put_u8(0);
                filed.put(buf);
            }
            Self::NotJudged(reason) => {
                buf.put_u8(1);
                reason.put(buf);
            }
            Self::NobodyDue => buf.put_u8(2),
        }
    }

    fn size(&self) -> usize {
        1 + match self {
            Self::Judged(filed) => filed.size(),
            Self::NotJudged(reason) => reason.size(),
            Self::NobodyDue => 0,
        }
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        match u8::read(buf)? {
            0 => Ok(Self::Judged(Part::get(buf)?)),
            1 => Ok(Self::NotJudged(Part::get(buf)?)),
            2 => Ok(Self::NobodyDue),
            tag => Err(Error::InvalidEnum(tag)),
        }
    }
}

impl Part for What {
    fn put(&self, buf: &mut impl BufMut) {
        match self {
            Self::Inactive { epoch, validators } => {
                buf.put_u8(0);
                epoch.write(buf);
                validators.put(buf);
            }
            Self::Withdrawn { epoch, verdict } => {
                buf.put_u8(1);
                epoch.write(buf);
                verdict.put(buf);
            }
            Self::Contradicted(conflict) => {
                buf.put_u8(2);
                conflict.put(buf);
            }
        }
    }

    fn size(&self) -> usize {
        1 + match self {
            Self::Inactive { epoch, validators } => epoch.encode_size() + validators.size(),
            Self::Withdrawn { epoch, verdict } => epoch.encode_size() + verdict.size(),
            Self::Contradicted(conflict) => conflict.size(),
        }
    }

    fn get(buf: &mut impl Buf) -> Result<Self, Error> {
        match u8::read(buf)? {
            0 => Ok(Self::Inactive { epoch: Epoch::read(buf)?, validators: Vec::get(buf)? }),
            1 => Ok(Self::Withdrawn { epoch: Epoch::read(buf)?, verdict: u64::get(buf)? }),
            2 => Ok(Self::Contradicted(Conflict::get(buf)?)),
            tag => Err(Error::InvalidEnum(tag)),
        }
    }
}

impl Record {
    const BASE: u8 = 0;
    const WHOLE: u8 = 1;
    const CHANGE: u8 = 2;
    const GIVEN: u8 = 3;
}

impl Write for Record {
    fn write(&self, buf: &mut impl BufMut) {
        match self {
            Self::Base(chain) => {
                buf.put_u8(Self::BASE);
                buf.put_u8(FORMAT);
                Bytes::copy_from_slice(chain.as_str().as_bytes()).write(buf);
            }
            // Of a foreign format nothing more is known, and it is never written.
            Self::Foreign(format) => buf.put_slice(&[Self::BASE, *format]),
            Self::Whole => buf.put_u8(Self::WHOLE),
            Self::Change(change) => {
                buf.put_u8(Self::CHANGE);
                change.put(buf);
            }
            Self::Given(sequence) => {
                buf.put_u8(Self::GIVEN);
                sequence.put(buf);
            }
        }
    }
}

impl EncodeSize for Record {
    fn encode_size(&self) -> usize {
        1 + match self {
            Self::Base(chain) => {
                let length = chain.as_str().len();
                1 + UInt(length as u64).encode_size() + length
            }
            Self::Foreign(_) => 1,
            Self::Whole => 0,
            Self::Change(change) => change.size(),
            Self::Given(sequence) => sequence.size(),
        }
    }
}

impl Read for Record {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        match u8::read(buf)? {
            Self::BASE => {
                let format = u8::read(buf)?;
                if format != FORMAT {
                    buf.advance(buf.remaining());
                    return Ok(Self::Foreign(format));
                }
                let bytes = Bytes::read_cfg(buf, &RangeCfg::from(0..=ChainId::MAX))?;
                let text = String::from_utf8(bytes.into());
                let chain = text.ok().and_then(|text| ChainId::new(text).ok());
                chain.map(Self::Base).ok_or(Error::Invalid("Record", "no chain id"))
            }
            Self::WHOLE => Ok(Self::Whole),
            Self::CHANGE => Ok(Self::Change(Part::get(buf)?)),
            Self::GIVEN => Ok(Self::Given(u64::get(buf)?)),
            tag => Err(Error::InvalidEnum(tag)),
        }
    }
}

//! What happened, in the order in which it happened.

use crate::{BlockRef, Cursor, Tier, Tip, TipSet, Watermarks};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write, varint::UInt};
use std::fmt;

/// One thin event of a chain. Folding events over [`Watermarks`] gives where the chain stands: see
/// [`Watermarks::apply`], which is the replay law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a plain value is worth more than the few bytes")]
pub enum Event {
    /// Blocks `from..=to` were delivered, in order, linked to each other.
    Blocks {
        /// The first of them.
        from: BlockRef,
        /// The last of them.
        to: BlockRef,
    },
    /// A tier moved up, or became known.
    Advanced {
        /// The tier that moved.
        tier: Tier,
        /// Where it stands now.
        tip: Tip,
    },
    /// A tier moved back.
    Regressed {
        /// The tier that moved.
        tier: Tier,
        /// Where it stands now.
        tip: Tip,
    },
    /// Everything above `to` must be dropped, and every tier stands where `tips` says. The one undo message.
    Pruned {
        /// The highest block that survives.
        to: BlockRef,
        /// How many delivered blocks were dropped; 0 where blocks are not delivered.
        depth: u64,
        /// All tiers after it, clamped in the same step. A tier at or below `to` may have moved back too;
        /// no [`Regressed`](Self::Regressed) follows that says so.
        tips: TipSet,
    },
}

impl Event {
    const BLOCKS: u8 = 0;
    const ADVANCED: u8 = 1;
    const REGRESSED: u8 = 2;
    const PRUNED: u8 = 3;

    /// Name in the JSON lines and in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Blocks { .. } => "blocks",
            Self::Advanced { .. } => "advanced",
            Self::Regressed { .. } => "regressed",
            Self::Pruned { .. } => "pruned",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks { from, to } => write!(f, "blocks from {from} to {to}"),
            Self::Advanced { tier, tip } => write!(f, "{tier} advanced to {}", tip.block),
            Self::Regressed { tier, tip } => write!(f, "{tier} regressed to {}", tip.block),
            Self::Pruned { to, depth, .. } => write!(f, "pruned {depth} blocks down to {to}"),
        }
    }
}

impl Write for Event {
    fn write(&self, buf: &mut impl BufMut) {
        match self {
            Self::Blocks { from, to } => {
                buf.put_u8(Self::BLOCKS);
                from.write(buf);
                to.write(buf);
            }
            Self::Advanced { tier, tip } => {
                buf.put_u8(Self::ADVANCED);
                tier.write(buf);
                tip.write(buf);
            }
            Self::Regressed { tier, tip } => {
                buf.put_u8(Self::REGRESSED);
                tier.write(buf);
                tip.write(buf);
            }
            Self::Pruned { to, depth, tips } => {
                buf.put_u8(Self::PRUNED);
                to.write(buf);
                UInt(*depth).write(buf);
                tips.write(buf);
            }
        }
    }
}

impl EncodeSize for Event {
    fn encode_size(&self) -> usize {
        1 + match self {
            Self::Blocks { from, to } => from.encode_size() + to.encode_size(),
            Self::Advanced { tier, tip } | Self::Regressed { tier, tip } => {
                tier.encode_size() + tip.encode_size()
            }
            Self::Pruned { to, depth, tips } => {
                to.encode_size() + UInt(*depth).encode_size() + tips.encode_size()
            }
        }
    }
}

impl Read for Event {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(match u8::read(buf)? {
            Self::BLOCKS => {
                let (from, to) = (BlockRef::read(buf)?, BlockRef::read(buf)?);
                if from.height > to.height {
                    return Err(Error::Invalid("Event", "blocks end before they start"));
                }
                Self::Blocks { from, to }
            }
            Self::ADVANCED => Self::Advanced { tier: Tier::read(buf)?, tip: Tip::read(buf)? },
            Self::REGRESSED => Self::Regressed { tier: Tier::read(buf)?, tip: Tip::read(buf)? },
            Self::PRUNED => Self::Pruned {
                to: BlockRef::read(buf)?,
                depth: UInt::read(buf)?.into(),
                tips: TipSet::read(buf)?,
            },
            tag => return Err(Error::InvalidEnum(tag)),
        })
    }
}

/// An event in its place in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// Where the chain stood right after it.
    pub watermarks: Watermarks,
    /// Position of a consumer that has handled this event and all before it.
    pub cursor: Cursor,
}

impl Record {
    /// Position in the history that issued it, from 0.
    ///
    /// The cursor of a record counts the events up to and including it, so it is never 0.
    pub fn sequence(&self) -> u64 {
        self.cursor.handled().saturating_sub(1)
    }
}

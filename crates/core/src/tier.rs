//! Tiers of finality and the order in which a chain's tiers may stand.

use bytes::{Buf, BufMut};
use commonware_codec::{Error, FixedSize, Read, ReadExt, Write};
use std::fmt;

/// One of the four high-water marks of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The newest block that the source stands behind.
    Proposed,
    /// Covered by a checkpoint that was published, certified or sealed.
    Checkpointed,
    /// Covered by a validity proof.
    Proven,
    /// Will never be replaced.
    Finalized,
}

impl Tier {
    /// Every tier, in the order of the vocabulary.
    pub const ALL: [Self; 4] = [Self::Proposed, Self::Checkpointed, Self::Proven, Self::Finalized];

    /// Position in [`Tier::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name in events, metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Checkpointed => "checkpointed",
            Self::Proven => "proven",
            Self::Finalized => "finalized",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Write for Tier {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_u8(*self as u8);
    }
}

impl FixedSize for Tier {
    const SIZE: usize = 1;
}

impl Read for Tier {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let tag = u8::read(buf)?;
        Self::ALL.get(usize::from(tag)).copied().ok_or(Error::InvalidEnum(tag))
    }
}

/// The order in which the tiers of a chain may stand, from the highest to the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ladder {
    /// A rollup: finalized <= proven <= checkpointed <= proposed.
    Rollup,
    /// A chain whose blocks are certified: proven <= checkpointed <= finalized <= proposed.
    Certified,
}

impl Ladder {
    /// The tiers from the highest to the lowest: the order in which they are announced, so that a
    /// consumer that applies events as they come never sees the ladder broken.
    pub const fn tiers(self) -> [Tier; 4] {
        match self {
            Self::Rollup => [Tier::Proposed, Tier::Checkpointed, Tier::Proven, Tier::Finalized],
            Self::Certified => [Tier::Proposed, Tier::Finalized, Tier::Checkpointed, Tier::Proven],
        }
    }
}

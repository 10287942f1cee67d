//! Tiers of finality, and the order of a chain's tiers.

use bytes::{Buf, BufMut};
use commonware_codec::{Error, FixedSize, Read, ReadExt, Write};
use std::fmt;

/// A level of finality. Each tier of a chain has a tip: the highest block that has reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The newest block on the source's canonical chain.
    Proposed,
    /// The newest block in a checkpoint that was published, certified or sealed.
    Checkpointed,
    /// The newest block covered by a validity proof.
    Proven,
    /// The newest block that can never be reorged out.
    Finalized,
}

impl Tier {
    /// Every tier, in declaration order.
    pub const ALL: [Self; 4] = [Self::Proposed, Self::Checkpointed, Self::Proven, Self::Finalized];

    /// Position in [`Tier::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name of the tier in events, metrics and messages.
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
        let tier = Self::ALL.get(usize::from(tag)).copied().ok_or(Error::InvalidEnum(tag))?;
        debug_assert_eq!(
            tier.index(),
            usize::from(tag),
            "a tag must decode to the tier that wrote it"
        );
        Ok(tier)
    }
}

/// Order of a chain's tiers, from the highest to the lowest: no tier may be above the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ladder {
    /// A rollup: finalized <= proven <= checkpointed <= proposed.
    Rollup,
    /// A chain with certified blocks: proven <= checkpointed <= finalized <= proposed.
    Certified,
}

impl Ladder {
    /// The tiers from the highest to the lowest. Advances are announced in this order, so that a
    /// consumer that applies events one by one never observes a broken ladder.
    pub const fn tiers(self) -> [Tier; 4] {
        match self {
            Self::Rollup => [Tier::Proposed, Tier::Checkpointed, Tier::Proven, Tier::Finalized],
            Self::Certified => [Tier::Proposed, Tier::Finalized, Tier::Checkpointed, Tier::Proven],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_called_what_events_and_metrics_call_it() {
        let names = Tier::ALL.map(|tier| tier.to_string());
        assert_eq!(names, ["proposed", "checkpointed", "proven", "finalized"]);
    }
}

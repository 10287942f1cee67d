//! Where a local view stands.

use crate::{BlockRef, Event, Tier, TipSet};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write};

/// Where a local view stands: what was delivered to it, and what was announced.
///
/// The two are different positions. Blocks move the first; only `Advanced`, `Regressed` and `Pruned`
/// move the second, so that an announcement that failed is made again although its blocks arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// The highest block delivered; `None` before the first, and always without blocks.
    pub delivered: Option<BlockRef>,
    /// What was announced.
    pub tips: TipSet,
}

impl Watermarks {
    /// Nothing was delivered or announced.
    pub const fn none() -> Self {
        Self { delivered: None, tips: TipSet::unknown() }
    }

    /// The block that the consumer stands on: the highest delivered one, or, where blocks are not
    /// delivered, the announced proposed tip.
    pub fn head(&self) -> Option<BlockRef> {
        self.delivered.or_else(|| self.tips.block(Tier::Proposed))
    }

    /// The replay law: folding all events of a history, in order, gives where its view stands.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Blocks { to, .. } => self.delivered = Some(*to),
            Event::Advanced { tier, tip } | Event::Regressed { tier, tip } => {
                self.tips.set(*tier, Some(*tip));
            }
            Event::Pruned { to, tips, .. } => {
                self.delivered = self.delivered.map(|_| *to);
                self.tips = *tips;
            }
        }
    }
}

impl Write for Watermarks {
    fn write(&self, buf: &mut impl BufMut) {
        self.delivered.write(buf);
        self.tips.write(buf);
    }
}

impl EncodeSize for Watermarks {
    fn encode_size(&self) -> usize {
        self.delivered.encode_size() + self.tips.encode_size()
    }
}

impl Read for Watermarks {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { delivered: Option::read(buf)?, tips: TipSet::read(buf)? })
    }
}

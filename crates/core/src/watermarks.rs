//! Progress of a local view.

use crate::{BlockRef, Event, Tier, TipSet};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write};

/// Progress of a local view: the highest block delivered, and the tips announced.
///
/// The two move independently. `Blocks` moves `delivered`; `Advanced` and `Regressed` move `tips`;
/// `Pruned` moves both. An announcement that failed is therefore repeated even though its blocks were
/// already delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// The highest block delivered; `None` before the first, and always in tips-only mode.
    pub delivered: Option<BlockRef>,
    /// The tips announced.
    pub tips: TipSet,
}

impl Watermarks {
    /// Watermarks before anything was delivered or announced.
    pub const fn none() -> Self {
        Self { delivered: None, tips: TipSet::unknown() }
    }

    /// Head of the view: the highest block delivered or, in tips-only mode, the announced proposed tip.
    pub fn head(&self) -> Option<BlockRef> {
        self.delivered.or_else(|| self.tips.block(Tier::Proposed))
    }

    /// Whether the delivered heads and the blocks of all tips are equal: checkpoints and the version of the tip set are
    /// not compared.
    pub fn same_blocks(&self, other: &Self) -> bool {
        self.delivered == other.delivered && self.tips.same_blocks(&other.tips)
    }

    /// Applies one event. Folding all events of a history, in order, yields the watermarks of its view.
    pub fn apply(&mut self, event: &Event) {
        let delivers = self.delivered.is_some();
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
        debug_assert!(self.delivered.is_some() || !delivers, "an event undid the first delivery");
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

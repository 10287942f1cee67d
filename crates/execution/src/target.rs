//! Where a client is to be pointed at, and which of two targets is the newer one.

use std::fmt;
use tidewatch_core::BlockRef;

/// The chain that a client is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forkchoice {
    /// Its newest block.
    pub head: BlockRef,
    /// The newest block that is safe, if one is known.
    pub safe: Option<BlockRef>,
    /// The newest block that is final, if one is known.
    pub finalized: Option<BlockRef>,
}

impl Forkchoice {
    /// The same with `head`, and with nothing safe above it.
    #[must_use]
    pub fn with_head(self, head: BlockRef) -> Self {
        let safe = self.safe.filter(|safe| safe.height <= head.height);
        Self { head, safe, ..self }
    }
}

impl fmt::Display for Forkchoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |block: Option<BlockRef>| block.map_or("none".into(), |block| block.to_string());
        let (safe, finalized) = (shown(self.safe), shown(self.finalized));
        write!(f, "head {}, safe {safe}, finalized {finalized}", self.head)
    }
}

/// Which of two targets is newer: the round of consensus (epoch, then view), or a version that counts. A
/// height says nothing of it: a chain that is left may be the higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    epoch: u64,
    view: u64,
}

impl Order {
    /// The order of what was agreed on in `view` of `epoch`.
    pub const fn round(epoch: u64, view: u64) -> Self {
        Self { epoch, view }
    }

    /// The order of the `version`th target, where somebody counts them.
    pub const fn version(version: u64) -> Self {
        Self { epoch: 0, view: version }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.view)
    }
}

/// Where a client is to be pointed at, with its place among targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Of two targets, the one with the higher order counts.
    pub order: Order,
    /// The chain.
    pub forkchoice: Forkchoice,
}

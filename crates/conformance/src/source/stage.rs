//! What a test can do to the chain that a source follows.

use std::future::Future;

/// What a test can do to the chain behind its source. Each act says whether it could; what it cannot
/// do, which is the default, is not shown.
///
/// An act returns once the chain is as it says. The source may learn of it later.
pub trait Stage {
    /// Whether the chain stands still between acts. Only then is every difference between two answers
    /// the source's own.
    fn is_still(&self) -> bool {
        false
    }

    /// Whether the source's doorbell rings for what is done here.
    fn rings(&self) -> bool {
        false
    }

    /// Puts `blocks` blocks on top of the proposed tip.
    fn grow(&mut self, _blocks: u64) -> impl Future<Output = bool> {
        std::future::ready(false)
    }

    /// Takes the highest `depth` blocks away, and puts `blocks` others in their place. Every tier that
    /// stood above them stands on a block below. `depth` never reaches a finalized block.
    fn reorg(&mut self, _depth: u64, _blocks: u64) -> impl Future<Output = bool> {
        std::future::ready(false)
    }

    /// Makes `blocks` more blocks final, from the lowest that are not.
    fn finalize(&mut self, _blocks: u64) -> impl Future<Output = bool> {
        std::future::ready(false)
    }
}

/// A chain that moves by itself, such as a network.
impl Stage for () {}

/// A chain that stands still for as long as the suite runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Still;

impl Stage for Still {
    fn is_still(&self) -> bool {
        true
    }
}

//! A source that goes back and forth between two forks, as values: which heads a view left lately, and
//! how often its source came back to one of them.
//!
//! A source returns where it comes back to a fork that was left, and where it falls behind a second time
//! on the same one. One return is an ordinary reorg of a reorg. A source that returns [`RETURNS`] times within
//! [`FLAPPING_WINDOW`] passes answers from two forks at once (a balancer before two nodes, a node that lies): to
//! follow it would tell every consumer of a prune and of the same blocks at each pass, for ever. Then the
//! view stays where it is, until the window has passed or the source stays on one side for as long.

use std::collections::VecDeque;
use tidewatch_core::{BlockRef, Height};

/// Returns within a window from which on a source flaps.
const RETURNS: usize = 3;

/// Passes that a return to a fork that was left counts for: see [`Forks`].
pub const FLAPPING_WINDOW: u64 = 64;

/// Heads that are remembered: those of two forks, and one more.
const HEADS: usize = 3;

/// Heads that a view left, and returns of its source to them. Empty at first; whoever runs passes keeps
/// it between them.
#[derive(Clone, Debug, Default)]
pub struct Forks {
    /// Passes so far.
    pass: u64,
    /// Heads that were dropped, with the pass that dropped them, the newest last.
    left: VecDeque<(u64, BlockRef)>,
    /// Passes in which the source came back to one.
    returns: VecDeque<u64>,
    /// The view was held on its fork, and the source has not been seen there since.
    held: bool,
}

impl Forks {
    /// A pass begins.
    pub(crate) fn begin(&mut self) {
        self.pass += 1;
        let since = self.pass.saturating_sub(FLAPPING_WINDOW);
        self.left.retain(|(at, _)| *at >= since);
        self.returns.retain(|at| *at >= since);
    }

    /// The source is on the fork of the view's head.
    pub(crate) const fn agree(&mut self) {
        self.held = false;
    }

    /// Heights, at or below `top`, of the heads that were left.
    pub(crate) fn heights(&self, top: Height) -> impl Iterator<Item = Height> + '_ {
        self.left.iter().map(|(_, head)| head.height).filter(move |height| *height <= top)
    }

    /// The view is to leave `head` by a prune to `to`; `has` holds for heads on the chain that it goes to, and
    /// on the one that it leaves. Whether it may; where not, the source flaps.
    pub(crate) fn leave(
        &mut self,
        head: BlockRef,
        to: Height,
        has: impl Fn(&BlockRef) -> bool,
    ) -> bool {
        let mut returned = false;
        // What is not above the prune is on both forks.
        for (at, _) in self.left.iter_mut().filter(|(_, left)| left.height > to && has(left)) {
            (*at, returned) = (self.pass, true);
        }
        if returned && !self.held {
            self.returns.push_back(self.pass);
        }
        if returned && self.returns.len() >= RETURNS {
            self.held = true;
            return false;
        }
        self.left.retain(|(_, left)| *left != head);
        self.left.push_back((self.pass, head));
        if self.left.len() > HEADS {
            self.left.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::Digest;

    fn head(fork: u8) -> BlockRef {
        BlockRef::new(Height::new(9), Digest([fork; 32]))
    }

    /// Passes over a source that is on these forks, one after the other; the forks that the view is on after
    /// each.
    fn follow(forks: &mut Forks, mut at: u8, source: impl IntoIterator<Item = u8>) -> Vec<u8> {
        let mut stands = Vec::new();
        for theirs in source {
            forks.begin();
            if theirs == at {
                forks.agree();
            } else if forks.leave(head(at), Height::new(5), |left| *left == head(theirs)) {
                at = theirs;
            }
            stands.push(at);
        }
        stands
    }

    #[test]
    fn a_source_that_returns_once_or_twice_is_followed() {
        let mut forks = Forks::default();
        assert_eq!(follow(&mut forks, 1, [2, 1, 2, 2, 3, 4]), [2, 1, 2, 2, 3, 4]);
    }

    #[test]
    fn a_source_that_alternates_is_no_longer_followed_and_the_view_stays() {
        let mut forks = Forks::default();
        let stands = follow(&mut forks, 1, [2, 1].repeat(200));
        assert_eq!(stands[..4], [2, 1, 2, 2]);
        assert!(stands[4..].iter().all(|at| *at == 2), "{stands:?}");
    }

    #[test]
    fn a_source_that_settles_is_followed_when_the_window_has_passed() {
        let mut forks = Forks::default();
        let window = usize::try_from(FLAPPING_WINDOW).unwrap();
        let stands = follow(&mut forks, 1, [2, 1, 2, 1].into_iter().chain(vec![1; 2 * window]));
        assert_eq!(stands[3], 2);
        let back = stands.iter().rposition(|at| *at == 2).unwrap() + 1;
        assert!((window - 2..=window + 4).contains(&back), "{back}");
    }

    #[test]
    fn another_fork_than_those_that_were_left_is_never_refused() {
        let mut forks = Forks::default();
        follow(&mut forks, 1, [2, 1, 2, 1]);
        assert_eq!(follow(&mut forks, 2, [7, 8, 9, 10]), [7, 8, 9, 10]);
    }
}

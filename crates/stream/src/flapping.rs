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

/// Heads that are remembered. A chain that reorgs while a lie alternates with it leaves a new head each time;
/// where they are too many, the ones that the source never came back to go first.
const HEADS: usize = 8;

/// Heads that a view left, and returns of its source to them. Empty at first; whoever runs passes keeps
/// it between them.
#[derive(Clone, Debug, Default)]
pub struct Forks {
    /// Passes so far.
    pass: u64,
    /// Heads that were dropped, the newest last.
    left: VecDeque<Left>,
    /// Passes in which the source came back to one.
    returns: VecDeque<u64>,
    /// The view was held on its fork, and the source has not been seen there since.
    held: bool,
}

/// A head that was dropped.
#[derive(Clone, Copy, Debug)]
struct Left {
    head: BlockRef,
    /// The pass that dropped it, or the last one whose source was seen on its fork.
    at: u64,
    /// The source came back to its fork.
    returned: bool,
}

impl Forks {
    /// A pass begins.
    pub(crate) fn begin(&mut self) {
        self.pass += 1;
        let since = self.pass.saturating_sub(FLAPPING_WINDOW);
        self.left.retain(|left| left.at >= since);
        self.returns.retain(|at| *at >= since);
    }

    /// The source is on the fork of the view's head.
    pub(crate) const fn agree(&mut self) {
        self.held = false;
    }

    /// Heights, at or below `top`, of the heads that were left.
    pub(crate) fn heights(&self, top: Height) -> impl Iterator<Item = Height> + '_ {
        self.left.iter().map(|left| left.head.height).filter(move |height| *height <= top)
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
        for left in self.left.iter_mut().filter(|left| left.head.height > to && has(&left.head)) {
            (left.at, left.returned, returned) = (self.pass, true, true);
        }
        if returned && !self.held {
            self.returns.push_back(self.pass);
        }
        if returned && self.returns.len() >= RETURNS {
            self.held = true;
            return false;
        }
        self.held = false;
        let known = self.left.iter().position(|left| left.head == head);
        let returned = known.and_then(|at| self.left.remove(at)).is_some_and(|left| left.returned);
        if self.left.len() == HEADS {
            let other = self.left.iter().position(|left| !left.returned);
            self.left.remove(other.unwrap_or(0));
        }
        self.left.push_back(Left { head, at: self.pass, returned });
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
    fn a_lie_that_returns_between_the_reorgs_of_an_honest_chain_is_no_longer_followed() {
        let window = usize::try_from(FLAPPING_WINDOW).unwrap();
        for reorgs in 1..HEADS {
            let mut forks = Forks::default();
            let mut honest = (1..=254).cycle();
            let source = (0..4 * window).flat_map(|_| {
                [0].into_iter().chain(honest.by_ref().take(reorgs)).collect::<Vec<_>>()
            });
            let stands = follow(&mut forks, 255, source.take(4 * window));
            for passes in stands.windows(window) {
                let lies = passes.windows(2).filter(|it| it[0] != 0 && it[1] == 0).count();
                assert!(lies <= RETURNS + 1, "{reorgs}: {passes:?}");
            }
        }
    }

    #[test]
    fn a_head_at_the_block_of_the_prune_was_not_left_again_and_does_not_return() {
        let mut forks = Forks::default();
        assert!(forks.leave(head(1), Height::new(5), |_| false));
        for fork in 0..50 {
            forks.begin();
            let above = BlockRef::new(Height::new(10), Digest([fork; 32]));
            assert!(forks.leave(above, head(1).height, |left| *left == head(1)), "{fork}");
        }
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

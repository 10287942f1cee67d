//! How many blocks are asked for at once.

use commonware_utils::sync::Mutex;

/// Full ranges in a row after which a longer one is tried.
const STREAK: u32 = 16;

/// How many blocks a source asks for at once: fewer once an answer was too large, and by and by more again, as blocks
/// may have become smaller.
#[derive(Debug)]
pub(crate) struct RangeLimit(Mutex<State>);

#[derive(Debug)]
struct State {
    count: usize,
    most: usize,
    streak: u32,
}

impl RangeLimit {
    /// `most` at the most, which is also hoped for.
    pub(crate) const fn new(most: usize) -> Self {
        Self(Mutex::new(State { count: most, most, streak: 0 }))
    }

    /// How many to ask for; one at the least.
    pub(crate) fn get(&self) -> usize {
        self.0.lock().count.max(1)
    }

    /// An answer with `count` blocks is too large.
    pub(crate) fn too_large(&self, count: usize) {
        let mut state = self.0.lock();
        (state.count, state.streak) = (state.count.min(count / 2), 0);
    }

    /// The node says that it never gives more than `most`.
    #[cfg_attr(not(feature = "aztec"), allow(dead_code, reason = "others do not say it"))]
    pub(crate) fn at_most(&self, most: usize) {
        let mut state = self.0.lock();
        state.most = state.most.min(most);
        state.count = state.count.min(most);
    }

    /// `count` blocks were answered.
    pub(crate) fn took(&self, count: usize) {
        let mut state = self.0.lock();
        if count < state.count.max(1) {
            return;
        }
        state.streak += 1;
        if state.streak >= STREAK {
            state.count = (state.count.max(1) * 2).min(state.most);
            state.streak = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_was_too_large_is_halved_and_grows_again_after_many_full_ones() {
        let limit = RangeLimit::new(100);
        for (count, after) in [(100, 50), (100, 50), (50, 25), (3, 1), (1, 1)] {
            limit.too_large(count);
            assert_eq!(limit.get(), after, "{count} were too many");
        }
        for want in [2, 4, 8, 16, 32, 64, 100, 100] {
            for _ in 0..STREAK {
                // A shorter range says nothing of a longer one.
                limit.took(limit.get() - 1);
                limit.took(limit.get());
            }
            assert_eq!(limit.get(), want);
        }
    }

    #[test]
    fn what_the_node_says_is_its_limit_is_not_tried_again() {
        let limit = RangeLimit::new(100);
        limit.at_most(20);
        for _ in 0..4 * STREAK {
            limit.took(limit.get());
        }
        assert_eq!(limit.get(), 20);
        limit.at_most(0);
        assert_eq!(limit.get(), 1, "a range has a block");
    }
}

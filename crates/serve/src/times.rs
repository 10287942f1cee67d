//! When events came, to a second.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

/// Marks that are kept: a quarter of an hour at least, and longer where events are rare.
const KEPT: usize = 1_024;

/// Events that come closer together count as one moment.
const APART: Duration = Duration::from_secs(1);

/// A mark for each moment: the first event of it, and when that was.
#[derive(Debug)]
pub(crate) struct Times(VecDeque<(u64, SystemTime)>);

impl Times {
    /// The history was opened at `now`: whatever it had then came before.
    pub(crate) fn new(now: SystemTime) -> Self {
        Self(VecDeque::from([(0, now)]))
    }

    /// The events from `first` on came at `now`.
    pub(crate) fn came(&mut self, first: u64, now: SystemTime) {
        let newest = self.0.back().map(|(_, at)| *at);
        let apart = newest.and_then(|at| now.duration_since(at).ok()) >= Some(APART);
        // After a clock that was set back, an event is older than it seems rather than younger.
        if apart || newest.is_none() {
            self.0.push_back((first, now));
        }
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// How long ago the event `sequence` came, at the least.
    pub(crate) fn age(&self, sequence: u64, now: SystemTime) -> Duration {
        let after = self.0.partition_point(|(first, _)| *first <= sequence);
        let mark = self.0.get(after.saturating_sub(1));
        mark.and_then(|(_, at)| now.duration_since(*at).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_as_old_as_the_moment_that_it_came_in() {
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let mut times = Times::new(at(0));
        times.came(5, at(10_000));
        times.came(7, at(10_900));
        times.came(9, at(30_000));
        let table =
            [(0, 100_000), (4, 100_000), (5, 90_000), (7, 90_000), (8, 90_000), (9, 70_000)];
        for (sequence, age) in table {
            assert_eq!(times.age(sequence, at(100_000)), Duration::from_millis(age), "{sequence}");
        }
        assert_eq!(times.age(9, at(20_000)), Duration::ZERO, "the clock was set back");
        for second in 0..2_000 {
            times.came(10 + second, at(100_000 + second * 1_000));
        }
        assert_eq!(times.0.len(), KEPT);
        let oldest = times.age(0, at(2_100_000));
        assert!(oldest > Duration::from_secs(1_000), "no less than is known: {oldest:?}");
    }
}

//! Time that never goes back.

use crate::Time;
use commonware_runtime::Clock;
use std::time::{Duration, SystemTime};

/// Measures how long something has run. Unlike the wall clock it never goes back, and a step of it counts as
/// `most` at the longest: what this process did not see pass, because it stood still or because the clock was
/// set, runs against nobody's deadline.
#[derive(Debug)]
pub struct Stopwatch {
    last: SystemTime,
    total: Time,
    most: Duration,
}

impl Stopwatch {
    /// Starts. It is to be looked at more often than every `most`.
    pub fn new(clock: &impl Clock, most: Duration) -> Self {
        Self { last: clock.current(), total: Time::ZERO, most }
    }

    /// How long it has run.
    pub fn now(&mut self, clock: &impl Clock) -> Time {
        let current = clock.current();
        let passed = current.duration_since(self.last).unwrap_or_default();
        self.last = current;
        self.total = self.total.saturating_add(passed.min(self.most));
        self.total
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, deterministic};

    /// PS-44: a process that stood still for an hour has seen two seconds pass.
    #[test]
    fn what_was_not_seen_to_pass_runs_against_nobody() {
        deterministic::Runner::timed(Duration::from_secs(10_000)).start(|context| async move {
            let second = Duration::from_secs(1);
            let mut watch = Stopwatch::new(&context, 2 * second);
            context.sleep(second).await;
            let first = watch.now(&context);
            assert!(first >= second && first < 2 * second, "{first:?}");
            context.sleep(3_600 * second).await;
            assert_eq!(watch.now(&context) - first, 2 * second);
            // The clock was set back, and goes on from there.
            watch.last += 3_600 * second;
            assert_eq!(watch.now(&context) - first, 2 * second);
            context.sleep(second).await;
            assert!(watch.now(&context) - first >= 3 * second);
        });
    }
}

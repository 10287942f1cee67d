//! How many requests may be made.

use std::time::{Duration, SystemTime};

/// Requests by the second, some of which may be made at once after a pause.
///
/// Time that is set back counts for nothing, and time that is set forward for no more than a pause: the
/// wait for the next request is never longer than the time between two.
#[derive(Debug)]
pub(super) struct Budget {
    interval: Duration,
    burst: u32,
    /// How long ago the last request that was not made could have been made: up to `burst` intervals.
    saved: Duration,
    at: SystemTime,
}

impl Budget {
    /// `per_second` requests, `burst` of them at once after a pause.
    pub(super) fn new(per_second: u32, burst: u32, now: SystemTime) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: burst.max(1), saved: interval * burst.max(1), at: now }
    }

    /// Takes one request; how long to wait before there is one, if there is none now.
    pub(super) fn take(&mut self, now: SystemTime) -> Result<(), Duration> {
        let passed = now.duration_since(self.at).unwrap_or_default();
        self.at = now;
        self.saved = self.saved.saturating_add(passed).min(self.interval * self.burst);
        match self.saved.checked_sub(self.interval) {
            Some(saved) => {
                self.saved = saved;
                Ok(())
            }
            None => Err(self.interval - self.saved),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_then_one_an_interval_and_a_burst_again_after_a_pause() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let mut budget = Budget::new(10, 3, start);
        let taken = |budget: &mut Budget, at| (0..9).filter(|_| budget.take(at).is_ok()).count();
        assert_eq!(taken(&mut budget, start), 3);
        assert_eq!(budget.take(start), Err(100 * MS));
        assert_eq!(budget.take(start + 40 * MS), Err(60 * MS));
        assert_eq!(taken(&mut budget, start + 100 * MS), 1);
        assert_eq!(taken(&mut budget, start + 310 * MS), 2);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(3_600)), 3);
    }

    #[test]
    fn a_clock_that_is_set_costs_no_more_than_an_interval() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(100_000);
        let mut budget = Budget::new(10, 1, start);
        budget.take(start).unwrap();
        let back = start - Duration::from_secs(50_000);
        assert_eq!(budget.take(back), Err(100 * MS));
        assert_eq!(budget.take(back + 100 * MS), Ok(()));
        let ahead = start + Duration::from_secs(50_000);
        assert_eq!(budget.take(ahead), Ok(()));
        assert_eq!(budget.take(ahead), Err(100 * MS));
    }
}

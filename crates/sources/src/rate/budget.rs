//! The request budget: a token bucket.
//!
//! The runtime's `RateLimiter` is not used because it stores the time from which the next request is
//! allowed: after the wall clock is set back by an hour, it refuses for an hour. This one stores what was
//! saved up instead, so that a clock that is set costs no more than the interval between two requests.

use std::time::{Duration, SystemTime};

/// A number of requests per second, with a burst after a pause.
///
/// A clock that is set back adds nothing to the budget, and one that is set forward no more than a full
/// burst: the wait for the next request is never longer than the interval between two.
#[derive(Debug)]
pub(super) struct Budget {
    interval: Duration,
    burst: u32,
    /// Time not yet spent on requests: at most `burst` intervals. One request costs one interval.
    saved: Duration,
    /// When `saved` was last updated.
    at: SystemTime,
}

impl Budget {
    /// A full budget of `per_second` requests, `burst` of them at once after a pause.
    pub(super) fn new(per_second: u32, burst: u32, now: SystemTime) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: burst.max(1), saved: interval * burst.max(1), at: now }
    }

    /// Spends one request, or returns how long to wait until there is one.
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

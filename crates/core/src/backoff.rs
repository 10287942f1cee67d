//! Delay before a retry.

use rand::{Rng, RngExt as _};
use std::time::Duration;

/// Capped exponential back-off with jitter: after `n` consecutive failures the delay is drawn uniformly
/// from the upper half of `base * 2^n`, so that the followers of one upstream do not reconnect at the
/// same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Creates a back-off whose first delay is at most `base`, and whose delays never exceed `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// Records a success: the next failure starts at `base` again.
    pub const fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Records a failure and returns the delay before the next attempt.
    pub fn fail(&mut self, rng: &mut impl Rng) -> Duration {
        let step = self.base.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        let delay = step.mul_f64(rng.random_range(0.5..=1.0));
        debug_assert!(delay <= self.cap, "delay {delay:?} exceeds the cap of {:?}", self.cap);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    #[test]
    fn waits_double_up_to_the_cap_and_lie_in_the_upper_half() {
        let mut rng = StdRng::seed_from_u64(7);
        let (base, cap) = (Duration::from_millis(500), Duration::from_secs(20));
        let mut backoff = Backoff::new(base, cap);
        for step in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000] {
            let (step, wait) = (Duration::from_millis(step), backoff.fail(&mut rng));
            assert!(wait <= step && wait >= step / 2, "{wait:?} of {step:?}");
        }
        backoff.failures = u32::MAX;
        assert!(backoff.fail(&mut rng) <= cap);
        backoff.succeed();
        assert!(backoff.fail(&mut rng) <= base);
    }

    #[test]
    fn a_thousand_followers_come_back_spread_over_half_the_wait() {
        let cap = Duration::from_secs(10);
        let mut waits: Vec<_> = (0..1_000)
            .map(|seed| {
                let mut rng = StdRng::seed_from_u64(seed);
                Backoff::new(cap, cap).fail(&mut rng).as_millis() / 500
            })
            .collect();
        waits.sort_unstable();
        let most = waits.chunk_by(|a, b| a == b).map(<[_]>::len).max();
        assert!(most.is_some_and(|most| most < 200), "{most:?} in one half second of ten");
    }
}

//! How long to wait before trying again.

use rand::{Rng, RngExt as _};
use std::time::Duration;

/// Exponential back-off with a cap and full-range jitter of half a step: after `n` failures in a row
/// between half and all of `base * 2^n`, so that followers of one upstream do not come back at the
/// same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `base`, never above `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// It worked: the next wait is the shortest again.
    pub const fn succeed(&mut self) {
        self.failures = 0;
    }

    /// It failed: how long to wait now.
    pub fn fail(&mut self, rng: &mut impl Rng) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures.min(16));
        let step = self.base.saturating_mul(factor).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    #[test]
    fn waits_double_up_to_the_cap_and_start_over_after_success() {
        let mut rng = StdRng::seed_from_u64(1);
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(base, cap);
        for n in 0..40 {
            let step = base.saturating_mul(2_u32.saturating_pow(n.min(10))).min(cap);
            let wait = backoff.fail(&mut rng);
            assert!(wait >= step / 2 && wait <= step, "failure {n}: {wait:?} of {step:?}");
        }
        backoff.succeed();
        assert!(backoff.fail(&mut rng) <= base);
    }
}

//! How long to wait before connecting again.

use rand::{Rng, RngExt as _};
use std::time::Duration;

/// Exponential, capped, with half of it left to chance.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempts: 0 }
    }

    /// The longest wait before attempt `attempts`.
    fn ceiling(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempts);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The next wait.
    pub(crate) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let ceiling = self.ceiling();
        self.attempts = self.attempts.saturating_add(1);
        ceiling.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Something real came: the next trouble is a new one.
    pub(crate) const fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn waits_double_up_to_the_cap_and_lie_in_the_upper_half() {
        let mut rng = StdRng::seed_from_u64(7);
        let (base, cap) = (Duration::from_millis(500), Duration::from_secs(20));
        let mut backoff = Backoff::new(base, cap);
        for ceiling in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000] {
            let (ceiling, wait) = (Duration::from_millis(ceiling), backoff.next(&mut rng));
            assert!(wait <= ceiling && wait >= ceiling / 2, "{wait:?} of {ceiling:?}");
        }
        backoff.attempts = u32::MAX;
        assert!(backoff.next(&mut rng) <= cap);
        backoff.reset();
        assert!(backoff.next(&mut rng) <= base);
    }

    #[test]
    fn a_thousand_followers_come_back_spread_over_half_the_wait() {
        let cap = Duration::from_secs(10);
        let mut slots = [0_u32; 10];
        for seed in 0..1_000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let wait = Backoff::new(cap, cap).next(&mut rng) - cap / 2;
            slots[(wait.as_millis() as usize * 10 / 5_001).min(9)] += 1;
        }
        assert!(slots.iter().all(|count| (50..200).contains(count)), "{slots:?}");
    }
}

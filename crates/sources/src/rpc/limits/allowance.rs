//! How much is asked of one endpoint at once, and how often.

use std::time::{Duration, SystemTime};

/// Full batches in a row after which a larger one is tried.
const STREAK: usize = 64;

/// How often in a row all lanes are used for one question. A range is one commit: with short ones a disk is
/// waited for more than the node.
const ROUNDS: usize = 4;

/// The first pause between requests, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// A pause that shrank below this is none.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// A time in which an endpoint is left alone because it asked for it.
#[derive(Clone, Debug)]
struct Bar {
    since: SystemTime,
    length: Duration,
    said: String,
}

/// How much is asked of one endpoint at once, and how often.
#[derive(Debug)]
pub(in crate::rpc) struct Allowance {
    /// The most calls in a batch that it is known, or hoped, to take.
    pub(in crate::rpc) batch: usize,
    /// Full batches that it took in a row.
    streak: usize,
    /// Batches that may be on their way at once.
    pub(in crate::rpc) lanes: usize,
    /// How often in a row all lanes are used for one question.
    rounds: usize,
    /// Bytes of an answer to one call, on average, in the largest batch of late.
    weight: usize,
    /// Before each request.
    pub(in crate::rpc) pause: Duration,
    bar: Option<Bar>,
}

impl Allowance {
    pub(in crate::rpc) const fn new(batch: usize) -> Self {
        Self { batch, streak: 0, lanes: 1, rounds: 1, weight: 1, pause: Duration::ZERO, bar: None }
    }

    /// Answers to `calls` calls were `bytes` long.
    pub(in crate::rpc) fn weighed(&mut self, calls: usize, bytes: usize) {
        let weight = bytes / calls.max(1);
        self.weight = weight.max(self.weight - self.weight / 8).max(1);
    }

    /// Calls of one question whose answers are likely to stay within `bytes`.
    #[cfg_attr(
        not(feature = "ethereum"),
        allow(dead_code, reason = "others ask for a range in one call")
    )]
    pub(in crate::rpc) fn question(&self, bytes: usize) -> usize {
        let most = self.batch.saturating_mul(self.lanes).saturating_mul(self.rounds);
        most.min(bytes / self.weight).max(1)
    }

    /// Batches that may follow each other without a pause, as many at once as there are lanes.
    pub(in crate::rpc) const fn batches(&self) -> usize {
        if self.pause.is_zero() { self.lanes.saturating_mul(self.rounds) } else { self.lanes }
    }

    /// It answered a batch of `calls` in full. Batches have `max.0` calls and `max.1` lanes at the most.
    pub(in crate::rpc) fn took(&mut self, calls: usize, max: (usize, usize)) {
        self.pause -= self.pause / 8;
        if self.pause < PAUSE_MIN {
            self.pause = Duration::ZERO;
        }
        if calls < self.batch {
            return;
        }
        // From one on: what a node lacks is found out in one request.
        self.rounds = if self.lanes == max.1 { (self.rounds * 2).min(ROUNDS) } else { 1 };
        self.lanes = if self.pause.is_zero() { (self.lanes * 2).min(max.1) } else { 1 };
        if self.batch >= max.0 {
            return;
        }
        self.streak += 1;
        if self.streak >= STREAK {
            (self.batch, self.streak) = ((self.batch * 2).min(max.0), 0);
        }
    }

    /// It answered `good` of `calls` calls, and refused the others for their number.
    pub(in crate::rpc) fn smaller(&mut self, good: usize, calls: usize) {
        let batch = if good > 0 { good } else { calls / 2 };
        (self.batch, self.streak) = (batch.clamp(1, self.batch.max(1)), 0);
        (self.lanes, self.rounds) = (1, 1);
    }

    /// It is asked too often.
    pub(in crate::rpc) fn slower(&mut self) {
        self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
        (self.lanes, self.rounds) = (1, 1);
    }

    /// It wants to be left alone for `length`, as it `said`.
    pub(in crate::rpc) fn leave_alone(&mut self, now: SystemTime, length: Duration, said: &str) {
        self.bar = Some(Bar { since: now, length, said: said.to_owned() });
    }

    /// How long it is to be left alone yet, and what it said. A clock that is set back begins the time
    /// anew, and one that is set forward ends it: neither makes it longer than it was.
    pub(in crate::rpc) fn left_alone(&mut self, now: SystemTime) -> Option<(Duration, String)> {
        let bar = self.bar.as_mut()?;
        bar.since = bar.since.min(now);
        let passed = now.duration_since(bar.since).unwrap_or_default();
        let left = bar.length.checked_sub(passed).filter(|left| !left.is_zero());
        let said = left.map(|left| (left, bar.said.clone()));
        if said.is_none() {
            self.bar = None;
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_to_what_was_answered_and_grow_again() {
        let mut allowed = Allowance::new(100);
        allowed.smaller(23, 100);
        assert_eq!(allowed.batch, 23);
        allowed.smaller(0, 23);
        assert_eq!(allowed.batch, 11);
        for _ in 0..STREAK {
            allowed.took(11, (100, 4));
        }
        assert_eq!(allowed.batch, 22);
        for _ in 0..9 {
            let batch = allowed.batch;
            allowed.smaller(0, batch);
        }
        assert_eq!(allowed.batch, 1, "call by call");
    }

    #[test]
    fn a_question_is_as_large_as_its_answers_may_be() {
        let mut allowed = Allowance::new(100);
        assert_eq!(allowed.question(1_000_000), 100);
        allowed.weighed(100, 4_000_000);
        assert_eq!(allowed.question(1_000_000), 25);
        for _ in 0..100 {
            allowed.weighed(25, 25_000);
        }
        assert_eq!(allowed.question(1_000_000), 100, "in time");
        allowed.weighed(1, usize::MAX);
        assert_eq!(allowed.question(1_000_000), 1);
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_shrink_with_every_answer() {
        let mut allowed = Allowance::new(100);
        for want in [500, 1_000, 2_000, 4_000, 8_000, 8_000] {
            allowed.slower();
            assert_eq!(allowed.pause, Duration::from_millis(want));
        }
        for _ in 0..40 {
            allowed.took(1, (100, 4));
        }
        assert_eq!(allowed.pause, Duration::ZERO);
    }

    #[test]
    fn a_clock_that_is_set_leaves_nobody_alone_for_longer() {
        let second = Duration::from_secs(1);
        let now = SystemTime::UNIX_EPOCH + 1_000 * second;
        let mut allowed = Allowance::new(100);
        allowed.leave_alone(now, 60 * second, "slow down");
        let left = |allowed: &mut Allowance, at| allowed.left_alone(at).map(|(left, _)| left);
        assert_eq!(left(&mut allowed, now + 20 * second), Some(40 * second));
        let back = now - 500 * second;
        assert_eq!(left(&mut allowed, back), Some(60 * second));
        assert_eq!(left(&mut allowed, back + 59 * second), Some(second));
        assert_eq!(left(&mut allowed, back + 60 * second), None);
        assert_eq!(left(&mut allowed, back), None, "once it is over, it is over");
    }
}

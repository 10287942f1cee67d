//! How much a node takes, and how often: what is learned from its refusals.
//!
//! Providers count requests, calls or bytes, and say so in many ways. Nothing here depends on which: what a
//! node refused for its amount is asked for again in less at once, then call by call, and after a pause that
//! doubles while it goes on. What was answered beside it is kept. A node that says when to come back is left
//! alone until then.

use super::{Answer, NodeError, RpcError, Unanswered};
use crate::error::fault;
use std::time::{Duration, SystemTime};
use tidewatch_core::{Fault, FaultKind};

/// Full batches in a row after which a larger one is tried.
const STREAK: usize = 64;

/// How often in a row all lanes are used for one question. A range is one commit: with short ones a disk is
/// waited for more than the node.
const ROUNDS: usize = 4;

/// The first pause between requests, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// A pause that shrank below this is none.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// What an error says about the amount that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// It is asked too often.
    Rate,
    /// It is asked for too much at once.
    Size,
}

/// Whether an error refuses a call for how much is asked rather than for what.
pub(super) fn amount(error: &RpcError) -> Option<Amount> {
    const RATES: [&str; 14] = [
        "too many requests",
        "rate limit",
        "ratelimit",
        "rate-limit",
        "request limit",
        "request count",
        "limit exceeded",
        "per second",
        "quota",
        "throttl",
        "compute unit",
        "capacity",
        "slow down",
        "credits",
    ];
    const SIZES: [&str; 12] = [
        "response size",
        "too large",
        "too long",
        "too many calls",
        "exceeds the limit",
        "batch size",
        "batch limit",
        "batch length",
        "batch request",
        "batch is",
        "batch of",
        "batches",
    ];
    let words = error.message.to_ascii_lowercase();
    let has = |all: &[&str]| all.iter().any(|word| words.contains(word));
    match error.code {
        -32003 if has(&SIZES) => Some(Amount::Size),
        429 | -32005 | -32029 | -32097 if !has(&SIZES) || has(&RATES) => Some(Amount::Rate),
        _ if has(&RATES) => Some(Amount::Rate),
        _ if has(&SIZES) => Some(Amount::Size),
        _ => None,
    }
}

/// How long the words of an error ask to wait, if they do.
pub(super) fn after(words: &str) -> Option<Duration> {
    let words = words.to_ascii_lowercase();
    let asks = ["retry after ", "retry in ", "again in ", "again after "];
    let rest = asks.iter().find_map(|ask| Some(words.split_once(ask)?.1))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, unit) = rest.split_at(digits);
    let number: f64 = number.trim_end_matches('.').parse().ok()?;
    let unit = unit.trim_start();
    let factor = match unit {
        _ if unit.starts_with("ms") || unit.starts_with("milli") => 0.001,
        _ if unit.starts_with('m') => 60.0,
        _ if unit.starts_with('h') => 3_600.0,
        _ => 1.0,
    };
    Duration::try_from_secs_f64(number * factor).ok()
}

/// What to do about the calls that a request left unanswered.
#[derive(Debug)]
pub(super) enum Next {
    /// There are none.
    Done,
    /// Ask for them in less at once.
    Smaller(Fault),
    /// Ask for them more slowly, after a time if the node named one.
    Slower(Fault, Option<Duration>),
    /// Nothing: the endpoint failed.
    Fail(Fault),
}

/// What a request brought for one call.
#[derive(Debug, Default)]
pub(super) enum Slot {
    /// Nothing.
    #[default]
    Open,
    /// An error that may be about the amount rather than about the call.
    Refused(RpcError),
    /// An answer.
    Answered(Answer),
}

impl Slot {
    pub(super) const fn is_answered(&self) -> bool {
        matches!(self, Self::Answered(_))
    }

    /// Bytes of the result.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Answered(Ok(result)) => result.get().len(),
            _ => 0,
        }
    }
}

/// What one request of `calls` calls to `name` brought, and what to do about the calls without an answer.
pub(super) fn sort(
    name: &str,
    calls: usize,
    answered: Result<Vec<Answer>, Unanswered>,
) -> (Vec<Slot>, Next) {
    let (answers, next): (Vec<_>, _) = match answered {
        Ok(answers) if answers.len() != calls => {
            let error = NodeError::AnswerCount { got: answers.len(), want: calls };
            return (Vec::new(), Next::Fail(fault(name, error)));
        }
        Ok(answers) => (answers.into_iter().map(Some).collect(), Next::Done),
        Err(Unanswered::Part { answers, fault }) if calls > 1 => (answers, Next::Smaller(*fault)),
        // A node that is slow rather than small: the next one may be neither.
        Err(Unanswered::TooMany(fault)) if calls > 1 && fault.kind != FaultKind::Timeout => {
            (Vec::new(), Next::Smaller(fault))
        }
        Err(Unanswered::Busy { fault, after }) => (Vec::new(), Next::Slower(*fault, after)),
        Err(unanswered) => (Vec::new(), Next::Fail(unanswered.into_fault())),
    };
    // Beside calls that were left out, an error may be about them.
    let whole = matches!(next, Next::Done);
    let mut refused = None;
    let slot = |answer: Option<Answer>| {
        let error = match answer {
            None => return Slot::Open,
            Some(Err(error)) => error,
            Some(answer) => return Slot::Answered(answer),
        };
        let amount = amount(&error).filter(|amount| *amount == Amount::Rate || calls > 1);
        if amount.is_none() && whole {
            return Slot::Answered(Err(error));
        }
        let before = refused.as_ref().map(|(before, _)| *before);
        if let Some(amount) = amount.filter(|amount| before.is_none() || *amount == Amount::Rate) {
            refused = Some((amount, fault(name, NodeError::Batch(error.clone()))));
        }
        Slot::Refused(error)
    };
    let slots = answers.into_iter().map(slot).collect();
    let next = match refused {
        None => next,
        Some((Amount::Size, fault)) => Next::Smaller(fault),
        Some((Amount::Rate, fault)) => {
            let after = after(&fault.detail);
            Next::Slower(fault, after)
        }
    };
    (slots, next)
}

/// A time in which an endpoint is left alone because it asked for it.
#[derive(Clone, Debug)]
struct Bar {
    since: SystemTime,
    length: Duration,
    said: String,
}

/// How much is asked of one endpoint at once, and how often.
#[derive(Debug)]
pub(super) struct Allowance {
    /// The most calls in a batch that it is known, or hoped, to take.
    pub(super) batch: usize,
    /// Full batches that it took in a row.
    streak: usize,
    /// Batches that may be on their way at once.
    pub(super) lanes: usize,
    /// How often in a row all lanes are used for one question.
    rounds: usize,
    /// Bytes of an answer to one call, on average, in the largest batch of late.
    weight: usize,
    /// Before each request.
    pub(super) pause: Duration,
    bar: Option<Bar>,
}

impl Allowance {
    pub(super) const fn new(batch: usize) -> Self {
        Self { batch, streak: 0, lanes: 1, rounds: 1, weight: 1, pause: Duration::ZERO, bar: None }
    }

    /// Answers to `calls` calls were `bytes` long.
    pub(super) fn weighed(&mut self, calls: usize, bytes: usize) {
        let weight = bytes / calls.max(1);
        self.weight = weight.max(self.weight - self.weight / 8).max(1);
    }

    /// Calls of one question whose answers are likely to stay within `bytes`.
    #[cfg_attr(
        not(feature = "ethereum"),
        allow(dead_code, reason = "others ask for a range in one call")
    )]
    pub(super) fn question(&self, bytes: usize) -> usize {
        let most = self.batch.saturating_mul(self.lanes).saturating_mul(self.rounds);
        most.min(bytes / self.weight).max(1)
    }

    /// It answered a batch of `calls` in full. Batches have `max.0` calls and `max.1` lanes at the most.
    pub(super) fn took(&mut self, calls: usize, max: (usize, usize)) {
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
    pub(super) fn smaller(&mut self, good: usize, calls: usize) {
        let batch = if good > 0 { good } else { calls / 2 };
        (self.batch, self.streak) = (batch.clamp(1, self.batch.max(1)), 0);
        (self.lanes, self.rounds) = (1, 1);
    }

    /// It is asked too often.
    pub(super) fn slower(&mut self) {
        self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
        (self.lanes, self.rounds) = (1, 1);
    }

    /// It wants to be left alone for `length`, as it `said`.
    pub(super) fn leave_alone(&mut self, now: SystemTime, length: Duration, said: &str) {
        self.bar = Some(Bar { since: now, length, said: said.to_owned() });
    }

    /// How long it is to be left alone yet, and what it said. A clock that is set back begins the time
    /// anew, and one that is set forward ends it: neither makes it longer than it was.
    pub(super) fn left_alone(&mut self, now: SystemTime) -> Option<(Duration, String)> {
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
    use serde_json::value::RawValue;

    fn error(code: i32, message: &str) -> RpcError {
        RpcError { code, message: message.into() }
    }

    fn good() -> Answer {
        Ok(RawValue::NULL.to_owned())
    }

    #[test]
    fn what_is_refused_for_its_amount_says_so_in_many_ways() {
        use Amount::{Rate, Size};
        let table = [
            (429, "the capacity per second is used up", Some(Rate)),
            (429, "", Some(Rate)),
            (-32005, "daily request count exceeded, request rate limited", Some(Rate)),
            (-32005, "batch size is limited to 10", Some(Size)),
            (-32005, "limit exceeded", Some(Rate)),
            (-32000, "Too Many Requests", Some(Rate)),
            (-32016, "over rate limit", Some(Rate)),
            (-32007, "50/second request limit reached - reduce calls per second", Some(Rate)),
            (0, "Your app has exceeded its compute units per second capacity", Some(Rate)),
            (-32003, "response too large", Some(Size)),
            (-32010, "batch too large", Some(Size)),
            (-32600, "too many calls in one request", Some(Size)),
            (-32602, "invalid block tag in batch", None),
            (-32003, "transaction rejected", None),
            (-32601, "the method does not exist", None),
            (-32602, "invalid params", None),
            (-32000, "header not found", None),
            (-32000, "execution timeout", None),
        ];
        for (code, message, want) in table {
            assert_eq!(amount(&error(code, message)), want, "{code} {message}");
        }
    }

    #[test]
    fn a_time_is_read_out_of_words() {
        let table = [
            ("rate limited, retry in 2s", Some(2_000)),
            ("try again in 1.5 seconds.", Some(1_500)),
            ("Retry after 200ms", Some(200)),
            ("try again in 3 minutes", Some(180_000)),
            ("try again in a moment", None),
            ("too many requests", None),
            ("retry in 99999999999999999999999999h", None),
        ];
        for (words, want) in table {
            assert_eq!(after(words), want.map(Duration::from_millis), "{words}");
        }
    }

    #[test]
    fn good_answers_are_kept_beside_what_was_refused() {
        let busy = || Err(error(429, "retry in 1s"));
        let large = || Err(error(-32003, "response too large"));
        let broken = || Err(error(-32000, "header not found"));
        let left_out = |answers: Vec<Option<Answer>>| {
            let fault = FaultKind::Malformed.fault("node", "2 answers to 3 calls").into();
            Err(Unanswered::Part { answers, fault })
        };
        // Which calls count as answered, and what is done about the others.
        let table = [
            (Ok(vec![good(), broken(), good()]), vec![true, true, true], "done"),
            (Ok(vec![good(), busy(), good()]), vec![true, false, true], "slower 1s"),
            (Ok(vec![large(), busy(), broken()]), vec![false, false, true], "slower 1s"),
            (Ok(vec![good(), large(), large()]), vec![true, false, false], "smaller"),
            (Ok(vec![good()]), vec![], "fail"),
            (
                left_out(vec![Some(good()), Some(broken()), None]),
                vec![true, false, false],
                "smaller",
            ),
            (left_out(vec![None, None, Some(busy())]), vec![false; 3], "slower 1s"),
        ];
        for (answered, want, then) in table {
            let case = format!("{answered:?}");
            let (answers, next) = sort("node", 3, answered);
            assert_eq!(answers.iter().map(Slot::is_answered).collect::<Vec<_>>(), want, "{case}");
            let next = match next {
                Next::Done => "done".into(),
                Next::Smaller(_) => "smaller".into(),
                Next::Slower(_, after) => format!("slower {:?}", after.unwrap_or_default()),
                Next::Fail(_) => "fail".to_owned(),
            };
            assert_eq!(next, then, "{case}");
        }
    }

    #[test]
    fn one_call_that_is_refused_for_its_size_is_answered_with_that() {
        let (answers, next) = sort("node", 1, Ok(vec![Err(error(-32003, "response too large"))]));
        assert!(matches!((&answers[..], next), ([Slot::Answered(Err(_))], Next::Done)));
    }

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

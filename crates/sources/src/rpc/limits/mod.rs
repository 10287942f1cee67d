//! How much a node takes, and how often: what is learned from its refusals.
//!
//! Providers count requests, calls or bytes, and say so in many ways. Nothing here depends on which: what a
//! node refused for its amount is asked for again in less at once, then call by call, and after a pause that
//! doubles while it goes on. What was answered beside it is kept. A node that says when to come back is left
//! alone until then.

mod allowance;
#[cfg(any(feature = "aztec", feature = "miden"))]
mod range;
mod words;

pub(super) use allowance::Allowance;
#[cfg(any(feature = "aztec", feature = "miden"))]
pub(crate) use range::RangeLimit;
pub(super) use words::amount;

use super::{Answer, NodeError, RpcError, Unanswered};
use crate::error::fault;
use std::time::Duration;
use tidewatch_core::{Fault, FaultKind};
use words::{Amount, after};

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
}

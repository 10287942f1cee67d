//! Why something is refused.

use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::fmt;
use tidewatch_sequencer::{disk::NotAccepted, timelock::NotInTime};

/// Why, in a word: what clients match on, and what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// No digest, no sender, or no number of bytes.
    Parameter,
    /// No transaction that is known.
    NotKnown,
    /// Nothing is there.
    NoRoute,
    /// Nothing is there for this method.
    NoMethod,
    /// It did not come in time.
    Slow,
    /// The nonce is used.
    Used,
    /// The nonce leaves a gap.
    Gap,
    /// It is sealed to a round that may be open before its order is fixed.
    TooEarly,
    /// It is sealed to a round that would hold up the others.
    TooFar,
    /// It is too large.
    Large,
    /// The body is no transaction, or broke off.
    NoTransaction,
    /// The payload is not sealed.
    NotSealed,
    /// Too much waits.
    Backlog,
    /// Orders are late.
    Overdue,
    /// No round is certified yet, or nobody says which.
    NoRound,
    /// The pool is full.
    Full,
    /// Too many requests at once.
    Busy,
    /// The disk failed.
    Failed,
    /// It is stopping.
    Stopping,
}

impl Code {
    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Parameter => "parameter",
            Self::NotKnown => "not_known",
            Self::NoRoute => "no_route",
            Self::NoMethod => "no_method",
            Self::Slow => "slow",
            Self::Used => "used",
            Self::Gap => "gap",
            Self::TooEarly => "too_early",
            Self::TooFar => "too_far",
            Self::Large => "large",
            Self::NoTransaction => "no_transaction",
            Self::NotSealed => "not_sealed",
            Self::Backlog => "backlog",
            Self::Overdue => "overdue",
            Self::NoRound => "no_round",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
        }
    }

    /// The status of the answer.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Parameter => StatusCode::BAD_REQUEST,
            Self::NotKnown | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Used | Self::Gap => StatusCode::CONFLICT,
            Self::TooEarly | Self::TooFar => StatusCode::PRECONDITION_FAILED,
            Self::Large => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoTransaction | Self::NotSealed => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Backlog
            | Self::Overdue
            | Self::NoRound
            | Self::Full
            | Self::Busy
            | Self::Failed
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The body of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    /// Why, for people.
    pub(crate) detail: String,
    /// The view that the transaction is sealed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) round: Option<u64>,
    /// The first view that it may be sealed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) least: Option<u64>,
    /// The last view that it may be sealed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) greatest: Option<u64>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl fmt::Display) -> Self {
        Self { code, detail: detail.to_string(), round: None, least: None, greatest: None }
    }
}

impl From<NotInTime> for Problem {
    fn from(why: NotInTime) -> Self {
        let (code, sealed) = match why {
            NotInTime::Malformed => (Code::NotSealed, None),
            NotInTime::TooEarly { round, window } => (Code::TooEarly, Some((round, window))),
            NotInTime::TooFar { round, window } => (Code::TooFar, Some((round, window))),
            NotInTime::Backlog => (Code::Backlog, None),
            NotInTime::Overdue => (Code::Overdue, None),
            NotInTime::NoRound => (Code::NoRound, None),
        };
        let mut problem = Self::new(code, why);
        if let Some((round, window)) = sealed {
            problem.round = Some(round.view().get());
            problem.least = Some(window.least.view().get());
            problem.greatest = Some(window.greatest.view().get());
        }
        problem
    }
}

impl From<NotAccepted> for Problem {
    fn from(why: NotAccepted) -> Self {
        let code = match why {
            NotAccepted::Used { .. } => Code::Used,
            NotAccepted::Gap { .. } => Code::Gap,
            NotAccepted::Oversized { .. } => Code::Large,
            NotAccepted::Full { .. } => Code::Full,
            NotAccepted::NotInTime(why) => return why.into(),
        };
        Self::new(code, why)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Words and numbers: it can always be written.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (self.code.status(), [(CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

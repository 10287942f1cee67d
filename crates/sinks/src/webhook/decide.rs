//! What follows from an answer.

use super::Limits;
use std::time::{Duration, SystemTime};

/// Longest pause that an endpoint is given because it asks for one.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// What an endpoint answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A status, and when it wants to be asked again.
    Status(u16, Option<Duration>),
    /// Nothing, and why.
    None(String),
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It has the event: the next one.
    Acknowledged,
    /// It wants nothing any more.
    Disabled,
    /// The same once more, after a wait.
    Again {
        /// How long.
        wait: Duration,
        /// Why.
        reason: String,
    },
    /// It is given up.
    Dead(String),
}

/// What is done after `answer` to the attempt of that number, the first of which was `since` ago. `wait` is the next wait
/// of the back-off.
pub(super) fn next(
    answer: Answer,
    attempt: u64,
    since: Duration,
    wait: Duration,
    limits: &Limits,
) -> Next {
    let (reason, pause) = match answer {
        Answer::Status(200..=299, _) => return Next::Acknowledged,
        Answer::Status(410, _) => return Next::Disabled,
        Answer::Status(status @ 300..=399, _) => {
            (format!("status {status}: redirects are not followed"), None)
        }
        Answer::Status(status, pause) => (format!("status {status}"), pause),
        Answer::None(why) => (why, None),
    };
    let wait = wait.max(pause.unwrap_or_default().min(PAUSE_MAX));
    let most = limits.attempts.is_some_and(|most| attempt >= most.get());
    if most || since.saturating_add(wait) > limits.give_up {
        return Next::Dead(reason);
    }
    Next::Again { wait, reason }
}

/// The pause that `Retry-After` asks for: seconds, or a date.
pub(super) fn pause(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(header).ok().map(|at| at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    #[test]
    fn what_follows_from_an_answer() {
        let seconds = Duration::from_secs;
        let limits = Limits { give_up: seconds(1_000), ..Limits::default() };
        let status = |status, pause| Answer::Status(status, Option::map(pause, seconds));
        let again = |wait, reason: &str| Next::Again { wait: seconds(wait), reason: reason.into() };
        let table = [
            (status(200, None), 0, Next::Acknowledged),
            (status(204, None), 5_000, Next::Acknowledged),
            (status(299, Some(9)), 0, Next::Acknowledged),
            (status(410, None), 0, Next::Disabled),
            (status(500, None), 0, again(4, "status 500")),
            (status(404, None), 0, again(4, "status 404")),
            (status(100, None), 0, again(4, "status 100")),
            (status(301, Some(60)), 0, again(4, "status 301: redirects are not followed")),
            (status(429, Some(60)), 0, again(60, "status 429")),
            (status(503, Some(1)), 0, again(4, "status 503")),
            // A pause without an end is none that is waited for, and one that leads past the end ends it.
            (status(429, Some(u64::MAX)), 0, Next::Dead("status 429".into())),
            (status(500, None), 996, again(4, "status 500")),
            (status(500, None), 997, Next::Dead("status 500".into())),
            (Answer::None("it is silent".into()), 0, again(4, "it is silent")),
        ];
        for (answer, since, wanted) in table {
            let got = next(answer.clone(), 1, seconds(since), seconds(4), &limits);
            assert_eq!(got, wanted, "{answer:?} after {since} s");
        }
        let long = Limits::default();
        let got = next(status(429, Some(u64::MAX)), 1, seconds(0), seconds(4), &long);
        assert_eq!(got, again(3_600, "status 429"));
        let few = Limits { attempts: NonZeroU64::new(3), ..limits };
        for (attempt, dead) in [(1, false), (2, false), (3, true), (4, true)] {
            let got = next(status(500, None), attempt, seconds(0), seconds(4), &few);
            assert_eq!(matches!(got, Next::Dead(_)), dead, "{attempt}");
        }
    }

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let date = httpdate::fmt_http_date(now + Duration::from_secs(90));
        for (header, wanted) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            (&date, Some(90)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(pause(header, now), wanted.map(Duration::from_secs), "{header:?}");
        }
    }
}

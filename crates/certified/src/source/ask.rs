//! Whether a snapshot asks for the tip or answers from memory.

use crate::{Config, known::Link};
use std::time::{Duration, SystemTime};

/// When the tip was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The last answer, and the push connection that was there before the question.
    pub(crate) answered: Option<(SystemTime, u64)>,
    /// The last question.
    pub(crate) attempted: Option<SystemTime>,
}

/// How to make a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// What is known is enough.
    Remember,
    /// Ask; if that fails, what was pushed will do.
    Try,
    /// Ask; if that fails, there is no contact.
    Ask,
}

impl Asked {
    pub(crate) fn plan(&self, now: SystemTime, link: &Link, config: &Config) -> Plan {
        // What seems to lie in the future was before a clock was set back: nobody knows how long ago.
        let since = |then: SystemTime| now.duration_since(then).unwrap_or(Duration::MAX);
        let answered = self.answered.is_some_and(|(at, generation)| {
            generation == link.generation && since(at) < config.ask_interval
        });
        let lately = self.attempted.is_some_and(|at| since(at) < config.ask_retry);
        if link.open && answered && (!link.ahead || lately) {
            return Plan::Remember;
        }
        if !link.pushes(now, config.silence) {
            return Plan::Ask;
        }
        if lately { Plan::Remember } else { Plan::Try }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn memory_answers_only_while_a_connection_that_was_asked_after_is_open() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let config = Config::default();
        let now = at(100);
        let open = Link { generation: 2, open: true, ..Link::default() };
        let pushing = Link { event: Some(at(95)), ..open };
        let future = Link { event: Some(at(200)), ..open };
        let ahead = Link { ahead: true, ..pushing };
        let silent = Link { event: Some(at(80)), ..open };
        let closed = Link { open: false, ..pushing };
        let answered = |seconds, generation| Asked {
            answered: Some((at(seconds), generation)),
            attempted: Some(at(seconds)),
        };
        let failed = |seconds| Asked { answered: None, attempted: Some(at(seconds)) };
        let table = [
            ("never asked, nothing open", Asked::default(), Link::default(), Plan::Ask),
            ("never asked, open", Asked::default(), open, Plan::Ask),
            ("never asked, but pushes verify", Asked::default(), pushing, Plan::Try),
            ("asked just now", answered(99, 2), open, Plan::Remember),
            (
                "asked just now, and an unknown epoch came since",
                answered(100, 2),
                ahead,
                Plan::Remember,
            ),
            ("an unknown epoch came since", answered(98, 2), ahead, Plan::Try),
            ("asked before this connection", answered(99, 1), open, Plan::Ask),
            ("asked before it, pushes verify", answered(90, 1), pushing, Plan::Try),
            ("asked too long ago", answered(90, 2), open, Plan::Ask),
            ("asked too long ago, pushes verify", answered(90, 2), pushing, Plan::Try),
            ("asked just now, but closed", answered(99, 2), closed, Plan::Ask),
            ("could not ask just now, pushes verify", failed(100), pushing, Plan::Remember),
            ("could not ask a while ago, pushes verify", failed(98), pushing, Plan::Try),
            ("could not ask, silent", failed(100), silent, Plan::Ask),
            ("asked in the future, by a clock set back", answered(200, 2), open, Plan::Ask),
            ("tried in the future, pushes verify", failed(200), pushing, Plan::Try),
            ("pushes verified in the future", failed(100), future, Plan::Ask),
        ];
        for (case, asked, link, plan) in table {
            assert_eq!(asked.plan(now, &link, &config), plan, "{case}");
        }
    }
}

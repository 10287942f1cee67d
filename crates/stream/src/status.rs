//! Whether what is said about the tip can be relied on: a function of what was seen, and when.

use std::time::Duration;
use tidewatch_core::State;

/// What [`assess`] calls fresh, and small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Without contact for longer, the state is `Blind`.
    pub contact: Duration,
    /// With a tip that is older by its own time, or further ahead of this machine's clock, the state is
    /// `Stale`.
    pub tip_age: Duration,
    /// With more blocks to go, the state is not `Live`.
    pub lag: u64,
    /// With more blocks to go, the state is `CatchingUp` rather than `Lagging`.
    pub catch_up: u64,
}

impl Default for Thresholds {
    /// 15 s without contact, a tip a minute old, 2 blocks of lag, 64 blocks of history.
    fn default() -> Self {
        Self {
            contact: Duration::from_secs(15),
            tip_age: Duration::from_secs(60),
            lag: 2,
            catch_up: 64,
        }
    }
}

/// What is known about the source and the view at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Time since the source last answered a snapshot; `None` if it never did.
    pub since: Option<Duration>,
    /// Blocks between the source's proposed tip and the view.
    pub lag: u64,
    /// The age of the source's tip by its own time, where blocks carry one.
    pub tip_age: Option<Duration>,
    /// How far that time lies ahead of this machine's clock.
    pub tip_ahead: Duration,
    /// A pass has ended since the start: before that, nothing is known of what there is to take in.
    pub settled: bool,
    /// The last pass took in everything that its snapshot named.
    pub complete: bool,
    /// The source contradicts what is finalized here.
    pub conflicted: bool,
}

/// The verdict. `Live` needs all of: fresh contact, small lag, a fresh tip, no known gap, no conflict.
pub fn assess(thresholds: &Thresholds, contact: &Contact) -> State {
    if contact.since.is_none_or(|since| since > thresholds.contact) {
        return State::Blind;
    }
    if contact.conflicted {
        return State::Conflicted;
    }
    if !contact.settled || contact.lag > thresholds.catch_up {
        return State::CatchingUp;
    }
    if contact.lag > thresholds.lag || (contact.lag > 0 && !contact.complete) {
        return State::Lagging;
    }
    // A time that has not come yet says nothing about how old the tip is.
    let ahead = contact.tip_ahead > thresholds.tip_age;
    if ahead || contact.tip_age.is_some_and(|age| age > thresholds.tip_age) {
        return State::Stale;
    }
    if !contact.complete {
        return State::Lagging;
    }
    State::Live
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_is_said_only_when_everything_that_it_needs_holds() {
        let thresholds = Thresholds::default();
        let live = Contact {
            since: Some(Duration::ZERO),
            lag: 0,
            tip_age: Some(Duration::ZERO),
            tip_ahead: Duration::ZERO,
            settled: true,
            complete: true,
            conflicted: false,
        };
        let table = [
            (live, State::Live),
            (Contact { tip_age: None, ..live }, State::Live),
            (Contact { lag: 2, ..live }, State::Live),
            (Contact { since: None, ..live }, State::Blind),
            (Contact { since: Some(Duration::from_secs(16)), ..live }, State::Blind),
            (Contact { conflicted: true, ..live }, State::Conflicted),
            (Contact { lag: 65, ..live }, State::CatchingUp),
            (Contact { settled: false, ..live }, State::CatchingUp),
            (Contact { lag: 3, ..live }, State::Lagging),
            (Contact { lag: 1, complete: false, ..live }, State::Lagging),
            (Contact { complete: false, ..live }, State::Lagging),
            (Contact { tip_age: Some(Duration::from_secs(61)), ..live }, State::Stale),
            (Contact { tip_ahead: Duration::from_secs(60), ..live }, State::Live),
            (Contact { tip_ahead: Duration::from_secs(61), ..live }, State::Stale),
        ];
        for (contact, state) in table {
            assert_eq!(assess(&thresholds, &contact), state, "{contact:?}");
        }
    }
}

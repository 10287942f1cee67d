//! What a marshal wants, and when it is asked for: decisions without I/O.

use super::Config;
use commonware_consensus::marshal::resolver::handler::Annotation;
use commonware_utils::vec::NonEmptyVec;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};
use tracing::Span;

/// Who wants a key, and what for.
type Subscriber = (Annotation, Span);

/// What becomes of a key next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is asked for as soon as there is room.
    Ready,
    /// It is asked for after a wait; the wait is known by its number.
    Waiting(u64),
    /// It is being asked for or checked.
    Busy,
}

struct Entry {
    subscribers: Vec<Subscriber>,
    failures: u32,
    /// Whether the execution layer is asked first.
    local: bool,
    state: State,
}

/// Failures of a key that is not wanted any more.
#[derive(Clone, Copy)]
struct Failed {
    failures: u32,
    at: SystemTime,
}

/// A wait that has to pass before a key is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait<K> {
    pub(super) key: K,
    pub(super) number: u64,
    pub(super) delay: Duration,
}

/// Everything that is wanted.
pub(super) struct Wanted<K> {
    entries: BTreeMap<K, Entry>,
    failed: BTreeMap<K, Failed>,
    waits: u64,
    base: Duration,
    cap: Duration,
    memory: Duration,
}

impl<K: Copy + Ord> Wanted<K> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            entries: BTreeMap::new(),
            failed: BTreeMap::new(),
            waits: 0,
            base: config.retry_base,
            cap: config.retry_cap,
            memory: config.memory,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The wait after `failures` in a row.
    fn delay(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.base.saturating_mul(doubled).min(self.cap)
    }

    /// `key` is wanted for `subscriber`. One that failed lately waits first.
    pub(super) fn want(
        &mut self,
        key: K,
        subscriber: Subscriber,
        now: SystemTime,
    ) -> Option<Wait<K>> {
        if let Some(entry) = self.entries.get_mut(&key) {
            if !entry.subscribers.iter().any(|(known, _)| *known == subscriber.0) {
                entry.subscribers.push(subscriber);
            }
            return None;
        }
        self.forget(now);
        let failures = self.failed.remove(&key).map_or(0, |failed| failed.failures);
        let entry =
            Entry { subscribers: vec![subscriber], failures, local: true, state: State::Ready };
        self.entries.insert(key, entry);
        (failures > 0).then(|| self.wait(key)).flatten()
    }

    /// Forgets failures that are older than the memory, and those of a clock that was set back.
    fn forget(&mut self, now: SystemTime) {
        let memory = self.memory;
        let recent = |at| now.duration_since(at).is_ok_and(|age| age < memory);
        self.failed.retain(|_, failed| recent(failed.at));
    }

    /// Keeps what `keeps` says is wanted still.
    pub(super) fn retain(&mut self, keeps: impl Fn(&K, &Annotation) -> bool, now: SystemTime) {
        self.forget(now);
        let failed = &mut self.failed;
        self.entries.retain(|key, entry| {
            entry.subscribers.retain(|(subscriber, _)| keeps(key, subscriber));
            let wanted = !entry.subscribers.is_empty();
            if !wanted && entry.failures > 0 {
                failed.insert(*key, Failed { failures: entry.failures, at: now });
            }
            wanted
        });
    }

    /// The next key to ask for, and whether the execution layer is asked first. It is busy from now on.
    pub(super) fn next(&mut self) -> Option<(K, bool)> {
        let (key, entry) =
            self.entries.iter_mut().find(|(_, entry)| entry.state == State::Ready)?;
        entry.state = State::Busy;
        Some((*key, entry.local))
    }

    /// Who wants `key` now; `None` if nobody does any more.
    pub(super) fn subscribers(&self, key: &K) -> Option<NonEmptyVec<Subscriber>> {
        let subscribers = self.entries.get(key)?.subscribers.clone();
        NonEmptyVec::try_from(subscribers).ok()
    }

    /// `key` failed. What has to be waited before it is asked for again.
    pub(super) fn failed(&mut self, key: K, local: bool) -> Option<Wait<K>> {
        let entry = self.entries.get_mut(&key)?;
        entry.failures = entry.failures.saturating_add(1);
        entry.local &= local;
        self.wait(key)
    }

    fn wait(&mut self, key: K) -> Option<Wait<K>> {
        self.waits += 1;
        let number = self.waits;
        let entry = self.entries.get_mut(&key)?;
        entry.state = State::Waiting(number);
        let failures = entry.failures;
        Some(Wait { key, number, delay: self.delay(failures) })
    }

    /// A wait has passed.
    pub(super) fn due(&mut self, key: &K, number: u64) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.state == State::Waiting(number)
        {
            entry.state = State::Ready;
        }
    }

    /// `key` was delivered to `served` and found good. Who wants it beside them is served next.
    pub(super) fn done(&mut self, key: &K, served: &[Annotation]) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.subscribers.retain(|(subscriber, _)| !served.contains(subscriber));
        (entry.failures, entry.state) = (0, State::Ready);
        if entry.subscribers.is_empty() {
            self.entries.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::Height;

    fn wanted() -> Wanted<u8> {
        Wanted::new(&Config::default())
    }

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn subscriber(height: u64) -> Subscriber {
        (Annotation::Certified { height: Height::new(height) }, Span::none())
    }

    #[test]
    fn waits_double_from_a_quarter_of_a_second_to_half_a_minute_and_a_success_starts_anew() {
        let mut wanted = wanted();
        assert_eq!(wanted.want(1, subscriber(1), at(0)), None);
        for millis in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(wanted.next(), Some((1, true)));
            assert_eq!(wanted.next(), None, "it is busy");
            let wait = wanted.failed(1, true).unwrap();
            assert_eq!(wait.delay, Duration::from_millis(millis));
            assert_eq!(wanted.next(), None, "it waits");
            wanted.due(&1, wait.number - 1);
            assert_eq!(wanted.next(), None, "that was an older wait");
            wanted.due(&1, wait.number);
        }
        wanted.next();
        wanted.done(&1, &[subscriber(1).0]);
        assert_eq!(wanted.len(), 0);
        wanted.want(1, subscriber(1), at(0));
        wanted.next();
        assert_eq!(wanted.failed(1, true).unwrap().delay, Duration::from_millis(250));
        for _ in 0..100 {
            assert!(wanted.failed(1, true).unwrap().delay <= Duration::from_secs(30));
        }
    }

    #[test]
    fn failures_of_what_was_given_up_are_remembered_for_a_minute() {
        for (millis, delay) in [(0, Some(500)), (59_999, Some(500)), (60_000, None)] {
            let mut wanted = wanted();
            wanted.want(1, subscriber(1), at(1_000));
            wanted.failed(1, true);
            wanted.failed(1, true);
            wanted.retain(|_, _| false, at(1_000));
            assert_eq!(wanted.failed(1, true), None, "nobody wants it any more");
            let wait = wanted.want(1, subscriber(1), at(1_000 + millis));
            let delay = delay.map(Duration::from_millis);
            assert_eq!(wait.map(|wait| wait.delay), delay, "{millis} ms later");
            assert_eq!(wanted.next().is_none(), delay.is_some());
        }
    }

    #[test]
    fn a_key_is_asked_for_once_for_all_who_want_it_and_again_for_who_came_later() {
        let mut wanted = wanted();
        wanted.want(1, subscriber(1), at(0));
        wanted.want(1, subscriber(1), at(0));
        wanted.want(1, subscriber(2), at(0));
        assert_eq!(wanted.next(), Some((1, true)));
        let served = wanted.subscribers(&1).unwrap().into_vec();
        assert_eq!(served.len(), 2);
        wanted.want(1, subscriber(3), at(0));
        let served: Vec<_> = served.into_iter().map(|(annotation, _)| annotation).collect();
        wanted.done(&1, &served);
        assert_eq!(wanted.next(), Some((1, true)));
        wanted.retain(|_, annotation| *annotation != subscriber(3).0, at(0));
        assert!(wanted.subscribers(&1).is_none());
    }
}

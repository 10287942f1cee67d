//! What a follower reported, for those who ask later.

use commonware_utils::sync::Mutex;
use serde::Serialize;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{
    Contact, Fault, FaultKind, Monitor, Snapshot, Tier, TierProof, json::Proving,
};

/// Faults that are remembered: the newest ones.
const FAULTS_MAX: usize = 256;

/// Upstreams that are remembered.
const UPSTREAMS_MAX: usize = 64;

/// Longest detail of a fault that is remembered, in characters.
const DETAIL_MAX: usize = 512;

/// Remembers what a follower reports. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Of each kind and source, how often.
    counts: BTreeMap<(&'static str, String), u64>,
    newest: VecDeque<Reported>,
    total: u64,
    snapshots: u64,
    /// How often the driver showed that it makes progress.
    progress: u64,
    /// What proved the proposed tip of the last snapshot.
    notarized: Option<TierProof>,
    /// Of each upstream, what became of the requests to it.
    upstreams: BTreeMap<String, Contacts>,
    proving: Option<Proving>,
}

#[derive(Clone, Debug, Default)]
struct Contacts {
    answers: u64,
    failures: u64,
    /// When it answered last, and how long that took.
    answered: Option<(SystemTime, Duration)>,
    /// When it last did not, and why.
    failed: Option<(SystemTime, FaultKind)>,
}

/// What became of the requests to an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Upstream {
    name: String,
    /// Requests that it answered, and that it did not.
    answers: u64,
    failures: u64,
    /// How long ago it answered last, and how long that took, in milliseconds.
    answered_ms: Option<u64>,
    took_ms: Option<u64>,
    /// How long ago it last did not, in milliseconds, and why.
    failed_ms: Option<u64>,
    failed: Option<&'static str>,
}

/// A fault as it was reported.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reported {
    /// Faults before it.
    number: u64,
    kind: &'static str,
    source: String,
    detail: String,
}

/// How often a kind of fault was reported of a source.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Count {
    kind: &'static str,
    source: String,
    count: u64,
}

/// All that is remembered of faults.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Faults {
    total: u64,
    counts: Vec<Count>,
    /// The newest last.
    newest: Vec<Reported>,
}

impl Observer {
    pub(crate) fn faults(&self) -> Faults {
        let seen = self.0.lock();
        let counts = seen.counts.iter().map(|((kind, source), count)| Count {
            kind,
            source: source.clone(),
            count: *count,
        });
        let (counts, newest) = (counts.collect(), seen.newest.iter().cloned().collect());
        Faults { total: seen.total, counts, newest }
    }

    /// How often the source was read.
    pub(crate) fn snapshots(&self) -> u64 {
        self.0.lock().snapshots
    }

    /// How often the driver showed that it makes progress.
    pub(crate) fn progress(&self) -> u64 {
        self.0.lock().progress
    }

    /// The certificate of the proposed tip, where it has one.
    pub(crate) fn notarized(&self) -> Option<TierProof> {
        self.0.lock().notarized.clone()
    }

    /// Of each upstream by name, what became of the requests to it.
    pub(crate) fn upstreams(&self, now: SystemTime) -> Vec<Upstream> {
        let ago = |at: SystemTime| millis(now.duration_since(at).unwrap_or_default());
        let upstream = |(name, contacts): (&String, &Contacts)| {
            let Contacts { answers, failures, answered, failed } = *contacts;
            Upstream {
                name: name.clone(),
                answers,
                failures,
                answered_ms: answered.map(|(at, _)| ago(at)),
                took_ms: answered.map(|(_, took)| millis(took)),
                failed_ms: failed.map(|(at, _)| ago(at)),
                failed: failed.map(|(_, kind)| kind.as_str()),
            }
        };
        self.0.lock().upstreams.iter().map(upstream).collect()
    }

    /// Where blocks are proven here: how far that is, from now on.
    pub fn proving(&self, proving: &Proving) {
        self.0.lock().proving = Some(proving.clone());
    }

    /// How far proving is, where blocks are proven here.
    pub(crate) fn proven(&self) -> Option<Proving> {
        self.0.lock().proving.clone()
    }

    /// How many faults were reported.
    pub(crate) fn total(&self) -> u64 {
        self.0.lock().total
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

impl Monitor for Observer {
    fn contact(&self, contact: &Contact<'_>) {
        let mut seen = self.0.lock();
        let known = seen.upstreams.contains_key(contact.upstream);
        // Names come from our own configuration; should they not, those that came first are counted.
        if !known && seen.upstreams.len() >= UPSTREAMS_MAX {
            return;
        }
        let contacts = seen.upstreams.entry(contact.upstream.into()).or_default();
        match contact.failed {
            None => {
                contacts.answers += 1;
                contacts.answered = Some((contact.at, contact.took));
            }
            Some(kind) => {
                contacts.failures += 1;
                contacts.failed = Some((contact.at, kind));
            }
        }
    }

    fn snapshot(&self, snapshot: &Snapshot) {
        let mut seen = self.0.lock();
        seen.snapshots += 1;
        seen.notarized = snapshot.proofs.get(Tier::Proposed).cloned();
    }

    fn progressed(&self) {
        self.0.lock().progress += 1;
    }

    fn fault(&self, fault: &Fault) {
        let mut seen = self.0.lock();
        let (kind, source) = (fault.kind.as_str(), fault.about.clone());
        let key = (kind, source.clone());
        // Names come from our own configuration; should they not, those that came first are counted.
        if seen.counts.len() < FAULTS_MAX || seen.counts.contains_key(&key) {
            *seen.counts.entry(key).or_default() += 1;
        }
        let detail = fault.detail.chars().take(DETAIL_MAX).collect();
        let number = seen.total;
        seen.newest.push_back(Reported { number, kind, source, detail });
        seen.total += 1;
        if seen.newest.len() > FAULTS_MAX {
            seen.newest.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    #[test]
    fn of_each_upstream_the_answers_are_counted_and_the_last_of_either_outcome_is_kept() {
        let observer = Observer::default();
        let told = [
            ("a", 100, 7, None),
            ("b", 150, 90, Some(FaultKind::Timeout)),
            ("a", 200, 9, None),
            ("a", 300, 3, Some(FaultKind::Unreachable)),
        ];
        for (upstream, ms, took, failed) in told {
            let took = Duration::from_millis(took);
            observer.contact(&Contact { upstream, at: at(ms), took, failed });
        }
        let a = Upstream {
            name: "a".into(),
            answers: 2,
            failures: 1,
            answered_ms: Some(800),
            took_ms: Some(9),
            failed_ms: Some(700),
            failed: Some("unreachable"),
        };
        let b = Upstream {
            name: "b".into(),
            answers: 0,
            failures: 1,
            answered_ms: None,
            took_ms: None,
            failed_ms: Some(850),
            failed: Some("timeout"),
        };
        assert_eq!(observer.upstreams(at(1_000)), [a, b]);
    }

    #[test]
    fn no_more_upstreams_are_remembered_than_anybody_would_configure() {
        let observer = Observer::default();
        for number in 0..2 * UPSTREAMS_MAX {
            let upstream = &number.to_string();
            let (at, took) = (at(0), Duration::ZERO);
            observer.contact(&Contact { upstream, at, took, failed: None });
        }
        assert_eq!(observer.upstreams(at(0)).len(), UPSTREAMS_MAX);
    }
}

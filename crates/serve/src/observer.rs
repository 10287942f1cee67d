//! What a follower reported, for those who ask later.

use commonware_utils::sync::Mutex;
use serde::Serialize;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tidewatch_core::{Fault, Monitor, Snapshot, Tier, TierProof};

/// Faults that are remembered: the newest ones.
const FAULTS_MAX: usize = 256;

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

    /// How many faults were reported.
    pub(crate) fn total(&self) -> u64 {
        self.0.lock().total
    }
}

impl Monitor for Observer {
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

//! Typed faults, each with a severity that decides how a loop reacts.

use crate::BlockRef;
use std::{any::Any, error::Error, fmt, sync::Arc};

/// How a loop reacts to a fault. Loops match on the severity alone, never on a kind or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// A retry may succeed: retry with back-off.
    Transient,
    /// The upstream does not have the data yet, or its responses mix two states: retry soon.
    Behind,
    /// The response cannot be true: reject it, count it, and continue without it.
    Invalid,
    /// Local storage failed, or does not hold what was written to it.
    Corrupt,
    /// The operator must change the configuration: a retry cannot help.
    Config,
    /// An invariant of Tidewatch itself is violated.
    Bug,
}

impl Severity {
    /// Whether the fault ends the driver.
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::Corrupt | Self::Config | Self::Bug)
    }
}

macro_rules! fault_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $severity:ident;)+) => {
        /// Kind of a fault. The names are a public contract: they are the `kind` of fault events and
        /// the `kind` label of fault metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum FaultKind {
            $($(#[$doc])* $kind,)+
        }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Name in events and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// How a loop reacts to it.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$kind => Severity::$severity,)+ }
            }
        }
    };
}

fault_kinds! {
    /// No connection to the upstream, or it was lost.
    Unreachable = "unreachable", Transient;
    /// No response, or no push, within the deadline.
    Timeout = "timeout", Transient;
    /// The upstream responded that it cannot serve the request now.
    Unavailable = "unavailable", Transient;
    /// A consumer failed to handle an event.
    Consumer = "consumer", Transient;
    /// The actor was stopped before the work was done.
    Stopped = "stopped", Transient;

    /// The upstream lacks a block that is at or below its own tip.
    Missing = "missing", Behind;
    /// The upstream's chain is lower than the local finalized tip.
    Behind = "behind", Behind;
    /// A response does not match its snapshot: the source moved in between.
    Torn = "torn", Behind;
    /// The upstream goes back and forth between two forks.
    Flapping = "flapping", Behind;
    /// A certificate of an epoch whose scheme is not known yet: it can be neither accepted nor rejected.
    UnknownEpoch = "unknown_epoch", Behind;

    /// Bytes that do not decode.
    Malformed = "malformed", Invalid;
    /// A response with an unexpected content type, such as an HTML error page.
    UnexpectedContent = "unexpected_content", Invalid;
    /// A response that exceeds its size limit.
    Oversized = "oversized", Invalid;
    /// A certificate that does not verify.
    InvalidCertificate = "invalid_certificate", Invalid;
    /// A block that does not hash to the requested digest.
    WrongDigest = "wrong_digest", Invalid;
    /// A block at a height, or a certificate of a view, that was not requested.
    WrongPosition = "wrong_position", Invalid;
    /// A block whose parent digest is not that of the preceding block.
    NotLinked = "not_linked", Invalid;
    /// Tiers in an order that violates the ladder.
    LadderBroken = "ladder_broken", Invalid;
    /// Two nodes of one upstream contradict each other about a tier: at most one of them is right.
    Disputed = "disputed", Invalid;
    /// The source contradicts a locally finalized block. Both blocks are kept as evidence.
    FinalityConflict = "finality_conflict", Invalid;

    /// A record on disk that fails its checksum or contradicts another record.
    CorruptRecord = "corrupt_record", Corrupt;
    /// A disk read or write failed.
    Disk = "disk", Corrupt;

    /// The data directory or the cursor belongs to another chain.
    WrongChain = "wrong_chain", Config;
    /// The events that a consumer needs have been trimmed.
    TooOld = "too_old", Config;
    /// The execution client rejects what the source has on its chain: one of the two follows other rules.
    Rejected = "rejected", Config;
    /// The configuration is invalid.
    InvalidConfig = "setting", Config;

    /// An invariant of Tidewatch itself is violated.
    Bug = "bug", Bug;
}

impl FaultKind {
    /// Creates a fault of this kind. `about` must not contain credentials.
    pub fn fault(self, about: impl Into<String>, detail: impl fmt::Display) -> Fault {
        let (about, detail) = (about.into(), detail.to_string());
        Fault { kind: self, about, detail, conflict: None, reason: None }
    }
}

/// Two contradicting claims about one finalized height: at most one is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conflict {
    /// The locally finalized block.
    pub ours: BlockRef,
    /// The block that the source reports instead.
    pub theirs: BlockRef,
}

/// An error of one crate that a port reports as a [`Fault`]. Each crate implements it for one enum,
/// whose variants hold the values that disagree; `Fault` is the type that crosses crate boundaries.
pub trait Reason: Error + Any + Send + Sync {
    /// The kind under which the error is reported and counted; it determines the severity.
    fn kind(&self) -> FaultKind;

    /// Both blocks of a [`FaultKind::FinalityConflict`]; `None` for every other kind.
    fn conflict(&self) -> Option<Conflict> {
        None
    }
}

/// A typed fault: what failed, why, and how a loop reacts.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{about}: {detail} ({})", .kind.as_str())]
pub struct Fault {
    /// Kind of the fault.
    pub kind: FaultKind,
    /// Component that failed: an upstream (its name, without credentials), a consumer, the store.
    pub about: String,
    /// What is wrong, with the values that disagree.
    pub detail: String,
    /// Both blocks of a [`FaultKind::FinalityConflict`]; `None` for every other kind.
    pub conflict: Option<Conflict>,
    /// The error that this fault reports, if it was created from one.
    reason: Option<Arc<dyn Reason>>,
}

impl PartialEq for Fault {
    /// Ignores `reason`: its values are already part of `detail`.
    fn eq(&self, other: &Self) -> bool {
        let reported = |fault: &Self| (fault.kind, fault.conflict);
        reported(self) == reported(other)
            && self.about == other.about
            && self.detail == other.detail
    }
}

impl Eq for Fault {}

impl Fault {
    /// Creates a fault that reports `reason`. `about` must not contain credentials.
    pub fn new(about: impl Into<String>, reason: impl Reason) -> Self {
        let (kind, conflict) = (reason.kind(), reason.conflict());
        debug_assert!(
            conflict.is_none() || kind == FaultKind::FinalityConflict,
            "only a finality conflict has two sides, not {}",
            kind.as_str()
        );
        let fault = Self { conflict, ..kind.fault(about, &reason) };
        Self { reason: Some(Arc::new(reason)), ..fault }
    }

    /// The error that this fault reports, if it is an `R`.
    pub fn reason<R: Reason>(&self) -> Option<&R> {
        let reason: &dyn Any = &**self.reason.as_ref()?;
        reason.downcast_ref()
    }

    /// How a loop reacts to the fault.
    pub const fn severity(&self) -> Severity {
        self.kind.severity()
    }

    /// Creates a [`FaultKind::FinalityConflict`] with both blocks.
    pub fn finality_conflict(about: impl Into<String>, conflict: Conflict) -> Self {
        let Conflict { ours, theirs } = conflict;
        let detail = format!("finalized here is {ours}, the source has {theirs} on its chain");
        Self { conflict: Some(conflict), ..FaultKind::FinalityConflict.fault(about, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: BTreeSet<_> = FaultKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), FaultKind::ALL.len());
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0} is wrong")]
    struct Wrong(u64);

    impl Reason for Wrong {
        fn kind(&self) -> FaultKind {
            FaultKind::Malformed
        }
    }

    #[test]
    fn a_fault_gives_back_the_error_that_it_reports() {
        let fault = Fault::new("test", Wrong(7));
        assert_eq!(fault, FaultKind::Malformed.fault("test", "7 is wrong"));
        assert_eq!(fault.reason::<Wrong>().map(|wrong| wrong.0), Some(7));
        assert!(FaultKind::Malformed.fault("test", "").reason::<Wrong>().is_none());
    }

    #[test]
    fn only_local_trouble_ends_a_driver() {
        for kind in FaultKind::ALL {
            let local =
                matches!(kind.severity(), Severity::Corrupt | Severity::Config | Severity::Bug);
            assert_eq!(kind.severity().is_fatal(), local, "{}", kind.as_str());
        }
    }
}

//! Typed reasons why something was refused, with a severity that the loops switch on.

use crate::BlockRef;
use std::{any::Any, error::Error, fmt, sync::Arc};

/// What a loop does about a fault. Loops switch on this alone, never on a kind or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// It may work the next time: try again, with back-off.
    Transient,
    /// The upstream does not have it yet, or answered from two moments: try again soon.
    Behind,
    /// The upstream answered something that cannot be true: refuse it, count it, go on without.
    Invalid,
    /// What is on this machine's disk is not what was written to it.
    Corrupt,
    /// Somebody must change a setting: going on cannot help.
    Config,
    /// A rule of our own code does not hold.
    Bug,
}

impl Severity {
    /// Whether a driver that meets it must end.
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::Corrupt | Self::Config | Self::Bug)
    }
}

macro_rules! fault_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $severity:ident;)+) => {
        /// Why something was refused. The names are a public contract: they are the `kind` of fault
        /// events and the `kind` label of fault metrics.
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

            /// What a loop does about it.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$kind => Severity::$severity,)+ }
            }
        }
    };
}

fault_kinds! {
    /// No connection to the upstream, or it was lost.
    Unreachable = "unreachable", Transient;
    /// No answer, or no push, within the deadline.
    Timeout = "timeout", Transient;
    /// The upstream answered that it cannot answer now.
    Unavailable = "unavailable", Transient;
    /// A consumer could not take an event in.
    Consumer = "consumer", Transient;
    /// The work was stopped before it was done.
    Stopped = "stopped", Transient;

    /// The upstream has no such block, although it is at or below its own tip.
    Missing = "missing", Behind;
    /// The upstream has not come as far as what is finalized here.
    Behind = "behind", Behind;
    /// An answer does not fit the snapshot that it belongs to: the source moved in between.
    Torn = "torn", Behind;
    /// A certificate of an epoch whose scheme is not known here yet: nothing says that it is wrong.
    UnknownEpoch = "unknown_epoch", Behind;

    /// Bytes that do not decode.
    Malformed = "malformed", Invalid;
    /// An answer of another content type, such as an HTML error page.
    UnexpectedContent = "unexpected_content", Invalid;
    /// An answer larger than its limit.
    Oversized = "oversized", Invalid;
    /// A certificate that does not verify.
    InvalidCertificate = "invalid_certificate", Invalid;
    /// A block that does not hash to the name that it was asked by.
    WrongDigest = "wrong_digest", Invalid;
    /// A block of another height, or a certificate of another view, than was asked for.
    WrongPosition = "wrong_position", Invalid;
    /// A block whose parent is not the block before it.
    NotLinked = "not_linked", Invalid;
    /// Tiers in an order that the ladder does not allow.
    LadderBroken = "ladder_broken", Invalid;
    /// The source contradicts a block that is finalized here. Both sides are kept as evidence.
    FinalityConflict = "finality_conflict", Invalid;

    /// A record on disk that fails its checksum, or contradicts another.
    CorruptRecord = "corrupt_record", Corrupt;
    /// The disk refused a read or a write.
    Disk = "disk", Corrupt;

    /// The data directory, or the cursor, belongs to another chain.
    WrongChain = "wrong_chain", Config;
    /// The history that a consumer needs is no longer kept.
    TooOld = "too_old", Config;
    /// A setting that cannot work.
    InvalidConfig = "setting", Config;

    /// A rule of our own code does not hold.
    Bug = "bug", Bug;
}

impl FaultKind {
    /// Makes a fault of this kind. `about` must not hold credentials.
    pub fn fault(self, about: impl Into<String>, detail: impl fmt::Display) -> Fault {
        let (about, detail) = (about.into(), detail.to_string());
        Fault { kind: self, about, detail, conflict: None, reason: None }
    }
}

/// Two claims about one finalized height of which at most one is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conflict {
    /// The block that was finalized here first.
    pub ours: BlockRef,
    /// What the source says about that height now.
    pub theirs: BlockRef,
}

/// An error of one crate, as a port reports it. Each crate has one enum that implements this, with the
/// values that disagree in its variants; [`Fault`] is what crosses a crate border.
pub trait Reason: Error + Any + Send + Sync {
    /// The public name under which it is reported and counted; it decides the severity.
    fn kind(&self) -> FaultKind;

    /// Both sides of a contradiction about a finalized block, where it is one.
    fn conflict(&self) -> Option<Conflict> {
        None
    }
}

/// A typed reason why something was refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{about}: {detail} ({})", .kind.as_str())]
pub struct Fault {
    /// The public name of the reason.
    pub kind: FaultKind,
    /// What it is about: an upstream by its name without credentials, a consumer, the store.
    pub about: String,
    /// What was wrong, naming the thing and the values that disagree.
    pub detail: String,
    /// Both sides of a [`FaultKind::FinalityConflict`].
    pub conflict: Option<Conflict>,
    /// The error that it was made of, where a crate's own enum says more than the text.
    reason: Option<Arc<dyn Reason>>,
}

impl PartialEq for Fault {
    /// Compares what is reported; the text already holds the values of the reason.
    fn eq(&self, other: &Self) -> bool {
        let reported = |fault: &Self| (fault.kind, fault.conflict);
        reported(self) == reported(other)
            && self.about == other.about
            && self.detail == other.detail
    }
}

impl Eq for Fault {}

impl Fault {
    /// Reports `reason`. `about` must not hold credentials.
    pub fn new(about: impl Into<String>, reason: impl Reason) -> Self {
        let (kind, conflict) = (reason.kind(), reason.conflict());
        let fault = Self { conflict, ..kind.fault(about, &reason) };
        Self { reason: Some(Arc::new(reason)), ..fault }
    }

    /// The error of crate `R` that this fault was made of.
    pub fn reason<R: Reason>(&self) -> Option<&R> {
        let reason: &dyn Any = &**self.reason.as_ref()?;
        reason.downcast_ref()
    }

    /// What a loop does about it.
    pub const fn severity(&self) -> Severity {
        self.kind.severity()
    }

    /// A contradiction about a finalized block, with both sides.
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

//! Typed reasons why something was refused, with a severity that the loops switch on.

use crate::BlockRef;
use std::fmt;

/// What a loop does about a fault. Loops switch on this alone, never on a kind or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// It may work the next time: try again, with back-off.
    Transient,
    /// The upstream does not have it yet, or answered from two moments: try again soon.
    Behind,
    /// The upstream answered something that cannot be true: refuse it, count it, go on without.
    Lied,
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

    /// Bytes that do not decode.
    Malformed = "malformed", Lied;
    /// An answer of another content type, such as an HTML error page.
    UnexpectedContent = "unexpected_content", Lied;
    /// An answer larger than its limit.
    Oversized = "oversized", Lied;
    /// A certificate that does not verify.
    InvalidCertificate = "invalid_certificate", Lied;
    /// A block that does not hash to the name that it was asked by.
    WrongDigest = "wrong_digest", Lied;
    /// A block of another height, or a certificate of another view, than was asked for.
    WrongPosition = "wrong_position", Lied;
    /// A block whose parent is not the block before it.
    NotLinked = "not_linked", Lied;
    /// Tiers in an order that the ladder does not allow.
    LadderBroken = "ladder_broken", Lied;
    /// The source contradicts a block that is finalized here. Both sides are kept as evidence.
    FinalityConflict = "finality_conflict", Lied;

    /// A record on disk that fails its checksum, or contradicts another.
    CorruptRecord = "corrupt_record", Corrupt;
    /// The disk refused a read or a write.
    Disk = "disk", Corrupt;

    /// The data directory, or the cursor, belongs to another chain.
    WrongChain = "wrong_chain", Config;
    /// The history that a consumer needs is no longer kept.
    TooOld = "too_old", Config;
    /// A setting that cannot work.
    Setting = "setting", Config;

    /// A rule of our own code does not hold.
    Bug = "bug", Bug;
}

impl FaultKind {
    /// Makes a fault of this kind. `about` must not hold credentials.
    pub fn fault(self, about: impl Into<String>, detail: impl fmt::Display) -> Fault {
        Fault { kind: self, about: about.into(), detail: detail.to_string(), conflict: None }
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

/// A typed reason why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{about}: {detail} ({})", .kind.as_str())]
pub struct Fault {
    /// The reason.
    pub kind: FaultKind,
    /// Who it is about: an upstream by its name without credentials, a consumer, the store.
    pub about: String,
    /// What was wrong, naming the thing and the values that disagree.
    pub detail: String,
    /// Both sides of a [`FaultKind::FinalityConflict`].
    pub conflict: Option<Conflict>,
}

impl Fault {
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

    #[test]
    fn only_local_trouble_ends_a_driver() {
        for kind in FaultKind::ALL {
            let local =
                matches!(kind.severity(), Severity::Corrupt | Severity::Config | Severity::Bug);
            assert_eq!(kind.severity().is_fatal(), local, "{}", kind.as_str());
        }
    }
}

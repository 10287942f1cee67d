//! Why evidence is refused.

use commonware_consensus::types::{Epoch, View};

/// Why a file is no evidence, or not of what is trusted. The values that disagree are in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file is larger than any evidence.
    #[error("the file has more than {max} bytes, more than evidence can have")]
    Oversized {
        /// The most that it may have.
        max: usize,
    },
    /// The file does not begin as evidence does.
    #[error("the file is not evidence: it does not begin with TWEVID and a version")]
    Foreign,
    /// The file has a format that this version does not read.
    #[error("the file has version {found:?} of the format, this program reads {known:?}")]
    Version {
        /// What the file says.
        found: String,
        /// What is read.
        known: &'static str,
    },
    /// The file ends too early.
    #[error("the file is cut: it has {have} bytes of {need}")]
    Cut {
        /// Bytes that are there.
        have: usize,
        /// Bytes that it says it has, or that its head needs.
        need: usize,
    },
    /// The file goes on after its end.
    #[error("the file has {extra} bytes more than it says")]
    Longer {
        /// How many.
        extra: usize,
    },
    /// The file is not what was written.
    #[error("the file is damaged: its bytes hash to {computed}, it says {stated}")]
    Damaged {
        /// SHA-256 of what is there.
        computed: String,
        /// What stands at its end.
        stated: String,
    },
    /// The body does not decode.
    #[error("the {part} cannot be decoded: {reason}")]
    Malformed {
        /// What of it.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// The committee cannot be one of this scheme.
    #[error(
        "the committee has {members} members, its polynomial {total} shares of which {required} are needed"
    )]
    Committee {
        /// Members.
        members: usize,
        /// Shares of the polynomial.
        total: u32,
        /// How many of them recover the key.
        required: u32,
    },
    /// The committee is not the pinned one.
    #[error("the committee is {found}, but {trusted} is trusted")]
    OtherCommittee {
        /// Fingerprint of the committee in the file.
        found: String,
        /// The pinned one.
        trusted: String,
    },
    /// The network is not the pinned one.
    #[error("the network's identity is {found}, but {trusted} is trusted")]
    OtherIdentity {
        /// Group key of the committee in the file; `none` for schemes without one.
        found: String,
        /// The pinned one.
        trusted: String,
    },
    /// The namespace is not the pinned one.
    #[error("the namespace is {found:?}, but {trusted:?} is trusted")]
    OtherNamespace {
        /// What the file says.
        found: String,
        /// The pinned one.
        trusted: String,
    },
    /// The messages name two signers.
    #[error("the first message is of signer {first}, the second of signer {second}")]
    TwoSigners {
        /// Index of the first one's signer.
        first: u32,
        /// Index of the second one's.
        second: u32,
    },
    /// The messages are of two views, so that they do not contradict each other.
    #[error(
        "the first message is of view {} in epoch {}, the second of view {} in epoch {}",
        first.1, first.0, second.1, second.0
    )]
    TwoViews {
        /// Epoch and view of the first one.
        first: (Epoch, View),
        /// Those of the second one.
        second: (Epoch, View),
    },
    /// Both messages are for the same proposal, so that they do not contradict each other.
    #[error("both messages of view {view} are for the same proposal")]
    Equal {
        /// Their view.
        view: View,
    },
    /// The signer is not in the committee.
    #[error("signer {signer} is not in the committee, which has {members} members")]
    Outsider {
        /// Its index.
        signer: u32,
        /// Members of the committee.
        members: usize,
    },
    /// A signature does not verify.
    #[error("the {which} message is not signed by member {signer} of the committee")]
    Unsigned {
        /// `first` or `second`.
        which: &'static str,
        /// Index of the supposed signer.
        signer: u32,
    },
}

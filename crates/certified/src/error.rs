//! Why an answer, a push or a connection was refused.

use crate::{CertificateKind, Key};
use commonware_codec as codec;
use commonware_consensus::types::{Epoch, Round};
use commonware_storage::metadata;
use std::{num::NonZeroU64, time::Duration};
use tidewatch_core::{BlockRef, ChainId, Digest, Fault, FaultKind, Height, Reason, Severity};

/// Everything that this crate refuses or fails with, with the values that disagree. Inside a [`Fault`],
/// [`Fault::reason`] gives it back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes that are not a certificate followed by a block.
    #[error("not a {kind}: {error}")]
    NotACertificate {
        /// What they were sent as.
        kind: CertificateKind,
        /// Where decoding ended.
        error: codec::Error,
    },
    /// Bytes that are not a block.
    #[error("not the block {name}: {error}")]
    NotABlock {
        /// The block that was requested.
        name: BlockRef,
        /// Where decoding ended.
        error: codec::Error,
    },
    /// A certificate that was sent with a block that it is not about.
    #[error("the {kind} is about {payload}, its block is {block}")]
    OtherPayload {
        /// The kind of the certificate.
        kind: CertificateKind,
        /// The digest that the certificate is about.
        payload: Digest,
        /// The block that came with it.
        block: BlockRef,
    },
    /// A certificate for a height whose epoch is not in our table. Nothing says that it is wrong.
    #[error("the {kind} of {block} in {round} is of an epoch that is not known here")]
    UnknownEpoch {
        /// The kind of the certificate.
        kind: CertificateKind,
        /// The block that came with it.
        block: BlockRef,
        /// The round that it names, which nothing proves.
        round: Round,
    },
    /// A certificate that names another epoch than our table gives for its height.
    #[error("the {kind} of {block} in {round} is not of epoch {expected}, as its height")]
    OtherEpoch {
        /// The kind of the certificate.
        kind: CertificateKind,
        /// The block that came with it.
        block: BlockRef,
        /// The round that it names.
        round: Round,
        /// The epoch of that height.
        expected: Epoch,
    },
    /// A certificate whose signature does not verify.
    #[error("the {kind} of {block} in {round} does not verify")]
    BadSignature {
        /// The kind of the certificate.
        kind: CertificateKind,
        /// The block that came with it.
        block: BlockRef,
        /// The round that it names.
        round: Round,
    },
    /// A block that does not hash to the name that it was requested by.
    #[error("the block {found} was sent for {name}")]
    OtherBlock {
        /// The block that came.
        found: BlockRef,
        /// The block that was requested.
        name: BlockRef,
    },
    /// A block of another height than its child says.
    #[error("the block {found} is named as the one at {height}")]
    MisnamedHeight {
        /// The block.
        found: BlockRef,
        /// The height below its child's.
        height: Height,
    },
    /// Bytes that are no blocks, each behind its length.
    #[error("no blocks at height {height}: {error}")]
    NotBlocks {
        /// The height at which decoding ended.
        height: Height,
        /// Why.
        error: codec::Error,
    },
    /// A block of another height than was requested.
    #[error("the block {found} was sent for height {height}")]
    OtherHeight {
        /// The block that came.
        found: BlockRef,
        /// The height that was requested.
        height: Height,
    },
    /// A chain that begins with another block than ours.
    #[error("the chain starts at {found}, not at our genesis {genesis}")]
    OtherGenesis {
        /// The block at height 0 that the chain leads to.
        found: BlockRef,
        /// Ours.
        genesis: BlockRef,
    },
    /// A notarized block that does not descend from the finalized one.
    #[error("the notarized {tip} is not above the finalized {finalized}")]
    NotADescendant {
        /// The notarized block.
        tip: BlockRef,
        /// The newest finalized block.
        finalized: BlockRef,
    },
    /// A notarized block with more blocks between it and finality than are fetched.
    #[error("the notarized {tip} is too far from the finalized {finalized}")]
    TooFar {
        /// The notarized block.
        tip: BlockRef,
        /// The newest finalized block.
        finalized: BlockRef,
    },
    /// The ancestors of a notarized block did not come in time.
    #[error("no ancestry of the notarized {tip} in {limit:?}")]
    NoAncestry {
        /// The notarized block.
        tip: BlockRef,
        /// The time that was allowed.
        limit: Duration,
    },
    /// A tip that no certificate leads to any more, of those that are kept.
    #[error("no certificate known here leads to {tip} any more")]
    Unproved {
        /// The tip.
        tip: BlockRef,
    },
    /// The upstream answers, and has no certificate: that shows neither a chain nor where it stands.
    #[error(
        "it answers, but no finalization and no notarization of this chain was seen yet: is it an \
         indexer of this network, and has the network started?"
    )]
    NothingVerified,
    /// A marshal that names no finalized block.
    #[error("the marshal has nothing that is final yet, or it has ended")]
    NothingFinalized,
    /// The upstream does not have a block that the chain names.
    #[error("there is no block {name}")]
    NoBlock {
        /// The block.
        name: BlockRef,
    },
    /// The upstream has no block at a height below its own tip.
    #[error("there is no block at height {height}")]
    NoHeight {
        /// The height.
        height: Height,
    },
    /// The upstream has no certificate from which a range could be proved.
    #[error("no finalization at height {from} or a little above")]
    NoFinalization {
        /// The first height of the range.
        from: Height,
    },
    /// A range had more wrong or missing blocks than are requested one by one.
    #[error("{name}: too many repairs at once")]
    TooManyRepairs {
        /// The block at which the limit was reached.
        name: BlockRef,
    },
    /// A request without an answer within its deadline.
    #[error("no answer for {key} within {limit:?}")]
    NoAnswer {
        /// What was requested.
        key: Key,
        /// The deadline.
        limit: Duration,
    },
    /// A push connection that was not open within its deadline.
    #[error("no push connection within {limit:?}")]
    NoConnection {
        /// The deadline.
        limit: Duration,
    },
    /// A push connection that brought nothing of use.
    #[error("nothing new that verifies was pushed for {silence:?}")]
    Silence {
        /// For how long.
        silence: Duration,
    },
    /// More certificates wait to be checked than may.
    #[error("the {kind} of {block} in {round} was not checked: {waiting} are waiting already")]
    Overloaded {
        /// The kind of the certificate.
        kind: CertificateKind,
        /// The block that came with it.
        block: BlockRef,
        /// The round that it names.
        round: Round,
        /// How many may wait.
        waiting: usize,
    },
    /// The checker ended before it came to a certificate.
    #[error("the {kind} of {block} in {round} was not checked: the checker has stopped")]
    Stopped {
        /// The kind of the certificate.
        kind: CertificateKind,
        /// The block that came with it.
        block: BlockRef,
        /// The round that it names.
        round: Round,
    },
    /// The upstream does not have the last block of an epoch, or not with a finalization of its own.
    #[error(
        "epoch {epoch} is needed and not known here: the block {height} that ends the epoch before \
         it cannot be had with its finalization"
    )]
    NoBoundary {
        /// The epoch whose scheme is needed.
        epoch: Epoch,
        /// The height of the block that carries it.
        height: Height,
    },
    /// A walk over epochs that did not end in its time. The next one goes on from there.
    #[error("epoch {epoch} is needed: so far they are known up to epoch {newest}")]
    Walking {
        /// The epoch that is needed.
        epoch: Epoch,
        /// The newest one that is known below it.
        newest: Epoch,
    },
    /// The last block of an epoch, final, does not carry the scheme of the next one.
    #[error("the block {block} does not carry the scheme of epoch {epoch}: {error}")]
    NoScheme {
        /// The block.
        block: BlockRef,
        /// The epoch after it.
        epoch: Epoch,
        /// Where reading it ended.
        error: codec::Error,
    },
    /// The chain names another key for an epoch than our anchor does, or than the one that verified that
    /// epoch's certificates.
    #[error("the block {block} names another key for epoch {epoch} than the one that is trusted")]
    OtherKey {
        /// The block that ends the epoch before.
        block: BlockRef,
        /// The epoch.
        epoch: Epoch,
    },
    /// The newest epoch that is known ended too long ago to go on from there.
    #[error(
        "what is known of the chain's validators (epoch {epoch}) is {} old: more than {} is too long to \
         trust their keys still",
        span(*age), span(*age_max)
    )]
    TooOld {
        /// The newest epoch that is known.
        epoch: Epoch,
        /// How long ago it began, or somebody said what to trust, whatever was later.
        age: Duration,
        /// The age that is allowed.
        age_max: Duration,
    },
    /// A pinned block from which no end of an epoch can be reached downwards.
    #[error("no epoch ends at or below the pinned block {pinned}: pin a later one")]
    NoPinnedEpoch {
        /// The pinned block.
        pinned: BlockRef,
    },
    /// A pinned block too far above the end of an epoch.
    #[error(
        "no epoch ends within {max} blocks below the pinned block {pinned}: pin the last block of an epoch"
    )]
    PinTooFar {
        /// The pinned block.
        pinned: BlockRef,
        /// The number of blocks that are fetched.
        max: NonZeroU64,
    },
    /// A pinned digest whose block is of another height than it was pinned at.
    #[error("the block of that digest is {found}, and {name} was pinned")]
    PinnedHeight {
        /// The block.
        found: BlockRef,
        /// What was pinned.
        name: BlockRef,
    },
    /// A pinned block that is too old to begin from.
    #[error(
        "the pinned block {pinned} is {} old: more than {} is too long to trust the keys of its time still",
        span(*age), span(*age_max)
    )]
    PinTooOld {
        /// The pinned block.
        pinned: BlockRef,
        /// Its age, by its own time.
        age: Duration,
        /// The age that is allowed.
        age_max: Duration,
    },
    /// The disk that boundaries are kept on failed.
    #[error("the epochs cannot be stored: {0}")]
    Disk(metadata::Error),
    /// A stored boundary that cannot be read.
    #[error("the stored boundary of epoch {epoch} cannot be read: {error}")]
    Unreadable {
        /// The epoch that it gives the scheme of.
        epoch: Epoch,
        /// Where decoding ended.
        error: codec::Error,
    },
    /// A boundary that is imported where another one is known.
    #[error(
        "epoch {epoch} begins after {ours} here, and after {theirs} there: one is of another chain"
    )]
    OtherBoundary {
        /// The epoch.
        epoch: Epoch,
        /// The boundary that is known.
        ours: BlockRef,
        /// The one that was to be imported.
        theirs: BlockRef,
    },
    /// A boundary that nobody writes any more.
    #[error(
        "the boundary that gives epoch {epoch} its scheme is not written: its keeper has ended"
    )]
    NotKept {
        /// The epoch.
        epoch: Epoch,
    },
    /// Blocks that are called final by whoever executes the chain, and are not of the chain.
    #[error("the execution layer has {said} where the chain has {proved}: it is of another chain")]
    OtherHistory {
        /// What it says.
        said: BlockRef,
        /// What a certificate proves.
        proved: BlockRef,
    },
    /// A block below its own durable one that the execution layer does not have.
    #[error("the execution layer is at height {tip} and does not have its block at {height}")]
    NoHistory {
        /// The height that is needed.
        height: Height,
        /// Its newest durable block.
        tip: Height,
    },
    /// A block that was delivered, that the execution layer lost, and that is not kept any more.
    #[error(
        "the execution layer is at height {durable} and needs the block at {height}, which is not kept \
         any more: it has to get its blocks elsewhere"
    )]
    NotRedelivered {
        /// The block that is not kept.
        height: Height,
        /// The newest durable block of the execution layer.
        durable: Height,
    },
    /// Stored boundaries of another chain.
    #[error("the stored epochs are those of {found}, not of {chain}")]
    OtherChain {
        /// The chain that they belong to.
        found: String,
        /// The chain that is followed.
        chain: ChainId,
    },
    /// A fail-over without an endpoint.
    #[error("no endpoint")]
    NoEndpoint,
}

impl Reason for Error {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotACertificate { .. }
            | Self::NotABlock { .. }
            | Self::NotBlocks { .. }
            | Self::NoScheme { .. } => FaultKind::Malformed,
            Self::OtherPayload { .. } | Self::OtherBlock { .. } => FaultKind::WrongDigest,
            Self::UnknownEpoch { .. } | Self::Walking { .. } => FaultKind::UnknownEpoch,
            Self::OtherEpoch { .. } | Self::BadSignature { .. } => FaultKind::InvalidCertificate,
            Self::MisnamedHeight { .. } | Self::OtherHeight { .. } => FaultKind::WrongPosition,
            Self::OtherGenesis { .. } | Self::NotADescendant { .. } => FaultKind::NotLinked,
            Self::Unproved { .. } => FaultKind::Torn,
            Self::TooFar { .. }
            | Self::NoBlock { .. }
            | Self::NoHeight { .. }
            | Self::NoBoundary { .. }
            | Self::NoFinalization { .. }
            | Self::TooManyRepairs { .. } => FaultKind::Missing,
            Self::NoAncestry { .. }
            | Self::NoAnswer { .. }
            | Self::NoConnection { .. }
            | Self::Silence { .. } => FaultKind::Timeout,
            Self::Overloaded { .. } | Self::NothingVerified | Self::NothingFinalized => {
                FaultKind::Unavailable
            }
            Self::Stopped { .. } | Self::NotKept { .. } => FaultKind::Stopped,
            Self::TooOld { .. } | Self::PinTooOld { .. } => FaultKind::TooOld,
            Self::NoPinnedEpoch { .. } | Self::PinTooFar { .. } | Self::PinnedHeight { .. } => {
                FaultKind::InvalidConfig
            }
            Self::OtherKey { .. }
            | Self::OtherBoundary { .. }
            | Self::OtherHistory { .. }
            | Self::OtherChain { .. } => FaultKind::WrongChain,
            Self::NoHistory { .. } => FaultKind::CorruptRecord,
            Self::NotRedelivered { .. } => FaultKind::TooOld,
            Self::Disk(_) => FaultKind::Disk,
            Self::Unreadable { .. } => FaultKind::CorruptRecord,
            Self::NoEndpoint => FaultKind::Bug,
        }
    }
}

/// A duration in days, where it has some.
fn span(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match duration.as_secs() / DAY {
        0 => format!("{duration:?}"),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}

/// Whether a certificate that was refused with `fault` leaves it open that another one will do.
pub(crate) fn another_may_do(fault: &Fault) -> bool {
    fault.severity() == Severity::Invalid || fault.kind == FaultKind::UnknownEpoch
}

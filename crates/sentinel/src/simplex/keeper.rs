//! Contradictions, kept as evidence.

use super::Electorate;
use crate::{
    Conflict, Event, Output, What,
    evidence::{Committee, Evidence, Offence, SchemeKind, Trusted},
};
use bytes::Bytes;
use commonware_codec::DecodeExt as _;
use commonware_consensus::simplex::{
    scheme::{
        Scheme,
        bls12381_threshold::{standard, vrf},
        ed25519,
    },
    types::{Activity, ConflictingFinalize, ConflictingNotarize, NullifyFinalize, Vote},
};
use commonware_cryptography::{
    bls12381::primitives::variant::MinSig, ed25519::PublicKey, sha256::Digest,
};
use std::{
    fmt,
    io::{Error as SystemError, Write as _},
    path::{Path, PathBuf},
};
use tidewatch_core::{Fault, FaultKind};

/// Writes evidence of each contradiction into a directory, and hands the event on.
///
/// A file is named for its slot, its validator and its offence, is on disk before the event goes on, and is written
/// again if the event is given again. Files are never removed.
pub struct EvidenceKeeper<O> {
    electorate: Electorate,
    directory: PathBuf,
    next: O,
}

impl<O> fmt::Debug for EvidenceKeeper<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvidenceKeeper").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl<O: Output> EvidenceKeeper<O> {
    /// Keeps evidence against validators of `electorate` in `directory`, and hands events on to `next`.
    pub const fn new(electorate: Electorate, directory: PathBuf, next: O) -> Self {
        Self { electorate, directory, next }
    }

    /// The evidence of a conflict, if its messages are votes and it holds.
    fn evidence(&self, conflict: &Conflict) -> Option<Evidence> {
        let committee = &self.electorate.term_at(conflict.first.slot)?.committee;
        let evidence = match committee.kind() {
            SchemeKind::Ed25519 => of::<ed25519::Scheme>(committee, conflict),
            SchemeKind::Standard => of::<standard::Scheme<PublicKey, MinSig>>(committee, conflict),
            SchemeKind::Vrf => of::<vrf::Scheme<PublicKey, MinSig>>(committee, conflict),
        }?;
        evidence.check(&Trusted::default()).ok().map(|_| evidence)
    }
}

fn of<S>(committee: &Committee, Conflict { first, second, .. }: &Conflict) -> Option<Evidence>
where
    S: Scheme<Digest, PublicKey = PublicKey>,
{
    let vote = |bytes: &Bytes| Vote::<S, Digest>::decode(bytes.clone()).ok();
    let activity = activity((vote(&first.bytes)?, vote(&second.bytes)?))?;
    Evidence::of(committee, &activity)
}

/// Two votes as the contradiction that they are.
fn activity<S>(both: (Vote<S, Digest>, Vote<S, Digest>)) -> Option<Activity<S, Digest>>
where
    S: Scheme<Digest, PublicKey = PublicKey>,
{
    use super::ingress::{round, signer};
    let (first, second) = &both;
    // What consensus's constructors would panic over.
    if round(first) != round(second) || signer(first) != signer(second) {
        return None;
    }
    Some(match both {
        (Vote::Notarize(a), Vote::Notarize(b)) if a.proposal != b.proposal => {
            Activity::ConflictingNotarize(ConflictingNotarize::new(a, b))
        }
        (Vote::Finalize(a), Vote::Finalize(b)) if a.proposal != b.proposal => {
            Activity::ConflictingFinalize(ConflictingFinalize::new(a, b))
        }
        (Vote::Nullify(nullify), Vote::Finalize(finalize))
        | (Vote::Finalize(finalize), Vote::Nullify(nullify)) => {
            Activity::NullifyFinalize(NullifyFinalize::new(nullify, finalize))
        }
        _ => return None,
    })
}

/// The name of a file.
fn name(conflict: &Conflict, offence: Offence) -> String {
    let validator = conflict.first.validator.to_string();
    let short = validator.get(..16).unwrap_or(&validator);
    format!("{}-{short}-{}.evidence", conflict.first.slot, offence.as_str())
}

/// Writes a file as a whole, or not at all.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), SystemError> {
    std::fs::create_dir_all(directory)?;
    let part = directory.join(format!("{name}.part"));
    let mut file = std::fs::File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, directory.join(name))?;
    std::fs::File::open(directory)?.sync_all()
}

impl<O: Output> Output for EvidenceKeeper<O> {
    async fn give(&mut self, event: &Event) -> Result<(), Fault> {
        if let What::Contradicted(conflict) = &event.what
            && let Some(evidence) = self.evidence(conflict)
        {
            let name = name(conflict, evidence.offence());
            write(&self.directory, &name, &evidence.to_file()).map_err(|error| {
                let path = self.directory.join(&name);
                FaultKind::Disk.fault("evidence", format!("{}: {error}", path.display()))
            })?;
        }
        self.next.give(event).await
    }
}

//! Contradictions, kept as evidence.

use super::Electorate;
use crate::{
    Conflict, Event, Output, What,
    evidence::{Evidence, Offence, Trusted},
};
use commonware_codec::DecodeExt as _;
use commonware_consensus::simplex::{
    scheme::Scheme,
    types::{Activity, ConflictingFinalize, ConflictingNotarize, NullifyFinalize, Vote},
};
use commonware_cryptography::{ed25519::PublicKey, sha256::Digest};
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
pub struct EvidenceKeeper<S, O> {
    electorate: Electorate<S>,
    directory: PathBuf,
    next: O,
}

impl<S, O> fmt::Debug for EvidenceKeeper<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvidenceKeeper").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl<S: Scheme<Digest, PublicKey = PublicKey>, O: Output> EvidenceKeeper<S, O> {
    /// Keeps evidence against validators of `electorate` in `directory`, and hands events on to `next`.
    pub const fn new(electorate: Electorate<S>, directory: PathBuf, next: O) -> Self {
        Self { electorate, directory, next }
    }

    /// The evidence of a conflict, if its messages are votes and it holds.
    fn evidence(&self, conflict: &Conflict) -> Option<Evidence> {
        let vote = |bytes: &bytes::Bytes| Vote::<S, Digest>::decode(bytes.clone()).ok();
        let both = (vote(&conflict.first.bytes)?, vote(&conflict.second.bytes)?);
        let activity = activity(both)?;
        let term = self.electorate.term_at(conflict.first.slot)?;
        let evidence = Evidence::of(&term.committee, &activity)?;
        evidence.check(&Trusted::default()).ok().map(|_| evidence)
    }
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

impl<S: Scheme<Digest, PublicKey = PublicKey>, O: Output> Output for EvidenceKeeper<S, O> {
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

//! What is kept for whoever has to find out why something was refused.

use crate::{ExecutionError, Payload};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};
use tidewatch_core::Conflict;

/// Writes what the client was given, and its words, into a file of `directory` that is named for the block: the
/// same block writes the same file. Returns its path.
pub(crate) fn payload(
    directory: &Path,
    given: &impl Payload,
    why: &str,
) -> Result<String, ExecutionError> {
    let block = given.reference();
    let path = directory.join(format!("invalid-{}-{}.txt", block.height, block.digest));
    write(&path, &format!("the client says: {why}\nit was given:\n{}\n", given.evidence()))
}

fn write(path: &Path, text: &str) -> Result<String, ExecutionError> {
    let write = || -> io::Result<()> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut file = File::create(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    let shown = path.display().to_string();
    match write() {
        Ok(()) => Ok(shown),
        Err(error) => Err(ExecutionError::Evidence { path: shown, error: error.to_string() }),
    }
}

/// Writes both sides of a contradiction about what is final into a file of `directory`.
pub(crate) fn conflict(directory: &Path, conflict: Conflict) -> Result<(), ExecutionError> {
    let Conflict { ours, theirs } = conflict;
    let name = format!("conflict-{}-{}-{}.txt", ours.height, ours.digest, theirs.digest);
    let text = format!("finalized here: {ours}\nthe source has: {theirs}\n");
    write(&directory.join(name), &text).map(drop)
}

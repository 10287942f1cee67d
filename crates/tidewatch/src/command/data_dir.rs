//! The directory that a follower keeps its data in, for itself alone.

use super::Problem;
use commonware_runtime::tokio;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use tempfile::TempDir;

const LOCK: &str = "LOCK";

/// What follows the process's number in that file where it gives the directory back by itself.
const BRIEFLY: &str = "briefly";

/// How long a directory is waited for that is in use: the note about its owner can be that of the last one,
/// and an owner that was killed takes a moment to end.
const GRACE: Duration = Duration::from_millis(200);

/// How long one is waited for whose owner gives it back by itself.
const GIVEN_BACK: Duration = Duration::from_secs(30);

/// Wait between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// The file that the runtime locks in its storage.
const HOLD: &str = ".hold";

/// Partitions of the store begin with this.
const PARTITIONS: &str = "tidewatch-";

/// Descriptors that a store needs beside those for the files that it has: for its first files, and for a
/// day's growth.
const DESCRIPTORS: usize = 96;

/// A data directory that is locked for this process. The lock ends with the process, however it ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
    /// Removed when dropped.
    _temporary: Option<TempDir>,
}

/// Why a directory could not be had.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Somebody keeps it.
    InUse(Problem),
    Unusable(Problem),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::InUse(problem) | Refused::Unusable(problem) => problem,
        }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Unusable(problem)
    }
}

impl DataDir {
    /// Opens `path`, making it where it is not there. Waits while somebody has it [briefly](Self::briefly).
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        Ok(Self::locked(path, "")?)
    }

    /// Opens `path` for one question: whoever wants it meanwhile waits, and does not give up.
    pub(crate) fn briefly(path: &Path) -> Result<Self, Refused> {
        Self::locked(path, BRIEFLY)
    }

    fn locked(path: &Path, note: &str) -> Result<Self, Refused> {
        std::fs::create_dir_all(path).map_err(|error| {
            Problem::usage(format!("cannot make the data directory {}: {error}", path.display()))
                .hint("name another one with --data-dir")
        })?;
        let data = Self { path: path.into(), lock: lock(path, note)?, _temporary: None };
        data.check()?;
        Ok(data)
    }

    /// Makes one that is removed again.
    pub(crate) fn temporary() -> Result<Self, Problem> {
        let temporary =
            tempfile::Builder::new().prefix("tidewatch-").tempdir().map_err(|error| {
                Problem::failure(format!("cannot make a temporary data directory: {error}"))
                    .hint("name one with --data-dir")
            })?;
        let path = temporary.path().to_path_buf();
        Ok(Self { lock: lock(&path, "")?, path, _temporary: Some(temporary) })
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses what the runtime would panic over, or take for an absence: what cannot be read or written,
    /// and what does not belong there.
    fn check(&self) -> Result<(), Problem> {
        let storage = self.storage();
        std::fs::create_dir_all(&storage)
            .map_err(|error| Problem::disk("make the directory", &storage, &error))?;
        writable(&storage.join(HOLD), true)?;
        for partition in self.partitions()? {
            for blob in entries(&partition)? {
                let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                let name = blob.file_name().unwrap_or_default().to_string_lossy();
                if !blob.is_file() || !name.len().is_multiple_of(2) || !name.bytes().all(hex) {
                    return Err(Problem::failure(format!(
                        "{} does not belong into the data directory",
                        blob.display()
                    ))
                    .hint("move it away: what else is there is whole"));
                }
                writable(&blob, false)?;
            }
        }
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<PathBuf>, Problem> {
        let mut partitions = entries(&self.storage())?;
        let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(PARTITIONS);
        partitions.retain(|partition| partition.file_name().is_some_and(ours));
        Ok(partitions)
    }

    /// Refuses to open the store where the process cannot have as many descriptors as it needs: a directory
    /// that cannot be listed for want of one would be taken for an empty one.
    pub(crate) fn has_descriptors(&self) -> Result<(), Problem> {
        let mut files = DESCRIPTORS;
        for partition in self.partitions()? {
            files += entries(&partition)?.len();
        }
        let lock = self.path.join(LOCK);
        let opened: Result<Vec<_>, _> = (0..files).map(|_| File::open(&lock)).collect();
        opened.map(drop).map_err(|error| {
            Problem::disk(&format!("open the {files} files that are needed in"), &self.path, &error)
        })
    }

    /// Refuses to go on where somebody moved or removed the directory: what is written now is lost, and
    /// another process could take its place.
    pub(crate) fn is_there(&self) -> Result<(), Problem> {
        let gone = |what: &str| {
            Problem::failure(format!(
                "the data directory {} is not what it was: {what}",
                self.path.display()
            ))
            .hint("what is written now would be lost; put it back, and start again")
        };
        let found = std::fs::metadata(self.path.join(LOCK))
            .map_err(|error| gone(&format!("its file {LOCK} is gone ({error})")))?;
        let ours = self.lock.metadata().map_err(|error| gone(&error.to_string()))?;
        if (found.dev(), found.ino()) != (ours.dev(), ours.ino()) {
            return Err(gone("another one is in its place"));
        }
        if !self.storage().is_dir() {
            return Err(gone("its storage is gone"));
        }
        Ok(())
    }

    /// Where the runtime keeps its storage.
    pub(crate) fn storage(&self) -> PathBuf {
        self.path.join("storage")
    }

    /// The runtime of a command that goes on until it is stopped.
    pub(crate) fn runtime(&self) -> tokio::Config {
        // One thread for the network, one for whatever waits for the disk.
        tokio::Config::new()
            .with_worker_threads(2)
            .with_catch_panics(true)
            .with_tcp_nodelay(Some(true))
            .with_storage_directory(self.storage())
    }
}

/// What is in `directory`.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Problem> {
    let read = std::fs::read_dir(directory);
    let paths = read.and_then(|read| read.map(|entry| Ok(entry?.path())).collect());
    paths.map_err(|error| Problem::disk("read", directory, &error))
}

/// Refuses a file that cannot be written to.
fn writable(path: &Path, create: bool) -> Result<(), Problem> {
    let opened =
        OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path);
    opened.map(drop).map_err(|error| Problem::disk("open", path, &error))
}

/// How long to wait for a directory with this note about its owner.
fn patience(owner: &str) -> Duration {
    if owner.contains(BRIEFLY) { GIVEN_BACK } else { GRACE }
}

/// Waits before there is a runtime, which needs the directory.
#[expect(clippy::disallowed_methods, reason = "no runtime has a clock yet")]
pub(crate) fn pause(wait: Duration) {
    thread::sleep(wait);
}

/// Locks `directory`, and notes who has it.
fn lock(directory: &Path, note: &str) -> Result<File, Refused> {
    let path = directory.join(LOCK);
    let refuse = |error: &dyn std::fmt::Display| {
        Problem::usage(format!("cannot lock the data directory {}: {error}", directory.display()))
            .hint("check that it is writable, or name another one with --data-dir")
    };
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| refuse(&error))?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(refuse(&error).into()),
            Err(TryLockError::WouldBlock) => {}
        }
        let owner = std::fs::read_to_string(&path).unwrap_or_default(); // Only for the message, and the wait.
        if waited >= patience(&owner) {
            let owner: String = owner.chars().filter(char::is_ascii_digit).collect();
            let problem = Problem::usage(format!(
                "the data directory {} is in use by another tidewatch (process {owner})",
                directory.display()
            ));
            return Err(Refused::InUse(
                problem.hint("stop that one, or name another directory with --data-dir"),
            ));
        }
        pause(LOOK);
        waited += LOOK;
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{} {note}", std::process::id()));
    written.map_err(|error| refuse(&error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_for_one_at_a_time() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).unwrap_err();
        assert!(refused.to_string().contains("in use by another tidewatch"), "{refused}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    /// An operator's question must not end a node that starts meanwhile.
    #[test]
    fn whoever_starts_while_a_question_is_answered_waits() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let note = || std::fs::read_to_string(path.join(LOCK)).unwrap();
        let question = DataDir::briefly(&path).unwrap();
        assert_eq!(patience(&note()), GIVEN_BACK);
        let starting = thread::spawn({
            let path = path.clone();
            move || DataDir::open(&path)
        });
        drop(question);
        let kept = starting.join().unwrap().unwrap();
        assert_eq!(patience(&note()), GRACE);
        assert!(matches!(DataDir::briefly(&path), Err(Refused::InUse(_))));
        drop(kept);
    }

    #[test]
    fn what_does_not_belong_there_or_cannot_be_opened_is_named() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let partition = path.join("storage/tidewatch-events_data");
        std::fs::create_dir_all(&partition).unwrap();
        std::fs::write(partition.join("00ff"), "").unwrap();
        drop(DataDir::open(&path).unwrap());
        let stray = partition.join("notes.txt");
        std::fs::write(&stray, "").unwrap();
        let refused = DataDir::open(&path).unwrap_err();
        assert!(refused.to_string().contains(stray.to_str().unwrap()), "{refused}");
        std::fs::remove_file(&stray).unwrap();
        std::fs::create_dir(partition.join("0a")).unwrap();
        let refused = DataDir::open(&path).unwrap_err();
        assert!(refused.to_string().contains("does not belong"), "{refused}");
        std::fs::remove_dir(partition.join("0a")).unwrap();
        std::fs::remove_file(path.join("storage/.hold")).unwrap();
        std::fs::create_dir(path.join("storage/.hold")).unwrap();
        let refused = DataDir::open(&path).unwrap_err();
        assert!(refused.to_string().contains("Is a directory"), "{refused}");
    }

    #[test]
    fn a_directory_that_was_moved_or_whose_lock_vanished_is_noticed() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let data = DataDir::open(&path).unwrap();
        data.is_there().unwrap();
        std::fs::rename(&path, outer.path().join("moved")).unwrap();
        assert!(data.is_there().is_err());
        let other = DataDir::open(&path).unwrap();
        let refused = data.is_there().unwrap_err();
        assert!(refused.to_string().contains("another one is in its place"), "{refused}");
        other.is_there().unwrap();
        std::fs::remove_file(path.join(LOCK)).unwrap();
        assert!(other.is_there().is_err());
    }

    #[test]
    fn a_temporary_directory_is_removed() {
        let data = DataDir::temporary().unwrap();
        let path = data.path.clone();
        assert!(path.exists());
        drop(data);
        assert!(!path.exists());
    }
}

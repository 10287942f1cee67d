//! The directory that a follower keeps its data in, for itself alone.

use super::Problem;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const LOCK: &str = "LOCK";

/// A data directory that is locked for this process. The lock ends with the process, however it ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
    /// Removed when dropped.
    _temporary: Option<TempDir>,
}

impl DataDir {
    /// Opens `path`, making it where it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        std::fs::create_dir_all(path).map_err(|error| {
            Problem::usage(format!("cannot make the data directory {}: {error}", path.display()))
                .hint("name another one with --data-dir")
        })?;
        Ok(Self { path: path.into(), _lock: lock(path)?, _temporary: None })
    }

    /// Makes one that is removed again.
    pub(crate) fn temporary() -> Result<Self, Problem> {
        let temporary =
            tempfile::Builder::new().prefix("tidewatch-").tempdir().map_err(|error| {
                Problem::failure(format!("cannot make a temporary data directory: {error}"))
                    .hint("name one with --data-dir")
            })?;
        let path = temporary.path().to_path_buf();
        Ok(Self { _lock: lock(&path)?, path, _temporary: Some(temporary) })
    }

    /// Where the runtime keeps its storage.
    pub(crate) fn storage(&self) -> PathBuf {
        self.path.join("storage")
    }
}

fn lock(directory: &Path) -> Result<File, Problem> {
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
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(refuse(&error)),
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner); // Only for the message.
            let owner: String = owner.trim().chars().filter(char::is_ascii_digit).collect();
            return Err(Problem::usage(format!(
                "the data directory {} is in use by another tidewatch (process {owner})",
                directory.display()
            ))
            .hint("stop that one, or name another directory with --data-dir"));
        }
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
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

    #[test]
    fn a_temporary_directory_is_removed() {
        let data = DataDir::temporary().unwrap();
        let path = data.path.clone();
        assert!(path.exists());
        drop(data);
        assert!(!path.exists());
    }
}

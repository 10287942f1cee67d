//! Why the command ends without success, in words that say what to do.

use std::{
    fmt,
    io::{Error as SystemError, ErrorKind},
    path::Path,
};
use tidewatch_core::{Fault, FaultKind, Severity};
use tidewatch_store::Error as StoreError;

/// A message for whoever typed the command, and how the process ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    code: u8,
}

impl Problem {
    /// Something that was typed cannot work.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 2 }
    }

    /// Something went wrong on the way.
    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1 }
    }

    /// No upstream could be asked: `server` is what should have answered.
    pub(crate) fn unreachable(refused: impl fmt::Display, server: &str) -> Self {
        let refused = refused.to_string();
        let trust = match refused.contains("https://") || refused.contains("wss://") {
            true => {
                "; who signed its certificate has to be trusted by this machine, or to stand in the \
                 file that SSL_CERT_FILE names"
            }
            false => "",
        };
        Self::failure(format!("cannot reach the source: {refused}"))
            .hint(format!("start the {server}, or check the address that it listens on{trust}"))
    }

    /// A server answered, and not so that it can be followed.
    pub(crate) fn unusable(refused: impl fmt::Display, server: &str) -> Self {
        Self::failure(format!("cannot follow the source: {refused}"))
            .hint(format!("check the address: no {server} of a chain that can be followed answers"))
    }

    /// The system refused something about `path`, which is in the data directory or is it.
    pub(crate) fn disk(doing: &str, path: &Path, error: &SystemError) -> Self {
        Self::failure(format!("cannot {doing} {}: {error}", path.display()))
            .hint(remedy(Some(error), path))
    }

    /// A fault that ended a follower which keeps its data in `data`.
    pub(crate) fn ended(fault: Fault, data: &Path) -> Self {
        if fault.severity() != Severity::Corrupt {
            let too_old = fault.kind == FaultKind::TooOld;
            let problem = Self::from(fault);
            return if too_old { problem.hint(START_AGAIN) } else { problem };
        }
        let message = format!("{fault}, in {}", data.display());
        if fault.kind == FaultKind::CorruptRecord {
            return Self::failure(message).hint(format!(
                "move {} aside and follow from genesis again, or restore it",
                data.display()
            ));
        }
        // Where the runtime keeps the system's words to itself, the directory may still show what is wrong.
        match fault.reason::<StoreError>().and_then(StoreError::system) {
            Some(error) => Self::failure(message).hint(remedy(Some(error), data)),
            None => match probe(data) {
                Err(error) => {
                    Self::failure(format!("{message}: {error}")).hint(remedy(Some(&error), data))
                }
                Ok(()) => Self::failure(message).hint(remedy(None, data)),
            },
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code.
    pub(crate) const fn code(&self) -> u8 {
        self.code
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let problem = Self::failure(fault.to_string());
        match fault.severity() {
            Severity::Config => Self { code: 2, ..problem },
            _ => problem,
        }
    }
}

/// What to do for a reader whose position leads nowhere.
const START_AGAIN: &str = "name another directory with --data-dir to follow from the start again";

/// Writes a page into `data`, as the store does.
fn probe(data: &Path) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix("probe-").tempfile_in(data)?;
    std::io::Write::write_all(&mut file, &[0; 4096])?;
    file.as_file().sync_all()
}

/// What helps against what the system said of `path`. Nothing of what was written before is lost.
fn remedy(error: Option<&SystemError>, path: &Path) -> String {
    let path = path.display();
    let first = match error.map(|error| (error.raw_os_error(), error.kind())) {
        // The same numbers on every system that this runs on: EIO, ENFILE, EMFILE.
        Some((Some(5), _)) => {
            format!("the disk that holds {path} fails: copy what is on it to another one")
        }
        Some((Some(23 | 24), _)) => {
            "raise the limit of open files (ulimit -n), or close other programs".into()
        }
        Some((_, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)) => {
            format!("make room on the disk that holds {path}")
        }
        Some((_, ErrorKind::FileTooLarge)) => {
            "raise the limit of the size of files (ulimit -f)".into()
        }
        Some((_, ErrorKind::PermissionDenied)) => format!("let this user read and write {path}"),
        Some((_, ErrorKind::ReadOnlyFilesystem)) => {
            format!("make the file system of {path} writable")
        }
        _ => format!("check that {path} is there, can be written to, and has room"),
    };
    format!("{first}, and start again: what was written before is whole")
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::Error as RuntimeError;
    use std::sync::Arc;
    use tidewatch_store::Part;

    fn of(error: RuntimeError) -> Fault {
        let error = StoreError::Storage { part: Part::Events, position: None, error: error.into() };
        Fault::new("store", error)
    }

    #[test]
    fn what_the_system_says_is_told_with_the_path_and_what_helps_and_nothing_is_thrown_away() {
        let data = Path::new("/data/of/mine");
        for (code, words, remedy) in [
            (28, "No space left", "make room on the disk that holds /data/of/mine"),
            (24, "Too many open files", "ulimit -n"),
            (23, "Too many open files", "ulimit -n"),
            (27, "File too large", "ulimit -f"),
            (5, "Input/output error", "the disk that holds /data/of/mine fails"),
            (13, "Permission denied", "let this user read and write /data/of/mine"),
            (30, "Read-only file system", "make the file system of /data/of/mine writable"),
        ] {
            let error = Arc::new(SystemError::from_raw_os_error(code));
            let synced = ("tidewatch-events_data".into(), "00".into());
            for error in [
                RuntimeError::Io(error.clone()),
                RuntimeError::BlobSyncFailed(synced.0, synced.1, error.clone()),
            ] {
                let problem = Problem::ended(of(error), data);
                let (text, hint) = (problem.to_string(), problem.hint.clone().unwrap_or_default());
                assert!(text.contains(words) && text.contains("/data/of/mine"), "{text}");
                assert!(hint.contains(remedy) && hint.contains("is whole"), "{hint}");
                assert!(!hint.contains("aside"), "{hint}");
                assert_eq!(problem.code, 1);
            }
        }
    }

    #[test]
    fn where_the_runtime_hides_the_words_of_the_system_the_directory_shows_them() {
        let problem = Problem::ended(of(RuntimeError::WriteFailed), Path::new("/not/there"));
        assert!(problem.to_string().contains("No such file or directory"), "{problem}");
        let whole = tempfile::tempdir().unwrap();
        let problem = Problem::ended(of(RuntimeError::WriteFailed), whole.path());
        let hint = problem.hint.unwrap();
        assert!(hint.contains("is whole"), "{hint}");
        assert_eq!(std::fs::read_dir(whole.path()).unwrap().count(), 0, "nothing is left there");
    }

    #[test]
    fn only_a_damaged_directory_is_to_be_moved_aside() {
        let problem = Problem::ended(of(RuntimeError::InvalidChecksum), Path::new("/data/of/mine"));
        let hint = problem.hint.unwrap();
        assert!(hint.contains("move /data/of/mine aside"), "{hint}");
    }

    #[test]
    fn a_reader_whose_blocks_are_gone_ends_the_command_as_a_matter_of_what_was_typed() {
        let fault = FaultKind::TooOld.fault("stdout", "start again from cursor AbC");
        let problem = Problem::ended(fault, Path::new("/data"));
        assert_eq!(problem.code, 2);
        assert!(problem.to_string().contains("AbC"), "{problem}");
        assert!(problem.hint.unwrap().contains("--data-dir"));
    }
}

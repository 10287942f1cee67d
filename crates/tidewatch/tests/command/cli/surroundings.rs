//! What the system refuses: room, descriptors, permission. The command says what it was, where, and what to
//! do, and what was written before is whole.
//!
//! Each refusal is the system's own. Where a machine lets a test not bring one about, the test says so on
//! standard error, and passes.

use super::{END, chain, following, following_for_people};
use crate::support::{indexer::indexer, run::Command};
use std::{
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{self, Stdio},
};

/// Standard error of a run that its surroundings ended.
fn ended_by(command: Command) -> String {
    let output = command.start().end(END);
    assert_eq!(output.code, Some(1), "{}", output.errors);
    assert!(!output.errors.contains("aside"), "the data is whole: {}", output.errors);
    assert!(!output.errors.contains("panicked"), "{}", output.errors);
    output.errors
}

/// In both formats, whichever actor meets the limit first.
#[test]
fn a_disk_that_takes_no_more_is_named_with_its_path_and_nothing_is_thrown_away() {
    let server = indexer(&chain(1_000, 3), 1_000);
    for json in [false, true] {
        let data = tempfile::tempdir().unwrap();
        let command = match json {
            true => following(&server, data.path()),
            false => following_for_people(&server, data.path()),
        };
        let errors = ended_by(command.limited("trap '' XFSZ; ulimit -f 100"));
        let named = ["File too large", data.path().to_str().unwrap(), "ulimit -f", "is whole"];
        for words in named {
            assert!(errors.contains(words), "{words:?} (json: {json}): {errors}");
        }
        // What it says is true.
        let command = following_for_people(&server, data.path()).with(["--until", "1000"]);
        let output = command.start().end(END);
        assert_eq!(output.code, Some(0), "{}", output.errors);
    }
}

#[test]
fn a_process_without_descriptors_is_told_so_and_nothing_is_thrown_away() {
    let server = indexer(&chain(20, 3), 20);
    for descriptors in [24, 32, 40] {
        let data = tempfile::tempdir().unwrap();
        let command = following_for_people(&server, data.path());
        let errors = ended_by(command.limited(&format!("ulimit -n {descriptors}")));
        for words in ["Too many open files", "ulimit -n"] {
            assert!(errors.contains(words), "{words:?} with {descriptors}: {errors}");
        }
    }
}

/// Wherever on the way it runs out of them: a partition that cannot be listed is not an empty one.
#[test]
fn a_restart_without_descriptors_loses_nothing() {
    let server = indexer(&chain(300, 3), 300);
    let data = tempfile::tempdir().unwrap();
    let follow = || following(&server, data.path()).with(["--until", "300"]);
    let output = follow().start().end(END);
    assert_eq!(output.code, Some(0), "{}", output.errors);
    let mut failed = 0;
    for descriptors in (8..200).step_by(6) {
        let output = follow().limited(&format!("ulimit -n {descriptors}")).start().end(END);
        assert!(!output.errors.contains("aside"), "{descriptors}: {}", output.errors);
        failed += u32::from(output.code != Some(0));
    }
    assert!(failed > 3, "some of them were too few");
    let output = follow().start().end(END);
    assert_eq!(output.code, Some(0), "{}", output.errors);
    let event = output.lines.iter().find(|line| line.contains("cursor"));
    assert_eq!(event, None, "everything was there, and had been printed");
}

/// A disk that is full, and has more room later.
const SMALL_DISK: &str = r#"
    mount -t tmpfs -o "size=$1" none "$0" || exit 77
    shift
    "$@"
    [ $? = 1 ] || exit 70
    echo "more room" >&2
    mount -o remount,size=64m "$0" && exec "$@"
"#;

#[test]
fn a_full_disk_is_named_and_with_more_room_everything_goes_on() {
    let mount = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt"];
    if let Err(reason) = can(&mount) {
        return skipped(&format!("no file system can be mounted here: {reason}"));
    }
    let server = indexer(&chain(1_000, 3), 1_000);
    for (json, size) in [(false, "16k"), (false, "128k"), (true, "256k")] {
        let data = tempfile::tempdir().unwrap();
        let command = match json {
            true => following(&server, data.path()),
            false => following_for_people(&server, data.path()),
        };
        let path = data.path().to_str().unwrap();
        let namespace = ["unshare", "--mount", "--map-root-user", "sh", "-c", SMALL_DISK];
        let command = command.with(["--until", "1000"]);
        let output = command.under(&[&namespace[..], &[path, size]].concat()).start().end(END);
        let errors = &output.errors;
        assert_eq!(output.code, Some(0), "with more room ({size}): {errors}");
        let (full, _) = errors.split_once("more room").unwrap();
        for words in ["No space left on device", path, "make room on the disk", "is whole"] {
            assert!(full.contains(words), "{words:?} (json: {json}, {size}): {errors}");
        }
        assert!(!full.contains("aside") && !full.contains("panicked"), "{size}: {errors}");
    }
}

#[test]
fn a_directory_that_this_user_may_not_write_to_is_named_and_nothing_is_thrown_away() {
    // Nothing is refused to root.
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let root = can(&["sh", "-c", "test $(id -u) = 0"]).is_ok();
    let user = if root { &nobody[..] } else { &["env"][..] };
    if let Err(reason) = can(&[user, &[env!("CARGO_BIN_EXE_tidewatch"), "--version"]].concat()) {
        return skipped(&format!("the command cannot be run as an ordinary user: {reason}"));
    }
    let server = indexer(&chain(20, 3), 20);
    let data = tempfile::tempdir().unwrap();
    let follow = || following_for_people(&server, data.path()).with(["--until", "20"]);
    let output = follow().start().end(END);
    assert_eq!(output.code, Some(0), "{}", output.errors);
    let path = data.path().to_str().unwrap();
    // Nothing in it, and everything but the file that two processes at once are told apart by.
    for (lock, code, advice) in [(0o444, 2, "writable"), (0o666, 1, "let this user read and write")]
    {
        permit(data.path(), 0o555, 0o444);
        permit(&data.path().join("LOCK"), 0o555, lock);
        let output = follow().under(user).start().end(END);
        permit(data.path(), 0o755, 0o644);
        let errors = &output.errors;
        assert_eq!(output.code, Some(code), "{errors}");
        for words in ["Permission denied", path, advice] {
            assert!(errors.contains(words), "{words:?}: {errors}");
        }
        assert!(!errors.contains("aside") && !errors.contains("panicked"), "{errors}");
    }
    let output = follow().start().end(END);
    assert_eq!(output.code, Some(0), "{}", output.errors);
}

/// Sets the permissions of a directory, and of all that is in it.
fn permit(path: &Path, directory: u32, file: u32) {
    let mode = if path.is_dir() { directory } else { file };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    if path.is_dir() {
        let inner = std::fs::read_dir(path).unwrap();
        inner.for_each(|entry| permit(&entry.unwrap().path(), directory, file));
    }
}

/// Whether a program runs here, and why not.
fn can(program: &[&str]) -> Result<(), String> {
    let mut command = process::Command::new(program[0]);
    let output = command.args(&program[1..]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", program[0]))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| errors.trim().to_owned())
}

/// Says it where it is seen: what a test prints is captured, what is written here is not.
fn skipped(reason: &str) {
    let thread = std::thread::current();
    let line = format!("\nSKIPPED {}: {reason}\n", thread.name().unwrap_or("a test"));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[test]
fn a_data_directory_that_is_moved_or_removed_ends_it() {
    let server = indexer(&chain(20, 3), 20);
    for removed in [false, true] {
        let outer = tempfile::tempdir().unwrap();
        let data = outer.path().join("data");
        let run = following_for_people(&server, &data).start();
        run.line_with("finalized 20");
        match removed {
            true => std::fs::remove_dir_all(&data).unwrap(),
            false => std::fs::rename(&data, outer.path().join("moved")).unwrap(),
        }
        let output = run.end(END);
        assert_eq!(output.code, Some(1), "{}", output.errors);
        let named = output.errors.contains(data.to_str().unwrap());
        assert!(named && output.errors.contains("LOCK"), "{}", output.errors);
    }
}

//! The Ethereum node that the tests reorg, installed by npm.
//!
//! `tests/anvil` pins the version, and the digest of what is downloaded, in a lock file. It is installed
//! once into a directory that cargo keeps for tests, and again when the lock file changes. Without npm
//! there is no node, and each test that needs one says so and ends. An installation that fails is a
//! failure of the test: npm is there, and something is wrong with it.

use std::{
    env::consts::{ARCH, OS},
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// What is installed, and what of it.
const FILES: [(&str, &str); 2] = [
    ("package.json", include_str!("../anvil/package.json")),
    ("package-lock.json", include_str!("../anvil/package-lock.json")),
];

/// Written when an installation is complete, with the lock file that it was made from.
const COMPLETE: &str = "installed";

/// An installation, or in words why there is none.
type Found = Result<PathBuf, String>;

/// The node's executable, installed below `directory` if it is not there yet: the test binary's
/// `CARGO_TARGET_TMPDIR`. `None`, after it was said that the test is skipped, where it cannot be had.
///
/// # Panics
///
/// If the installation fails.
pub fn anvil(directory: &str) -> Option<PathBuf> {
    // The first test of a process installs, the others wait for it: a failure is not repeated.
    static FOUND: OnceLock<Result<Found, String>> = OnceLock::new();
    match FOUND.get_or_init(|| find(Path::new(directory))) {
        Ok(Ok(executable)) => Some(executable.clone()),
        Ok(Err(reason)) => {
            skipped(reason);
            None
        }
        Err(failure) => panic!("anvil could not be installed: {failure}"),
    }
}

/// Says it where it is seen: what a test prints is captured, what is written here is not.
fn skipped(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("\nSKIPPED {test}: {reason}\n");
    io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}

/// The outer error is that of an installation, the inner one says why there can be none.
fn find(directory: &Path) -> Result<Found, String> {
    let Some(package) = package() else {
        return Ok(Err(format!("there is no anvil for {OS} on {ARCH}")));
    };
    let failed = |error: io::Error| format!("{}: {error}", directory.display());
    let directory = &directory.join("anvil");
    fs::create_dir_all(directory).map_err(failed)?;
    // Test binaries may run side by side.
    let lock = File::create(directory.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;

    let executable = directory.join("node_modules/@foundry-rs").join(package).join("bin/anvil");
    let complete = directory.join(COMPLETE);
    let [_, (_, wanted)] = FILES;
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
        return Ok(Ok(executable));
    }
    for (name, content) in FILES {
        fs::write(directory.join(name), content).map_err(failed)?;
    }
    match install(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Err("npm is not installed, so the Ethereum node anvil cannot be".into()));
        }
        Err(error) => return Err(format!("npm does not start: {error}")),
        Ok(Err(said)) => return Err(said),
        Ok(Ok(())) => {}
    }
    if !executable.is_file() {
        return Err(format!("npm did not bring {}", executable.display()));
    }
    fs::write(complete, wanted).map_err(failed)?;
    Ok(Ok(executable))
}

/// Installs what the lock file says. The inner error is what npm said.
fn install(directory: &Path) -> io::Result<Result<(), String>> {
    let mut npm = Command::new("npm");
    // The executable is in a package of its own: no script has to run to get it.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    let ended = npm.current_dir(directory).stdin(Stdio::null()).output()?;
    if ended.status.success() {
        return Ok(Ok(()));
    }
    let [out, err] = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into());
    let said: [String; 2] = [out, err];
    Ok(Err(format!("npm ci: {}\n{}", ended.status, said.join("\n"))))
}

/// The package that has the executable for this machine.
fn package() -> Option<String> {
    let os = match OS {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    let arch = match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        _ => return None,
    };
    Some(format!("anvil-{os}-{arch}"))
}

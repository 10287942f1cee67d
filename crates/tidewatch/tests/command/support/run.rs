//! Runs the command, reads what it prints, and holds it to its contract.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader, Read as _},
    process::{self, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};
use tempfile::TempDir;
use tidewatch_core::Cursor;

/// How long a test waits for one line: far beyond what it takes, on a loaded machine too.
const DEADLINE: Duration = Duration::from_secs(60);

/// The command with its arguments, in a directory of its own.
#[derive(Debug)]
pub(crate) struct Command {
    inner: process::Command,
    directory: TempDir,
    reading_until: Option<&'static str>,
}

impl Command {
    pub(crate) fn new(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut inner = process::Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        inner.args(args).current_dir(directory.path()).env_remove("RUST_LOG");
        Self { inner, directory, reading_until: None }
    }

    pub(crate) fn follow() -> Self {
        Self::new(&["follow"])
    }

    /// Adds arguments.
    pub(crate) fn with<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.inner.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Closes standard output after the first line that contains `words`.
    pub(crate) const fn reading_until(mut self, words: &'static str) -> Self {
        self.reading_until = Some(words);
        self
    }

    /// Runs it under limits of the shell, such as `ulimit -n 40`.
    pub(crate) fn limited(self, limits: &str) -> Self {
        self.under(&["sh", "-c", &format!("{limits}; exec \"$@\""), "sh"])
    }

    /// Runs it as the last arguments of another program.
    pub(crate) fn under(mut self, program: &[&str]) -> Self {
        let mut outer = process::Command::new(program[0]);
        outer.args(&program[1..]).arg(self.inner.get_program()).args(self.inner.get_args());
        outer.current_dir(self.directory.path()).env_remove("RUST_LOG");
        self.inner = outer;
        self
    }

    pub(crate) fn start(mut self) -> Run {
        let piped = self.inner.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (line, lines) = channel();
        let until = self.reading_until;
        thread::spawn(move || read(BufReader::new(stdout), &line, until));
        let (error, errors) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            let _ = error.send(text);
        });
        let pid = child.id();
        let (ended, end) = channel();
        thread::spawn(move || ended.send(child.wait().unwrap().code()));
        Run { pid, lines, errors, end, over: false, _directory: self.directory }
    }
}

/// Sends lines on until the pipe ends, or until one contains `last`.
fn read(out: impl BufRead, lines: &Sender<String>, last: Option<&str>) {
    for line in out.lines().map_while(Result::ok) {
        let last = last.is_some_and(|words| line.contains(words));
        let _ = lines.send(line); // The test may have looked at enough of them.
        if last {
            return;
        }
    }
}

/// How long a run may take that has an end of its own, or was told to end: one that hangs fails, one on a
/// busy machine does not.
pub(crate) const END: Duration = Duration::from_secs(60);

/// A running command.
#[derive(Debug)]
pub(crate) struct Run {
    pid: u32,
    lines: Receiver<String>,
    errors: Receiver<String>,
    end: Receiver<Option<i32>>,
    over: bool,
    _directory: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code, if no signal ended it.
    pub(crate) code: Option<i32>,
    /// Lines of standard output that were not looked at before.
    pub(crate) lines: Vec<String>,
    /// Standard error.
    pub(crate) errors: String,
}

impl Output {
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

impl Run {
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line. There is none if the command was silent for `limit`, or has ended.
    pub(crate) fn line(&self, limit: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(limit)
    }

    /// The next line that contains `words`.
    pub(crate) fn line_with(&self, words: &str) -> String {
        loop {
            let line = self.line(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("no line with {words:?}: {error}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Folds lines up to the first one that is `last`.
    pub(crate) fn until(&self, fold: &mut Fold, last: impl Fn(&str) -> bool) {
        loop {
            let line = self.line(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("{error} after {fold:?}"));
            fold.line(&line);
            if last(&line) {
                return;
            }
        }
    }

    /// Waits for the end, which must come within `limit` and be a success.
    #[track_caller]
    pub(crate) fn ends_well(self, limit: Duration) -> Output {
        let output = self.end(limit);
        assert_eq!(output.code, Some(0), "{output:?}");
        output
    }

    /// Waits for the end, which must come within `limit`.
    pub(crate) fn end(mut self, limit: Duration) -> Output {
        let code = self.end.recv_timeout(limit);
        let code = code.unwrap_or_else(|_| panic!("did not end within {limit:?}"));
        self.over = true;
        let lines = self.lines.iter().collect();
        Output { code, lines, errors: self.errors.recv_timeout(DEADLINE).unwrap() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.over {
            signal(self, "KILL");
        }
    }
}

/// Sends a signal by its name.
pub(crate) fn signal(run: &Run, name: &str) {
    let mut kill = process::Command::new("kill");
    let _ = kill.arg(format!("-{name}")).arg(run.pid.to_string()).stderr(Stdio::null()).status();
}

/// Whether a line says that `height`, or more, is final.
pub(crate) fn finalizes(height: u64) -> impl Fn(&str) -> bool {
    move |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["event"] == "advanced"
            && line["tier"] == "finalized"
            && line["block"]["height"].as_u64() >= Some(height)
    }
}

/// Folds lines as the contract says that they can be, across any number of processes.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    /// Events handled, by the cursor.
    pub(crate) handled: u64,
    /// The highest block that was delivered.
    pub(crate) delivered: Option<u64>,
    tips: BTreeMap<String, u64>,
    /// The first height that was delivered.
    pub(crate) first: Option<u64>,
    /// Lines that had come before.
    pub(crate) repeated: u64,
    /// States, in order.
    pub(crate) states: Vec<String>,
    /// Whether proposed blocks may be given up by the chain: that of live validators may, on a slow disk.
    pub(crate) reorgs: bool,
}

impl Fold {
    pub(crate) fn finalized(&self) -> u64 {
        self.tips.get("finalized").copied().unwrap_or_default()
    }

    /// Takes one line in, and checks it against the contract.
    pub(crate) fn line(&mut self, line: &str) {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        check_fields(&value);
        match value["event"].as_str().unwrap() {
            "fault" | "proving" => {}
            "status" => self.states.push(value["state"].as_str().unwrap().into()),
            event => self.event(event, &value),
        }
    }

    fn event(&mut self, event: &str, value: &Value) {
        let cursor: Cursor = value["cursor"].as_str().unwrap().parse().unwrap();
        if cursor.handled() <= self.handled {
            self.repeated += 1;
            return;
        }
        assert_eq!(cursor.handled(), self.handled + 1, "a line is missing before {value}");
        self.handled += 1;
        match event {
            "blocks" => self.blocks(value),
            "advanced" => self.advanced(value),
            "pruned" if self.reorgs => self.pruned(value),
            _ => panic!("this chain has no reorg: {value}"),
        }
    }

    fn blocks(&mut self, value: &Value) {
        let (from, to) = (height(&value["from"]), height(&value["to"]));
        assert_eq!(value["count"].as_u64(), Some(to - from + 1), "{value}");
        if let Some(delivered) = self.delivered {
            assert_eq!(from, delivered + 1, "{value}");
        }
        self.first.get_or_insert(from);
        self.delivered = Some(to);
    }

    fn pruned(&mut self, value: &Value) {
        let to = height(&value["to"]);
        assert!(to >= self.finalized(), "final blocks are pruned: {value}");
        assert!(self.delivered.is_some_and(|delivered| to < delivered), "{value}");
        self.delivered = Some(to);
        self.tips.values_mut().for_each(|at| *at = to.min(*at));
    }

    fn advanced(&mut self, value: &Value) {
        let (tier, at) = (value["tier"].as_str().unwrap(), height(&value["block"]));
        assert!(at <= self.delivered.unwrap_or_default(), "announced before delivery: {value}");
        let before = self.tips.insert(tier.into(), at);
        assert!(before.is_none_or(|before| before < at), "{tier} moved back: {value}");
        let proposed = self.tips.get("proposed").copied().unwrap_or_default();
        assert!(self.finalized() <= proposed, "the ladder is broken: {value}");
    }
}

fn height(block: &Value) -> u64 {
    let digest = block["digest"].as_str().unwrap();
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{block}");
    assert_eq!(block.as_object().unwrap().len(), 2, "{block}");
    block["height"].as_u64().unwrap()
}

/// Exactly the fields of the contract, each of its kind.
fn check_fields(value: &Value) {
    let fields = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    let names: Vec<_> = fields.keys().map(String::as_str).collect();
    let event = value["event"].as_str().unwrap_or_else(|| panic!("no event: {value}"));
    let expected: &[&str] = match event {
        "blocks" => &["count", "cursor", "event", "from", "to"],
        "advanced" | "regressed" => &["block", "checkpoint", "cursor", "event", "tier"],
        "pruned" => &["cursor", "depth", "event", "tips", "to"],
        "fault" => &["detail", "event", "kind", "source"],
        "status" if value["cause"].is_string() => {
            &["cause", "event", "lag", "source_height", "state"]
        }
        "status" => &["event", "lag", "source_height", "state"],
        "proving" => &[
            "committed",
            "event",
            "lag",
            "lag_ms",
            "pending",
            "per_minute",
            "poisoned",
            "proven",
            "running",
            "stalled",
            "waiting",
        ],
        _ => panic!("not in the contract: {value}"),
    };
    let verification = &value["verification"];
    if event == "status" && verification.is_object() {
        let mut names: Vec<_> = verification.as_object().unwrap().keys().collect();
        names.sort_unstable();
        assert_eq!(names, ["age_ms", "anchor", "contiguous", "epoch", "seen", "verified"]);
    }
    let optional = |name: &&str| {
        let optional = [("status", "verification"), ("proving", "cause")];
        !optional.contains(&(event, *name))
    };
    let names: Vec<_> = names.into_iter().filter(optional).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "{value}");
    match event {
        "advanced" => {
            let tiers = ["proposed", "checkpointed", "proven", "finalized"];
            assert!(tiers.contains(&value["tier"].as_str().unwrap()), "{value}");
            let checkpoint = &value["checkpoint"];
            let named = checkpoint["number"].is_u64() && checkpoint["digest"].is_string();
            assert!(checkpoint.is_null() || named, "{value}");
        }
        "proving" => {
            let (proven, committed) = (height(&value["proven"]), height(&value["committed"]));
            assert_eq!(value["lag"].as_u64(), Some(committed - proven), "{value}");
            let counts = ["lag_ms", "pending", "running", "waiting", "poisoned", "per_minute"];
            assert!(counts.iter().all(|name| value[name].is_u64()), "{value}");
            assert!(value["stalled"].is_boolean(), "{value}");
        }
        "fault" => {
            assert!(["kind", "source", "detail"].iter().all(|name| value[name].is_string()));
        }
        "status" => {
            let states = ["catching_up", "live", "lagging", "stale", "blind", "conflicted"];
            assert!(states.contains(&value["state"].as_str().unwrap()), "{value}");
            assert!(value["lag"].is_u64(), "{value}");
            assert!(value["source_height"].is_u64() || value["source_height"].is_null(), "{value}");
        }
        _ => {}
    }
}

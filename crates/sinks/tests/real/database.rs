//! A real Postgres server, from the packages of the system.
//!
//! It listens at a socket in a directory of its own alone, and ends with the test. Where there is none, each test that
//! needs one says so and ends.

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// Runs the server until standard input closes: a test that is killed leaves none behind.
const SHELL: &str = r#"exec 3<&0 >/dev/null; "$@" & it=$!; (cat <&3; kill -QUIT $it) & wait $it"#;

/// A server: killed with all of its processes when it is dropped.
pub(crate) struct Postgres {
    programs: PathBuf,
    directory: TempDir,
    /// Whom it runs as: it refuses to run as root.
    user: Option<u32>,
    /// Names its socket, and is where it listens if it is told to.
    port: u16,
    process: Option<Child>,
}

/// Where `initdb` and `postgres` are.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = env::split_paths(&path).collect();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        places.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    places
        .into_iter()
        .find(|place| place.join("initdb").exists() && place.join("postgres").exists())
}

fn number_of(user: &str) -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.starts_with(&format!("{user}:")))?;
    line.split(':').nth(2)?.parse().ok()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

impl Postgres {
    /// Starts one with an empty database `chain`. `None`, after it was said that the test is skipped, where there is
    /// no Postgres.
    pub(crate) async fn start() -> Option<Self> {
        let user = is_root().then(|| number_of("postgres").unwrap_or(65_534));
        let Some(programs) = programs() else {
            skipped("Postgres is missing: apt-get install postgresql");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("tide-pg-").tempdir().unwrap();
        if let Some(user) = user {
            chown(directory.path(), Some(user), None).unwrap();
        }
        let mut server = Self { programs, directory, user, port: 5432, process: None };
        let made = server
            .command(server.programs.join("initdb").to_str().unwrap())
            .args(["--auth=trust", "--username=tide", "--encoding=UTF8", "--no-locale", "--pgdata"])
            .arg(server.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.run(&[]).await;
        server.client_of("postgres").await.batch_execute("create database chain").await.unwrap();
        Some(server)
    }

    /// Starts it again: over TLS alone it listens at a port of this machine, which is returned.
    #[allow(dead_code, reason = "not every test asks it over TLS")]
    pub(crate) async fn run_over_tls(&mut self, write: impl Fn(&Path) -> [PathBuf; 2]) -> u16 {
        self.kill();
        let files = write(self.directory.path());
        let mut options = vec!["ssl=on".to_owned(), "listen_addresses=127.0.0.1".to_owned()];
        for (name, path) in ["ssl_cert_file", "ssl_key_file"].iter().zip(&files) {
            if let Some(user) = self.user {
                chown(path, Some(user), None).unwrap();
            }
            options.push(format!("{name}={}", path.display()));
        }
        let who = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
        fs::write(self.data().join("pg_hba.conf"), who).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        self.port = free.local_addr().unwrap().port();
        drop(free);
        options.push(format!("port={}", self.port));
        let options: Vec<_> = options.iter().flat_map(|option| ["-c", option]).collect();
        self.run(&options).await;
        self.port
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Starts it, on the data of the one before, and waits until it answers.
    pub(crate) async fn run(&mut self, options: &[&str]) {
        assert!(self.process.is_none());
        let log = self.directory.path().join("log");
        let said = || fs::read_to_string(&log).unwrap();
        for _ in 0..3_000 {
            if self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some()) {
                // The processes of one that was killed may hold its data for a moment.
                self.process = Some(self.spawn(options, &log));
            }
            if self.try_client("postgres").await.is_some() {
                return;
            }
            pause();
        }
        panic!("{}", said());
    }

    fn spawn(&self, options: &[&str], log: &Path) -> Child {
        let postgres = self.programs.join("postgres");
        let mut command = self.command("sh");
        command.args(["-c", SHELL, "sh"]).arg(postgres).arg("-D").arg(self.data());
        command.args(["-k", self.socket().to_str().unwrap(), "-c", "listen_addresses="]);
        command.args(["-c", "max_connections=20", "-c", "shared_buffers=16MB"]).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(log).unwrap());
        // A group of its own is killed as one.
        command.process_group(0).spawn().unwrap()
    }

    /// `kill -9` of all of its processes.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Each process that serves a connection leads a group of its own, and outlives the first one by as long as
            // it takes to notice: what it is told meanwhile it commits.
            let group = format!("-{}", process.id());
            let _ = Command::new("kill")
                .args(["-KILL", "--", &group])
                .args(self.children())
                .stderr(Stdio::null())
                .status();
            let _ = process.wait();
        }
    }

    /// The processes that the server started.
    fn children(&self) -> Vec<String> {
        let first = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let first = first.lines().next().unwrap();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
        children.split_whitespace().map(str::to_owned).collect()
    }

    fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// The address of the database, for the command.
    pub(crate) fn url(&self) -> String {
        format!("postgres://tide@/chain?host={}", self.socket().display())
    }

    /// A connection to the database.
    pub(crate) async fn client(&self) -> Client {
        self.client_of("chain").await
    }

    async fn client_of(&self, database: &str) -> Client {
        self.try_client(database).await.unwrap()
    }

    async fn try_client(&self, database: &str) -> Option<Client> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.socket()).port(self.port).user("tide").dbname(database);
        let (client, connection) = config.connect(NoTls).await.ok()?;
        #[allow(clippy::disallowed_methods, reason = "a test's own connection")]
        tokio::spawn(connection);
        Some(client)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            let _ = process.wait();
        }
    }
}

/// Between two looks at a process that starts.
#[allow(clippy::disallowed_methods, reason = "a process is waited for, with a deadline")]
pub(crate) fn pause() {
    thread::sleep(std::time::Duration::from_millis(20));
}

/// Says that a test is skipped, where its output is captured too.
fn skipped(reason: &str) {
    let thread = thread::current();
    let line = format!("\nSKIPPED {}: {reason}\n", thread.name().unwrap_or("a test"));
    let _ = io::stderr().write_all(line.as_bytes());
}

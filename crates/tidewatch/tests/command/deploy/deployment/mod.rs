//! What `deploy/` describes, read, and put where a test can start it.

pub(crate) mod image;
pub(crate) mod services;
pub(crate) mod unit;

use crate::support::run::Command;
use std::{
    fs,
    path::{Path, PathBuf},
    process,
};
use tempfile::TempDir;

/// The text of a file of `deploy/`.
pub(crate) fn text(name: &str) -> String {
    let path = repository().join("deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Where the test has the hosts of a description: an address on the loopback and a directory for each, so that every port
/// stays the one that the description says.
pub(crate) struct Place {
    directory: TempDir,
    hosts: Vec<String>,
    prefix: String,
}

impl Place {
    /// `number` is another one for each test of a process.
    pub(crate) fn new(number: u8, hosts: &[&str]) -> Self {
        let id = process::id();
        let prefix = format!("127.{}.{}.{number}", 64 + (id >> 8) % 128, id % 256);
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Self { directory: tempfile::tempdir().unwrap(), hosts, prefix }
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: &str) -> String {
        let number = self.hosts.iter().position(|of| of == host).expect("a host of the test");
        format!("{}{number}", self.prefix)
    }

    /// A directory of a host, which may not be there yet.
    pub(crate) fn path(&self, host: &str, name: &str) -> PathBuf {
        let directory = self.directory.path().join(host);
        fs::create_dir_all(&directory).unwrap();
        directory.join(name)
    }

    /// `text` of a description as it is here: the one place where anything is replaced. `paths` are those of the
    /// description, and what stands for them.
    pub(crate) fn put(&self, host: &str, paths: &[(String, PathBuf)], text: &str) -> String {
        let own = self.address(host);
        let mut text = text.replace("0.0.0.0", &own).replace("127.0.0.1", &own);
        for other in &self.hosts {
            text = text.replace(&format!("//{other}:"), &format!("//{}:", self.address(other)));
        }
        for (path, here) in paths {
            text = text.replace(path, here.to_str().unwrap());
        }
        text
    }
}

/// The command, with `words` for arguments.
pub(crate) fn command(words: &[String]) -> Command {
    Command::new(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The configuration that `deploy/` has, with `node` in place of its example nodes.
pub(crate) fn configuration(node: &str) -> String {
    let configuration = text("tidewatch.toml");
    let mut followed = configuration.clone();
    for example in ["node-a.example:8545", "node-b.example:8545"] {
        followed = followed.replace(example, node);
    }
    assert!(!followed.contains("example:"), "another node than that of the test: {followed}");
    assert_ne!(followed, configuration);
    followed
}

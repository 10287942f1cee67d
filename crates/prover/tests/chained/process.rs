//! This program again, as a process that is killed.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::Sender,
};

/// A test of this program as a process, killed and started again; its lines go to `lines`.
pub(crate) struct Process {
    test: &'static str,
    environment: Vec<(&'static str, String)>,
    lines: Sender<String>,
    child: Child,
    pub(crate) kills: usize,
}

impl Process {
    pub(crate) fn new(
        test: &'static str,
        environment: Vec<(&'static str, String)>,
        lines: Sender<String>,
    ) -> Self {
        let child = Self::start(test, &environment, &lines);
        Self { test, environment, lines, child, kills: 0 }
    }

    fn start(test: &str, environment: &[(&'static str, String)], lines: &Sender<String>) -> Child {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .envs(environment.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (out, lines) = (child.stdout.take().unwrap(), lines.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        child
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.kills += 1;
        self.child = Self::start(self.test, &self.environment, &self.lines);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

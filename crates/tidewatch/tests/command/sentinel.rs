//! `tidewatch sentinel` over real validators: one is stopped and comes back, one votes twice, and both are named, and
//! nobody else.
//!
//! The short form runs with the others. The long one, with both at once among seven validators:
//! `cargo test -p tidewatch --test command sentinel:: -- --ignored --nocapture`.

use crate::support::run::{Command, Output};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path, time::Duration};

const END: Duration = Duration::from_secs(300);

/// What a run said.
struct Said(Vec<Value>);

impl Said {
    fn by(source: &str, until: u64, data: &Path) -> Self {
        let ended = Command::new(&["sentinel", "--format", "json", "--source", source])
            .with(["--until-epoch", &until.to_string(), "--data-dir", data.to_str().unwrap()])
            .start()
            .end(END);
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        Self(ended.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn events<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |line| line["event"] == event)
    }

    /// Who was inactive in an epoch.
    fn inactive(&self, epoch: u64) -> BTreeSet<&str> {
        let verdicts = self.events("inactive").filter(|line| line["epoch"] == epoch);
        let rows = verdicts.flat_map(|line| line["validators"].as_array().unwrap());
        rows.map(|row| row["validator"].as_str().unwrap()).collect()
    }

    fn contradicted(&self) -> BTreeSet<&str> {
        self.events("contradicted").map(|line| line["validator"].as_str().unwrap()).collect()
    }

    /// The fingerprint of the committee of an epoch.
    fn committee(&self, epoch: u64) -> &str {
        let mut told = self.events("committee").filter(|line| line["epoch"] == epoch);
        told.next().unwrap()["committee"].as_str().unwrap()
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(args).start().end(Duration::from_secs(60))
}

/// Each file of evidence verifies elsewhere under the committee that was printed for its epoch, and against `validator`.
fn verifies(said: &Said, data: &Path, validator: &str) -> usize {
    let mut files = 0;
    for file in std::fs::read_dir(data.join("evidence")).unwrap() {
        let path = file.unwrap().path();
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        let copy = copy.to_str().unwrap();
        let seen = run(&["verify-evidence", copy, "--format", "json"]);
        let seen: Value = serde_json::from_str(&seen.text()).unwrap();
        assert_eq!(seen["validator"], validator);
        let committee = said.committee(seen["epoch"].as_u64().unwrap());
        let pinned = run(&["verify-evidence", copy, "--committee", committee]);
        assert_eq!(pinned.code, Some(0), "{pinned:?}");
        assert!(pinned.text().contains("the one that is trusted"), "{pinned:?}");
        files += 1;
    }
    files
}

#[test]
fn one_who_is_stopped_for_two_epochs_is_inactive_in_them_and_nobody_else_is_ever() {
    let data = tempfile::tempdir().unwrap();
    let source = "devnet:?block_ms=50&epoch_length=16&stop=3@2-4";
    let said = Said::by(source, 4, data.path());
    let stopped = said.inactive(2);
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    assert_eq!(said.inactive(3), stopped);
    // It comes back somewhere in epoch 4; that it was there is seen before the next epoch has begun.
    assert!(said.inactive(1).is_empty());
    assert!(said.inactive(4).is_subset(&stopped));
    assert!(said.contradicted().is_empty());
    assert_eq!(
        said.events("withdrawn").count(),
        0,
        "nothing is withdrawn on a chain that is final"
    );

    // The same from the data directory, in each form.
    let data = data.path().to_str().unwrap();
    let name = *stopped.first().unwrap();
    for (format, words) in [("table", "inactive"), ("csv", ",true"), ("json", "\"inactive\":true")]
    {
        let args = ["sentinel", "report", "--epoch", "2", "--data-dir", data, "--format", format];
        let report = run(&args);
        assert_eq!(report.code, Some(0), "{report:?}");
        let text = report.text();
        assert!(text.contains(name) && text.contains(words), "{format}: {text}");
        assert_eq!(text.matches(words).count(), 1, "{format}: {text}");
    }
    let unknown = run(&["sentinel", "report", "--epoch", "99", "--data-dir", data]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.errors.contains("epoch 99 is not recorded"), "{}", unknown.errors);
}

#[test]
fn one_who_votes_twice_is_named_alone_and_the_evidence_verifies_elsewhere() {
    let data = tempfile::tempdir().unwrap();
    let said = Said::by("devnet:?block_ms=50&epoch_length=16&twice=2@1", 1, data.path());
    let twice = said.contradicted();
    assert_eq!(twice.len(), 1, "{twice:?}");
    assert!(verifies(&said, data.path(), twice.first().unwrap()) >= 1);
    // Its peers block it for that, so it may be inactive afterwards. Nobody else is.
    assert!(said.inactive(1).is_subset(&twice));
}

#[test]
#[ignore = "minutes: seven validators over six epochs"]
fn among_seven_one_is_stopped_and_comes_back_and_one_votes_twice() {
    let data = tempfile::tempdir().unwrap();
    let source = "devnet:?validators=7&block_ms=100&epoch_length=28&stop=3@2-4&twice=5@2";
    let said = Said::by(source, 6, data.path());
    let twice = said.contradicted();
    assert_eq!(twice.len(), 1, "{twice:?}");
    let both = said.inactive(3);
    assert_eq!(both.len(), 2, "the stopped one, and the one that its peers blocked: {both:?}");
    assert!(twice.is_subset(&both));
    let stopped: BTreeSet<_> = both.difference(&twice).copied().collect();
    assert!(stopped.is_subset(&said.inactive(2)));
    for epoch in 1..=6 {
        assert!(said.inactive(epoch).is_subset(&both), "epoch {epoch}");
    }
    assert!(said.inactive(6).is_disjoint(&stopped), "it came back");
    assert!(verifies(&said, data.path(), twice.first().unwrap()) >= 1);
}

#[test]
fn a_source_that_names_nobody_is_refused_with_what_to_do() {
    for (source, words) in [
        ("alto+http://127.0.0.1:1?mode=standard", "watch from inside of a validator"),
        ("aztec+http://127.0.0.1:1", "--l1"),
        ("devnet:?stop=0@1-2", "validator 0 watches"),
        ("devnet:?validators=2", "validators"),
    ] {
        let ended = run(&["sentinel", "--source", source]);
        assert_eq!(ended.code, Some(2), "{source}: {}", ended.errors);
        assert!(ended.errors.contains(words), "{source}: {}", ended.errors);
    }
    let none = run(&["sentinel", "report", "--epoch", "1", "--data-dir", "."]);
    assert_eq!(none.code, Some(2));
    assert!(none.errors.contains("is no data directory of a sentinel"), "{}", none.errors);
}

#[test]
fn it_answers_for_an_epoch_while_it_runs_and_ends_when_it_is_told_to() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let args = ["sentinel", "--format", "json", "--data-dir", data, "--source"];
    let running = Command::new(&args).with(["devnet:?block_ms=50&epoch_length=16"]).start();
    let epoch = running.line_with("\"event\":\"epoch\"");
    let number = serde_json::from_str::<Value>(&epoch).unwrap()["epoch"].to_string();
    let report = ["sentinel", "report", "--data-dir", data, "--format", "json", "--epoch"];
    let answered = Command::new(&report).with([number.as_str()]).start().end(END);
    assert_eq!((answered.code, answered.text().trim()), (Some(0), epoch.trim()));
    let unknown = Command::new(&report).with(["99"]).start().end(END);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.errors.contains("epoch 99 is not recorded"), "{}", unknown.errors);
    crate::support::run::signal(&running, "TERM");
    let ended = running.end(Duration::from_secs(30));
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
}

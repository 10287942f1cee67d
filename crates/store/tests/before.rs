//! Cursors and JSON lines are a public contract: the store resumes the cursors that the version before
//! gave out, and prints the lines that it printed. `tests/fixtures/before` holds what that version wrote.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

#[path = "../../../tests/fixtures/before/script.rs"]
mod script;

use commonware_runtime::{Runner as _, Supervisor as _, deterministic, tokio};
use commonware_utils::NZUsize;
use script::{Commit, Player, ScriptBlock};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tidewatch_core::{
    Cursor, Event, EventLog as _, FaultKind, History as _, LocalView as _, Locator, Record, Resume,
    ResumeError, Tier, json::Line,
};
use tidewatch_store::{Config, Reader, Store, Writer};

type Context = deterministic::Context;

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/before")).join(name)
}

fn lines_of(name: &str) -> Vec<String> {
    std::fs::read_to_string(fixture(name)).unwrap().lines().map(Into::into).collect()
}

fn line(record: &Record) -> String {
    serde_json::to_string(&Line::event(&record.event, &record.cursor)).unwrap()
}

/// The cursor of a line, and the line without it.
fn split(line: &str) -> (Cursor, String) {
    let fields: Value = serde_json::from_str(line).unwrap();
    let text = fields["cursor"].as_str().unwrap();
    (text.parse().unwrap(), line.replace(text, ""))
}

fn assert_lines(now: &[String], name: &str) {
    let before = lines_of(name);
    for (number, (now, before)) in now.iter().zip(&before).enumerate() {
        assert_eq!(now, before, "line {} of {name}", number + 1);
    }
    assert_eq!(now.len(), before.len(), "lines of {name}");
}

/// A store that replays a script, and its consumer.
struct Replay {
    writer: Writer<Context, ScriptBlock>,
    reader: Reader<Context, ScriptBlock>,
    player: Player,
    /// What a consumer that keeps up was given: each record right after its commit.
    kept_up: Vec<Record>,
}

impl Replay {
    async fn new(context: &Context, partition: &str) -> Self {
        let config = Config { partition: partition.into(), ..Config::new(script::chain(), ()) };
        let context = context.child("store").with_attribute("partition", partition);
        let (writer, reader) = Store::open(context, config).await.unwrap();
        Self { writer, reader, player: Player::new(), kept_up: Vec::new() }
    }

    async fn of(context: &Context, partition: &str, commits: &[Commit]) -> Self {
        let mut replay = Self::new(context, partition).await;
        for commit in commits {
            let changes = commit.iter().map(|step| replay.player.change(step)).collect();
            replay.writer.commit(changes).await.unwrap();
            let records = replay.records(replay.kept_up.len() as u64).await;
            replay.kept_up.extend(records);
        }
        replay
    }

    async fn records(&self, from: u64) -> Vec<Record> {
        self.reader.read(from, NZUsize!(1024)).await.unwrap()
    }

    /// How every `nth` cursor of the fixture `name` is resumed, one answer a line.
    async fn answers(&self, name: &str, nth: usize) -> Vec<String> {
        let mut answers = Vec::new();
        for line in lines_of(name).iter().step_by(nth) {
            answers.push(answer(self.reader.resume(&split(line).0).await));
        }
        answers
    }

    async fn still_on_chain(&self, locators: &[Locator]) -> Vec<Locator> {
        let heights: Vec<_> = locators.iter().map(|locator| locator.height).collect();
        let known = self.reader.locate(&heights).await.unwrap();
        let is_known = |locator: &Locator| known.iter().flatten().any(|block| locator.is(block));
        locators.iter().copied().filter(is_known).collect()
    }
}

fn answer(resumed: Result<Resume, ResumeError>) -> String {
    match resumed {
        Ok(Resume::Exact { next }) => format!(r#"{{"exact":{next}}}"#),
        Ok(Resume::Forked { ancestor, bridge, next }) => {
            let bridge: Vec<_> = bridge.iter().map(line).collect();
            let bridge = bridge.join(",");
            format!(r#"{{"ancestor":"{ancestor}","bridge":[{bridge}],"next":{next}}}"#)
        }
        Err(ResumeError::Ahead { theirs, ours }) => {
            let (theirs, ours) = (theirs.unwrap(), ours.unwrap());
            format!(r#"{{"ahead":"{theirs}","ours":"{ours}"}}"#)
        }
        Err(error) => panic!("{error}"),
    }
}

fn histories() -> [(Vec<Commit>, &'static str); 3] {
    [
        (script::history(), "history.jsonl"),
        (script::tips_only(), "tips_only.jsonl"),
        (script::short(), "directory/events.jsonl"),
    ]
}

#[test]
fn a_consumer_that_keeps_up_gets_the_lines_of_the_version_before() {
    for (commits, name) in histories() {
        deterministic::Runner::default().start(|context| async move {
            let replay = Replay::of(&context, "tidewatch", &commits).await;
            let now: Vec<_> = replay.kept_up.iter().map(line).collect();
            assert_lines(&now, name);
        });
    }
}

/// The version before stored each record with its cursor. Now the cursor is made when the record is read,
/// from the chain that is there then: locators of blocks that were pruned or pruned to, or dropped with an
/// earlier run, are missing from it. That makes an ancestor lie deeper, never wrong; the position is the same.
#[test]
fn a_history_read_later_has_the_same_lines_with_the_locators_that_are_still_on_the_chain() {
    let (all, before) = (script::history(), &lines_of("history.jsonl"));
    // With the gap, which drops every earlier block, and without it.
    for (commits, expect_some) in [(&all[..], false), (&all[..all.len() - 2], true)] {
        deterministic::Runner::default().start(|context| async move {
            let replay = Replay::of(&context, "tidewatch", commits).await;
            let now = replay.records(0).await;
            assert_eq!(now.len(), commits.concat().len());
            let pruned = |record: &Record| matches!(record.event, Event::Pruned { .. });
            let last_prune = now.iter().rposition(pruned).unwrap();
            let (mut with_fewer, mut with_some) = (0, 0);
            let targets: Vec<_> = now
                .iter()
                .map(|record| match record.event {
                    Event::Pruned { to, .. } => Some(to.height),
                    _ => None,
                })
                .collect();
            for (number, (now, before)) in now.iter().zip(before).enumerate() {
                if number >= last_prune {
                    assert_eq!(line(now), *before, "line {}", number + 1);
                    continue;
                }
                let (was, rest) = split(before);
                assert_eq!(split(&line(now)).1, rest, "line {}", number + 1);
                assert_same_position(&now.cursor, &was);
                // The target of a later prune may be a block of the other chain.
                let lowest = targets[number + 1..].iter().flatten().min();
                let finalized = now.watermarks.tips.block(Tier::Finalized).map(|tip| tip.height);
                let mut expected = replay.still_on_chain(was.locators()).await;
                expected.retain(|locator| {
                    Some(&locator.height) < lowest || Some(locator.height) <= finalized
                });
                assert_eq!(now.cursor.locators(), expected, "line {}", number + 1);
                with_fewer += u32::from(expected.len() < was.locators().len());
                with_some += u32::from(!expected.is_empty());
            }
            assert!(with_fewer > 0 && (with_some > 0) == expect_some, "{with_fewer}, {with_some}");
        });
    }
}

fn assert_same_position(now: &Cursor, before: &Cursor) {
    assert!(now.is_of(&script::chain().id) && before.is_of(&script::chain().id));
    assert_eq!(now.handled(), before.handled());
    assert_eq!(now.delivered(), before.delivered());
    for tier in Tier::ALL {
        assert_eq!(now.block(tier), before.block(tier), "{tier} of event {}", now.handled());
    }
}

/// Without blocks there is nothing to look up later: such a store keeps the locators with the event.
#[test]
fn a_history_without_blocks_read_later_has_the_lines_of_the_version_before() {
    deterministic::Runner::default().start(|context| async move {
        let replay = Replay::of(&context, "tidewatch", &script::tips_only()).await;
        let now: Vec<_> = replay.records(0).await.iter().map(line).collect();
        assert_lines(&now, "tips_only.jsonl");
    });
}

#[test]
fn cursors_of_the_version_before_are_resumed_exactly_by_the_same_history() {
    for (commits, name) in histories() {
        deterministic::Runner::default().start(|context| async move {
            let replay = Replay::of(&context, "tidewatch", &commits).await;
            let answers = replay.answers(name, 1).await;
            assert_eq!(answers.len(), commits.concat().len());
            for (sequence, answer) in answers.iter().enumerate() {
                assert_eq!(*answer, format!(r#"{{"exact":{}}}"#, sequence + 1));
            }
        });
    }
}

#[test]
fn cursors_of_the_version_before_are_resumed_by_another_log_as_before() {
    deterministic::Runner::default().start(|context| async move {
        let commits = script::history();
        let played = Replay::of(&context, "played", &commits).await;
        let mut other = Replay::new(&context, "other").await;
        other.writer.commit(played.player.in_one_commit()).await.unwrap();
        assert_lines(&other.answers("history.jsonl", 3).await, "resumed_elsewhere.jsonl");

        // A log that has not seen the deep reorg yet.
        let earlier = &commits[..script::BEFORE_THE_DEEP_REORG];
        let earlier = Replay::of(&context, "earlier", earlier).await;
        assert_lines(&earlier.answers("history.jsonl", 1).await, "resumed_earlier.jsonl");
    });
}

/// Every file below `directory` with its bytes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                directories.push(entry);
            } else {
                let name = entry.strip_prefix(directory).unwrap().to_path_buf();
                files.insert(name, std::fs::read(entry).unwrap());
            }
        }
    }
    files
}

#[test]
fn a_directory_of_the_version_before_is_refused_and_left_as_it_was() {
    let before = files(&fixture("directory/storage"));
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in &before {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let runtime = tokio::Config::new().with_storage_directory(directory.path());
    // Twice: a refused directory must not be taken for a new one by the next start.
    for _ in 0..2 {
        let refused = tokio::Runner::new(runtime.clone()).start(|context| async move {
            let config = Config::new(script::chain(), ());
            Store::open::<_, ScriptBlock>(context.child("store"), config).await.unwrap_err()
        });
        assert_eq!(refused.kind, FaultKind::InvalidConfig);
        for words in ["format 1", "written by an earlier version", "name another directory"] {
            assert!(refused.detail.contains(words), "{refused}");
        }
        assert!(files(directory.path()) == before, "a refused directory was written to");
    }
}

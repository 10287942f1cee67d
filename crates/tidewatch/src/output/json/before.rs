//! The lines that the command of the version before printed, which are in `tests/fixtures/before`. The
//! store's test `before` holds the lines of events to the same fixtures.

#[allow(dead_code, reason = "the store's tests use the rest")]
#[path = "../../../../../tests/fixtures/before/script.rs"]
mod script;

use super::{Events, Lines};
use crate::output::{Printer, Reached};
use commonware_utils::{NZU64, NZUsize, sync::Mutex};
use futures::executor::block_on;
use script::Player;
use std::{io::Write, path::Path, sync::Arc};
use tidewatch_core::{
    BlockRef, Conflict, Consumer as _, Cursor, Digest, EventLog as _, Fault, FaultKind, Height,
    LocalView as _, Monitor as _, State, Status, Tier,
};
use tidewatch_store::Memory;

fn fixture(name: &str) -> String {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/before"));
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Standard output, as a reader at the other end of the pipe sees it.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Pipe {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

#[test]
fn faults_and_states_print_the_lines_of_the_version_before() {
    let pipe = Pipe::default();
    let printer = Printer::start(pipe.clone()).unwrap();
    let lines = Lines::new(printer.clone());
    let states = [
        State::Blind,
        State::CatchingUp,
        State::CatchingUp, // Printed once.
        State::Live,
        State::Lagging,
        State::Stale,
        State::Conflicted,
    ];
    for (lag, state) in (0..).map(|n| n * 100).zip(states) {
        let source_height = (state != State::Blind).then_some(Height::new(1_000 + lag));
        lines.status(&Status { state, lag, source_height, tip_age_ms: Some(1), cause: None });
    }
    let about = "https://node.example/";
    // The version before did not have this kind.
    for kind in FaultKind::ALL.iter().filter(|kind| **kind != FaultKind::UnknownEpoch) {
        lines.fault(&kind.fault(about, format!("what was \"{}\" in words", kind.as_str())));
    }
    let block = |fill| BlockRef::new(Height::new(7), Digest([fill; 32]));
    let conflict = Conflict { ours: block(1), theirs: block(2) };
    lines.fault(&Fault::finality_conflict(about, conflict));
    // Lines are written in order, so all of them are there once this one is.
    block_on(printer.print(String::new())).unwrap();
    assert_eq!(pipe.text(), fixture("monitor.jsonl"));
}

/// The cursor of a line, and the line without it.
fn split(line: &str) -> (Cursor, String) {
    let fields: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = fields["cursor"].as_str().unwrap();
    (text.parse().unwrap(), line.replace(text, ""))
}

/// The blocks below this record were pruned since, so that its cursor, which is made when the record is
/// read, has no locators where that of the version before had some. It names the same position.
#[test]
fn a_reader_that_fell_behind_gets_the_line_of_the_version_before() {
    let (mut writer, reader) = Memory::with_retention(script::chain(), NZU64!(5));
    let mut player = Player::new();
    for commit in script::history() {
        block_on(writer.commit(commit.iter().map(|step| player.change(step)).collect())).unwrap();
    }
    let end = script::history().concat().len() as u64;
    let oldest = block_on(reader.read(end - 5, NZUsize!(1))).unwrap().remove(0);
    let pipe = Pipe::default();
    let printer = Printer::start(pipe.clone()).unwrap();
    block_on(Events::new(printer, Reached::new(None, true)).restart(&oldest)).unwrap();

    let ((now, line), (before, line_before)) =
        (split(&pipe.text()), split(&fixture("restart.jsonl")));
    assert_eq!(line, line_before);
    assert_eq!((now.handled(), now.delivered()), (before.handled(), before.delivered()));
    assert_eq!(Tier::ALL.map(|tier| now.block(tier)), Tier::ALL.map(|tier| before.block(tier)));
    assert!(now.locators().is_empty() && !before.locators().is_empty());
}

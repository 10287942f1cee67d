//! The lines that the command of the version before printed, which are in `tests/fixtures/before`. The
//! store's test `before` holds the lines of events to the same fixtures.

use super::Lines;
use crate::output::Printer;
use commonware_utils::sync::Mutex;
use futures::executor::block_on;
use std::{io::Write, path::Path, sync::Arc};
use tidewatch_core::{
    BlockRef, Conflict, Digest, Fault, FaultKind, Height, Monitor as _, State, Status,
};

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
        lines.status(&Status {
            state,
            lag,
            source_height,
            tip_age_ms: Some(1),
            cause: None,
            verification: None,
        });
    }
    let about = "https://node.example/";
    // The version before did not have these kinds.
    let new =
        [FaultKind::UnknownEpoch, FaultKind::Flapping, FaultKind::Rejected, FaultKind::Disputed];
    for kind in FaultKind::ALL.iter().filter(|kind| !new.contains(kind)) {
        lines.fault(&kind.fault(about, format!("what was \"{}\" in words", kind.as_str())));
    }
    let block = |fill| BlockRef::new(Height::new(7), Digest([fill; 32]));
    let conflict = Conflict { ours: block(1), theirs: block(2) };
    lines.fault(&Fault::finality_conflict(about, conflict));
    // Lines are written in order, so all of them are there once this one is.
    block_on(printer.print(String::new())).unwrap();
    assert_eq!(pipe.text(), fixture("monitor.jsonl"));
}

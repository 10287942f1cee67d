//! `tidewatch sequence` and `tidewatch sequence submit`, as processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "what runs the command is shared with other tests")]

mod command;

use command::{Command, Run, signal};
use std::{path::Path, time::Duration};

const END: Duration = Duration::from_secs(120);
const SENDER: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// A sequencer in `directory`, and its address.
fn sequence(directory: &Path) -> (Run, String) {
    let run = Command::new(&["sequence", "--listen", "127.0.0.1:0", "--data-dir"])
        .with([directory])
        .start();
    let line = run.line_with("sequencing at ");
    let address = line.split("sequencing at ").nth(1).and_then(|rest| rest.split(',').next());
    let address = address.unwrap().to_owned();
    (run, address)
}

/// Submits `text`, again where no round is certified yet.
fn submit(address: &str, text: &str) -> String {
    let args = ["sequence", "submit", text, "--to", address, "--sender", SENDER];
    for _ in 0..200 {
        let output = Command::new(&args).start().end(END);
        if output.code == Some(0) || !output.errors.contains("answers 503") {
            assert_eq!(output.code, Some(0), "{output:?}");
            return output.text();
        }
    }
    panic!("it takes transactions");
}

#[test]
fn a_submitted_transaction_is_in_a_block_and_what_was_accepted_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let (run, address) = sequence(directory.path());
    let text = submit(&address, "first");
    assert!(text.contains("accepted ") && text.contains("applied in block "), "{text}");
    run.line_with(": 1 transactions");
    signal(&run, "KILL");
    run.end(END);

    // Its next nonce says that the first one is there.
    let (run, address) = sequence(directory.path());
    let text = submit(&address, "second");
    assert!(text.contains("applied in block "), "{text}");
    run.line_with(": 1 transactions");
    signal(&run, "TERM");
    let output = run.end(Duration::from_secs(2));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.text().contains("stopped at block "), "{output:?}");
}

#[test]
fn what_cannot_be_submitted_is_refused_with_what_to_do() {
    for (args, words) in [
        (vec!["x", "--to", "http://127.0.0.1:1"], "start `tidewatch sequence`"),
        (vec!["x", "--to", "ftp://x"], "--to is no address"),
        (vec!["x", "--sender", "11"], "--sender is not 32 bytes"),
        (vec!["x", "--identity", "zz"], "--identity is no public key"),
    ] {
        let output = Command::new(&["sequence", "submit"]).with(&args).start().end(END);
        assert!(output.code != Some(0) && output.errors.contains(words), "{args:?} {output:?}");
    }
}

//! `tidewatch sequence` and `tidewatch sequence submit`, as processes.

use crate::support::run::{Command, Run, signal};
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
fn submit(address: &str, sender: &str, text: &str) -> String {
    let args = ["sequence", "submit", text, "--to", address, "--sender", sender];
    for _ in 0..20 {
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
    let text = submit(&address, SENDER, "first");
    assert!(text.contains("accepted ") && text.contains("applied in block "), "{text}");
    run.line_with(": 1 transactions");
    signal(&run, "KILL");
    run.end(END);

    // Its next nonce says that the first one is there.
    let (run, address) = sequence(directory.path());
    let text = submit(&address, SENDER, "second");
    assert!(text.contains("applied in block "), "{text}");
    run.line_with(": 1 transactions");
    signal(&run, "TERM");
    let output = run.ends_well(Duration::from_secs(2));
    assert!(output.text().contains("stopped at block "), "{output:?}");
}

/// Its keys are what it prints. Under others nothing that it answers counts, and the sequencer says so.
#[test]
fn a_network_that_runs_elsewhere_is_believed_by_its_keys_alone() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let network =
        Command::new(&["sequence", "network", "--port", "0", "--data-dir", &at("network")]);
    let network = network.start();
    let word = |line: String, after: &str| {
        let rest = line.split(after).nth(1).unwrap().to_owned();
        rest.split([';', ' ']).next().unwrap().to_owned()
    };
    let url = word(network.line_with("ordering at "), "ordering at ");
    let identity = word(network.line_with("identity "), "identity ");
    let holders: Vec<_> = (0..4).map(|_| word(network.line_with("holder "), "holder ")).collect();
    let sequence = |identity: &str| {
        let holders = holders.iter().flat_map(|holder| ["--holder", holder]);
        Command::new(&["sequence", "--listen", "127.0.0.1:0", "--ordering", &url])
            .with(["--data-dir", &at(&identity[..8]), "--identity", identity])
            .with(holders)
            .start()
    };
    let other = tidewatch_devnet::Committee::deal(1, 4).unwrap().identity_hex();
    let refused = sequence(&other).end(END);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.errors.contains("another network answers"), "{refused:?}");

    let run = sequence(&identity);
    let address = word(run.line_with("sequencing at "), "sequencing at ");
    let text = submit(address.trim_end_matches(','), SENDER, "ordered elsewhere");
    assert!(text.contains("applied in block "), "{text}");
    for run in [run, network] {
        signal(&run, "TERM");
        let output = run.end(Duration::from_secs(2));
        assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
    }
}

#[test]
fn what_cannot_be_sequenced_is_refused_with_what_to_do() {
    let (hex, listen) = ("00".repeat(32), ["--listen", "127.0.0.1:0"]);
    for (args, words) in [
        (vec!["--ordering", "ftp://host"], "tidewatch sequence network"),
        (vec!["--ordering", "http://me:hunter2@host"], "without credentials"),
        (vec!["--identity", &hex, "--holder", &hex], "--ordering"),
        (vec!["--ordering", "http://127.0.0.1:1", "--identity", &hex], "--holder"),
        (
            vec!["--ordering", "http://127.0.0.1:1", "--identity", "zz", "--holder", &hex],
            "--identity is no public key",
        ),
        (vec!["--serve-open"], "--serve"),
        (vec!["--serve", "0.0.0.0:0"], "--serve-token-file"),
    ] {
        let output = Command::new(&["sequence"]).with(listen).with(&args).start().end(END);
        assert_eq!(output.code, Some(2), "{args:?} {output:?}");
        assert!(output.errors.contains(words), "{args:?} {output:?}");
        assert!(!output.errors.contains("hunter2"), "{output:?}");
    }
}

/// Each as a process of its own, so that most of them ask for a round in one proposal and post in the next one.
#[test]
fn of_many_who_submit_at_once_nobody_is_dropped() {
    const SENDERS: usize = 12;
    const EACH: usize = 4;
    let directory = tempfile::tempdir().unwrap();
    let (run, address) = sequence(directory.path());
    std::thread::scope(|scope| {
        for by in 1..=SENDERS {
            let address = &address;
            scope.spawn(move || {
                let sender = format!("{by:064x}");
                for text in 0..EACH {
                    let text = submit(address, &sender, &format!("{by} says {text}"));
                    assert!(text.contains("applied in block "), "{text}");
                }
            });
        }
    });
    signal(&run, "TERM");
    let output = run.ends_well(Duration::from_secs(5));
    assert!(!output.text().contains("dropped"), "{}", output.text());
    let transactions = |line: &String| -> Option<usize> {
        line.split(": ").nth(1)?.split(' ').next()?.parse().ok()
    };
    let blocks = output.lines.iter().filter(|line| line.starts_with("block "));
    let applied: usize = blocks.filter_map(transactions).sum();
    assert_eq!(applied, SENDERS * EACH, "{}", output.text());
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

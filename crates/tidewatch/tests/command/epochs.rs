//! The command on chains whose validators change: over real sockets, from far behind, through kills, and
//! with what it knows on disk.

mod kills;

use crate::support::{
    indexer::{LENGTH, epochs, indexer},
    run::{Command, END, Fold, Run, signal},
};
use commonware_cryptography::Digestible as _;
use commonware_formatting::hex;
use commonware_runtime::{Runner as _, tokio};
use serde_json::Value;
use std::{
    path::Path,
    time::{Duration, SystemTime},
};
use tidewatch_certified::epochs::keeper;
use tidewatch_core::Height;
use tidewatch_devnet::readymade::{Chain, Kind, Server, ServerConfig, Tamper, Target};
use tidewatch_sources::alto::EPOCHS;

fn following(server: &Server, data: &Path) -> Command {
    let source = format!("alto+{}?mode=standard&epoch_length={LENGTH}", server.url());
    Command::follow().with(["--source", &source, "--identity", server.identity()]).with([
        "--data-dir",
        data.to_str().unwrap(),
        "--format",
        "json",
    ])
}

fn until(run: &Run, fold: &mut Fold, height: u64) {
    run.until(fold, |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let finalized = line["event"] == "advanced" && line["tier"] == "finalized";
        finalized && line["block"]["height"].as_u64() >= Some(height)
    });
}

#[test]
fn keys_that_change_are_followed_from_far_behind_and_live() {
    for key_every in [0, 1, 3] {
        let chain = epochs(230, key_every, Duration::from_secs(120));
        let server = indexer(&chain, 205);
        let data = tempfile::tempdir().unwrap();
        let run = following(&server, data.path()).with(["--until", "230"]).start();
        let mut fold = Fold::default();
        until(&run, &mut fold, 205);
        for height in 206..=230 {
            server.finalize(&chain, Height::new(height)).unwrap();
            until(&run, &mut fold, height);
        }
        let output = run.end(END);
        assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
        let verification = output.lines.iter().rev().find_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line.get("verification").cloned()
        });
        let verification = verification.expect("a status says what is trusted");
        assert_eq!(verification["epoch"], 11, "{verification}");
        assert_eq!(verification["anchor"], "identity");
        assert_eq!(verification["verified"], 230);
    }
}

#[test]
fn a_restart_after_several_epochs_goes_on_from_what_is_on_disk() {
    let chain = epochs(200, 1, Duration::from_secs(120));
    let data = tempfile::tempdir().unwrap();
    let server = indexer(&chain, 70);
    let mut fold = Fold::default();
    let run = following(&server, data.path()).start();
    until(&run, &mut fold, 70);
    signal(&run, "KILL");
    run.end(END); // Until then the data directory is its own.
    for height in 71..=200 {
        server.finalize(&chain, Height::new(height)).unwrap();
    }
    let before = server.requests(Kind::BlockAt);
    let run = following(&server, data.path()).with(["--until", "200"]).start();
    let output = run.ends_well(END);
    output.lines.iter().for_each(|line| fold.line(line));
    assert!(fold.finalized() >= 200, "{fold:?}");
    let asked = server.requests(Kind::BlockAt) - before;
    // The blocks from 71 on, and the boundaries of epochs 3 to 9 ahead of them.
    assert!(asked <= 130 + 8, "{asked} heights were asked for");
}

#[test]
fn a_boundary_that_is_forged_stops_the_tip_and_is_named() {
    let chain = epochs(100, 1, Duration::from_secs(120));
    let tampers = vec![(Target::Height(Height::new(59)), Tamper::WrongCertificate)];
    let config = ServerConfig { tampers, ..ServerConfig::default() };
    let server = Server::start(&chain, config).unwrap();
    let data = tempfile::tempdir().unwrap();
    let run = following(&server, data.path()).start();
    let mut fold = Fold::default();
    run.until(&mut fold, |line| line.contains("invalid_certificate"));
    assert!(fold.finalized() < 60, "{fold:?}");
    drop(run); // It is killed.
}

/// Says in `data`, `age` ago, that what it knows is to be trusted.
#[allow(clippy::disallowed_methods, reason = "the command reads the same clock")]
fn trusted_ago(data: &Path, age: Duration) {
    let storage = data.join("storage");
    let runtime = tokio::Config::new().with_storage_directory(storage);
    tokio::Runner::new(runtime).start(|context| async move {
        let (chain, record) = keeper::newest(&context, EPOCHS).await.unwrap().unwrap();
        let config = keeper::Config { chain, partition: EPOCHS.into() };
        keeper::import(&context, &config, record, SystemTime::now() - age).await.unwrap();
    });
}

#[test]
fn what_was_known_too_long_ago_is_refused_with_what_to_do() {
    let day = Duration::from_secs(24 * 60 * 60);
    let chain = epochs(70, 1, 40 * day);
    let server = indexer(&chain, 70);
    let data = tempfile::tempdir().unwrap();
    let follow = || following(&server, data.path()).with(["--until", "70"]);
    // Whoever gives the identity says it now, however old the chain is.
    for _ in 0..2 {
        assert_eq!(follow().start().end(END).code, Some(0));
    }
    trusted_ago(data.path(), 20 * day);
    let refused = follow().start().end(END);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for words in ["epoch 3", "20 days old", "--trust-period", "--anchor"] {
        assert!(refused.errors.contains(words), "{words}: {}", refused.errors);
    }
    assert_eq!(follow().with(["--trust-period", "30d"]).start().end(END).code, Some(0));
}

/// What `tidewatch anchor` prints, and how it ends.
fn anchor(args: &[&str]) -> crate::support::run::Output {
    Command::new(&[&["anchor"], args].concat()).start().end(END)
}

/// Writes `text` into a new file of `data`.
fn file(data: &Path, name: &str, text: &str) -> String {
    let path = data.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_anchor_that_publishers_signed_is_where_a_new_follower_begins() {
    let chain = epochs(110, 1, Duration::from_secs(3_600));
    let server = indexer(&chain, 110);
    let temporary = tempfile::tempdir().unwrap();
    let (at, directory) = (temporary.path(), temporary.path().join("data"));
    let dir = directory.to_str().unwrap();
    let run = following(&server, &directory).with(["--until", "110"]).start();
    assert_eq!(run.end(END).code, Some(0));

    let keys = ["11", "22"].map(|byte| byte.repeat(32));
    let [one, two] = [("one", &keys[0]), ("two", &keys[1])].map(|(name, key)| file(at, name, key));
    let first = anchor(&["export", "--data-dir", dir, "--key", &one]);
    assert_eq!(first.code, Some(0), "{first:?}");
    let first_file = file(at, "first.json", &first.lines.join("\n"));
    let both = anchor(&["export", "--data-dir", dir, "--key", &two, "--with", &first_file]);
    let exported: Value = serde_json::from_str(&both.lines.join("\n")).unwrap();
    assert_eq!((&exported["epoch"], &exported["height"]), (&Value::from(5), &Value::from(99)));
    let signatures = exported["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 2, "{exported}");
    let publishers = [0, 1].map(|of: usize| signatures[of]["publisher"].as_str().unwrap());
    let both_file = file(at, "both.json", &both.lines.join("\n"));

    let fresh = at.join("fresh");
    let fresh_dir = fresh.to_str().unwrap();
    let words = |file: &str, more: &[&str]| {
        let named = ["verify", file, "--publisher", publishers[0], "--publisher", publishers[1]];
        let output = anchor(&[&named[..], more].concat());
        (output.code, output.text() + &output.errors)
    };
    let (code, told) = words(&both_file, &[]);
    assert!(code == Some(0) && told.contains("vouched   by 2 of 2 publishers"), "{told}");
    assert_eq!(words(&first_file, &["--threshold", "1"]).0, Some(0));
    let changed = both.lines.join("\n").replace("\"height\": 99", "\"height\": 98");
    let forged = file(at, "forged.json", &changed);
    let old = "--trust-period";
    for (file, more, expected) in [
        (&first_file, &[][..], "1 of 2 publishers vouch for it, and 2 have to"),
        (&forged, &[], "what it says is not what its boundary says"),
        (&both_file, &["--threshold", "3"], "--threshold is from 1 to 2"),
        (&one, &[], "not an anchor"),
        (&both_file, &[old, "0h"], "write days or hours"),
    ] {
        let (code, told) = words(file, more);
        assert!(code != Some(0) && told.contains(expected), "{expected}: {told}");
    }

    let import = [
        ["import", &both_file, "--data-dir", fresh_dir].as_slice(),
        &["--publisher", publishers[0], "--publisher", publishers[1]],
    ]
    .concat();
    assert_eq!(anchor(&import).code, Some(0));
    let before = server.requests(Kind::BlockAt);
    let run = following(&server, &fresh).with(["--start", "tip"]).start();
    let mut fold = Fold::default();
    run.until(&mut fold, |line| line.contains("\"anchor\":\"pinned\""));
    until(&run, &mut fold, 110);
    // The epochs below it are not walked. Their boundaries are filled in behind, one with each question.
    assert!(server.requests(Kind::BlockAt) - before <= 2);
    drop(run); // It is killed.
}

/// The reference of a block, as it is printed and pinned.
fn reference(chain: &Chain, height: u64) -> String {
    let digest = chain.block(Height::new(height)).unwrap().digest();
    format!("{height}:{}", hex(&digest))
}

#[test]
fn a_pinned_block_is_where_a_new_follower_begins() {
    let chain = epochs(110, 1, Duration::from_secs(3_600));
    let server = indexer(&chain, 110);
    // The end of an epoch, and a block in the middle of the next.
    for (pinned, by_digest) in [(99, 1), (104, 6)] {
        let data = tempfile::tempdir().unwrap();
        let pinned = reference(&chain, pinned);
        let before = [Kind::BlockAt, Kind::BlockNamed].map(|kind| server.requests(kind));
        let follow = || following(&server, data.path()).with(["--anchor", &pinned]);
        let run = follow().with(["--start", "tip"]).start();
        let mut fold = Fold::default();
        run.until(&mut fold, |line| line.contains("\"anchor\":\"pinned\""));
        until(&run, &mut fold, 110);
        signal(&run, "KILL");
        run.end(END); // Until then the data directory is its own.
        let after = [Kind::BlockAt, Kind::BlockNamed].map(|kind| server.requests(kind));
        assert!(after[0] - before[0] <= 2, "the epochs below are not walked");
        assert_eq!(after[1] - before[1], by_digest);
        // What is on disk is as new, so the pinned block is not fetched again.
        let again = follow().with(["--until", "110"]).start().end(END);
        assert_eq!(again.code, Some(0), "{again:?}");
        assert_eq!(server.requests(Kind::BlockNamed), after[1]);
    }
}

#[test]
fn a_pin_that_is_wrong_or_too_old_is_refused_with_what_to_do() {
    let day = Duration::from_secs(24 * 60 * 60);
    let chain = epochs(70, 1, 40 * day);
    let branch = chain.branch(Height::new(50), 20).unwrap();
    let server = indexer(&chain, 70);
    let data = tempfile::tempdir().unwrap();
    let plain = format!("alto+{}?mode=standard", server.url());
    let follow = |pinned: &str| {
        following(&server, data.path()).with(["--anchor", pinned]).with(["--until", "70"])
    };
    let pinned = reference(&chain, 59);
    let moved = pinned.replace("59:", "39:");
    for (command, code, words) in [
        (follow("59"), 2, "write a height and a digest"),
        (follow(&pinned).with(["--source", &plain]), 2, "epochs of different length"),
        (follow(&pinned), 1, "name a newer block with --anchor"),
        (follow(&moved), 2, "was pinned"),
        (follow(&reference(&chain, 5)), 2, "pin a later one"),
        (follow(&reference(&branch, 59)), 1, "there is no block 59:"),
    ] {
        let refused = command.start().end(END);
        assert_eq!(refused.code, Some(code), "{words}: {refused:?}");
        assert!(refused.errors.contains(words), "{words}: {}", refused.errors);
    }
    let allowed = follow(&pinned).with(["--trust-period", "60d"]).start().end(END);
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    // Another end of an epoch than the one that is known.
    let contradicting = follow(&reference(&branch, 59)).start().end(END);
    assert_eq!(contradicting.code, Some(2), "{contradicting:?}");
    assert!(contradicting.errors.contains("one is of another chain"), "{}", contradicting.errors);
    // A long absence: the word of today counts, if the block is young enough.
    trusted_ago(data.path(), 20 * day);
    let again = |period| follow(&pinned).with(["--trust-period", period]).start().end(END);
    assert_eq!(again("14d").code, Some(1));
    assert_eq!(again("60d").code, Some(0));
}

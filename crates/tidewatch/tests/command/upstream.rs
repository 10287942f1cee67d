//! The command, following another one: followers of followers, each a process of its own.

mod middle;

use crate::support::{
    indexer::{LENGTH, epochs, indexer},
    node::Node,
    run::{Command, END, Fold, Output, Run, finalizes, signal},
};
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use middle::{Lie, Middle};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};
use tempfile::TempDir;
use tidewatch_core::Height;
use tidewatch_devnet::{
    CertificateMode, epochs as devnet,
    readymade::{Chain, ChainConfig, Kind, Server},
};

/// A follower that serves what it follows.
struct Serving {
    run: Run,
    /// `http://127.0.0.1:PORT`.
    url: String,
    _data: TempDir,
}

impl Serving {
    fn start(source: &str, identity: Option<&str>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), source, identity)
    }

    fn start_in(data: TempDir, source: &str, identity: Option<&str>) -> Self {
        let identity = identity.map(|identity| ["--identity", identity]);
        let run = Command::follow()
            .with(["--source", source, "--data-dir", data.path().to_str().unwrap()])
            .with(["--serve", "127.0.0.1:0"])
            .with(identity.into_iter().flatten())
            .start();
        let line = run.line_with("serving at http://");
        let at = line.find("http://").unwrap();
        let url = line[at..].split_whitespace().next().unwrap().trim_end_matches('/').to_owned();
        Self { run, url, _data: data }
    }

    fn address(&self) -> String {
        format!("tide+{}", self.url)
    }
}

fn following(source: &str, identity: Option<&str>, data: &Path) -> Command {
    let identity = identity.map(|identity| ["--identity", identity]);
    Command::follow()
        .with(["--source", source, "--format", "json", "--data-dir", data.to_str().unwrap()])
        .with(identity.into_iter().flatten())
}

fn chain(blocks: u64, seed: u64, mode: CertificateMode) -> Chain {
    Chain::sign(blocks, mode, ChainConfig { seed, ..ChainConfig::default() }).unwrap()
}

/// The first follower, of an indexer.
fn first(server: &Server, mode: CertificateMode) -> Serving {
    let source = format!("alto+{}?mode={}", server.url(), mode.as_str());
    Serving::start(&source, Some(server.identity()))
}

/// Follows `source` until it has finalized `height`, from the first block on. Returns where that is kept.
fn followed(source: &str, identity: Option<&str>, height: u64) -> (TempDir, Fold) {
    let (data, mut fold) = (tempfile::tempdir().unwrap(), Fold::default());
    following(source, identity, data.path()).start().until(&mut fold, finalizes(height));
    assert_eq!(fold.first, Some(1));
    (data, fold)
}

/// What `one` has up to `height` is followed over a middle one that alters or withholds it, once that is honest.
fn followed_over_a_liar(one: &Serving, identity: &str, query: &str, height: u64) {
    let identity = Some(identity);
    followed(&format!("{}{query}", one.address()), identity, height);
    for lie in [Lie::Certificate, Lie::Block, Lie::Withheld] {
        let middle = Middle::before(&one.url, lie);
        let (data, mut fold) = (tempfile::tempdir().unwrap(), Fold::default());
        let source = format!("tide+{}{query}", middle.url());
        let run = following(&source, identity, data.path()).start();
        middle.lied(4);
        run.until(&mut fold, |line| line.contains("\"event\":\"fault\""));
        assert_eq!((fold.handled, fold.finalized()), (0, 0), "{lie:?}");
        middle.heal();
        run.until(&mut fold, finalizes(height));
        assert_eq!(fold.first, Some(1), "{lie:?}");
    }
}

/// The newest status's word of what is verified.
fn verification(output: &Output) -> Value {
    let verification = output.lines.iter().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line.get("verification").cloned()
    });
    verification.expect("a status says what is trusted")
}

fn followed_at_depth_three(mode: CertificateMode) {
    let chain = chain(60, 7, mode);
    let server = indexer(&chain, 30);
    let identity = Some(server.identity());
    let one = first(&server, mode);
    let two = Serving::start(&one.address(), identity);
    let (data, mut fold) = (tempfile::tempdir().unwrap(), Fold::default());
    let three = following(&two.address(), identity, data.path()).start();
    three.until(&mut fold, finalizes(30));
    for height in 31..=40 {
        server.finalize(&chain, Height::new(height)).unwrap();
    }
    three.until(&mut fold, finalizes(40));
    signal(&three, "KILL");
    drop(three);
    for height in 41..=50 {
        server.finalize(&chain, Height::new(height)).unwrap();
    }
    let asked = server.requests(Kind::Stream);
    let again = following(&two.address(), identity, data.path()).with(["--until", "50"]);
    let output = again.start().ends_well(END);
    output.lines.iter().for_each(|line| fold.line(line));
    assert_eq!((fold.first, fold.finalized()), (Some(1), 50));
    assert_eq!(server.requests(Kind::Stream), asked, "the root has one follower");
    drop((one.run, two.run));
}

#[test]
fn a_follower_of_a_follower_of_a_follower_verifies_and_goes_on_after_a_kill() {
    followed_at_depth_three(CertificateMode::Standard);
}

#[test]
fn so_it_does_where_certificates_carry_randomness() {
    followed_at_depth_three(CertificateMode::Vrf);
}

#[test]
fn what_the_middle_one_alters_or_withholds_is_refused_and_followed_once_it_is_honest() {
    let chain = chain(40, 8, CertificateMode::Standard);
    let server = indexer(&chain, 30);
    let one = first(&server, CertificateMode::Standard);
    followed_over_a_liar(&one, server.identity(), "", 30);
}

/// Of a history that it took in at once, the middle one has the certificate of the tip alone.
#[test]
fn a_long_history_under_one_certificate_is_verified_down_to_genesis() {
    let chain = chain(2_500, 12, CertificateMode::Standard);
    let server = indexer(&chain, 2_500);
    let one = first(&server, CertificateMode::Standard);
    followed(&one.address(), Some(server.identity()), 2_500);
}

#[test]
fn a_middle_one_on_a_branch_that_the_validators_signed_too_moves_no_final_block() {
    let chain = chain(40, 9, CertificateMode::Standard);
    let branch = chain.branch(Height::new(20), 40).unwrap();
    let (server, other) = (indexer(&chain, 30), indexer(&branch, 40));
    let identity = Some(server.identity());
    let honest = first(&server, CertificateMode::Standard);
    let lying = first(&other, CertificateMode::Standard);
    let (data, mut fold) = (tempfile::tempdir().unwrap(), Fold::default());
    let run = following(&honest.address(), identity, data.path()).start();
    run.until(&mut fold, finalizes(30));
    signal(&run, "TERM");
    drop(run);
    let handled = fold.handled;
    let run = following(&lying.address(), identity, data.path()).start();
    let fault = run.line_with("\"event\":\"fault\"");
    run.line_with("\"event\":\"fault\"");
    assert_eq!((fold.handled, fold.finalized()), (handled, 30), "{fault}");
}

#[test]
fn another_chain_is_refused_before_anything_is_written() {
    let (ours, theirs) =
        (chain(9, 10, CertificateMode::Standard), chain(9, 11, CertificateMode::Standard));
    let server = indexer(&theirs, 9);
    let one = first(&server, CertificateMode::Standard);
    let identity = ours.identity();
    for (identity, words) in
        [(Some(&*identity), "not the chain of this identity"), (None, "--identity")]
    {
        let data = tempfile::tempdir().unwrap();
        let output = following(&one.address(), identity, data.path()).start().end(END);
        assert!(matches!(output.code, Some(1 | 2)), "{output:?}");
        assert!(output.errors.contains(words), "{words}: {}", output.errors);
        assert!(output.lines.is_empty(), "{output:?}");
    }
}

#[test]
fn a_chain_without_certificates_is_followed_on_the_word_of_a_follower_and_on_after_a_restart() {
    let node = Node::serve(31_337, 10);
    let one = Serving::start(&format!("eth+http://{}", node.address), None);
    let two = Serving::start(&one.address(), None);
    let (data, mut fold) = followed(&two.address(), None, 2);
    node.grow_to(12);
    let run = following(&two.address(), None, data.path()).start();
    run.until(&mut fold, finalizes(4));
    assert_eq!(fold.first, Some(1));
}

/// How long ago a chain of epochs began.
const AGE: Duration = Duration::from_secs(120);

fn with_epochs(address: &str) -> String {
    format!("{address}?epoch_length={LENGTH}")
}

/// The first one is far behind and takes all epochs in at once; each of the others takes them from the one before.
#[test]
fn epochs_are_verified_from_their_beginning_at_every_depth_however_keys_change() {
    for key_every in [0, 1, 3] {
        let chain = epochs(230, key_every, AGE);
        let server = indexer(&chain, 205);
        let identity = Some(server.identity());
        let root = format!("alto+{}?mode=standard&epoch_length={LENGTH}", server.url());
        let one = Serving::start(&root, identity);
        followed(&with_epochs(&one.address()), identity, 205);
        let two = Serving::start(&with_epochs(&one.address()), identity);
        followed(&with_epochs(&two.address()), identity, 205);
        let three = Serving::start(&with_epochs(&two.address()), identity);
        let (data, mut fold) = (tempfile::tempdir().unwrap(), Fold::default());
        let run = following(&with_epochs(&three.address()), identity, data.path());
        let run = run.with(["--until", "230"]).start();
        run.until(&mut fold, finalizes(205));
        for height in 206..=230 {
            server.finalize(&chain, Height::new(height)).unwrap();
        }
        let output = run.ends_well(END);
        let verification = verification(&output);
        assert_eq!(verification["epoch"], 11, "{key_every}: {verification}");
        assert_eq!(verification["anchor"], "identity");
        assert_eq!(verification["verified"], 230);
        drop((one.run, two.run, three.run));
    }
}

#[test]
fn what_the_middle_one_alters_or_withholds_of_epochs_is_refused_and_followed_once_it_is_honest() {
    let chain = epochs(110, 1, AGE);
    let server = indexer(&chain, 105);
    let root = format!("alto+{}?mode=standard&epoch_length={LENGTH}", server.url());
    let one = Serving::start(&root, Some(server.identity()));
    followed_over_a_liar(&one, server.identity(), &with_epochs(""), 105);
}

#[test]
fn a_live_chain_whose_committee_changes_is_followed_at_depth_three_over_two_epochs() {
    let chain = tempfile::tempdir().unwrap();
    let runtime = tokio::Config::default().with_storage_directory(chain.path());
    tokio::Runner::new(runtime).start(|context| async move {
        let config = devnet::Config {
            epoch_length: 16,
            block_time: Duration::from_millis(200),
            ..devnet::Config::default()
        };
        let network = devnet::Devnet::start(context.child("devnet"), config).await.unwrap();
        network.reach(Height::new(1), END).await.unwrap();
        let identity = network.identity();
        let identity = Some(&*identity);
        let source = format!("alto+{}?mode=standard&epoch_length=16", network.url());
        let behind = |serving: &Serving| format!("{}?epoch_length=16", serving.address());
        let one = Serving::start(&source, identity);
        let two = Serving::start(&behind(&one), identity);
        let (data, mut fold) = (tempfile::tempdir().unwrap(), Fold::default());
        fold.reorgs = true;
        let run = following(&behind(&two), identity, data.path()).with(["--until", "36"]).start();
        let output = run.ends_well(2 * END);
        output.lines.iter().for_each(|line| fold.line(line));
        assert_eq!(fold.first, Some(1));
        assert!(fold.finalized() >= 36, "{fold:?}");
        let verified = verification(&output);
        assert!(verified["epoch"].as_u64() >= Some(2), "{verified}");
        assert!(verified["verified"].as_u64() >= Some(36), "{verified}");
    });
}

/// What `path` answers.
fn get(serving: &Serving, path: &str) -> Value {
    let address = serving.url.trim_start_matches("http://");
    let mut server = TcpStream::connect(address).unwrap();
    write!(server, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_tier_without_a_proof_is_somebodys_word_and_it_is_said_whose() {
    let node = Node::serve(31_337, 10);
    let one = Serving::start(&format!("eth+http://{}", node.address), None);
    let two = Serving::start(&one.address(), None);
    let (data, _) = followed(&two.address(), None, 2);
    let name = get(&two, "/v1/status")["source"]["name"].as_str().unwrap().to_owned();
    let root = format!("eth+http://{}", node.address);
    assert!(name.starts_with(&one.address()) && name.ends_with(&root), "{name}");
    assert!(name.contains("on the word of"), "{name}");
    for tier in ["proposed", "checkpointed", "finalized"] {
        let why = get(&two, &format!("/v1/tips/{tier}/proof"));
        assert_eq!((&why["on"], &why["source"]), (&"word".into(), &name.clone().into()), "{why}");
    }
    let several = following(&one.address(), None, data.path()).with(["--source", &two.address()]);
    let output = several.start().end(END);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.errors.contains("without certificates"), "{}", output.errors);
}

//! The command, following nodes over JSON-RPC.

mod sequencer;

use crate::support::{
    node::Node,
    run::{Command, END, Fold, signal},
    tls::Terminator,
};
use serde_json::Value;
use std::path::Path;

const ID: u64 = 31_337;

fn addresses(node: &Node) -> [(&'static str, String); 3] {
    let at = node.address;
    [
        ("eth", format!("eth+http://{at}")),
        ("op", format!("op+http://{at}?el=http://{at}")),
        ("aztec", format!("aztec+http://{at}")),
    ]
}

fn following(source: &str, data: &Path) -> Command {
    let data = data.to_str().unwrap();
    Command::follow().with(["--source", source, "--format", "json", "--data-dir", data])
}

#[test]
fn each_kind_of_node_is_followed_to_a_height_and_on_after_a_restart() {
    for family in ["eth", "op"] {
        let node = Node::serve(ID, 10);
        let addresses = addresses(&node);
        let (_, source) = addresses.iter().find(|(name, _)| *name == family).unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut fold = Fold::default();
        let first = following(source, data.path()).with(["--until", "2"]).start().end(END);
        assert_eq!(first.code, Some(0), "{first:?}");
        first.lines.iter().for_each(|line| fold.line(line));
        assert_eq!((fold.first, fold.finalized()), (Some(1), 2), "{family}");
        node.grow_to(12);
        let second = following(source, data.path()).with(["--until", "4"]).start().end(END);
        assert_eq!(second.code, Some(0), "{second:?}");
        second.lines.iter().for_each(|line| fold.line(line));
        assert_eq!((fold.finalized(), fold.repeated), (4, 0), "{family}");
    }
}

/// The number of the checkpoint of each final tip in `lines`.
fn levels<'a>(lines: impl IntoIterator<Item = &'a String>) -> Vec<Value> {
    let lines = lines.into_iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let finalized = lines.filter(|line| line["tier"] == "finalized");
    finalized.map(|line| line["checkpoint"]["number"].clone()).collect()
}

#[test]
fn an_etherlink_node_is_followed_with_levels_of_l1_and_on_after_a_restart() {
    let node = Node::serve_etherlink(42_793, 10);
    let source = format!("etherlink+http://{}?l1-level=1", node.address);
    let data = tempfile::tempdir().unwrap();
    for (top, until, level) in [(10, "2", 2), (12, "4", 4)] {
        node.grow_to(top);
        let run = following(&source, data.path()).with(["--until", until]).start().end(END);
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(levels(&run.lines), [level], "up to {until}");
    }
    // A node of Ethereum is not one of Etherlink.
    let node = Node::serve(ID, 10);
    let data = tempfile::tempdir().unwrap();
    let source = format!("etherlink+http://{}", node.address);
    let run = following(&source, data.path()).with(["--until", "2"]).start();
    run.line_with("wrong_digest");
}

#[test]
fn over_a_websocket_an_etherlink_node_says_by_itself_where_levels_of_l1_begin() {
    let node = Node::serve_etherlink(42_793, 10);
    let source = format!("etherlink+ws://{}/ws", node.address);
    let data = tempfile::tempdir().unwrap();
    let run = following(&source, data.path()).with(["--until", "4"]).start();
    // The level is pushed once the node is listened to, which is after the first pass.
    let mut lines = vec![run.line_with("\"tier\":\"finalized\"")];
    node.grow_to(11);
    lines.push(run.line_with("\"tier\":\"finalized\""));
    node.grow_to(12);
    lines.push(run.line_with("\"tier\":\"finalized\""));
    assert_eq!(levels(&lines)[1..].last(), Some(&Value::from(4)), "{lines:?}");
    assert_eq!(run.end(END).code, Some(0));
}

/// Its epochs have four blocks, and the third one begins with another key: after the restart.
#[test]
fn a_tempo_node_is_followed_over_a_change_of_the_key_and_on_after_a_restart() {
    let (node, genesis) = Node::serve_tempo(6);
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("genesis.json");
    std::fs::write(&file, genesis).unwrap();
    let source = format!("tempo+http://{}?genesis={}", node.address, file.display());
    let data = data.path().join("data");
    let mut fold = Fold::default();
    for (top, until) in [(6, "6"), (14, "14")] {
        node.grow_to(top);
        // Its blocks are as old as they were written down.
        let run = following(&source, &data).with(["--until", until, "--trust-period", "36500d"]);
        let run = run.start().end(END);
        assert_eq!(run.code, Some(0), "{run:?}");
        run.lines.iter().for_each(|line| fold.line(line));
        assert_eq!((fold.finalized(), fold.repeated), (top, 0));
    }
    assert_eq!(fold.first, Some(1));
    // A network that it is not of, and a file that is not there.
    let other = tempfile::tempdir().unwrap();
    for (query, words) in [("network=mainnet", "wrong_chain"), ("genesis=/nowhere", "nowhere")] {
        let source = format!("tempo+http://{}?{query}", node.address);
        let run = following(&source, other.path()).start().end(END);
        assert!(run.code.is_some_and(|code| code != 0), "{run:?}");
        assert!(run.errors.contains(words), "{query}: {run:?}");
    }
}

/// A follower exports where an epoch began, and another one begins there: with the key that came after genesis's.
#[test]
fn a_tempo_network_is_followed_from_an_anchor_that_a_publisher_signed() {
    let (node, genesis) = Node::serve_tempo(14);
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let text = |name: &str| place(name).to_str().unwrap().to_owned();
    std::fs::write(place("genesis.json"), genesis).unwrap();
    let source = format!("tempo+http://{}?genesis={}", node.address, text("genesis.json"));
    let old = ["--trust-period", "36500d"];
    let first = following(&source, &place("one")).with(["--until", "14"]).start().end(END);
    assert_eq!(first.code, Some(0), "{first:?}");
    std::fs::write(place("key"), "07".repeat(32)).unwrap();
    let export = ["anchor", "export", "--data-dir", &text("one"), "--key", &text("key")];
    let exported = Command::new(&export).start().end(END);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let anchor: Value = serde_json::from_str(&exported.text()).unwrap();
    assert!(anchor["chain"].as_str().unwrap().starts_with("tempo:4242:"), "{anchor}");
    assert_eq!(anchor["epoch"], 3);
    let (file, publisher) = (text("anchor.json"), anchor["signatures"][0]["publisher"].as_str());
    std::fs::write(&file, exported.text()).unwrap();
    let import = ["anchor", "import", &file, "--publisher", publisher.unwrap()];
    let import = Command::new(&import).with(["--data-dir", &text("two")]).with(old);
    let imported = import.start().end(END);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let run = following(&source, &place("two")).with(["--until", "14"]).with(old);
    let run = run.start().end(END);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.text().contains("\"anchor\":\"pinned\""), "{run:?}");
}

#[test]
fn an_aztec_node_is_followed_with_its_checkpoints() {
    let node = Node::serve(ID, 0);
    let [.., (_, source)] = addresses(&node);
    let data = tempfile::tempdir().unwrap();
    let output = following(&source, data.path()).with(["--until", "2"]).start().ends_well(END);
    let mut fold = Fold::default();
    output.lines.iter().for_each(|line| fold.line(line));
    assert_eq!((fold.first, fold.finalized()), (Some(1), 2));
    let proven = output.lines.iter().find(|line| line.contains("\"proven\"")).unwrap();
    let proven: Value = serde_json::from_str(proven).unwrap();
    assert_eq!(proven["checkpoint"]["number"], 4);
}

#[test]
fn for_people_it_says_what_it_follows_and_what_that_cost() {
    let node = Node::serve(ID, 9);
    for (family, source) in addresses(&node) {
        let data = tempfile::tempdir().unwrap();
        let until = if family == "aztec" { "2" } else { "1" };
        let command = Command::follow().with(["--source", &source, "--until", until]);
        let output =
            command.with(["--data-dir", data.path().to_str().unwrap()]).start().ends_well(END);
        let text = output.text();
        assert!(text.contains(&format!("following {family}+http://")), "{text}");
        assert!(text.contains(" requests"), "{text}");
        assert!(text.contains(&format!("finalized {until}")), "{text}");
    }
}

#[test]
fn over_tls_the_authority_has_to_be_trusted_and_the_name_to_be_right() {
    let node = Node::serve(ID, 9);
    let (tls, other) = (Terminator::before(node.address), Terminator::before(node.address));
    for (host, trusted, words) in [
        ("localhost", &tls, ""),
        ("localhost", &other, "invalid peer certificate"),
        ("127.0.0.1", &tls, "not valid for name"),
    ] {
        let at = format!("{host}:{}", tls.port);
        for source in [
            format!("eth+https://{at}"),
            format!("eth+wss://{at}/ws"),
            format!("op+https://{at}?el=https://{at}"),
            format!("aztec+https://{at}"),
        ] {
            let data = tempfile::tempdir().unwrap();
            let command = following(&source, data.path()).with(["--until", "1"]);
            let output = command.env("SSL_CERT_FILE", trusted.authority()).start().end(END);
            let code = if words.is_empty() { 0 } else { 1 };
            assert_eq!(output.code, Some(code), "{source}: {output:?}");
            for words in [words, if code == 0 { "" } else { "SSL_CERT_FILE" }] {
                assert!(output.errors.contains(words), "{source}: {}", output.errors);
            }
        }
    }
}

#[test]
fn of_two_endpoints_one_may_be_down() {
    let node = Node::serve(ID, 9);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let data = tempfile::tempdir().unwrap();
    let run = following(&format!("eth+http://{closed}"), data.path())
        .with(["--source", &format!("eth+http://{}", node.address), "--until", "1"])
        .start()
        .end(END);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn the_data_of_a_chain_with_another_number_is_refused_and_left_alone() {
    let (ours, theirs) = (Node::serve(ID, 9), Node::serve(1, 9));
    let data = tempfile::tempdir().unwrap();
    let source = |node: &Node| format!("eth+http://{}", node.address);
    let follow =
        |node: &Node| following(&source(node), data.path()).with(["--until", "1"]).start().end(END);
    assert_eq!(follow(&ours).code, Some(0));
    let refused = follow(&theirs);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for words in ["eth:31337", "eth:1", "--data-dir", "check the address"] {
        assert!(refused.errors.contains(words), "{words}: {}", refused.errors);
    }
    assert_eq!(follow(&ours).code, Some(0));
}

#[test]
fn a_node_that_is_not_there_or_no_such_node_is_refused_with_what_to_do() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Node::serve(ID, 9).address;
    let table = [
        (format!("eth+http://{closed}"), "start the node"),
        (format!("eth+ws://{closed}"), "start the node"),
        (format!("op+http://{closed}?el=http://{node}"), "start the node"),
        (format!("op+http://{node}?el=http://{closed}"), "start the node"),
        (format!("aztec+http://{closed}"), "start the node"),
    ];
    for (source, words) in table {
        let data = tempfile::tempdir().unwrap();
        let output = following(&source, data.path()).start().end(END);
        assert_eq!(output.code, Some(1), "{source}: {output:?}");
        assert!(output.errors.contains("cannot reach the source"), "{source}: {}", output.errors);
        assert!(output.errors.contains(words), "{source}: {}", output.errors);
    }
}

#[test]
fn nobody_whose_node_answered_is_told_to_start_it() {
    let node = Node::serve_without_aztec(ID, 9).address;
    for (source, why) in [("aztec+http", "version 4"), ("eth+ws", "no WebSocket there")] {
        let data = tempfile::tempdir().unwrap();
        let output = following(&format!("{source}://{node}"), data.path()).start().end(END);
        assert_eq!(output.code, Some(1), "{output:?}");
        for words in ["cannot follow the source", why, "check the address"] {
            assert!(output.errors.contains(words), "{words}: {}", output.errors);
        }
        assert!(!output.errors.contains("start the"), "{}", output.errors);
    }
}

/// A worker stands in for a block prover of Miden 0.15, and says what that is worth. It is asked by the client that a
/// sequencer asks with.
#[test]
fn a_miden_sequencer_is_answered_an_empty_proof_and_nothing_else() {
    let worker = Command::new(&["prover-worker", "--miden", "--listen", "127.0.0.1:0"]).start();
    let line = worker.line_with("sequencers of Miden 0.15");
    assert!(line.contains("empty, and prove nothing"), "{line}");
    let address = line.split(' ').find(|word| word.starts_with("http://")).unwrap();
    let address = address.trim_end_matches(':');
    let [block, batch] = [2, 1];
    let request = include_bytes!("../../../sources/src/miden/tests/fixtures/proposed_43.bin");
    assert_eq!(sequencer::prove(address, block, request), Ok(vec![]));
    let line = worker.line_with("an empty proof");
    assert!(line.contains("block 43 of a Miden chain"), "{line}");
    for (proof_type, payload, words) in [
        (batch, &request[..], "unsupported proof type: Batch"),
        (block, b"x", "1 bytes, and a proposed block has"),
        (block, &request[..request.len() - 1], "does not end with the header"),
    ] {
        let refused = sequencer::prove(address, proof_type, payload).unwrap_err();
        assert!(refused.contains("InvalidArgument") && refused.contains(words), "{refused}");
    }
    signal(&worker, "TERM");
    let output = worker.end(END);
    assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
}

#[test]
fn a_signal_ends_it_cleanly() {
    let node = Node::serve(ID, 9);
    for (_, source) in addresses(&node) {
        let data = tempfile::tempdir().unwrap();
        let run = following(&source, data.path()).start();
        run.line_with("\"tier\":\"finalized\"");
        signal(&run, "TERM");
        run.ends_well(END);
    }
}

#[test]
fn what_is_secret_in_an_address_is_never_shown() {
    const SECRETS: [&str; 5] = ["alice", "hunter2", "YWxpY2U6", "key-4711", "token-4712"];
    let node = Node::serve(ID, 9);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let behind = "key-4711?token=token-4712";
    for at in [node.address, closed] {
        let host = format!("alice:hunter2@{at}/{behind}");
        for source in [
            format!("eth+http://{host}"),
            format!("eth+ws://{host}"),
            format!("op+http://{host}&el=http://{host}"),
            format!("aztec+http://{host}"),
            format!("eth+ftp://{host}"),
            format!("op+http://{host}"),
        ] {
            for format in ["human", "json"] {
                let data = tempfile::tempdir().unwrap();
                let output = Command::follow()
                    .with(["--source", &source, "--format", format, "--until", "1"])
                    .with(["--data-dir", data.path().to_str().unwrap()])
                    .env("RUST_LOG", "trace,jsonrpsee-client=trace")
                    .start()
                    .end(END);
                for text in [output.text(), output.errors] {
                    for secret in SECRETS {
                        let found = text.lines().find(|line| line.contains(secret));
                        assert_eq!(found, None, "{source} shows {secret}");
                    }
                }
            }
        }
    }
    let (path, authorization) = node.seen();
    assert_eq!(path, format!("/{behind}"), "it is in the request");
    assert_eq!(authorization, "Basic YWxpY2U6aHVudGVyMg==");
}

//! The command, as those who type it meet it: what it prints, how it ends, what it refuses.

mod surroundings;

use crate::support::{
    indexer::indexer,
    run::{Command, END, Fold, finalizes, signal},
    scraped::{metrics, metrics_address},
    tls::Terminator,
};
use futures::executor::block_on;
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
};
use tidewatch_core::Height;
use tidewatch_devnet::{
    CertificateMode,
    readymade::{Chain, ChainConfig, Kind, Server},
};

fn chain(blocks: u64, seed: u64) -> Chain {
    let config = ChainConfig { seed, ..ChainConfig::default() };
    Chain::sign(blocks, CertificateMode::Standard, config).unwrap()
}

fn source(server: &Server) -> String {
    format!("alto+{}?mode=standard", server.url())
}

/// Follows `server` into `data`.
fn following_for_people(server: &Server, data: &Path) -> Command {
    Command::follow()
        .with(["--source", &source(server), "--identity", server.identity()])
        .with(["--data-dir", data.to_str().unwrap()])
}

/// Follows `server` into `data`, as JSON.
fn following(server: &Server, data: &Path) -> Command {
    following_for_people(server, data).with(["--format", "json"])
}

#[test]
fn help_says_what_there_is() {
    for (args, words) in [
        (&["--help"][..], &["follow", "Usage", "devnet:"][..]),
        (
            &["follow", "--help"],
            &[
                "--source",
                "--identity",
                "--start",
                "--until",
                "--data-dir",
                "--format",
                "--metrics",
                "--serve",
                "--config",
                "alto+http://HOST:PORT?mode=standard|vrf",
                "genesis|tip|HEIGHT",
                "RUST_LOG",
            ],
        ),
        (&["--version"], &["tidewatch"]),
        (
            &["prove", "--help"],
            &[
                "--prover",
                "nats://127.0.0.1:4222",
                "--prover-creds",
                "--slots",
                "--ahead",
                "--token-file",
                "--source",
                "SHA-256",
                "prover status",
            ],
        ),
        (
            &["prover-worker", "--help"],
            &[
                "--listen",
                "127.0.0.1:8700",
                "--token-file",
                "--open",
                "--data-dir",
                "--nats",
                "--nats-replicas",
                "--nats-creds",
                "--miden",
                "--block-prover.url",
                "proves nothing",
            ],
        ),
        (
            &["prover", "--help"],
            &["status", "jobs", "range", "requeue", "supply", "verify", "prover.sock"],
        ),
        (
            &["sink", "postgres", "--help"],
            &[
                "--from",
                "--password-file",
                "--schema",
                "--on-reset",
                "psql chain",
                "tidewatch.chain",
            ],
        ),
        (
            &["sink", "webhook", "--help"],
            &[
                "--secret-file",
                "--finalized",
                "--give-up",
                "tidewatch sink dead",
                "Standard Webhooks",
            ],
        ),
        (
            &["sequence", "--help"],
            &["submit", "--listen", "127.0.0.1:8750", "--data-dir", "--interval", "--metrics"],
        ),
        (
            &["sequence", "submit", "--help"],
            &["TEXT", "--to", "http://127.0.0.1:8750", "--sender", "--identity", "encrypted"],
        ),
    ] {
        let output = Command::new(args).start().end(END);
        assert_eq!(output.code, Some(0));
        for word in words {
            assert!(
                output.text().contains(word),
                "{args:?} does not say {word}: {}",
                output.text()
            );
        }
    }
}

#[test]
fn the_devnet_is_followed_to_a_height_as_json() {
    for mode in ["devnet:", "devnet:?mode=vrf"] {
        let run =
            Command::follow().with(["--source", mode, "--until", "5", "--format", "json"]).start();
        let output = run.ends_well(END);
        let mut fold = Fold::default();
        output.lines.iter().for_each(|line| fold.line(line));
        assert!(fold.finalized() >= 5, "{fold:?}");
        assert!(fold.states.contains(&"live".into()), "{fold:?}");
        assert_eq!(output.errors, "");
    }
}

#[test]
fn a_devnet_with_epochs_is_followed_over_the_end_of_one() {
    let follow = Command::follow().with(["--source", "devnet:epochs", "--format", "json"]);
    let output = follow.with(["--until", "34"]).start().ends_well(END);
    let mut fold = Fold::default();
    fold.reorgs = true;
    output.lines.iter().for_each(|line| fold.line(line));
    assert!(fold.finalized() >= 34, "{fold:?}");
    assert!(fold.states.contains(&"live".into()), "{fold:?}");
    assert_eq!(output.errors, "");
}

#[test]
fn an_indexer_is_followed_over_tls() {
    let chain = chain(30, 0);
    let server = indexer(&chain, 20);
    let before = || Terminator::before(server.url()["http://".len()..].parse().unwrap());
    let (tls, other) = (before(), before());
    let source = format!("alto+https://localhost:{}?mode=standard", tls.port);
    let follow = || {
        Command::follow()
            .with(["--source", &source, "--identity", server.identity()])
            .with(["--format", "json", "--until", "30"])
    };
    let untrusted = follow().env("SSL_CERT_FILE", other.authority()).start().end(END);
    assert_eq!(untrusted.code, Some(1), "{untrusted:?}");
    for words in ["invalid peer certificate", "SSL_CERT_FILE"] {
        assert!(untrusted.errors.contains(words), "{}", untrusted.errors);
    }
    let run = follow().env("SSL_CERT_FILE", tls.authority()).start();
    let mut fold = Fold::default();
    run.until(&mut fold, finalizes(20));
    for height in 21..=30 {
        server.finalize(&chain, Height::new(height)).unwrap();
        run.until(&mut fold, finalizes(height));
    }
    run.ends_well(END);
    assert!(server.requests(Kind::Stream) > 0, "pushes come over TLS too");
}

#[test]
fn the_devnet_is_followed_for_people() {
    let output = Command::follow().with(["--until", "3"]).start().ends_well(END);
    let text = output.text();
    for words in
        ["starting the devnet", "following alto+http://127.0.0.1:", "finalized 3", "blocks in"]
    {
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

#[test]
fn a_restart_goes_on_after_the_last_line() {
    let chain = chain(90, 0);
    let server = indexer(&chain, 40);
    let data = tempfile::tempdir().unwrap();
    let mut fold = Fold::default();
    for upto in [40, 60, 90] {
        for height in 41..=upto {
            server.finalize(&chain, Height::new(height)).unwrap();
        }
        let run = following(&server, data.path()).with(["--until", &upto.to_string()]).start();
        let output = run.ends_well(END);
        output.lines.iter().for_each(|line| fold.line(line));
        assert_eq!(fold.finalized(), upto);
    }
    assert_eq!(fold.repeated, 0, "an orderly end loses and repeats nothing");
    // What was asked for is there already.
    let output = following(&server, data.path()).with(["--until", "30"]).start().ends_well(END);
    output.lines.iter().for_each(|line| fold.line(line));
    assert_eq!((fold.finalized(), fold.repeated), (90, 0));
}

#[test]
fn a_process_that_is_killed_loses_no_line() {
    let chain = chain(60, 0);
    let server = indexer(&chain, 20);
    let data = tempfile::tempdir().unwrap();
    let mut fold = Fold::default();
    for height in [20, 30, 45, 60] {
        let run = following(&server, data.path()).start();
        for next in 21..=height {
            server.finalize(&chain, Height::new(next)).unwrap();
        }
        run.until(&mut fold, finalizes(height));
        signal(&run, "KILL");
        let output = run.end(END);
        assert_eq!(output.code, None, "it was killed");
        output.lines.iter().for_each(|line| fold.line(line));
        assert!(fold.finalized() >= height);
    }
}

#[test]
fn signals_end_it_cleanly() {
    let chain = chain(30, 0);
    let server = indexer(&chain, 30);
    for name in ["INT", "TERM"] {
        let data = tempfile::tempdir().unwrap();
        let run = following(&server, data.path()).start();
        let mut fold = Fold::default();
        run.until(&mut fold, finalizes(30));
        signal(&run, name);
        let output = run.ends_well(END);
        assert_eq!(output.errors, "", "{name}");
        output.lines.iter().for_each(|line| fold.line(line));

        let run = Command::new(&[]).start();
        run.line_with("finalized 2");
        signal(&run, name);
        let output = run.ends_well(END);
        assert!(output.text().contains("blocks in"), "{name}: {output:?}");
    }
}

#[test]
fn a_signal_while_the_upstream_hangs_ends_it() {
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("alto+http://{}?mode=standard", hung.local_addr().unwrap());
    let identity = chain(0, 0).identity();
    let run = Command::follow()
        .with(["--source", &source, "--identity", &identity, "--metrics", "127.0.0.1:0"])
        .start();
    run.line_with("metrics at ");
    signal(&run, "TERM");
    run.ends_well(END);
}

#[test]
fn upstreams_that_all_hang_are_refused_at_once() {
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("alto+http://{}?mode=standard", hung.local_addr().unwrap());
    let identity = chain(0, 0).identity();
    let command = Command::follow()
        .with(["--source", &source, "--source", &source, "--identity", &identity])
        .with(["--format", "json"]);
    refused(command, &["cannot reach", "start the indexer"]);
}

/// Refused at once, with words on standard error and nothing but JSON on standard output.
fn refused(command: Command, words: &[&str]) {
    let shown = format!("{command:?}");
    let output = command.start().end(END);
    assert!(output.code.is_some_and(|code| code != 0), "{shown}: {output:?}");
    for word in words {
        assert!(output.errors.contains(word), "{shown}: {word} is not in {}", output.errors);
    }
    for line in &output.lines {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{shown}: {line}");
    }
}

#[test]
fn wrong_input_is_refused_at_once_with_what_to_do() {
    let identity = chain(0, 0).identity();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("alto+http://{closed}?mode=standard");
    let table: &[(&[&str], &[&str])] = &[
        (&["--source", "ftp://host"], &["alto+http://HOST:PORT?mode=", "devnet:"]),
        (&["--source", "http://127.0.0.1:1?mode=vrf"], &["alto+http://HOST:PORT?mode="]),
        (&["--source", "alto+http://127.0.0.1:1"], &["mode is missing", "?mode=standard"]),
        (&["--source", "devnet:?mode=fast"], &["no such devnet", "devnet:epochs"]),
        (&["--source", &nobody], &["identity is missing", "--identity"]),
        (&["--source", &nobody, "--identity", "xyz"], &["not hex", "--identity"]),
        (&["--source", &nobody, "--identity", "00ff"], &["96 bytes", "--identity"]),
        (&["--source", &nobody, "--identity", &identity[2..]], &["96 bytes", "--identity"]),
        (&["--source", &nobody, "--identity", &identity], &["cannot reach", "start the indexer"]),
        (&["--start", "yesterday"], &["--start", "genesis", "tip"]),
        (&["--until", "-1"], &["--until", "-1"]),
        (&["--metrics", "nowhere"], &["--metrics"]),
        (&["--serve", "nowhere"], &["--serve"]),
        (&["--serve", "0.0.0.0:0"], &["other machines", "--serve-token-file", "--serve-open"]),
        (&["--serve-open"], &["nothing to serve", "--serve"]),
        (&["--serve", "127.0.0.1:0", "--serve-token-file", "/dev/null"], &["16 characters"]),
        (&["--sauce", "devnet:"], &["--sauce", "--source"]),
        (&["--config", "/nonexistent/tidewatch.toml"], &["configuration file", "tidewatch.toml"]),
        (&["--data-dir", "/dev/null/data"], &["data directory", "--data-dir"]),
    ];
    for (args, words) in table {
        refused(Command::follow().with(["--format", "json"]).with(args.iter().copied()), words);
    }
    for (args, words) in [
        (
            &["prover", "status", "--data-dir", "nowhere"][..],
            &["nothing was proven", "--data-dir"][..],
        ),
        (&["prover", "supply", "7", "nowhere"], &["cannot read nowhere", "verify --out"]),
        (&["prove", "--source", "eth+http://127.0.0.1:1"], &["SHA-256", "own_prover.rs"]),
        #[cfg(not(feature = "prove"))]
        (&["prove"], &["cannot prove", "cargo run --release --features prove -- prove"]),
        #[cfg(not(feature = "prove"))]
        (&["prover-worker"], &["cannot prove", "--features prove"]),
        #[cfg(feature = "prove")]
        (&["prover-worker", "--listen", "0.0.0.0:0"], &["not on loopback", "--token-file"]),
        (
            &["prover-worker", "--miden", "--listen", "0.0.0.0:0"],
            &["not on loopback", "--token-file", "--open"],
        ),
        (&["prover-worker", "--open", "--token-file", "x"], &["--open", "cannot be used with"]),
        (&["prover-worker", "--nats", "nats://a", "--miden"], &["--miden", "cannot be used with"]),
        (&["prover-worker", "--nats-creds", "x"], &["required", "--nats <URL>"]),
    ] {
        refused(Command::new(args), words);
    }
    refused(Command::follow().with(["--format", "xml"]), &["--format", "human", "json"]);
}

#[test]
fn slips_in_typing_are_not_repeated() {
    const ALTO: &str = "alto+http://127.0.0.1:1?mode=standard?apikey=hunter2";
    for args in [
        &["follow", "https://alice:hunter2@host/key"][..],
        &["https://alice:hunter2@host/key"],
        &["follow", "--source", ALTO, "--identity", "00"],
        &["follow", "--source", "devnet:?mode=hunter2"],
        &["follow", "--until", "https://hunter2@host"],
    ] {
        let output = Command::new(args).start().end(END);
        assert_eq!(output.code, Some(2), "{args:?}: {output:?}");
        assert!(!output.errors.contains("hunter2"), "{args:?}: {}", output.errors);
    }
}

/// Lines go to a file across lives: what the one before could not finish stands alone.
#[test]
fn a_line_that_a_kill_has_torn_is_not_glued_to_the_next_one() {
    let server = indexer(&chain(20, 3), 20);
    let (data, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = directory.path().join("lines");
    let torn = r#"{"event":"blocks","from":{"hei"#;
    std::fs::write(&path, torn).unwrap();
    for _ in 0..2 {
        let command = following(&server, data.path()).with(["--until", "20"]);
        let output = command.limited(&format!("exec >> {}", path.display())).start().end(END);
        assert_eq!(output.code, Some(0), "{}", output.errors);
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let (first, lines) = text.split_once('\n').unwrap();
    assert_eq!(first, torn);
    let mut fold = Fold::default();
    lines.lines().for_each(|line| fold.line(line));
    assert_eq!(fold.finalized(), 20);
}

#[test]
fn a_wrong_configuration_file_is_refused_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("follow.toml");
    for (text, words) in [
        ("untill = 5\n", &["follow.toml", "untill", "until"][..]),
        ("until = 'soon'\n", &["follow.toml", "until"]),
        ("start = 'yesterday'\n", &["follow.toml", "genesis"]),
        ("not toml", &["follow.toml"]),
    ] {
        std::fs::write(&path, text).unwrap();
        let config = path.to_str().unwrap();
        refused(Command::follow().with(["--format", "json", "--config", config]), words);
    }
}

#[test]
fn a_taken_metrics_address_is_refused() {
    let chain = chain(1, 0);
    let server = indexer(&chain, 1);
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let command = following(&server, data.path()).with(["--metrics", &address]);
    refused(command, &[&address, "--metrics", "free address"]);
}

#[test]
fn the_data_of_another_chain_is_refused_and_left_alone() {
    let (ours, theirs) = (chain(5, 0), chain(5, 1));
    let (server, other) = (indexer(&ours, 5), indexer(&theirs, 5));
    let data = tempfile::tempdir().unwrap();
    let first = following(&server, data.path()).with(["--until", "5"]).start();
    assert_eq!(first.end(END).code, Some(0));
    refused(following(&other, data.path()), &["--data-dir", "--identity"]);
    let again = following(&server, data.path()).with(["--until", "5"]).start().end(END);
    assert_eq!(again.code, Some(0), "{again:?}");
}

#[test]
fn a_second_process_on_one_data_directory_is_refused() {
    let chain = chain(5, 0);
    let server = indexer(&chain, 5);
    let data = tempfile::tempdir().unwrap();
    let first = following(&server, data.path()).start();
    let mut fold = Fold::default();
    first.until(&mut fold, finalizes(5));
    let words = ["in use by another tidewatch", &first.pid().to_string(), "--data-dir"];
    refused(following(&server, data.path()), &words);
    signal(&first, "INT");
    assert_eq!(first.end(END).code, Some(0), "the first one goes on");
}

#[test]
fn a_reader_who_leaves_ends_it() {
    let chain = chain(5, 0);
    let server = indexer(&chain, 4);
    let data = tempfile::tempdir().unwrap();
    let run = following(&server, data.path()).reading_until("\"finalized\"").start();
    run.until(&mut Fold::default(), finalizes(4));
    server.finalize(&chain, Height::new(5)).unwrap();
    let output = run.end(END);
    assert_ne!(output.code, Some(0));
    assert!(output.errors.contains("standard output"), "{output:?}");
}

#[test]
fn metrics_are_served_with_the_heights_of_the_tiers() {
    let chain = chain(7, 0);
    let server = indexer(&chain, 7);
    let data = tempfile::tempdir().unwrap();
    let run = following_for_people(&server, data.path()).with(["--metrics", "127.0.0.1:0"]).start();
    let address = metrics_address(&run);
    run.line_with("finalized 7");
    let answer = metrics(&address);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    for (name, label, value) in [
        ("tip_height", "kind=\"finalized\"", "7"),
        ("tip_height", "kind=\"proposed\"", "7"),
        ("delivered_height", "", "7"),
        ("certificate_checks_total", "reason=\"tip\"", "1"),
    ] {
        let said = |line: &str| {
            line.contains(name) && line.contains(label) && line.ends_with(&format!(" {value}"))
        };
        assert!(answer.lines().any(said), "no {name} {label} {value} in {answer}");
    }
    signal(&run, "TERM");
    assert_eq!(run.end(END).code, Some(0));
}

#[test]
fn what_is_followed_is_served_and_a_stop_says_goodbye() {
    let server = indexer(&chain(7, 0), 7);
    let data = tempfile::tempdir().unwrap();
    let run = following_for_people(&server, data.path()).with(["--serve", "127.0.0.1:0"]).start();
    let address = run.line_with("serving at http://").replace("serving at http://", "");
    run.line_with("finalized 7");
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\naccept: application/jsonl\r\n\r\n").unwrap();
        stream
    };
    let read = |mut stream: TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let status: Value = serde_json::from_str(&read(ask("/v1/status"))).unwrap();
    assert_eq!(status["tips"]["finalized"]["block"]["height"], 7, "{status}");
    let why: Value = serde_json::from_str(&read(ask("/v1/tips/finalized/proof"))).unwrap();
    assert_eq!(why["on"], "proof", "{why}");
    let mut fold = Fold::default();
    let stream = ask("/v1/events?from=earliest");
    let followed = std::thread::spawn(move || read(stream));
    let answer = read(ask("/v1/events?from=earliest&until=7"));
    let lines: Vec<_> = answer.lines().collect();
    let [hello, lines @ .., goodbye] = &lines[..] else { panic!("{answer}") };
    assert!(hello.contains(r#""event":"hello""#) && goodbye.contains(r#""reason":"until""#));
    lines.iter().for_each(|line| fold.line(line));
    assert_eq!(fold.finalized(), 7);
    signal(&run, "TERM");
    let output = run.end(END);
    assert_eq!((output.code, &*output.errors), (Some(0), ""));
    let goodbye = followed.join().unwrap();
    let goodbye: Value = serde_json::from_str(goodbye.lines().last().unwrap()).unwrap();
    assert_eq!((&goodbye["event"], &goodbye["reason"]), (&"goodbye".into(), &"shutdown".into()));
}

#[test]
fn options_may_stand_in_a_file() {
    let chain = chain(9, 0);
    let server = indexer(&chain, 9);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("follow.toml");
    let data = directory.path().join("data");
    let text = format!(
        "source = [{:?}]\nidentity = {:?}\nstart = 4\nuntil = 1000\nformat = 'json'\ndata_dir = {data:?}\n",
        source(&server),
        server.identity(),
    );
    std::fs::write(&path, text).unwrap();
    // What is said on the command line counts more.
    let command = Command::follow().with(["--config", path.to_str().unwrap(), "--until", "9"]);
    let output = command.start().ends_well(END);
    let mut fold = Fold::default();
    output.lines.iter().for_each(|line| fold.line(line));
    assert_eq!((fold.first, fold.finalized()), (Some(4), 9));
    assert!(data.join("LOCK").exists());
}

#[test]
fn of_two_upstreams_one_may_be_down_from_the_start_or_go_down() {
    let chain = chain(30, 0);
    let (mut one, mut two) = (indexer(&chain, 10), indexer(&chain, 10));
    block_on(one.close());
    let data = tempfile::tempdir().unwrap();
    let run = following(&one, data.path()).with(["--source", &source(&two)]).start();
    let mut fold = Fold::default();
    run.until(&mut fold, finalizes(10));
    for height in 11..=30 {
        one.finalize(&chain, Height::new(height)).unwrap();
    }
    one.open().unwrap();
    block_on(two.close());
    run.until(&mut fold, finalizes(30));
    signal(&run, "INT");
    let output = run.ends_well(END);
    output.lines.iter().for_each(|line| fold.line(line));
    assert_eq!(fold.repeated, 0);
}

#[test]
fn an_upstream_that_goes_down_is_told_and_awaited() {
    let chain = chain(12, 0);
    let mut server = indexer(&chain, 6);
    let data = tempfile::tempdir().unwrap();
    let run = following(&server, data.path()).start();
    let mut fold = Fold::default();
    run.until(&mut fold, finalizes(6));
    block_on(server.close());
    run.until(&mut fold, |line| line.contains("\"unreachable\""));
    for height in 7..=12 {
        server.finalize(&chain, Height::new(height)).unwrap();
    }
    server.open().unwrap();
    run.until(&mut fold, finalizes(12));
    signal(&run, "INT");
    assert_eq!(run.end(END).code, Some(0));
}

#[test]
fn an_upstream_that_goes_down_is_told_to_people_in_words() {
    let chain = chain(20, 0);
    let mut server = indexer(&chain, 10);
    let data = tempfile::tempdir().unwrap();
    let run = following_for_people(&server, data.path()).start();
    run.line_with("finalized 10");
    block_on(server.close());
    let line = run.line_with("fault: ");
    assert!(line.contains(&format!("fault: alto+{}", server.url())), "{line}");
    signal(&run, "INT");
    assert_eq!(run.end(END).code, Some(0));
}

#[test]
fn secrets_of_an_address_are_never_shown() {
    const SECRETS: [&str; 4] = ["alice", "hunter2", "YWxpY2U6", "alice:hunter2@"];
    let chain = chain(6, 0);
    let mut server = indexer(&chain, 5);
    let with_secrets = source(&server).replace("http://", "http://alice:hunter2@");
    for format in ["human", "json"] {
        let data = tempfile::tempdir().unwrap();
        let command = || {
            Command::follow()
                .with(["--source", &with_secrets, "--identity", server.identity()])
                .with(["--format", format, "--data-dir", data.path().to_str().unwrap()])
                .env("RUST_LOG", "trace")
        };
        let mut shown = Vec::new();
        if format == "human" {
            let run = command().with(["--metrics", "127.0.0.1:0"]).start();
            let address = metrics_address(&run);
            run.line_with("finalized 5");
            shown.push(metrics(&address));
            signal(&run, "INT");
            let output = run.end(END);
            shown.extend([output.text(), output.errors]);
        }
        let output = command().with(["--until", "5"]).start().ends_well(END);
        assert!(!output.errors.is_empty(), "logs were asked for");
        assert!(!output.errors.contains('\u{1b}'), "a pipe is no terminal");
        shown.extend([output.text(), output.errors]);
        let wrong = command().with(["--source", "alto+http://alice:hunter2@host?mode=no"]);
        let output = wrong.start().end(END);
        shown.extend([output.text(), output.errors]);
        for text in shown {
            for secret in SECRETS {
                let at = text.lines().find(|line| line.contains(secret));
                assert_eq!(at, None, "{format} shows {secret}");
            }
        }
    }
    block_on(server.close());
    let refused = Command::follow()
        .with(["--source", &with_secrets, "--identity", server.identity()])
        .start()
        .end(END);
    assert!(!SECRETS.iter().any(|secret| refused.errors.contains(secret)), "{refused:?}");
}

/// Clients that connect to the metrics port and say nothing.
const SILENT: usize = 10_000;

/// Memory that they may cost, in KiB.
const SILENT_KIB: u64 = 16 * 1024;

/// Descriptors that this process may have.
fn descriptors_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

/// The port keeps what the store needs: clients that connect and say nothing cost it few descriptors and little
/// memory, however many they are. They are held here, by another process.
#[test]
fn ten_thousand_silent_clients_of_the_metrics_port_cost_few_descriptors_and_little_memory() {
    let clients = SILENT.min(descriptors_max().saturating_sub(500));
    if clients < SILENT {
        println!("only {clients} clients: this process may have no more descriptors (ulimit -n)");
    }
    let server = indexer(&chain(20, 3), 20);
    let data = tempfile::tempdir().unwrap();
    let run = following_for_people(&server, data.path()).with(["--metrics", "127.0.0.1:0"]).start();
    let address = metrics_address(&run);
    run.line_with("finalized 20");
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", run.pid())).unwrap().count();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = (descriptors(), memory());
    let mut silent = Vec::with_capacity(clients);
    while silent.len() < clients {
        silent.push(TcpStream::connect(&address).unwrap());
        if silent.len().is_multiple_of(100) {
            // Closed by the port: it has taken all that came, so none is dropped and comes again after a second.
            let _ = silent.last_mut().unwrap().read(&mut [0]);
            let now = (descriptors(), memory());
            assert!(now.0 <= before.0 + 40, "{now:?}, before {before:?}");
            assert!(now.1 <= before.1 + SILENT_KIB, "{now:?}, before {before:?}");
        }
    }
    println!("{clients} clients: {:?}, before {before:?}", (descriptors(), memory()));
    drop(silent);
    while !metrics(&address).contains("# EOF") {}
    signal(&run, "INT");
    assert_eq!(run.end(END).code, Some(0));
}

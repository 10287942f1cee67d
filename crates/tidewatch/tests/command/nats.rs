//! `tidewatch follow --nats`: processes that publish to a real server of NATS.

mod credentials;

use crate::support::{
    indexer::indexer,
    nats::{NEWEST, Server, TOO_OLD, installed},
    published::Read,
    run::{Command, END, Run, signal},
    scraped::{metrics, metrics_address},
    tls::Certified,
};
use commonware_formatting::from_hex;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio};
use credentials::Operator;
use std::time::Duration;
use tempfile::TempDir;
use tidewatch_core::{Cursor, Height, Positions as _, Tier, Watermarks, within};
use tidewatch_devnet::{
    CertificateMode,
    readymade::{self, Chain, ChainConfig},
};
use tidewatch_nats::{Cluster as _, Content, Message, Names, Positions};
use tidewatch_sources::alto;

fn chain(blocks: u64) -> Chain {
    Chain::sign(blocks, CertificateMode::Standard, ChainConfig::default()).unwrap()
}

/// A follower of `indexer` that publishes to `nats`.
fn follow(indexer: &readymade::Server, nats: &str, data: &TempDir) -> Command {
    let source = format!("alto+{}?mode=standard", indexer.url());
    Command::follow().with(["--source", &source, "--identity", indexer.identity()]).with([
        "--data-dir",
        data.path().to_str().unwrap(),
        "--nats",
        nats,
    ])
}

fn publishing(indexer: &readymade::Server, nats: &str, data: &TempDir) -> Run {
    let run = follow(indexer, nats, data).start();
    run.line_with("publishing to nats://");
    run
}

#[test]
fn two_processes_publish_as_one_and_one_is_killed() {
    let Some(executable) = installed(NEWEST) else { return };
    let (nats, chain) = (Server::start(&executable), chain(30));
    let indexer = indexer(&chain, 10);
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let first = follow(&indexer, &nats.url(), &one).with(["--metrics", "127.0.0.1:0"]).start();
    let address = metrics_address(&first);
    first.line_with("publishing to nats://");
    let identity = from_hex(indexer.identity()).unwrap();
    let id = alto::chain_id(&identity, CertificateMode::Standard);
    tokio::Runner::default().start(|context| async move {
        let mut read = Read::open(&context, &nats.url(), id).await;
        read.until(&context, 10).await;
        // The second one stands by, and takes over when the first is gone.
        let second = publishing(&indexer, &nats.url(), &two);
        for height in 11..=15 {
            indexer.finalize(&chain, Height::new(height)).unwrap();
        }
        read.until(&context, 15).await;
        let tokens = read.tokens().await;
        assert_eq!(tokens.len(), 1, "the first one leads");
        let metrics = metrics(&address);
        for line in [
            "tidewatch_nats_elector_leader 1",
            &format!("tidewatch_nats_publisher_token {}", tokens[0]),
            "tidewatch_nats_publisher_published_total{kind=\"lead\"} 1",
            "tidewatch_nats_publisher_publish_timestamp_seconds ",
            "tidewatch_nats_publisher_unanswered_total 0",
        ] {
            assert!(metrics.lines().any(|found| found.starts_with(line)), "{line}: {metrics}");
        }
        signal(&first, "KILL");
        for height in 16..=20 {
            indexer.finalize(&chain, Height::new(height)).unwrap();
        }
        read.until(&context, 20).await;
        let tokens = read.tokens().await;
        assert!(tokens.is_sorted_by(|a, b| a < b) && tokens.len() == 2, "{tokens:?}");
        // One that is stopped hands over at once.
        signal(&second, "TERM");
        assert_eq!(second.end(END).code, Some(0));
        assert!(read.cluster.lease().await.unwrap().value.is_none());
        assert!(read.is_whole(), "{:?}", read.given);
    });
}

#[test]
fn a_server_that_comes_back_with_nothing_is_told_all_of_it_again() {
    let Some(executable) = installed(NEWEST) else { return };
    let (mut nats, chain) = (Server::start(&executable), chain(20));
    let indexer = indexer(&chain, 5);
    let data = tempfile::tempdir().unwrap();
    let run = publishing(&indexer, &nats.url(), &data);
    let id = from_hex(indexer.identity()).unwrap();
    let id = alto::chain_id(&id, CertificateMode::Standard);
    tokio::Runner::default().start(|context| async move {
        let mut read = Read::open(&context.child("before"), &nats.url(), id.clone()).await;
        read.until(&context, 5).await;
        nats.restart_empty();
        indexer.finalize(&chain, Height::new(6)).unwrap();
        // Nobody but the follower makes the stream again.
        read.until(&context, 6).await;
        let mut read = Read::open(&context.child("after"), &nats.url(), id).await;
        read.until(&context, 6).await;
        assert!(read.is_whole(), "{:?}", read.given);
        signal(&run, "TERM");
        assert_eq!(run.end(END).code, Some(0));
    });
}

#[test]
fn a_server_that_is_too_old_is_refused_with_what_helps() {
    let Some(executable) = installed(TOO_OLD) else { return };
    let nats = Server::start(&executable);
    let (chain, data) = (chain(3), tempfile::tempdir().unwrap());
    let indexer = indexer(&chain, 3);
    // It may not be ready at once: then it is asked again, and the follower goes on without it.
    while std::net::TcpStream::connect(nats.url().trim_start_matches("nats://")).is_err() {}
    let output = follow(&indexer, &nats.url(), &data).with(["--until", "3"]).start().end(END);
    let told = output.errors;
    assert!(told.contains("2.11.11") && told.contains("run nats-server 2.12.8 or newer"), "{told}");
    assert_eq!(output.code, Some(2), "{told}");
}

#[test]
fn a_server_that_is_not_there_is_reported_and_holds_nobody_up() {
    let (chain, data) = (chain(3), tempfile::tempdir().unwrap());
    let indexer = indexer(&chain, 3);
    let run = follow(&indexer, "nats://127.0.0.1:1", &data).with(["--until", "3"]).start();
    let output = run.end(END);
    assert_eq!(output.code, Some(0), "{}", output.errors);
    assert!(output.errors.contains("no server of NATS took the connection"), "{}", output.errors);
}

#[test]
fn over_tls_and_with_credentials_it_publishes_and_is_told_what_is_wrong_with_either() {
    let Some(executable) = installed(NEWEST) else { return };
    let (certified, operator) = (Certified::new(), Operator::new());
    let nats = Server::configured(&executable, |directory| {
        let [certificate, key] = certified.write(directory);
        let tls = format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}\n");
        tls + &operator.configuration()
    });
    let (chain, data) = (chain(3), tempfile::tempdir().unwrap());
    let indexer = indexer(&chain, 3);
    let place = |name: &str, text: String| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = place("good.creds", operator.user());
    let strange = place("strange.creds", Operator::new().user());
    let port = nats.address().port();
    while std::net::TcpStream::connect(nats.address()).is_err() {}
    let run = |url: &str, credentials: &str, authority: &str| {
        let more = ["--nats-creds", credentials];
        follow(&indexer, url, &data).with(more).env("SSL_CERT_FILE", authority)
    };
    let [named, numbered] = ["localhost", "127.0.0.1"].map(|host| format!("tls://{host}:{port}"));
    // What was wrong is said, and the chain is followed all the same.
    let other = Certified::new();
    for (url, credentials, authority, words) in [
        (&*named, &*good, other.authority(), "invalid peer certificate"),
        (&*numbered, &*good, certified.authority(), "not valid for name"),
        (&*named, &*strange, certified.authority(), "authorization violation"),
    ] {
        let output = run(url, credentials, authority).with(["--until", "3"]).start().ends_well(END);
        assert!(output.errors.contains(words), "{words} is not in {}", output.errors);
    }
    let follower = run(&named, &good, certified.authority()).start();
    let line = follower.line_with("publishing to ");
    assert!(line.contains(&named), "{line}");
    signal(&follower, "TERM");
    assert_eq!(follower.end(END).code, Some(0));
}

/// Reads lines of `run` until `height` is final: each event leads on from `at`.
fn leads_on(run: &Run, at: &mut Watermarks, height: u64) {
    while at.tips.block(Tier::Finalized).map(|block| block.height.get()) != Some(height) {
        let line = run.line(END).unwrap();
        let message = Message {
            sequence: 0,
            subject: "tidewatch.chain.event.any".into(),
            id: None,
            after: None,
            record: None,
            publisher: None,
            token: None,
            payload: line.clone().into(),
        };
        let Ok(Content::Event(event)) = Content::read(&message) else { panic!("no event: {line}") };
        let before = *at;
        at.apply(&event);
        let cursor = line.split("\"cursor\":\"").nth(1).unwrap().split('"').next().unwrap();
        let cursor: Cursor = cursor.parse().unwrap();
        assert!(cursor.stands_at(at) && !cursor.stands_at(&before), "{before:?}: {line}");
    }
}

#[test]
fn the_tail_prints_each_event_once_over_kills_of_the_publisher_and_of_itself() {
    let Some(executable) = installed(NEWEST) else { return };
    let (nats, chain) = (Server::start(&executable), chain(20));
    let indexer = indexer(&chain, 10);
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let first = follow(&indexer, &nats.url(), &one).start();
    let id = alto::chain_id(&from_hex(indexer.identity()).unwrap(), CertificateMode::Standard);
    let said = first.line_with("publishing to nats://");
    assert!(said.ends_with(&format!(", chain {id}")), "{said}");
    let stream = Names::of(&id).stream;
    let (url, name) = (nats.url(), id.clone());
    let tail = move |words: &[&str]| {
        Command::new(&["tail", &url, "--chain", name.as_str()]).with(words).start()
    };
    let mut at = Watermarks::none();
    let prints = tail(&["--consumer", "mine"]);
    assert!(prints.line(END).unwrap().contains(r#"{"event":"reset","code":"start""#));
    leads_on(&prints, &mut at, 10);
    tokio::Runner::default().start(|context| async move {
        // What is kept is what was printed: one that is killed now has nothing to print again.
        let cluster = Read::open(&context, &nats.url(), id.clone()).await.cluster;
        let mut rng = context.child("writer");
        let positions = Positions::open(cluster, id.clone(), &mut rng).await.unwrap();
        let keeps = async {
            let at = |cursor: &Cursor| cursor.block(Tier::Finalized).map(|at| at.height.get());
            while positions.load("mine").await.unwrap().as_ref().and_then(at) != Some(10) {
                context.sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(within(&context, END, keeps).await.is_some(), "the position is kept");
        signal(&prints, "KILL");
        signal(&first, "KILL");
        let second = publishing(&indexer, &nats.url(), &two);
        for height in 11..=15 {
            indexer.finalize(&chain, Height::new(height)).unwrap();
        }
        let prints = tail(&["--consumer", "mine"]);
        leads_on(&prints, &mut at, 15);
        // Without a name, and from the end.
        let newest = tail(&["--from", "newest"]);
        assert!(newest.line(END).unwrap().contains(r#"{"event":"reset""#));
        for run in [prints, newest, second] {
            signal(&run, "TERM");
            assert_eq!(run.end(END).code, Some(0));
        }
        // What was typed.
        for (words, told) in [
            (vec!["--chain", "another"], "nobody publishes this chain there"),
            (
                vec!["--chain", stream.trim_start_matches("TIDEWATCH_")],
                "not as the stream is called",
            ),
            (vec!["--chain", "another", "--from", "here"], "neither oldest nor newest"),
        ] {
            let output = Command::new(&["tail", &nats.url()]).with(words).start().end(END);
            assert_eq!(output.code, Some(2), "{}", output.errors);
            assert!(output.errors.contains(told), "{told}: {}", output.errors);
        }
    });
}

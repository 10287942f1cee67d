//! What a follower takes of disk and memory: `cargo test -p tidewatch --test command sizes:: -- --ignored --nocapture` prints the figures of
//! `docs/operating.md`.

use crate::support::{
    chain::Fork,
    client::Client,
    indexer::indexer,
    run::{Command, Run},
    scraped::{metrics, metrics_address},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};
use tidewatch_core::Height;
use tidewatch_devnet::{
    CertificateMode,
    readymade::{Chain, ChainConfig},
};

const END: Duration = Duration::from_secs(300);

/// Bytes of disk below `path`, of the files whose path has `part` in it.
fn disk(path: &Path, part: &str) -> u64 {
    let of = |entry: fs::DirEntry| {
        let (path, data) = (entry.path(), entry.metadata().unwrap());
        match data.is_dir() {
            true => disk(&path, part),
            false if path.to_str().unwrap().contains(part) => data.blocks() * 512,
            false => 0,
        }
    };
    fs::read_dir(path).unwrap().map(|entry| of(entry.unwrap())).sum()
}

/// The metric `name` of what is served at `address`.
fn metric(address: &str, name: &str) -> f64 {
    let text = metrics(address);
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < END, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn reaches(address: &str, height: u64) {
    let name = "tidewatch_follower_driver_tip_height{kind=\"finalized\"}";
    until("it follows", || metric(address, name) >= height as f64);
}

fn follow(source: &str, data: &Path, more: &[&str]) -> Run {
    let data = data.to_str().unwrap();
    let args = ["follow", "--source", source, "--data-dir", data, "--metrics", "127.0.0.1:0"];
    Command::new(&args).with(more).start()
}

/// Bytes a block of a history that is taken in at once.
fn history(name: &str, fork: Fork) {
    let sizes = [2_000_usize, 10_000].map(|blocks| {
        let (node, data) = (Client::serve(), tempfile::tempdir().unwrap());
        node.mine_fork(blocks, fork, 0);
        node.settle(blocks, blocks);
        let run = follow(&format!("eth+http://{}", node.address), data.path(), &[]);
        reaches(&metrics_address(&run), blocks as u64);
        crate::support::run::signal(&run, "TERM");
        assert_eq!(run.end(END).code, Some(0));
        disk(data.path(), "")
    });
    println!("{name}: {} bytes of disk a block", (sizes[1] - sizes[0]) / 8_000);
}

#[test]
#[ignore = "prints what a block takes"]
fn disk_of_a_block() {
    history("eth+, headers of Paris", Fork::Paris);
    history("eth+, headers of Prague", Fork::Prague);

    // Each block as it comes: with its certificates, and its events.
    let config = ChainConfig::default();
    let chain = Chain::sign(2_500, CertificateMode::Standard, config).unwrap();
    let server = indexer(&chain, 1);
    let data = tempfile::tempdir().unwrap();
    let source = format!("alto+{}?mode=standard", server.url());
    let run = follow(&source, data.path(), &["--identity", server.identity()]);
    let address = metrics_address(&run);
    let mut looks = Vec::new();
    for height in 2..=2_500 {
        server.finalize(&chain, Height::new(height)).unwrap();
        reaches(&address, height);
        if height == 500 || height == 2_500 {
            let events = metric(&address, "tidewatch_store_events_size");
            let parts = ["", "events", "blocks", "proofs"].map(|part| disk(data.path(), part));
            looks.push((events, parts));
        }
    }
    let [(events, parts), (more, grown)] = looks[..] else { panic!("two looks") };
    let [all, log, blocks, proofs] = [0, 1, 2, 3].map(|at| (grown[at] - parts[at]) / 2_000);
    let events = (more - events) / 2_000.0;
    println!(
        "alto+, blocks as they come: {all} bytes of disk a block: {log} of {events} events, {blocks} of the block, {proofs} of its certificates"
    );
}

#[test]
#[ignore = "prints what a stream takes"]
fn memory_of_a_stream() {
    const STREAMS: usize = 900;
    let node = Client::serve();
    node.mine(100);
    node.settle(100, 100);
    let data = tempfile::tempdir().unwrap();
    let source = format!("eth+http://{}", node.address);
    let more = ["--serve", "127.0.0.1:0", "--serve-streams-per-client", "1000"];
    let run = follow(&source, data.path(), &more);
    let address = metrics_address(&run);
    let serves = run.line_with("serving");
    let serves = serves.split("http://").nth(1).unwrap().split([' ', '/']).next().unwrap();
    reaches(&address, 100);
    let rss = || metric(&address, "runtime_process_rss");
    std::thread::sleep(Duration::from_secs(3));
    let before = rss();
    let mut streams = Vec::new();
    while streams.len() < STREAMS {
        let mut stream = TcpStream::connect(serves).unwrap();
        write!(
            stream,
            "GET /v1/events HTTP/1.1\r\nhost: {serves}\r\naccept: application/jsonl\r\n\r\n"
        )
        .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        match &head {
            b"HTTP/1.1 200" => streams.push(stream),
            // An address opens no more than 20 a second.
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    std::thread::sleep(Duration::from_secs(3));
    let each = (rss() - before) / STREAMS as f64 / 1_024.0;
    println!("{:.0} MiB of memory, and {each:.1} KiB for each stream", before / 1_048_576.0);
}

//! How many cursors a second are gone on from behind a deep reorg: `cargo bench -p tidewatch-serve --bench resumes -- [DEPTH]`.
//!
//! The cursors are of a server that followed a fork of so many blocks, by default 10,000; the one that is asked never
//! saw it. Eight connections ask for a page after such a cursor, one after the other, for five seconds, with the
//! server in the same process and on the same processors. Prints answers a second, and how long one takes.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on must end")]

use commonware_runtime::{
    Clock as _, Runner as _, Spawner as _, Supervisor as _,
    tokio::{Config as Runtime, Context, Runner},
};
use commonware_utils::{NZU64, NZUsize};
use std::{net::SocketAddr, time::Duration};
use tidewatch_core::{Change, HeadSender, Ladder, LocalView as _, Running, Tier};
use tidewatch_serve::{Config, Listening, Observer, Parts, Server};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter};
use tidewatch_testkit::chain::{Chain, TestBlock};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

const CLIENTS: usize = 8;
const TIME: Duration = Duration::from_secs(5);
/// Blocks below the fork.
const BELOW: u64 = 1_000;

fn main() {
    let depth = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(10_000);
    let runtime = Runtime::new().with_worker_threads(2);
    Runner::new(runtime).start(|context| measure(context, depth));
}

/// A history that delivered all of `chain`, and finalized what is below the fork.
async fn history(chain: &Chain, top: u64) -> (MemoryWriter<TestBlock>, MemoryReader<TestBlock>) {
    let (mut view, log) = Memory::with_retention(chain.chain_info(), NZU64!(1_000_000));
    for from in (1..=top).step_by(100) {
        let to = (from + 99).min(top);
        let tip = chain.at(to).into();
        let up = Change::Advanced { tier: Tier::Proposed, tip, proof: None };
        view.commit(vec![Change::Blocks(chain.range(from, to)), up]).await.unwrap();
    }
    let tip = chain.at(BELOW / 2).into();
    view.commit(vec![Change::Advanced { tier: Tier::Finalized, tip, proof: None }]).await.unwrap();
    (view, log)
}

async fn measure(context: Context, depth: u64) {
    let top = BELOW + depth;
    let chain = Chain::new('a', top);
    let (_other, other) = history(&chain, top).await;
    let cursor = other.newest().await.unwrap().0.to_string();
    let (_view, log) = history(&chain.fork(BELOW + 1, 'b', top + 10), top + 10).await;
    let (_heads, watched) = HeadSender::new();
    let many = NZUsize!(1_000_000_000);
    let config = Config { opens_per_second: many, opens_burst: many, ..Config::default() };
    let parts = Parts {
        served: log,
        heads: watched,
        ladder: Ladder::Certified,
        observer: Observer::default(),
        source: "bench".into(),
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let listening = Listening::bind(any, config).await.unwrap();
    let address = listening.address();
    let running =
        Running::start(Server::new(context.child("serve"), listening, parts).await.unwrap());
    let until = context.current() + TIME;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let cursor = cursor.clone();
            context.child("client").spawn(move |context| async move {
                let (mut socket, mut took) = (connect(address).await, Vec::new());
                while context.current() < until {
                    let began = context.current();
                    let page = page(&mut socket, address, &cursor).await;
                    assert!(page.contains(r#""resume":"forked""#), "{page}");
                    took.push(context.current().duration_since(began).unwrap_or_default());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.unwrap());
    }
    running.stop();
    running.await.unwrap();
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0;
    println!(
        "behind a reorg of {depth} blocks: {:.0} cursors a second over {CLIENTS} connections; p50 {:.1} ms, p99 {:.1} ms",
        took.len() as f64 / TIME.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
}

async fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(address).await.unwrap())
}

/// The page after `cursor`.
async fn page(socket: &mut BufReader<TcpStream>, address: SocketAddr, cursor: &str) -> String {
    let head =
        format!("GET /v1/events?limit=10&cursor={cursor} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        assert!(socket.read_line(&mut line).await.unwrap() > 0, "the connection ended");
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.unwrap();
    String::from_utf8(body).unwrap()
}

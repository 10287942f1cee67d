//! What many subscribers cost: `cargo bench -p tidewatch-serve --bench fanout -- [SUBSCRIBERS ...]`.
//!
//! Opens so many streams of server-sent events at one server, by default 4,000, and has a block delivered every
//! quarter of a second. The clients are other processes of the same machine, and take from its processors. Prints
//! the memory of the server's process for each stream, before the first event and after the last one, and the
//! time from a commit to the event at each client. A process has to be allowed as many descriptors, and some.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time, over processes")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on must end")]

use commonware_runtime::{
    Clock as _, Runner as _, Spawner as _, Supervisor as _,
    tokio::{Config as Runtime, Context, Runner},
};
use commonware_utils::{NZU64, NZUsize};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    num::NonZeroUsize,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidewatch_core::{Change, HeadSender, Ladder, LocalView as _, Running};
use tidewatch_serve::{Config, Listening, Observer, Parts, Server};
use tidewatch_store::Memory;
use tidewatch_testkit::chain::Chain;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};

const EVENTS: u64 = 40;
const PAUSE: Duration = Duration::from_millis(250);
/// Streams of one client process.
const CLIENTS: usize = 10_000;

fn main() {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [word, address, count] = &words[..]
        && word == "clients"
    {
        return clients(address.parse().unwrap(), count.parse().unwrap());
    }
    let mut counts: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if counts.is_empty() {
        counts.push(4_000);
    }
    for count in counts {
        let runtime = Runtime::new().with_worker_threads(2);
        Runner::new(runtime).start(|context| measure(context, count));
    }
}

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Memory of this process, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

async fn measure(context: Context, count: usize) {
    let chain = Chain::new('a', EVENTS + 1);
    let (mut view, log) = Memory::with_retention(chain.chain_info(), NZU64!(65_536));
    let (_heads, watched) = HeadSender::new();
    let most = NonZeroUsize::new(count + 1).unwrap();
    let config = Config {
        streams_max: most,
        streams_per_client_max: most,
        opens_per_second: NZUsize!(1_000_000),
        opens_burst: NZUsize!(1_000_000),
        ..Config::default()
    };
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
    let server = Server::new(context.child("serve"), listening, parts).await.unwrap();
    let running = Running::start(server);
    let before = memory();
    let mut processes = Vec::new();
    for first in (0..count).step_by(CLIENTS) {
        processes.push(start(address, CLIENTS.min(count - first)));
    }
    let mut processes: Vec<_> = processes
        .into_iter()
        .map(|mut child| {
            let mut output = BufReader::new(child.stdout.take().unwrap());
            (
                child,
                tokio::task::spawn_blocking(move || {
                    let mut line = String::new();
                    output.read_line(&mut line).unwrap();
                    assert_eq!(line, "connected\n");
                    output
                }),
            )
        })
        .collect();
    let mut outputs = Vec::new();
    for (_, connected) in &mut processes {
        outputs.push(connected.await.unwrap());
    }
    let idle = memory();
    let mut sent = Vec::new();
    for height in 1..=EVENTS {
        sent.push(micros().to_string());
        view.commit(vec![Change::Blocks(chain.range(height, height))]).await.unwrap();
        context.sleep(PAUSE).await;
    }
    let after = memory();
    let mut late = Vec::new();
    for ((child, _), mut output) in processes.iter_mut().zip(outputs) {
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{}", sent.join(" ")).unwrap();
        drop(input);
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            text
        });
        late.extend(read.await.unwrap().split_whitespace().map(|n| n.parse::<u64>().unwrap()));
        child.wait().unwrap();
    }
    running.stop();
    running.await.unwrap();
    late.sort_unstable();
    assert_eq!(late.len(), count * EVENTS as usize, "no event is missing");
    let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize] as f64 / 1_000.0;
    let each = |bytes: u64| (bytes - before) as f64 / count as f64 / 1_024.0;
    println!(
        "{count} streams: {:.1} KiB each when idle, {:.1} KiB after {EVENTS} events ({} MiB in all); commit to \
         client p50 {:.1} ms, p99 {:.1} ms, last {:.1} ms",
        each(idle),
        each(after),
        after >> 20,
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn start(address: SocketAddr, count: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["clients", &address.to_string(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Opens `count` streams, and notes when each event comes.
fn clients(address: SocketAddr, count: usize) {
    let runtime = Runtime::new().with_worker_threads(1);
    Runner::new(runtime).start(|context| async move {
        let (opened, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let came = Arc::new(Mutex::new(vec![Vec::<u64>::new(); EVENTS as usize]));
        // So many connect at once.
        let gate = Arc::new(Semaphore::new(64));
        for _ in 0..count {
            let permit = gate.clone().acquire_owned().await.unwrap();
            let (opened, arrived, came) = (opened.clone(), arrived.clone(), came.clone());
            context.child("client").spawn(move |_| async move {
                let mut socket = TcpStream::connect(address).await.unwrap();
                let head = format!(
                    "GET /v1/events?kinds=blocks HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
                );
                socket.write_all(head.as_bytes()).await.unwrap();
                let (mut text, mut next, mut permit) = (String::new(), 0, Some(permit));
                let mut bytes = [0; 4 * 1024];
                while next < EVENTS as usize {
                    let read = socket.read(&mut bytes).await.unwrap();
                    assert!(read > 0, "the stream ended");
                    text.push_str(&String::from_utf8_lossy(&bytes[..read]));
                    while let Some(end) = text.find("\n\n") {
                        let block = text.drain(..end + 2).collect::<String>();
                        if block.contains("event: bookmark") && permit.take().is_some() {
                            opened.add_permits(1);
                        }
                        if block.contains("event: blocks") {
                            came.lock().unwrap()[next].push(micros());
                            next += 1;
                        }
                    }
                }
                arrived.add_permits(1);
                // The stream stays open until the process ends.
                std::future::pending::<()>().await;
            });
        }
        let all = u32::try_from(count).unwrap();
        opened.acquire_many(all).await.unwrap().forget();
        println!("connected");
        arrived.acquire_many(all).await.unwrap().forget();
        let mut sent = String::new();
        std::io::stdin().read_line(&mut sent).unwrap();
        let sent = sent.split_whitespace().map(|micros| micros.parse::<u64>().unwrap());
        let came = came.lock().unwrap();
        let late = sent.zip(came.iter()).flat_map(|(sent, came)| {
            came.iter().map(move |came| came.saturating_sub(sent).to_string())
        });
        println!("{}", late.collect::<Vec<_>>().join(" "));
    });
}

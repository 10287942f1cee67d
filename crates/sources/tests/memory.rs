//! Memory is bounded by what was asked, whatever a node answers: every allocation of this process is
//! counted. The node is sockets and static bytes, which cost next to nothing.
//!
//! `cargo test -p tidewatch-sources --test memory -- --nocapture` prints the figures.

#![cfg(feature = "ethereum")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test, with a server of its own"
)]

use alloy_consensus::Header;
use alloy_rpc_types_eth::Header as RpcHeader;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{BufRead as _, BufReader, Read as _, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{BlockRef, Digest, Height, Source as _};
use tidewatch_sources::{ethereum, rpc::Config};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Counts what is allocated, and the most that was at once.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grew(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

#[allow(unsafe_code, reason = "an allocator is: it hands everything on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist for a moment.
        grew(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const MIB: usize = 1024 * 1024;

/// What a hostile node answers: `ID` is the first id that was asked, `N` counts.
#[derive(Clone, Copy)]
struct Answer {
    name: &'static str,
    head: &'static str,
    unit: &'static str,
    tail: &'static str,
}

const ANSWERS: [Answer; 9] = [
    Answer { name: "nothings", head: "[", unit: "{},", tail: "{}]" },
    Answer { name: "errors", head: "[", unit: r#"{"id":ID,"error":{"code":N}},"#, tail: "0]" },
    Answer {
        name: "transactions",
        head: r#"[{"id":ID,"result":{"number":"0x1","transactions":["#,
        unit: "0,",
        tail: "0]}}]",
    },
    Answer {
        name: "keys",
        head: r#"[{"id":ID,"result":{"number":"0x1","#,
        unit: r#""keyN":0,"#,
        tail: r#""x":0}}]"#,
    },
    Answer {
        name: "members",
        head: r#"[{"id":ID,"#,
        unit: r#""keyN":[{}],"#,
        tail: r#""result":0}]"#,
    },
    Answer { name: "words", head: r#"[{"id":ID,"error":{"message":""#, unit: "x", tail: r#""}}]"# },
    Answer { name: "depth", head: r#"[{"id":ID,"result":"#, unit: "[", tail: "" },
    Answer { name: "results", head: "[", unit: r#"{"id":ID,"result":"0x1"},"#, tail: "0]" },
    Answer {
        name: "heads",
        head: r#"{"method":"eth_subscription","params":{"subscription":"0x7","result":{"#,
        unit: r#""keyN":0,"#,
        tail: r#""number":"0x1"}}}"#,
    },
];

impl Answer {
    /// Writes the answer in `size` bytes, or a few more, by way of a small buffer.
    fn write(&self, out: &mut impl Write, id: u64, size: usize) -> std::io::Result<()> {
        let id = id.to_string();
        let mut written = self.head.len();
        let mut buffer = String::with_capacity(96 * 1024);
        buffer.push_str(&self.head.replace("ID", &id));
        let mut count = 0_u64;
        while written + self.tail.len() < size {
            let before = buffer.len();
            // Units have at most one of both.
            match (self.unit.split_once('N'), self.unit.split_once("ID")) {
                (Some((head, tail)), None) => {
                    let number = count.to_string();
                    [head, &number, tail].into_iter().for_each(|part| buffer.push_str(part));
                }
                (None, Some((head, tail))) => {
                    [head, &id, tail].into_iter().for_each(|part| buffer.push_str(part));
                }
                _ => buffer.push_str(self.unit),
            }
            count += 1;
            written += buffer.len() - before;
            if buffer.len() > 64 * 1024 {
                out.write_all(buffer.as_bytes())?;
                buffer.clear();
            }
        }
        out.write_all(buffer.as_bytes())?;
        out.write_all(self.tail.as_bytes())
    }
}

/// A node that answers as it should until it is told otherwise.
#[derive(Clone)]
struct Node {
    answer: Answer,
    size: usize,
    hostile: Arc<AtomicBool>,
    genesis: Arc<str>,
}

impl Node {
    fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let node = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (node, stream) = (node.clone(), stream.unwrap());
                // A client that hangs up in the middle of an answer is what is wanted.
                std::thread::spawn(move || drop(node.converse(stream)));
            }
        });
        address
    }

    fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut out = stream.try_clone()?;
        let mut stream = BufReader::new(stream);
        loop {
            let (mut length, mut key) = (0, None);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let line = line.trim_end();
                if line.is_empty() {
                    break;
                }
                match line.split_once(": ") {
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.parse().unwrap();
                    }
                    Some((name, value)) if name.eq_ignore_ascii_case("sec-websocket-key") => {
                        key = Some(derive_accept_key(value.as_bytes()));
                    }
                    _ => {}
                }
            }
            if let Some(key) = key {
                write!(out, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n")?;
                write!(out, "connection: upgrade\r\nsec-websocket-accept: {key}\r\n\r\n")?;
                return self.converse_by_frames(stream, out);
            }
            let mut asked = vec![0; length];
            stream.read_exact(&mut asked)?;
            write!(out, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")?;
            write!(out, "transfer-encoding: chunked\r\n\r\n")?;
            self.reply(&mut Chunks(&mut out), &String::from_utf8(asked).unwrap())?;
            write!(out, "0\r\n\r\n")?;
        }
    }

    fn converse_by_frames(
        &self,
        mut stream: BufReader<TcpStream>,
        mut out: TcpStream,
    ) -> std::io::Result<()> {
        loop {
            let mut head = [0; 2];
            stream.read_exact(&mut head)?;
            let mut long = [0; 8];
            let length = match head[1] & 0x7f {
                126 => {
                    stream.read_exact(&mut long[6..])?;
                    u64::from_be_bytes(long)
                }
                127 => {
                    stream.read_exact(&mut long)?;
                    u64::from_be_bytes(long)
                }
                short => u64::from(short),
            };
            let mut mask = [0; 4];
            stream.read_exact(&mut mask)?;
            let mut asked = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut asked)?;
            asked.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            if head[0] & 0x0f == 1 {
                let mut frames = Frames { out: &mut out, first: true };
                self.reply(&mut frames, &String::from_utf8(asked).unwrap())?;
                // The last fragment is empty.
                out.write_all(&[0x80, 0])?;
            }
        }
    }

    fn reply(&self, out: &mut impl Write, asked: &str) -> std::io::Result<()> {
        let ids: Vec<u64> = asked
            .split("\"id\":")
            .skip(1)
            .map(|rest| rest.split(',').next().unwrap().parse().unwrap())
            .collect();
        if self.hostile.load(Ordering::Relaxed) {
            return self.answer.write(out, ids[0], self.size);
        }
        let calls = asked.split("\"method\":").skip(1);
        let answers = ids.iter().zip(calls).map(|(id, call)| {
            let result = match call {
                call if call.contains("eth_chainId") => "\"0x7\"",
                call if call.contains("\"0x0\"") => &self.genesis,
                _ => "null",
            };
            format!("{{\"id\":{id},\"result\":{result}}}")
        });
        let answers: Vec<_> = answers.collect();
        let many = asked.starts_with('[');
        let text = if many { format!("[{}]", answers.join(",")) } else { answers.concat() };
        out.write_all(text.as_bytes())
    }
}

/// HTTP's chunks of a body.
struct Chunks<'a>(&'a mut TcpStream);

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        write!(self.0, "{:x}\r\n", bytes.len())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The fragments of a message over a WebSocket, but for the last.
struct Frames<'a> {
    out: &'a mut TcpStream,
    first: bool,
}

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = u8::from(std::mem::take(&mut self.first));
        self.out.write_all(&[text, 127])?;
        self.out.write_all(&(bytes.len() as u64).to_be_bytes())?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// The most that is allocated at once while a node answers like that, in bytes.
fn peak(scheme: &str, answer: Answer, size: usize, hostile: bool) -> usize {
    tokio::Runner::default().start(|context| async move {
        let header = Header { gas_limit: 7, ..Header::default() };
        let genesis = serde_json::to_string(&RpcHeader::new(header)).unwrap().into();
        let node = Node { answer, size, hostile: Arc::default(), genesis };
        let endpoint = ethereum::endpoint(&format!("eth+{scheme}://{}", node.serve())).unwrap();
        let clock = context.child("clock");
        let monitor = Arc::new(());
        let source =
            ethereum::open(context.child("source"), &[endpoint], monitor, &Config::default());
        let source = source.unwrap();
        source.chain_info().await.unwrap();
        let tip = BlockRef::new(Height::new(100_000), Digest([9; 32]));
        // As large a question as there may be, in as many requests at once.
        let most = 4 * Config::default().batch_max.get() * Config::default().lanes.get() - 1;
        for from in 1..64 {
            if source.limits().blocks_max.get() == most {
                break;
            }
            let _ = source.blocks(tip, Height::new(from * 1_500)).await;
        }
        assert_eq!(source.limits().blocks_max.get(), most);
        node.hostile.store(hostile, Ordering::Relaxed);
        PEAK.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
        let limit = clock.sleep(Duration::from_secs(2));
        let asks = async {
            let _ = source.blocks(tip, Height::new(1)).await;
            let _ = source.snapshot().await;
            let _ = source.chain_info().await;
        };
        futures::future::select(Box::pin(asks), Box::pin(limit)).await;
        PEAK.load(Ordering::Relaxed)
    })
}

#[test]
fn no_answer_costs_more_than_64_mb_beyond_a_quiet_follower() {
    for scheme in ["http", "ws"] {
        let quiet = peak(scheme, ANSWERS[0], 0, false);
        println!("{scheme}: quiet: {} KiB", quiet / 1024);
        for answer in ANSWERS {
            for size in [4 * MIB - 4096, 32 * MIB] {
                let beyond = peak(scheme, answer, size, true).saturating_sub(quiet);
                let (kib, of) = (beyond / 1024, size / 1024);
                println!("{scheme}: {} of {of} KiB: {kib} KiB beyond", answer.name);
                assert!(beyond <= 64 * MIB, "{scheme}: {} of {size}: {beyond}", answer.name);
            }
        }
    }
}

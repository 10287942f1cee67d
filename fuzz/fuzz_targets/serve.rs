//! What clients ask a server: queries, positions, and JSON-RPC messages, over a real socket.
//!
//! The server runs for as long as the process, over a chain with a prune in its log. The properties:
//!
//! - every request has an answer, and none is an internal error;
//! - the body of an answer is JSON, and a refusal has a `code`;
//! - the answer to JSON-RPC is one object or as many as were called, each with a result or an error.
#![no_main]

use arbitrary::Arbitrary;
use commonware_runtime::{Runner as _, Supervisor as _, tokio::Runner};
use commonware_utils::NZUsize;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{LazyLock, mpsc},
    time::Duration,
};
use tidewatch_core::{HeadSender, Ladder, LocalView as _, Running, Tier};
use tidewatch_fuzz::{Chain, Damage, chain_info};
use tidewatch_serve::{Config, Listening, Observer, Parts, Server};
use tidewatch_sources::alto::AltoBlock;
use tidewatch_store::Memory;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Any names and values, percent-encoded.
    Query(Vec<(&'a str, &'a str)>),
    /// Names that there are.
    Known { names: Vec<(u8, &'a str)>, last: Option<&'a str> },
    /// A position that was sent, damaged.
    Cursor(Vec<Damage<'a>>),
    /// A path below `/v1`.
    Path(&'a str),
    /// A message.
    Rpc(&'a [u8]),
    /// A call of a method that there is.
    Call { method: u8, params: &'a str },
}

const NAMES: [&str; 7] = ["cursor", "from", "tiers", "kinds", "mode", "limit", "until"];

const METHODS: [&str; 7] = [
    "tip_tips",
    "tip_events",
    "tip_status",
    "tip_resume",
    "tip_proof",
    "tip_subscribe",
    "rpc.discover",
];

struct World {
    address: SocketAddr,
    /// The newest position.
    cursor: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (sender, started) = mpsc::channel();
    std::thread::spawn(move || {
        Runner::default().start(|context| async move {
            let chain = Chain::of(60);
            let (mut view, log) = Memory::new::<AltoBlock>(chain_info());
            let up = chain.up(Tier::Proposed, 60);
            view.commit(vec![chain.blocks(1, 60), up, chain.finalize(20)]).await.unwrap();
            let watermarks = log.watermarks().unwrap();
            view.commit(vec![chain.prune(&watermarks, 30)]).await.unwrap();
            let cursor = log.newest().await.unwrap().0.to_string();
            let (_heads, heads) = HeadSender::new();
            let many = NZUsize!(1_000_000_000);
            let config = Config { opens_per_second: many, opens_burst: many, ..Config::default() };
            let listening = Listening::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
            let address = listening.address();
            let parts = Parts {
                served: log,
                heads,
                ladder: Ladder::Certified,
                observer: Observer::default(),
                source: "fuzz".into(),
            };
            let server = Server::new(context.child("serve"), listening, parts).await.unwrap();
            let running = Running::start(server);
            sender.send(World { address, cursor }).unwrap();
            running.await.unwrap();
        });
    });
    started.recv().unwrap()
});

/// `text` as it may stand in a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b",._-".contains(&byte) {
            true => encoded.push(byte.into()),
            false => write!(encoded, "%{byte:02x}").unwrap(),
        }
    }
    encoded
}

/// The status and the body of the answer to `request`; `None` where it may wait for an event.
fn ask(request: &[u8], may_wait: bool) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(WORLD.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(if may_wait { 1 } else { 10 }))).unwrap();
    let sent = socket.write_all(request);
    let mut answer = Vec::new();
    match (sent, socket.read_to_end(&mut answer)) {
        (Ok(()), Ok(_)) => {}
        (_, Err(error)) if may_wait && error.kind() == ErrorKind::WouldBlock => return None,
        other => panic!("no answer: {other:?}, {}", String::from_utf8_lossy(&answer)),
    }
    let answer = String::from_utf8(answer).expect("an answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Some((status.expect("an answer has a status"), body.to_owned()))
}

fn get(path: &str, last: Option<&str>) {
    let last = last.map(encoded).unwrap_or_default();
    let head = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\nlast-event-id: {last}\r\n\r\n");
    // A head that is longer than a browser's is refused before anything reads it.
    if head.len() > 8_000 {
        return;
    }
    let Some((status, body)) = ask(head.as_bytes(), path.contains("wait")) else { return };
    assert_ne!(status, 500, "{path}: {body}");
    if body.is_empty() {
        return;
    }
    let value: Value =
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {path}: {body}"));
    if status >= 400 {
        assert!(value["code"].is_string(), "{path}: {value}");
    }
}

fn rpc(body: &[u8]) {
    let head =
        format!("POST /rpc HTTP/1.0\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    let text = String::from_utf8_lossy(body);
    let may_wait = text.contains("wait") || text.contains("\\u");
    let Some((status, answer)) = ask(&[head.as_bytes(), body].concat(), may_wait) else { return };
    if status == 204 || status == 413 {
        return;
    }
    assert_eq!(status, 200, "{text}: {answer}");
    let answers = match serde_json::from_str(&answer).expect("an answer is JSON") {
        Value::Array(answers) => answers,
        one => vec![one],
    };
    for answer in answers {
        assert_eq!(answer["jsonrpc"], "2.0", "{text}: {answer}");
        let (result, error) = (answer.get("result"), answer.get("error"));
        assert!(result.is_some() != error.is_some(), "{text}: {answer}");
        assert_ne!(answer["error"]["code"], -32603, "{text}: {answer}");
    }
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Query(pairs) => {
            let pairs = pairs.iter().map(|(n, v)| format!("{}={}", encoded(n), encoded(v)));
            get(&format!("/v1/events?{}", pairs.collect::<Vec<_>>().join("&")), None);
        }
        Input::Known { names, last } => {
            let named = |name: u8| NAMES[usize::from(name) % NAMES.len()];
            let pairs = names.iter().map(|(n, value)| format!("{}={}", named(*n), encoded(value)));
            get(&format!("/v1/events?{}", pairs.collect::<Vec<_>>().join("&")), last);
        }
        Input::Cursor(damage) => {
            let mut cursor = WORLD.cursor.clone().into_bytes();
            damage.iter().for_each(|damage| damage.apply(&mut cursor));
            let cursor = String::from_utf8_lossy(&cursor);
            get(&format!("/v1/resume?cursor={}", encoded(&cursor)), None);
        }
        Input::Path(path) => {
            let path: Vec<_> = path.split('/').map(encoded).collect();
            get(&format!("/v1/{}", path.join("/")), None);
        }
        Input::Rpc(message) => rpc(message),
        Input::Call { method, params } => {
            let method = METHODS[usize::from(method) % METHODS.len()];
            let call =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            rpc(call.as_bytes());
        }
    }
});

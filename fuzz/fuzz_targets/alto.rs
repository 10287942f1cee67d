//! The decoders of `tidewatch-sources` for alto networks.
//!
//! The decoders are fuzzed through real sockets on loopback: responses and handshakes are the fuzzer's
//! raw bytes, frames follow a valid handshake. In addition: encoded blocks, the identity that a user
//! enters, and endpoint URLs. The properties:
//!
//! - no input causes a panic or a hang; rejected input yields a typed fault with a bounded message;
//! - a response never exceeds its size limit, and the first byte of a frame determines its meaning;
//! - the encoding of a block is canonical;
//! - no message or `Debug` output contains the user, password or path of a URL, nor its query except
//!   for the mode.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use commonware_codec::{Decode as _, Encode as _};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use futures::future::{Either, select};
use libfuzzer_sys::fuzz_target;
use std::{
    cell::Cell,
    pin::pin,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tidewatch_certified::{Feed as _, Key, Push, Transport as _};
use tidewatch_core::{Block as _, Digest, Fault, FaultKind, Height, Severity};
use tidewatch_devnet::Committee;
use tidewatch_fuzz::{DATA_MAX, runner};
use tidewatch_sources::alto::{
    AltoBlock, AltoSource, CertificateMode, Config, Endpoint, HttpTransport, StandardScheme,
    chain_id, open, public_key,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// Two secrets: all output must be the same for both.
const SECRETS: [&str; 2] = ["hunter2hunter2", "swordfish12345"];
/// The secret in the URL of every server.
const SECRET: &str = SECRETS[0];

/// The limit that [`Config`] derives from this block size.
const ANSWER_MAX: usize = DATA_MAX as usize + 1024 * 1024;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Block(&'a [u8]),
    Identity(&'a [u8]),
    Address(Address<'a>),
    /// An HTTP response. Its body is repeated, or sent in the given number of chunks.
    Answer {
        key: u8,
        head: Head<'a>,
        body: &'a [u8],
        repeat: u8,
    },
    /// A response to the handshake of a push connection.
    Handshake(&'a [u8]),
    /// Frames with one binary message each.
    Messages(Vec<&'a [u8]>),
    /// Arbitrary bytes after a handshake.
    Frames(&'a [u8]),
}

/// Head of a response.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Head<'a> {
    Raw(&'a [u8]),
    /// With the body's length, or another one.
    Length {
        status: u8,
        content: u8,
        wrong: Option<u32>,
    },
    Chunks {
        status: u8,
        content: u8,
    },
    /// The body is over when the connection is.
    Open {
        status: u8,
        content: u8,
    },
}

const STATUS: [&str; 8] = [
    "200 OK",
    "404 Not Found",
    "206 Partial Content",
    "302 Found",
    "401 Unauthorized",
    "429 Too Many Requests",
    "502 Bad Gateway",
    "100 Continue",
];
const CONTENT: [&str; 4] =
    ["application/octet-stream", "text/html", "TEXT/HTML; charset=utf-8", "text/plain"];

#[derive(Arbitrary, Debug)]
enum Address<'a> {
    Raw(&'a str),
    User(&'a str, &'a str, &'a str),
    Path(&'a str, &'a str),
    Query(&'a str, &'a str),
}

impl Input<'_> {
    /// Whether the input itself contains the secret, which the fuzzer learns to send.
    fn tells(&self) -> bool {
        let says = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|word| word == SECRET.as_bytes());
        match self {
            Self::Block(_) | Self::Identity(_) | Self::Address(_) => false,
            Self::Answer { head: Head::Raw(head), body, .. } => says(&[*head, *body].concat()),
            Self::Answer { body, .. } => says(body),
            Self::Handshake(bytes) | Self::Frames(bytes) => says(bytes),
            Self::Messages(messages) => says(&messages.concat()),
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    if input.tells() {
        return;
    }
    match input {
        Input::Block(bytes) => block(bytes),
        Input::Identity(bytes) => identity(bytes),
        Input::Address(address) => self::address(&address),
        Input::Answer { key, head, body, repeat } => answer(key, head, body, repeat),
        Input::Handshake(bytes) => handshake(bytes),
        Input::Messages(messages) => self::messages(&messages),
        Input::Frames(bytes) => frames(bytes),
    }
});

fn block(bytes: &[u8]) {
    let Ok(block) = AltoBlock::decode_cfg(bytes, &AltoBlock::codec(DATA_MAX)) else { return };
    assert_eq!(block.encode(), bytes, "{block:?} has another encoding");
    assert!(block.data.len() <= DATA_MAX as usize);
    let again = AltoBlock::decode_cfg(bytes, &AltoBlock::codec(DATA_MAX)).expect("decodes");
    assert_eq!(again.reference(), block.reference());
}

fn identity(bytes: &[u8]) {
    for mode in [CertificateMode::Standard, CertificateMode::Vrf] {
        let _ = chain_id(bytes, mode);
    }
    match public_key(bytes) {
        Ok(key) => assert_eq!(key.encode(), bytes),
        Err(fault) => {
            assert_eq!(fault.kind, FaultKind::InvalidConfig);
            bounded(&fault);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(key) = commonware_formatting::from_hex(text)
    {
        let _ = public_key(&key);
    }
}

fn address(address: &Address<'_>) {
    let [one, other] = SECRETS.map(|secret| shown(&written(address, secret)));
    // The fuzzer learns the secret and writes it into other parts of the input, so searching for it
    // yields false positives. Instead, the output must not depend on the secret.
    assert_eq!(one, other, "a secret is shown");
}

fn written(address: &Address<'_>, secret: &str) -> String {
    let without = |text: &str, not: &[char]| text.replace(|c| not.contains(&c), "");
    // Characters that would end the part of the URL with the secret are removed.
    match address {
        Address::Raw(text) => (*text).to_owned(),
        Address::User(before, after, rest) => {
            let ends = ['/', '\\', '?', '#'];
            let (before, after) = (without(before, &ends), without(after, &ends));
            format!("alto+http://{before}{secret}{after}@host{rest}?mode=standard")
        }
        Address::Path(before, after) => {
            let (before, after) = (without(before, &['?', '#']), without(after, &['?', '#']));
            format!("alto+http://host/{before}{secret}{after}?mode=standard")
        }
        Address::Query(before, after) => {
            format!("alto+http://host/?{before}{secret}{after}&mode=standard")
        }
    }
}

/// All output for a URL: its display, or the errors that it causes.
fn shown(text: &str) -> String {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => format!("{endpoint} {endpoint:?} {}", opened(text, &endpoint)),
        Err(error) => format!("{error} {error:?}"),
    }
}

/// Opens a source for `endpoint`, and returns its `Debug` output.
fn opened(text: &str, endpoint: &Endpoint) -> String {
    if !text.starts_with("alto+http://") || endpoint.mode() != CertificateMode::Standard {
        return String::new();
    }
    with_source(endpoint.clone(), |source| match source {
        Ok(source) => format!("{source:?} {:?}", source.transport()),
        Err(fault) => {
            assert!(fault.to_string().len() < 2_000, "{fault}");
            format!("{fault} {fault:?}")
        }
    })
}

fn bounded(fault: &Fault) {
    assert!(fault.to_string().len() < 2_000, "{fault}");
    let all = format!("{fault} {fault:?}");
    assert!(!all.contains(SECRET), "a secret is shown: {all}");
}

type Source = AltoSource<deterministic::Context, StandardScheme>;

/// Opens a source, which must not outlive the runtime of its clock.
fn with_source<O>(endpoint: Endpoint, then: impl FnOnce(Result<Source, Fault>) -> O) -> O {
    let mut config = Config { block_size_max: DATA_MAX, ..Config::default() };
    // The test servers close every connection themselves: the timeout only detects a hang.
    config.certified.request_timeout = Duration::from_secs(15);
    runner().start(|context| async move {
        let (context, monitor) = (context.child("alto"), Arc::new(()));
        then(open(context, &[endpoint], &IDENTITY, monitor, config).map(|(source, _)| source))
    })
}

static IDENTITY: LazyLock<Vec<u8>> =
    LazyLock::new(|| Committee::deal(0, 4).expect("deals").identity().encode().to_vec());

/// A server, and the runtime of the server and its clients.
struct World {
    runtime: Runtime,
    listener: TcpListener,
    turn: Cell<u8>,
}

thread_local! {
    static WORLD: World = World::new();
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("starts");
        let listener = runtime.block_on(TcpListener::bind("0.0.0.0:0")).expect("binds");
        Self { runtime, listener, turn: Cell::new(0) }
    }

    /// A URL of the server. The addresses rotate, because closed connections would exhaust the ports of a
    /// single one.
    fn endpoint(&self) -> Endpoint {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        let port = self.listener.local_addr().expect("bound").port();
        format!("alto+http://{SECRET}:{SECRET}@127.0.1.{turn}:{port}/{SECRET}?mode=standard")
            .parse()
            .expect("valid")
    }

    /// Runs `client` to its end, against a server that runs `serve` on its first connection.
    fn meet<O>(
        serve: impl AsyncFnOnce(TcpStream),
        client: impl AsyncFnOnce(&HttpTransport) -> O,
    ) -> O {
        WORLD.with(|world| {
            with_source(world.endpoint(), |source| {
                let source = source.expect("opens");
                world.runtime.block_on(async {
                    let server = pin!(async {
                        let (stream, _) = world.listener.accept().await.expect("accepts");
                        serve(stream).await;
                        std::future::pending::<()>().await;
                    });
                    let client = pin!(client(source.transport().endpoints()[0].endpoint()));
                    match select(server, client).await {
                        Either::Left(_) => unreachable!("the server waits for the client"),
                        Either::Right((output, _)) => output,
                    }
                })
            })
        })
    }
}

async fn request(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
}

/// Reads a request, responds with `bytes`, and closes the connection.
async fn reply(mut stream: TcpStream, bytes: &[u8]) {
    request(&mut stream).await;
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}

fn answer(key: u8, head: Head<'_>, body: &[u8], repeat: u8) {
    let key = match key % 4 {
        0 => Key::LatestFinalization,
        1 => Key::LatestNotarization,
        2 => Key::Height(Height::new(1)),
        _ => Key::Digest(Digest([key; 32])),
    };
    let whole = body.repeat(1 + usize::from(repeat));
    let bytes = match head {
        Head::Raw(head) => [head, &whole].concat(),
        Head::Length { status, content, wrong } => {
            let length = wrong.map_or(whole.len(), |wrong| wrong as usize);
            let length = format!("content-length: {length}");
            [start(status, content, &length).as_bytes(), &whole].concat()
        }
        Head::Chunks { status, content } => {
            let start = start(status, content, "transfer-encoding: chunked");
            let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat();
            let chunks = chunk.repeat(1 + usize::from(repeat));
            [start.as_bytes(), &chunks, b"0\r\n\r\n"].concat()
        }
        Head::Open { status, content } => {
            [start(status, content, "connection: close").as_bytes(), &whole].concat()
        }
    };
    let answer = World::meet(
        async |stream| reply(stream, &bytes).await,
        async |transport| transport.fetch(key).await,
    );
    if let Head::Length { status, content, wrong: None } = head
        && status % 8 == 0
        && matches!(content % 4, 0 | 3)
        && whole.len() <= ANSWER_MAX
        && whole.first() != Some(&b'<')
    {
        assert_eq!(answer, Ok(Some(whole.into())));
        return;
    }
    match answer {
        Ok(Some(body)) => assert!(body.len() <= ANSWER_MAX && body.len() <= bytes.len()),
        Ok(None) => {}
        Err(fault) => from_outside(&fault),
    }
}

fn start(status: u8, content: u8, header: &str) -> String {
    let (status, content) = (STATUS[usize::from(status) % 8], CONTENT[usize::from(content) % 4]);
    format!("HTTP/1.1 {status}\r\ncontent-type: {content}\r\n{header}\r\n\r\n")
}

fn handshake(bytes: &[u8]) {
    let feed = World::meet(
        async |stream| reply(stream, bytes).await,
        async |transport| transport.listen().await,
    );
    if let Err(fault) = feed {
        from_outside(&fault);
    }
}

/// A fault that an endpoint can cause.
fn from_outside(fault: &Fault) {
    bounded(fault);
    assert!(!fault.severity().is_fatal(), "{fault}");
    assert_ne!(fault.kind, FaultKind::Timeout, "{fault}");
}

/// The pushes decoded from `bytes` after a handshake, up to the end of the feed.
fn pushed(bytes: &[u8]) -> Vec<Result<Push, Fault>> {
    World::meet(
        async |stream| {
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
            let stream = socket.get_mut();
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        },
        async |transport| {
            let mut feed = transport.listen().await.expect("a handshake");
            let mut pushes = Vec::new();
            loop {
                let push = feed.next().await;
                let ended = push.as_ref().is_err_and(|f| f.severity() == Severity::Transient);
                pushes.push(push);
                assert!(pushes.len() <= bytes.len() + 1, "more pushes than frames fit");
                if ended {
                    return pushes;
                }
            }
        },
    )
}

fn frames(bytes: &[u8]) {
    let mut total = 0;
    for push in pushed(bytes) {
        match push {
            Ok(Push::Finalization(body) | Push::Notarization(body)) => total += body.len(),
            Ok(Push::Irrelevant) => {}
            Err(fault) => from_outside(&fault),
        }
    }
    assert!(total <= bytes.len());
}

fn messages(messages: &[&[u8]]) {
    let pushes = pushed(&messages.iter().flat_map(|message| frame(message)).collect::<Vec<_>>());
    assert_eq!(pushes.len(), messages.len() + 1, "one for each message, and the end");
    for (message, push) in messages.iter().zip(pushes) {
        let body = || Bytes::copy_from_slice(&message[1..]);
        match message.first() {
            Some(0) => assert_eq!(push, Ok(Push::Irrelevant)),
            Some(1) => assert_eq!(push, Ok(Push::Notarization(body()))),
            Some(2) => assert_eq!(push, Ok(Push::Finalization(body()))),
            _ => assert_eq!(push.map_err(|fault| fault.kind), Err(FaultKind::Malformed)),
        }
    }
}

/// One binary message in one frame of a server.
fn frame(message: &[u8]) -> Vec<u8> {
    const BINARY: u8 = 0x82;
    let mut frame = vec![BINARY];
    match u8::try_from(message.len()) {
        Ok(length @ ..126) => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend_from_slice(&u16::try_from(message.len()).expect("short").to_be_bytes());
        }
    }
    frame.extend_from_slice(message);
    frame
}

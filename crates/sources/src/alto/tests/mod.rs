//! Tests over real sockets, on loopback.

mod chain;
mod follow;
mod hostile;
mod push;

use super::{AltoSource, AltoUpstream, Config, Endpoint, Scheme, open};
use ::tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use alto_types::{CertificateMode, StandardScheme};
use commonware_runtime::{Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_utils::sync::Mutex;
use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tidewatch_core::{Fault, FaultKind};
use tidewatch_testkit::monitor::Faults;

fn run<F: Future<Output = ()>>(test: impl FnOnce(tokio::Context) -> F) {
    tokio::Runner::default().start(|context| async move {
        let limit = Duration::from_secs(60);
        ::tokio::time::timeout(limit, test(context)).await.expect("ends in time");
    });
}

/// Deadlines that a busy machine keeps, and connections that come back soon.
fn patient() -> Config {
    let certified = tidewatch_certified::Config {
        request_timeout: Duration::from_secs(20),
        backoff_base: Duration::from_millis(20),
        backoff_cap: Duration::from_millis(40),
        ..tidewatch_certified::Config::default()
    };
    Config { certified, block_size_max: 4_096 }
}

/// Deadlines that a test can wait for.
fn hasty() -> Config {
    let mut config = patient();
    config.certified.request_timeout = Duration::from_millis(300);
    config
}

fn endpoint(address: SocketAddr, mode: CertificateMode) -> Endpoint {
    format!("alto+http://{address}?mode={}", mode.as_str()).parse().expect("valid")
}

type Opened<S> = (AltoSource<tokio::Context, S>, AltoUpstream<tokio::Context, S>, Faults);

fn follow<S: Scheme>(context: &tokio::Context, address: SocketAddr, identity: &[u8]) -> Opened<S> {
    let recorder = Faults::default();
    let endpoint = endpoint(address, S::MODE);
    let context = context.child("alto");
    let (source, upstream) =
        open::<_, S>(context, &[endpoint], identity, Arc::new(recorder.clone()), patient())
            .expect("opens");
    (source, upstream, recorder)
}

/// A source of the test chain in standard mode at `address`.
fn standard(context: &tokio::Context, address: SocketAddr) -> Opened<StandardScheme> {
    follow(context, address, &chain::World::<StandardScheme>::new().identity)
}

/// Serves every connection with `serve`, on a port that the system chooses.
async fn server<F, Fut>(context: &tokio::Context, serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    context.child("server").spawn(move |context| async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let connection = serve(stream);
            context.child("connection").spawn(|_| connection);
        }
    });
    address
}

/// Reads one HTTP request without a body; empty if the client is gone.
async fn request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).expect("a header is text")
}

/// Answers every request with the same bytes.
async fn answering(context: &tokio::Context, answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer: Arc<[u8]> = answer.into().into();
    server(context, move |mut stream| {
        let answer = answer.clone();
        async move {
            while !request(&mut stream).await.is_empty() {
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// An HTTP answer with a length.
fn answer(status: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

//! Clients that send anything, or nothing.

use super::*;
use commonware_utils::NZUsize;
use tidewatch_sequencer::remote::wire;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

fn limits() -> Limits {
    Limits {
        content_max: 10_000,
        connections_max: NZUsize!(8),
        requests_max: NZUsize!(2),
        streams_max: NZUsize!(2),
        request: Duration::from_millis(500),
        alive: Duration::from_millis(50),
        stall: Duration::from_millis(500),
    }
}

/// Sends `bytes`, and reads until the server has closed the connection or sent a whole answer.
async fn answer(world: &World, bytes: &[u8]) -> String {
    let url = world.holders.url();
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let end = stream.read_to_end(&mut read);
    let _ = tokio::time::timeout(DEADLINE, end).await.expect("the connection is closed");
    String::from_utf8_lossy(&read).into_owned()
}

#[test]
fn every_route_refuses_garbage_with_a_word_for_it_and_nothing_moves() {
    embed(|context| async move {
        let world = World::start(&context, limits()).await;
        world.certify(10);
        let name = wire::name(&proposal(1, vec![]).identity);
        let ask = |method: &str, path: &str, body: &str| {
            let length = body.len();
            format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 content-length: {length}\r\n\r\n{body}"
            )
        };
        let proposals = format!("/v1/proposals/{name}");
        for (request, status, word) in [
            (ask("GET", "/", ""), 404, "no_route"),
            (ask("GET", "/v1/proposals/%F0%9F%92%A5", ""), 405, "no_method"),
            (ask("POST", &proposals, ""), 405, "no_method"),
            (ask("DELETE", "/v1/newest", ""), 405, "no_method"),
            (ask("PUT", "/v1/proposals/1-2-3-4", ""), 400, "identity"),
            (ask("PUT", "/v1/proposals/%00", ""), 400, "identity"),
            (ask("PUT", &proposals, ""), 422, "content"),
            (ask("PUT", &proposals, "\u{1F4A5}"), 422, "content"),
            (ask("PUT", &proposals, "\u{5}\u{0}x"), 422, "content"),
            (ask("PUT", &proposals, "\u{4}\u{0}"), 422, "content"),
            (ask("PUT", &proposals, &"x".repeat(10_001)), 413, "large"),
            (ask("GET", "/v1/preblocks", ""), 400, "number"),
            (ask("GET", "/v1/preblocks?from=-1", ""), 400, "number"),
            (ask("GET", "/v1/preblocks?from=1&to=2", ""), 400, "number"),
            (ask("GET", "/v1/preblocks?from=99999999999999999999", ""), 400, "number"),
        ] {
            let said = answer(&world, request.as_bytes()).await;
            let line = format!("HTTP/1.1 {status} ");
            let body = said.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            assert!(said.starts_with(&line) && body.starts_with(word), "{request:.60}\n{said}");
            assert!(body.len() < 300 && body.ends_with('\n'), "{body}");
        }
        // No HTTP at all.
        for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"\r\n\r\n\r\n", b"GET\n\n"] {
            let said = answer(&world, bytes).await;
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
        }
        assert_eq!(world.remote.newest().await, Ok(None));
        assert_eq!(world.remote.health().await.unwrap().pending, None);
        let counted = commonware_runtime::Metrics::encode(&context);
        for kind in ["no_route", "no_method", "identity", "content", "large", "number"] {
            let is_counted = |line: &str| {
                line.contains("refused_total{") && line.contains(&format!("kind=\"{kind}\""))
            };
            assert!(counted.lines().any(is_counted), "{kind} is counted:\n{counted}");
        }
    });
}

#[test]
fn headers_and_bodies_that_do_not_end_are_ended() {
    embed(|context| async move {
        let world = World::start(&context, limits()).await;
        let name = wire::name(&proposal(1, vec![]).identity);
        let put = format!("PUT /v1/proposals/{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        let said = answer(&world, format!("{put}content-length: 9\r\n\r\nx").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        let endless =
            format!("{put}transfer-encoding: chunked\r\n\r\n2711\r\n{}", "x".repeat(10_001));
        let said = answer(&world, endless.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
        // A head without an end, and one without a bound.
        answer(&world, b"GET /v1/newest HTTP/1.1\r\nhost").await;
        let head = format!("GET /v1/newest HTTP/1.1\r\nhost: {}", "x".repeat(200_000));
        let said = answer(&world, head.as_bytes()).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said:.60}");
        assert_eq!(world.remote.newest().await, Ok(None));
    });
}

#[test]
fn streams_are_bounded_and_do_not_keep_others_from_being_served() {
    embed(|context| async move {
        let world = World::start(&context, limits()).await;
        world.certify(10);
        let one = world.remote.preblocks(Height::new(1)).await.unwrap();
        let _two = world.remote.preblocks(Height::new(1)).await.unwrap();
        let busy = world.remote.preblocks(Height::new(1)).await;
        assert!(busy.is_err_and(|fault| fault.to_string().contains("too many streams")));
        world.remote.submit(proposal(1, vec![])).await.unwrap();
        drop(one);
        // Its place is free once the server has seen that it left.
        world.preblock_when_free(1).await;
    });
}

#[test]
fn a_reader_that_takes_nothing_is_cut_and_its_place_is_given_to_another() {
    embed(|context| async move {
        let mut limits = limits();
        (limits.content_max, limits.streams_max) = (4 * 1024 * 1024, NZUsize!(1));
        limits.request = DEADLINE;
        let world = World::start(&context, limits).await;
        let large = |by| Transaction {
            sender: Sender([by; 32]),
            nonce: 0,
            payload: vec![by; 1024 * 1024].into(),
        };
        let url = world.holders.url();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let address = url.trim_start_matches("http://").parse().unwrap();
        let mut idle = socket.connect(address).await.unwrap();
        idle.write_all(b"GET /v1/preblocks?from=1 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // It takes the head of the answer, and nothing after it.
        let mut head = [0; 15];
        idle.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        world.certify(10);
        world.remote.submit(proposal(1, vec![large(1), large(2)])).await.unwrap();
        world.preblock_when_free(1).await;
    });
}

impl World {
    /// The preblock of `number`, over a stream that is opened once there is a place for it.
    async fn preblock_when_free(&self, number: u64) {
        let opened = async {
            loop {
                match self.remote.preblocks(Height::new(number)).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let mut stream = tokio::time::timeout(DEADLINE, opened).await.expect("a place is free");
        let read = async {
            loop {
                if let Item::Preblock(preblock) = stream.next().await.unwrap() {
                    return preblock;
                }
            }
        };
        let preblock = tokio::time::timeout(DEADLINE, read).await.expect("a preblock comes");
        self.remote.verify(&preblock).unwrap();
    }
}

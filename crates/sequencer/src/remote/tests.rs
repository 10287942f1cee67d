//! Servers that answer anything, on real sockets. The network itself is tested with `tidewatch_devnet`.

use super::*;
use crate::{Content, Item, NotSubmitted, Ordering as _, Proposal, timelock};
use ::tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use commonware_runtime::{Runner as _, Spawner as _, Supervisor as _, tokio};
use std::time::Duration;
use tidewatch_core::{BlockRef, Digest, FaultKind, Height};

/// Answers each connection with `answer`, whatever is asked, and then keeps it open.
async fn answering(context: &tokio::Context, answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    context.child("server").spawn(move |_| async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 * 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            held.push(stream);
        }
    });
    format!("http://{address}")
}

fn remote(address: &str) -> Remote {
    let limits = Limits { deadline: Duration::from_millis(300), line_max: 1000 };
    Remote::new(address, timelock::tests::keys(), limits).unwrap()
}

fn proposal() -> Proposal {
    let content = Content { time_ms: 1, transactions: Vec::new() };
    Proposal::new(BlockRef::new(Height::new(4), Digest([1; 32])), content)
}

fn stream(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{body}\r\n", body.len()).into_bytes()
}

#[test]
fn an_address_has_no_credentials_and_none_come_back() {
    let keys = timelock::tests::keys();
    let at = |address: &str| Remote::new(address, keys.clone(), Limits::default());
    at("http://127.0.0.1:1").unwrap();
    for bad in [
        "",
        "127.0.0.1:1",
        "ftp://host",
        "http://host/path",
        "http://host?query",
        "http://me:hunter2@host",
    ] {
        let refused = at(bad).unwrap_err().to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[test]
fn what_became_of_a_submission_follows_from_the_answer() {
    tokio::Runner::default().start(|context| async move {
        let taken = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno");
        for (status, expected) in [
            ("202 Accepted", "ok"),
            ("200 OK", "ok"),
            ("409 Conflict", "taken"),
            ("412 Precondition Failed", "refused"),
            ("413 Payload Too Large", "refused"),
            ("422 Unprocessable Content", "refused"),
            ("400 Bad Request", "refused"),
            ("408 Request Timeout", "unknown"),
            ("500 Internal Server Error", "unknown"),
            ("503 Service Unavailable", "unknown"),
            ("302 Found", "unknown"),
            ("204 No Content", "unknown"),
        ] {
            let address = answering(&context, taken(status).into_bytes()).await;
            let outcome = match remote(&address).submit(proposal()).await {
                Ok(()) => "ok",
                Err(NotSubmitted::Taken) => "taken",
                Err(NotSubmitted::Refused(_)) => "refused",
                Err(NotSubmitted::Unknown(_)) => "unknown",
            };
            assert_eq!(outcome, expected, "{status}");
        }
        // No answer at all, and nobody there.
        let silent = remote(&answering(&context, Vec::new()).await);
        let outcome = silent.submit(proposal()).await;
        let is_timeout = |fault: &tidewatch_core::Fault| fault.kind == FaultKind::Timeout;
        assert!(
            matches!(&outcome, Err(NotSubmitted::Unknown(fault)) if is_timeout(fault)),
            "{outcome:?}"
        );
        let nobody = remote("http://127.0.0.1:1").submit(proposal()).await;
        assert!(matches!(nobody, Err(NotSubmitted::Unknown(_))), "{nobody:?}");
    });
}

#[test]
fn a_stream_of_anything_is_a_fault_and_of_nothing_is_quiet() {
    tokio::Runner::default().start(|context| async move {
        let garbage = "\u{1F4A5}\n".to_owned();
        let base64 = "AAAA\n".to_owned();
        let endless = "A".repeat(1001);
        for (body, kind) in [
            (garbage, FaultKind::Malformed),
            (base64, FaultKind::Malformed),
            (endless, FaultKind::Oversized),
        ] {
            let network = remote(&answering(&context, stream(&format!("\n\n{body}"))).await);
            let mut preblocks = network.preblocks(Height::new(1)).await.unwrap();
            assert_eq!(preblocks.next().await, Ok(Item::Alive));
            assert_eq!(preblocks.next().await, Ok(Item::Alive));
            assert_eq!(preblocks.next().await.unwrap_err().kind, kind, "{body:.20}");
        }
        let ended = [stream("\n"), b"0\r\n\r\n".to_vec()].concat();
        let network = remote(&answering(&context, ended).await);
        let mut preblocks = network.preblocks(Height::new(1)).await.unwrap();
        assert_eq!(preblocks.next().await, Ok(Item::Alive));
        assert_eq!(preblocks.next().await.unwrap_err().kind, FaultKind::Unreachable);
    });
}

#[test]
fn answers_are_bounded_and_decoded_strictly() {
    tokio::Runner::default().start(|context| async move {
        let answer = |body: &str| {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        let newest = |answer| async {
            let address = answering(&context, answer).await;
            remote(&address).newest().await.map_err(|fault| fault.kind)
        };
        assert_eq!(newest(answer(r#"{"newest":7}"#)).await, Ok(Some(Height::new(7))));
        assert_eq!(newest(answer(r#"{"newest":null}"#)).await, Ok(None));
        for bad in ["", "7", r#"{"newest":-1}"#, r#"{"newest":1e99}"#, "<html>"] {
            assert_eq!(newest(answer(bad)).await, Err(FaultKind::Malformed), "{bad}");
        }
        assert_eq!(newest(answer(&" ".repeat(5000))).await, Err(FaultKind::Oversized));
        let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{".to_vec();
        assert_eq!(newest(cut).await, Err(FaultKind::Timeout));
        // A seed that is none, and one that is not the validators'.
        let round = |seed: &str| answer(&format!(r#"{{"epoch":0,"view":3,"seed":"{seed}"}}"#));
        let foreign = timelock::tests::foreign_seed(3);
        for (seed, kind) in [
            ("zz", FaultKind::Malformed),
            ("00", FaultKind::Malformed),
            (foreign.as_str(), FaultKind::InvalidCertificate),
        ] {
            let network = remote(&answering(&context, round(seed)).await);
            assert_eq!(network.round().await.unwrap_err().kind, kind, "{seed:.20}");
        }
    });
}

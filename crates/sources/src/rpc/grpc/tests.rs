//! gRPC-web over real sockets.

#![allow(
    clippy::disallowed_methods,
    reason = "the servers are not what runs here, and end with the test"
)]

use super::*;
use crate::rpc::tests::{run, serve};
use axum::{Router, body::Body, extract::Request, response::Response, routing::any};
use commonware_runtime::{Supervisor as _, tokio};
use commonware_utils::sync::Mutex;
use std::{net::SocketAddr, sync::Arc};
use tidewatch_core::FaultKind;

const METHOD: &str = "Method";

fn frame(flags: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[flags], &length[..], content].concat()
}

fn end(text: &str) -> Vec<u8> {
    frame(0x80, text.as_bytes())
}

fn ok(messages: &[&[u8]]) -> Vec<u8> {
    let frames = messages.iter().flat_map(|message| frame(0, message));
    frames.chain(end("grpc-status:0\r\n")).collect()
}

type Seen = Arc<Mutex<Vec<(axum::http::request::Parts, Vec<u8>)>>>;

/// Answers every request with these headers and this body.
async fn answering(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> (SocketAddr, Seen) {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let seen = Seen::default();
    let requests = seen.clone();
    let handler = move |request: Request| {
        let (headers, body, requests) = (headers.clone(), body.clone(), requests.clone());
        async move {
            let (parts, sent) = request.into_parts();
            let sent = axum::body::to_bytes(sent, usize::MAX).await.unwrap();
            requests.lock().push((parts, sent.to_vec()));
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body)).unwrap()
        }
    };
    (serve(Router::new().fallback(any(handler))).await, seen)
}

const GRPC: (&str, &str) = ("content-type", "application/grpc-web+proto");

fn node(context: &tokio::Context, address: SocketAddr, path: &str) -> GrpcWeb<tokio::Context> {
    let text = format!("miden+http://alice:hunter2@{address}{path}");
    let endpoint = Endpoint::parse("miden", &["http"], &text).unwrap();
    GrpcWeb::new(context.child("node"), &endpoint, "a.Service", &Config::default()).unwrap()
}

fn asked() -> Call {
    call(METHOD, b"question").answered_by(100)
}

#[test]
fn a_call_is_a_frame_posted_to_the_method_and_the_answer_is_its_message() {
    run(|context| async move {
        let (address, seen) = answering(200, &[GRPC], ok(&[b"answer"])).await;
        let answers = node(&context, address, "/path/").send(&[asked()]).await.unwrap();
        assert_eq!(answered("node", &"it", &answers[0]).unwrap(), b"answer");
        let (parts, sent) = seen.lock().pop().unwrap();
        assert_eq!((parts.method.as_str(), parts.uri.path()), ("POST", "/path/a.Service/Method"));
        assert_eq!(sent, frame(0, b"question"));
        let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("content-type"), Some("application/grpc-web+proto"));
        assert!(header("authorization").is_some_and(|value| value.starts_with("Basic ")));
        assert!(header("accept").is_none_or(|value| value == "*/*"), "a node negotiates by it");
    });
}

#[test]
fn an_error_is_read_from_headers_alone_and_from_trailers() {
    run(|context| async move {
        let body = end("grpc-status:11\r\ngrpc-message:too%20far\r\n");
        let alone = [GRPC, ("grpc-status", "3"), ("grpc-message", "no such%20block")];
        let table = [
            (answering(200, &[GRPC], body).await.0, 11, "OUT_OF_RANGE: too far"),
            (answering(200, &alone, Vec::new()).await.0, 3, "INVALID_ARGUMENT: no such block"),
        ];
        for (address, code, message) in table {
            let answers = node(&context, address, "").send(&[asked()]).await.unwrap();
            let Err(error) = &answers[0] else { panic!("{answers:?}") };
            assert_eq!((error.code, error.message.as_str()), (code, message));
            let streamed = streamed(METHOD, b"", 3).answered_by(100);
            let answers = node(&context, address, "").send(&[streamed]).await.unwrap();
            assert_eq!(answers[0].as_ref().unwrap_err().code, code);
        }
    });
}

#[test]
fn what_is_no_answer_is_refused_with_its_kind() {
    use FaultKind::{Malformed, Oversized, Unavailable, UnexpectedContent};
    run(|context| async move {
        let status = |code: &'static str| vec![GRPC, ("grpc-status", code)];
        let html = vec![("content-type", "text/html")];
        let late = vec![GRPC, ("grpc-status", "8"), ("retry-after", "7")];
        let two = ok(&[b"one", b"two"]);
        let cut = ok(&[b"answer"])[..8].to_vec();
        let none = frame(0, b"answer");
        let long = frame(0, &[0; 101]);
        let table = [
            (200, html.clone(), b"<html>".to_vec(), UnexpectedContent, "text/html"),
            (502, html.clone(), b"<html>".to_vec(), Unavailable, "502"),
            (401, html.clone(), Vec::new(), Unavailable, "user, password"),
            (429, html, Vec::new(), Unavailable, "limit"),
            (200, status("8"), Vec::new(), Unavailable, "RESOURCE_EXHAUSTED"),
            (200, late, Vec::new(), Unavailable, "limit"),
            (200, status("14"), Vec::new(), Unavailable, "UNAVAILABLE"),
            (200, status("16"), Vec::new(), Unavailable, "user, password"),
            (200, vec![GRPC], two, Malformed, "a second message"),
            (200, vec![GRPC], cut, Malformed, "too early"),
            (200, vec![GRPC], none, Malformed, "too early"),
            (200, vec![GRPC], Vec::new(), Malformed, "too early"),
            (200, vec![GRPC], long, Oversized, "100"),
            (200, vec![GRPC], frame(1, b"gz"), Malformed, "another kind"),
        ];
        for (status, headers, body, kind, words) in table {
            let shown = format!("{status} {headers:?} {body:?}");
            let (address, _) = answering(status, &headers, body).await;
            let unanswered = node(&context, address, "").send(&[asked()]).await.unwrap_err();
            let fault = unanswered.fault();
            assert_eq!(fault.kind, kind, "{shown}: {fault}");
            assert!(fault.detail.contains(words), "{shown}: {fault}");
            if headers.iter().any(|(name, _)| *name == "retry-after") {
                let Unanswered::Busy { after, .. } = unanswered else { panic!("{shown}") };
                assert_eq!(after, Some(Duration::from_secs(7)));
            }
        }
    });
}

#[test]
fn of_a_stream_as_much_is_read_as_was_asked_for() {
    run(|context| async move {
        let messages: [&[u8]; 4] = [b"one", b"", b"three", b"four"];
        let (address, _) = answering(200, &[GRPC], ok(&messages)).await;
        let read = async |count, max| {
            let asked = streamed(METHOD, b"", count).answered_by(max);
            let answers = node(&context, address, "").send(&[asked]).await.unwrap();
            all_answered("node", &"them", &answers[0]).unwrap()
        };
        assert_eq!(read(2, 100).await, messages[..2]);
        assert_eq!(read(4, 100).await, messages);
        assert_eq!(read(9, 100).await, messages, "it ends there");
        assert_eq!(read(9, 16).await, messages[..3], "half of what an answer may be");
    });
}

#[test]
fn a_stream_that_stands_still_is_answered_with_what_there_is() {
    run(|context| async move {
        let handler = move |_: Request| async move {
            let first = futures::stream::iter([Ok::<_, std::io::Error>(frame(0, b"one"))]);
            let body = Body::from_stream(first.chain(futures::stream::pending()));
            Response::builder().header(GRPC.0, GRPC.1).body(body).unwrap()
        };
        let address = serve(Router::new().fallback(any(handler))).await;
        let endpoint = format!("miden+http://{address}");
        let endpoint = Endpoint::parse("miden", &["http"], &endpoint).unwrap();
        let config = Config { request_timeout: Duration::from_millis(400), ..Config::default() };
        let node = GrpcWeb::new(context.child("node"), &endpoint, "a.Service", &config).unwrap();
        let answers = node.send(&[streamed(METHOD, b"", 3)]).await.unwrap();
        assert_eq!(all_answered("node", &"them", &answers[0]).unwrap(), [b"one"]);
        // Listened to, it is silent, and outlasts what a request may take.
        let mut messages = node.stream(&streamed(METHOD, b"", 3)).await.unwrap();
        assert_eq!(messages.next().await.unwrap().unwrap(), "one");
        let silent = within(&context, 2 * config.request_timeout, messages.next()).await;
        assert!(silent.is_none(), "{silent:?}");
    });
}

#[test]
fn a_stream_that_fails_says_why() {
    run(|context| async move {
        let body = [frame(0, b"one"), end("grpc-status:15\r\ngrpc-message:too slow\r\n")].concat();
        let (address, _) = answering(200, &[GRPC], body).await;
        let node = node(&context, address, "");
        let mut messages = node.stream(&streamed(METHOD, b"", 3)).await.unwrap();
        assert_eq!(messages.next().await.unwrap().unwrap(), "one");
        let fault = messages.next().await.unwrap().unwrap_err();
        assert!(fault.detail.contains("DATA_LOSS: too slow"), "{fault}");
        assert!(messages.next().await.is_none());
        let (address, _) = answering(200, &[GRPC], ok(&[b"one"])).await;
        let node = self::node(&context, address, "");
        let mut messages = node.stream(&streamed(METHOD, b"", 3)).await.unwrap();
        assert!(messages.next().await.unwrap().is_ok());
        assert!(messages.next().await.is_none(), "it ended as it should");
    });
}

//! The scripted node at a real address: the whole way, over sockets.

use super::{node::Node, *};
use crate::rpc::{RpcError, tests};
use axum::{Router, body::Body, extract::Request, response::Response, routing::any};
use bytes::Bytes;
use commonware_runtime::tokio;
use futures::{StreamExt as _, stream};
use prost::Message as _;
use std::{convert::Infallible, net::SocketAddr};
use tidewatch_conformance::{self as conformance, Stage, Verdict, source_checks as name};

const CONTENT: &str = "application/grpc-web+proto";

fn frame(flags: u8, content: &[u8]) -> Bytes {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[flags], &length[..], content].concat().into()
}

/// Answers as a node does: messages with trailers behind them, and errors in headers alone.
async fn respond(node: Node, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let method = parts.uri.path().strip_prefix("/rpc.Api/").unwrap();
    assert_eq!(parts.headers["content-type"], CONTENT);
    let response = Response::builder().header("content-type", CONTENT);
    let messages = match node.respond(method, &body[5..]) {
        Ok(messages) => messages,
        Err(RpcError { code, message }) => {
            let response = response.header("grpc-status", code).header("grpc-message", message);
            return response.body(Body::empty()).unwrap();
        }
    };
    let ok = |bytes| Ok::<_, Infallible>(bytes);
    if method == "BlockSubscription" {
        let from = wire::SubscriptionRequest::decode(&body[5..]).unwrap().from;
        let (there, live) = node.subscribe(from);
        let frames = stream::iter(there).chain(live).map(|message| frame(0, &message));
        return response.body(Body::from_stream(frames.map(ok))).unwrap();
    }
    let frames = messages.iter().map(|message| frame(0, message));
    let frames: Vec<_> = frames.chain([frame(0x80, b"grpc-status:0\r\n")]).map(ok).collect();
    response.body(Body::from_stream(stream::iter(frames))).unwrap()
}

async fn serve(node: &Node) -> SocketAddr {
    let node = node.clone();
    let handler = move |request: Request| respond(node.clone(), request);
    tests::serve(Router::new().fallback(any(handler))).await
}

/// The chain behind a served node: its doorbell rings for what is done to it.
struct Served(Node);

impl Stage for Served {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.0.grow(blocks).await
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        self.0.finalize(blocks).await
    }
}

fn examine(streams: bool) {
    tests::run(|context: tokio::Context| async move {
        let node = Node::new(20);
        node.prove(4);
        node.0.lock().streams = streams;
        let address = serve(&node).await;
        let address: Address = format!("miden+http://{address}?finalized=proven").parse().unwrap();
        let config = Config::default();
        let source = open(context.child("source"), &[address], Arc::new(()), &config).unwrap();
        let source = Arc::new(source);
        let report = if streams {
            conformance::source(context.child("suite"), source.clone(), &mut Served(node)).await
        } else {
            conformance::source(context.child("suite"), source.clone(), &mut node.clone()).await
        };
        report.assert();
        for check in report.checks() {
            // Over a socket that is quick, a call may be answered before it could be dropped.
            if check.name == name::DROPPED {
                continue;
            }
            // No reorgs, and no proof of what is taken for final.
            let not_shown =
                [name::REORGANISED, name::REPLACED, name::SHORTER, name::LEFT, name::PROOF];
            let bells = [name::DOORBELL, name::BELLS].contains(&check.name) && !streams;
            let shown = !not_shown.contains(&check.name) && !bells;
            assert_eq!(check.verdict == Verdict::Held, shown, "{report}");
        }
        let refusals = source.work().refusals;
        assert_eq!(refusals, Default::default(), "{refusals:?}");
    });
}

#[test]
fn a_source_over_sockets_conforms_and_rings() {
    examine(true);
}

#[test]
fn a_source_over_sockets_without_streams_conforms() {
    examine(false);
}

//! What is secret in an address is found nowhere.

use super::{answering, calls, echoes, response, run, sent};
use crate::rpc::{Config, Endpoint, Handshake, Node, Rpc as _, Upstreams};
use commonware_runtime::{Metrics as _, Supervisor as _};
use std::{fs, sync::Arc};
use tempfile::NamedTempFile;
use tracing_subscriber::EnvFilter;

/// Parts of the addresses, and the header that user and password become.
const SECRETS: [&str; 5] = ["alice", "hunter2", "key-4711", "token-4712", "YWxpY2U6"];

#[test]
fn what_is_secret_in_an_address_is_in_no_log_fault_or_metric() {
    let logs = NamedTempFile::new().unwrap();
    // As in the command, what would log the addresses that a client connects to is left out.
    let filter = EnvFilter::new("trace,tungstenite::handshake::client=error");
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(logs.reopen().unwrap());
    subscriber.init();
    let said = run(|context| async move {
        let (good, seen) = answering(|asked| sent(&echoes(asked))).await;
        let redirect = |_: &serde_json::Value| {
            let mut response = response(307, "text/html", "<html>elsewhere");
            let to = "http://alice:hunter2@127.0.0.1/key-4711".parse().unwrap();
            response.headers_mut().insert("location", to);
            response
        };
        let (elsewhere, _) = answering(redirect).await;
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone_at = gone.local_addr().unwrap();
        drop(gone);
        let mut said = Vec::new();
        for address in [good, elsewhere, gone_at] {
            for scheme in ["http", "ws"] {
                let text =
                    format!("eth+{scheme}://alice:hunter2@{address}/key-4711?token=token-4712");
                let endpoint = Endpoint::parse("eth", &["http", "ws"], &text).unwrap();
                let node = Node::new(context.child("node"), &endpoint, &Config::default()).unwrap();
                let answers = node.send(&calls(2)).await;
                said.push(format!("{endpoint} {endpoint:?} {node:?} {} {answers:?}", node.name()));
                let handshake = Handshake {
                    calls: calls(1),
                    read: |name, _| {
                        Err(tidewatch_core::FaultKind::Malformed.fault(name, "no chain_info"))
                    },
                    same: tidewatch_core::ChainInfo::eq,
                };
                let context = context.child("upstreams");
                let config = Config::default();
                let upstreams =
                    Upstreams::new(context, vec![node], handshake, Arc::new(()), &config).unwrap();
                let fault = upstreams.ask(&calls(1)).await.unwrap_err();
                said.push(format!("{fault} {fault:?} {upstreams:?}"));
            }
        }
        said.push(context.encode());
        assert_eq!(seen.lock()[0].0.uri, "/key-4711?token=token-4712", "it is in the request");
        said
    });
    let logs = fs::read_to_string(logs.path()).unwrap();
    assert!(logs.contains("asking the next endpoint"), "it was logged what happened");
    for text in said.iter().chain([&logs]) {
        for secret in SECRETS {
            let found = text.lines().find(|line| line.contains(secret));
            assert_eq!(found, None, "{secret} is shown");
        }
    }
}

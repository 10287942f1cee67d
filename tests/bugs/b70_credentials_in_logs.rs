//! B70. The user, the password or the key in the URL of an upstream was written into logs.
//!
//! Here credentials are in the request and nowhere else. Everything that a follower emits while it
//! follows such a URL, is rejected, loses the connection, or cannot connect, is captured and searched:
//! faults with their messages, metrics, logs of every level, and `Debug` output. The output of the
//! command is covered by the command's own tests.

use crate::follow;
use commonware_runtime::Metrics as _;
use std::{fs, time::Duration};
use tempfile::NamedTempFile;
use tidewatch_core::FaultKind;
use tidewatch_devnet::readymade::{Chain, ChainConfig, Server, ServerConfig, Tamper, Target};
use tidewatch_sources::alto::{CertificateMode, Endpoint, StandardScheme};
use tidewatch_tests::{Node, Seen, Settings};
use tracing_subscriber::EnvFilter;

/// Credentials in the URLs, and the header that is derived from user and password.
const SECRETS: [&str; 5] = ["alice", "hunter2", "hunter%32", "key-4711", "YWxpY2U6"];

fn assert_none_of_the_secrets(what: &str, text: &str) {
    for secret in SECRETS {
        let found = text.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{what} shows {secret}");
    }
}

/// Follows `address` until `happened`, and searches all output for credentials.
fn search(server: &Server, address: &str, what: &str, happened: impl Fn(&Seen) -> bool) {
    follow(|context| async move {
        let endpoint: Endpoint = address.parse().unwrap();
        assert_none_of_the_secrets("an address", &format!("{endpoint} {endpoint:?}"));
        let mut settings = Settings::readymade(server)
            .with_certified(|certified| certified.request_timeout = Duration::from_millis(500));
        settings.endpoints = vec![endpoint];
        assert_none_of_the_secrets("settings", &format!("{settings:?}"));
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        let seen = node.recorder.until(what, happened).await;
        for fault in &seen.faults {
            assert_none_of_the_secrets("a fault", &format!("{fault} {fault:?}"));
        }
        assert_none_of_the_secrets("metrics", &context.encode());
        let shown = format!("{:?} {:?}", node.source.inner(), node.follower);
        assert_none_of_the_secrets("what it shows of itself", &shown);
        node.stop().await;
    });
}

#[test]
fn what_is_secret_in_an_address_is_found_nowhere() {
    let logs = NamedTempFile::new().unwrap();
    // As in the command, the one library that would log request headers is filtered out.
    let filter = EnvFilter::new("trace,tungstenite::handshake::client=error");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(logs.reopen().unwrap()).init();

    let chain = Chain::sign(10, CertificateMode::Standard, ChainConfig::default()).unwrap();
    let server = Server::start(&chain, ServerConfig::default()).unwrap();
    let host = server.url().replace("http://", "");
    let with = |prefix: &str, path: &str| format!("alto+http://{prefix}{host}{path}?mode=standard");

    search(&server, &with("alice:hunter2@", ""), "finality", |seen| {
        seen.is_final(tidewatch_core::Height::new(10))
    });
    // The server has no such path: the push connection is rejected, with the path in the request.
    search(&server, &with("alice:hunter%32@", "/key-4711"), "a refusal", |seen| {
        seen.count(FaultKind::Unavailable) > 0
    });
    for (tamper, kind) in [
        (Tamper::Html, FaultKind::UnexpectedContent),
        (Tamper::Garbage, FaultKind::Malformed),
        (Tamper::Unavailable, FaultKind::Unavailable),
        (Tamper::Cut, FaultKind::Unreachable),
        (Tamper::Delay(Duration::from_secs(60)), FaultKind::Timeout),
    ] {
        server.tamper(Target::Any, tamper);
        let happened = |seen: &Seen| seen.count(kind) > 1;
        search(&server, &with("alice:hunter2@", ""), "a refusal", happened);
        server.heal();
    }
    let nobody = "alto+http://alice:hunter2@127.0.0.1:1/key-4711?mode=standard";
    search(&server, nobody, "a refusal", |seen| seen.count(FaultKind::Unreachable) > 1);

    let logged = fs::read_to_string(logs.path()).unwrap();
    assert!(logged.lines().count() > 100, "much was logged");
    assert_none_of_the_secrets("a log", &logged);
}

#[test]
fn an_address_that_is_refused_is_not_repeated() {
    for address in [
        "alto+ftp://alice:hunter2@host/key-4711?mode=vrf",
        "alto+http://alice:hunter2@host/key-4711",
        "alto+http://alice:hunter2@host:99999/key-4711?mode=vrf",
        "alto+http://alice:hunter2@host/?mode=vrf&token=key-4711",
        "alto+http://alice:hunter2@host/?key-4711",
        "alto+http://alice:hunter2@host/?mode=vrf#key-4711",
        "alice:hunter2@host",
    ] {
        let refused = address.parse::<Endpoint>().unwrap_err();
        assert_none_of_the_secrets("a refusal", &format!("{refused} {refused:?}"));
    }
}

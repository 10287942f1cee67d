//! B62. The key that verified everything was requested from the upstream that was to be verified.
//!
//! Here there is no trust on first use, and no setting for it: without the network's public key no
//! source opens, and every certificate of an upstream of another network is rejected, although its
//! signatures are valid there.

use crate::follow;
use commonware_runtime::Supervisor as _;
use std::sync::Arc;
use tidewatch_core::{FaultKind, State};
use tidewatch_devnet::readymade::{Chain, ChainConfig, Server, ServerConfig};
use tidewatch_sources::alto::{self, CertificateMode, Endpoint, StandardScheme};
use tidewatch_tests::{Node, Settings};

fn chain(seed: u64) -> Chain {
    let config = ChainConfig { seed, ..ChainConfig::default() };
    Chain::sign(10, CertificateMode::Standard, config).unwrap()
}

#[test]
fn without_a_public_key_nothing_is_opened() {
    follow(|context| async move {
        let endpoint: Endpoint = "alto+http://127.0.0.1:1?mode=standard".parse().unwrap();
        let almost = vec![0; 96];
        for identity in [&[][..], b"0", &[0xff; 48], &almost] {
            let opened = alto::open::<_, StandardScheme>(
                context.child("source"),
                std::slice::from_ref(&endpoint),
                identity,
                Arc::new(()),
                alto::Config::default(),
            );
            let Err(refused) = opened else { panic!("it was opened with {identity:?}") };
            assert_eq!(refused.kind, FaultKind::InvalidConfig);
            assert!(refused.detail.contains("group public key"), "it says what to give: {refused}");
        }
    });
}

#[test]
fn an_upstream_of_another_network_moves_nothing() {
    let (ours, theirs) = (chain(0), chain(1));
    let server = Server::start(&theirs, ServerConfig::default()).unwrap();
    let trusted = Server::start(&ours, ServerConfig::default()).unwrap();
    assert_ne!(server.identity(), trusted.identity());
    follow(|context| async move {
        let pinned = Settings::readymade(&trusted).identity;
        let settings = Settings { identity: pinned, ..Settings::readymade(&server) };
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        let refused = |kind| move |seen: &tidewatch_tests::Seen| seen.count(kind) >= 3;
        let invalid = FaultKind::InvalidCertificate;
        let seen = node.recorder.until("refusals", refused(invalid)).await;
        assert_eq!((seen.delivered(), seen.finalized()), (None, None));
        assert_eq!(seen.state(), Some(State::Blind));
        assert!(seen.faults.iter().all(|fault| fault.kind == invalid), "{seen:#?}");
        node.stop().await;
    });
}

//! B69. A proxy responded with status 200 and an error page, which was reported as a block that does
//! not decode: the report did not show that there was no node behind the proxy.
//!
//! Here the fault names the content type, the first bytes and the address, and has its own kind.

use crate::follow;
use tidewatch_core::{Fault, FaultKind};
use tidewatch_devnet::readymade::{Chain, ChainConfig, Server, ServerConfig, Tamper, Target};
use tidewatch_sources::alto::{CertificateMode, StandardScheme};
use tidewatch_tests::{Node, Settings};

/// Length of the page excerpt in the fault.
const SHOWN: usize = 80;

#[test]
fn success_with_a_page_is_reported_with_content_type_first_bytes_and_address() {
    let chain = Chain::sign(10, CertificateMode::Standard, ChainConfig::default()).unwrap();
    let tampers = vec![(Target::Any, Tamper::Html)];
    let server =
        Server::start(&chain, ServerConfig { tampers, ..ServerConfig::default() }).unwrap();
    follow(|context| async move {
        let mut settings = Settings::readymade(&server);
        // The URL has a password, which the reported address must not contain.
        let address = server.url().replace("http://", "http://alice:hunter2@");
        settings.endpoints = vec![format!("alto+{address}?mode=standard").parse().unwrap()];
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        let page = |fault: &Fault| fault.kind == FaultKind::UnexpectedContent;
        let told = node
            .recorder
            .until("a page", |seen| seen.faults.iter().filter(|fault| page(fault)).count() >= 2)
            .await;
        let fault = told.faults.iter().find(|fault| page(fault)).unwrap();
        assert_eq!(fault.about, format!("alto+{}", server.url()));
        let (content, shown) = fault.detail.split_once(" instead of a block: ").unwrap();
        assert_eq!(content, "text/html; charset=utf-8");
        assert!(shown.starts_with("<!DOCTYPE html>"), "{shown}");
        assert_eq!(shown.len(), SHOWN, "{shown}");
        assert_eq!(told.count(FaultKind::Malformed), 0);

        server.heal();
        node.recorder.until_final(10).await;
        node.stop().await;
    });
}

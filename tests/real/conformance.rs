//! The suite that a user's source goes through, on the alto source: real HTTP, a real WebSocket, real
//! certificates, followed for its blocks and for its tips alone.

use commonware_runtime::{Supervisor as _, tokio::Context};
use commonware_utils::NZUsize;
use std::{sync::Arc, time::Duration};
use tidewatch_conformance::{Report, Stage, Verdict, source, source_checks as name};
use tidewatch_core::Height;
use tidewatch_devnet::readymade::{Chain, ChainConfig, Kind, Server, ServerConfig, Tamper, Target};
use tidewatch_sources::alto::{self, CertificateMode, Scheme, StandardScheme, VrfScheme};
use tidewatch_tests::{Settings, run};

/// Finalized blocks at the start.
const FINALIZED: u64 = 20;

/// Notarized blocks above them.
const NOTARIZED: u64 = 5;

/// A committee that notarizes, finalizes, and changes its mind about what is not final.
struct Committee {
    server: Server,
    /// Up to the newest notarized block.
    chain: Chain,
    finalized: u64,
}

impl Committee {
    fn start(mode: CertificateMode) -> Self {
        let chain = Chain::sign(FINALIZED, mode, ChainConfig::default()).expect("signs");
        // Nobody is so near that an answer is there at once: calls are dropped while they wait.
        let late = (Target::Kind(Kind::BlockAt), Tamper::Delay(Duration::from_millis(2)));
        let config = ServerConfig { tampers: vec![late], ..ServerConfig::default() };
        let server = Server::start(&chain, config).expect("serves");
        let mut committee = Self { server, chain, finalized: FINALIZED };
        committee.notarize(NOTARIZED);
        committee
    }

    /// Notarizes `blocks` more blocks.
    fn notarize(&mut self, blocks: u64) {
        let tip = self.chain.tip().get();
        self.chain.extend(blocks).expect("signs");
        self.serve(tip + 1);
    }

    fn serve(&self, from: u64) {
        for height in from..=self.chain.tip().get() {
            self.server.notarize(&self.chain, Height::new(height)).expect("serves");
        }
    }
}

impl Stage for Committee {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.notarize(blocks);
        true
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        if blocks == 0 {
            // A committee notarizes another block; it never takes one back.
            return false;
        }
        let ancestor = self.chain.tip().get() - depth;
        self.chain = self.chain.branch(Height::new(ancestor), blocks).expect("signs");
        self.serve(ancestor + 1);
        true
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        for height in self.finalized + 1..=self.finalized + blocks {
            self.server.finalize(&self.chain, Height::new(height)).expect("serves");
        }
        self.finalized += blocks;
        true
    }
}

async fn examine<S: Scheme>(context: Context) -> Report {
    let mut committee = Committee::start(S::MODE);
    // Little is remembered, so that most questions go over the wire.
    let settings = Settings::readymade(&committee.server)
        .with_certified(|certified| certified.recent_max = NZUsize!(8));
    let Settings { endpoints, identity, alto, .. } = settings;
    let opened =
        alto::open::<_, S>(context.child("alto"), &endpoints, &identity, Arc::new(()), alto);
    let (alto, upstream) = opened.expect("the source opens");
    let upstream = upstream.start();
    let report = source(context.child("suite"), Arc::new(alto), &mut committee).await;
    upstream.abort();
    report
}

fn conforms<S: Scheme>() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = run(directory.path(), examine::<S>);
    report.assert();
    let other = report.checks().iter().filter(|check| check.verdict != Verdict::Held);
    let other: Vec<_> = other.map(|check| check.name).collect();
    assert_eq!(other, [name::SHORTER], "{report}");
}

#[test]
fn the_alto_source_holds_in_every_check_in_standard_mode() {
    conforms::<StandardScheme>();
}

#[test]
fn the_alto_source_holds_in_every_check_in_vrf_mode() {
    conforms::<VrfScheme>();
}

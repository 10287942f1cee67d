//! Upstreams that lie, break, fall silent or contradict themselves, and what catching up costs.

use commonware_runtime::tokio::Context;
use std::{collections::BTreeMap, sync::LazyLock, time::Duration};
use tidewatch_certified::Work;
use tidewatch_core::{Conflict, Fault, FaultKind, Height, Severity, State, Tier};
use tidewatch_devnet::readymade::{Chain, ChainConfig, Kind, Server, ServerConfig, Tamper, Target};
use tidewatch_sources::alto::{CertificateMode, Scheme, StandardScheme, VrfScheme};
use tidewatch_tests::{Node, Seen, Settings, assert_kept, assert_lawful, block_at, history, run};

/// Blocks of the chain that is tampered with.
const BLOCKS: u64 = 300;

static STANDARD: LazyLock<Chain> = LazyLock::new(|| sign(BLOCKS + 20, CertificateMode::Standard));

fn sign(blocks: u64, mode: CertificateMode) -> Chain {
    Chain::sign(blocks, mode, ChainConfig::default()).expect("signs")
}

fn serve(chain: &Chain, upto: u64, tampers: Vec<(Target, Tamper)>) -> Server {
    let config = ServerConfig { upto: Some(Height::new(upto)), tampers, ..ServerConfig::default() };
    Server::start(chain, config).expect("serves")
}

const fn at(height: u64) -> Target {
    Target::Height(Height::new(height))
}

/// Follows in an empty directory, in a runtime of its own.
fn follow<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    let directory = tempfile::tempdir().expect("a directory");
    run(directory.path(), test);
}

/// What is kept is the chain, block by block, and nothing else.
async fn assert_is_chain<S: Scheme>(node: Node<S>, settings: &Settings, chain: &Chain, upto: u64) {
    let identity = node.identity.clone();
    let store = node.stop().await;
    let log = history(&store).await;
    assert_lawful(&log, &identity);
    let delivered = log.last().and_then(|last| last.watermarks.delivered);
    assert_eq!(delivered.map(|block| block.height), Some(Height::new(upto)));
    for height in (1..=upto).map(Height::new) {
        let kept = block_at(&store, height).await.expect("is kept");
        assert_eq!(Some(&kept.0), chain.block(height), "the block at {height}");
    }
    assert_kept::<S>(&store, &settings.identity, 1, upto).await;
}

fn checks(reasons: &[(&'static str, u64)]) -> BTreeMap<&'static str, u64> {
    reasons.iter().copied().collect()
}

/// Follows `BLOCKS` blocks of an upstream with `tampers` to their end.
fn reaches_the_tip(tampers: &[(Target, Tamper)], told: &[FaultKind], check: impl FnOnce(&Work)) {
    let server = serve(&STANDARD, BLOCKS, tampers.to_vec());
    follow(|context| async move {
        let settings = Settings::readymade(&server)
            .with_certified(|certified| certified.request_timeout = Duration::from_secs(2));
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        let seen = node.recorder.until_final(BLOCKS).await;
        let work = node.work();
        for kind in told {
            assert!(seen.count(*kind) > 0, "{tampers:?}: no {}: {seen:#?}", kind.as_str());
            assert!(work.refusals.contains_key(kind.as_str()), "{tampers:?}: {work:?}");
        }
        let other = seen.faults.iter().find(|fault| !told.contains(&fault.kind));
        assert_eq!(other, None, "{tampers:?}");
        check(&work);
        assert_is_chain(node, &settings, &STANDARD, BLOCKS).await;
    });
}

/// The tip's certificate, and nothing else, was checked.
fn one_check(work: &Work) {
    assert_eq!(work.checks, checks(&[("tip", 1)]));
}

#[test]
fn a_wrong_answer_for_one_height_is_replaced_through_its_digest() {
    use FaultKind::{Malformed, UnexpectedContent, WrongDigest, WrongPosition};
    let table: [(Tamper, &[FaultKind]); 7] = [
        // The block is the right one, and the hash chain says so: its certificate is not needed.
        (Tamper::WrongCertificate, &[]),
        (Tamper::WrongParent, &[WrongDigest]),
        (Tamper::OtherBlock, &[WrongPosition]),
        (Tamper::Missing, &[]),
        (Tamper::Html, &[UnexpectedContent]),
        (Tamper::Garbage, &[Malformed]),
        (Tamper::Truncated, &[Malformed]),
    ];
    for (tamper, told) in table {
        reaches_the_tip(&[(at(100), tamper)], told, one_check);
    }
}

#[test]
fn a_wrong_certificate_a_wrong_parent_and_a_missing_height_together_cost_one_check() {
    let tampers = [
        (at(100), Tamper::WrongCertificate),
        (at(150), Tamper::WrongParent),
        (at(151), Tamper::Missing),
        (at(200), Tamper::Html),
        (at(201), Tamper::Truncated),
        (at(300), Tamper::Garbage),
    ];
    let told = [FaultKind::WrongDigest, FaultKind::UnexpectedContent, FaultKind::Malformed];
    reaches_the_tip(&tampers, &told, one_check);
}

#[test]
fn a_connection_that_is_cut_or_slow_a_few_times_is_tried_again() {
    let server = serve(&STANDARD, BLOCKS, Vec::new());
    for (height, tamper) in [(50, Tamper::Cut), (120, Tamper::Unavailable), (180, Tamper::Cut)] {
        server.tamper_times(at(height), tamper, 3);
    }
    server.tamper_times(at(240), Tamper::Delay(Duration::from_secs(60)), 2);
    follow(|context| async move {
        let settings = Settings::readymade(&server)
            .with_certified(|certified| certified.request_timeout = Duration::from_millis(500));
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        node.recorder.until_final(BLOCKS).await;
        let work = node.work();
        for kind in [FaultKind::Unreachable, FaultKind::Unavailable, FaultKind::Timeout] {
            assert!(work.refusals.contains_key(kind.as_str()), "{work:?}");
        }
        // One for the tip, one for each range that ended early.
        assert!(work.checks_total() <= 8, "{work:?}");
        assert_is_chain(node, &settings, &STANDARD, BLOCKS).await;
    });
}

/// A block that is to be had neither by height nor by digest stops the follower right below it.
fn stops_below(height: u64, tampers: &[(Target, Tamper)], kind: FaultKind) {
    let server = serve(&STANDARD, BLOCKS, tampers.to_vec());
    follow(|context| async move {
        let settings = Settings::readymade(&server)
            .with_certified(|certified| certified.request_timeout = Duration::from_millis(500));
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        let below = Height::new(height - 1);
        let stopped = |seen: &Seen| seen.delivered() == Some(below) && seen.count(kind) >= 2;
        let seen = node.recorder.until("a stop", stopped).await;
        assert_eq!(seen.finalized(), None, "no tier above what was delivered");
        let name = height.to_string();
        // A broken connection is about the upstream, everything else about the block.
        let named =
            |fault: &Fault| fault.severity() == Severity::Transient || fault.detail.contains(&name);
        let told = |fault: &Fault| fault.kind == kind && named(fault);
        assert!(seen.faults.iter().any(told), "{tampers:?}: {seen:#?}");
        node.recorder.until("not live", |seen| seen.state() != Some(State::Live)).await;

        server.heal();
        node.recorder.until_final(BLOCKS).await;
        assert_is_chain(node, &settings, &STANDARD, BLOCKS).await;
    });
}

#[test]
fn a_block_that_cannot_be_had_at_all_stops_the_follower_below_it_until_it_can() {
    let named = |tamper| (Target::Kind(Kind::BlockNamed), tamper);
    let table = [
        (Tamper::Missing, Tamper::Missing, FaultKind::Missing),
        (Tamper::WrongParent, Tamper::Missing, FaultKind::Missing),
        (Tamper::Missing, Tamper::OtherBlock, FaultKind::WrongDigest),
        (Tamper::Garbage, Tamper::Garbage, FaultKind::Malformed),
        (Tamper::Html, Tamper::Html, FaultKind::UnexpectedContent),
        (Tamper::Cut, Tamper::Cut, FaultKind::Unreachable),
        (Tamper::Unavailable, Tamper::Unavailable, FaultKind::Unavailable),
    ];
    for (by_height, by_digest, kind) in table {
        stops_below(100, &[(at(100), by_height), named(by_digest)], kind);
    }
}

#[test]
fn a_tip_that_does_not_verify_moves_nothing() {
    let finalization = Target::Kind(Kind::Finalization);
    let table = [
        (Tamper::WrongCertificate, FaultKind::InvalidCertificate),
        (Tamper::Html, FaultKind::UnexpectedContent),
        (Tamper::Garbage, FaultKind::Malformed),
        (Tamper::Truncated, FaultKind::Malformed),
        (Tamper::Oversized(8 * 1024 * 1024), FaultKind::Oversized),
        (Tamper::Cut, FaultKind::Unreachable),
        (Tamper::Delay(Duration::from_secs(60)), FaultKind::Timeout),
        (Tamper::Unavailable, FaultKind::Unavailable),
    ];
    for (tamper, kind) in table {
        let server = serve(&STANDARD, 20, vec![(finalization, tamper)]);
        follow(|context| async move {
            let settings = Settings::readymade(&server)
                .with_certified(|certified| certified.request_timeout = Duration::from_millis(500));
            let node = Node::<StandardScheme>::start(&context, &settings).await;
            let seen = node.recorder.until("refusals", |seen| seen.count(kind) >= 2).await;
            assert_eq!(seen.watermarks.delivered, None, "{tamper:?}");
            assert_eq!(seen.finalized(), None, "{tamper:?}");
            assert_eq!(seen.state(), Some(State::Blind), "{tamper:?}");
            server.heal();
            node.recorder.until_final(20).await;
            assert_is_chain(node, &settings, &STANDARD, 20).await;
        });
    }
}

fn pushes_are_followed<S: Scheme>(chain: &Chain) {
    let server = serve(chain, 20, Vec::new());
    follow(|context| async move {
        let settings = Settings::readymade(&server);
        let node = Node::<S>::start(&context, &settings).await;
        node.recorder.until_final(20).await;
        node.recorder.until("live", |seen| seen.state() == Some(State::Live)).await;

        server.notarize(chain, Height::new(22)).expect("serves");
        let proposed = |height: u64| {
            move |seen: &Seen| {
                seen.watermarks
                    .tips
                    .block(Tier::Proposed)
                    .is_some_and(|tip| tip.height.get() == height)
            }
        };
        // The block in between is nowhere to be had: the notarization stands on nothing.
        node.recorder.until("a gap", |seen| seen.count(FaultKind::Missing) > 0).await;
        server.finalize(chain, Height::new(21)).expect("serves");
        node.recorder.until_final(21).await;
        server.notarize(chain, Height::new(23)).expect("serves");
        node.recorder.until("the notarized block", proposed(23)).await;

        server.finalize_forged(chain, Height::new(24)).expect("serves");
        let forged = |seen: &Seen| seen.count(FaultKind::InvalidCertificate) > 0;
        let seen = node.recorder.until("a refusal", forged).await;
        assert!(!seen.is_final(Height::new(24)), "a forged push moved the tip");
        assert_ne!(seen.delivered(), Some(Height::new(24)));
        server.finalize(chain, Height::new(25)).expect("serves");
        node.recorder.until_final(25).await;
        let work = node.work();
        assert!(work.pushes >= 3, "{work:?}");
        assert_is_chain(node, &settings, chain, 25).await;
    });
}

#[test]
fn a_push_counts_if_it_verifies_in_standard_mode() {
    pushes_are_followed::<StandardScheme>(&STANDARD);
}

#[test]
fn a_push_counts_if_it_verifies_in_vrf_mode() {
    pushes_are_followed::<VrfScheme>(&sign(30, CertificateMode::Vrf));
}

#[test]
fn an_upstream_that_pushes_nothing_is_caught_up_with() {
    let stream = Target::Kind(Kind::Stream);
    for silent in [Tamper::Missing, Tamper::Html, Tamper::Delay(Duration::from_secs(60))] {
        let server = serve(&STANDARD, 10, vec![(stream, silent)]);
        follow(|context| async move {
            let settings = Settings::readymade(&server);
            let node = Node::<StandardScheme>::start(&context, &settings).await;
            node.recorder.until_final(10).await;
            for height in 11..=14 {
                server.finalize(&STANDARD, Height::new(height)).expect("serves");
                node.recorder.until_final(height).await;
            }
            assert_eq!(node.work().pushes, 0);
            assert_is_chain(node, &settings, &STANDARD, 14).await;
        });
    }
}

#[test]
fn an_indexer_that_dies_and_comes_back_with_more_is_followed_on() {
    let mut server = serve(&STANDARD, 50, Vec::new());
    follow(|context| async move {
        let settings = Settings::readymade(&server)
            .with_thresholds(|thresholds| thresholds.contact = Duration::from_millis(300));
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        node.recorder.until_final(50).await;
        server.close().await;
        node.recorder.until("blind", |seen| seen.state() == Some(State::Blind)).await;
        for height in 51..=200 {
            server.finalize(&STANDARD, Height::new(height)).expect("keeps");
        }
        server.open().expect("the port is free");
        node.recorder.until_final(200).await;
        node.recorder.until("live", |seen| seen.state() == Some(State::Live)).await;
        assert_eq!(node.work().checks_total(), 2, "{:?}", node.work());
        assert_is_chain(node, &settings, &STANDARD, 200).await;
    });
}

fn conflicts(seen: &Seen) -> bool {
    seen.count(FaultKind::FinalityConflict) > 0
}

/// Follows 20 blocks, then an upstream that finalized others from above `fork` on, `blocks` of them.
/// What is told, and what stays as it was.
async fn contradicted(
    node: &Node<StandardScheme>,
    server: &Server,
    fork: u64,
    blocks: u64,
) -> Conflict {
    let branch = STANDARD.branch(Height::new(fork), blocks).expect("signs");
    let ours = node.recorder.until_final(20).await.finalized();
    for height in fork + 1..=fork + blocks {
        server.finalize(&branch, Height::new(height)).expect("serves");
    }
    let seen = node.recorder.until("a contradiction", conflicts).await;
    let fault = seen.faults.iter().find(|fault| fault.kind == FaultKind::FinalityConflict);
    let conflict = fault.and_then(|fault| fault.conflict).expect("both sides");
    assert_eq!(Some(conflict.ours), ours);
    assert_eq!(conflict.theirs.height, conflict.ours.height);
    assert_ne!(conflict.theirs.digest, conflict.ours.digest);
    assert_eq!(node.recorder.seen().finalized(), ours);
    conflict
}

#[test]
fn a_finalized_chain_that_leaves_ours_below_finality_is_a_conflict_with_evidence() {
    let server = serve(&STANDARD, 20, Vec::new());
    follow(|context| async move {
        let settings = Settings::readymade(&server);
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        let conflict = contradicted(&node, &server, 15, 10).await;
        node.recorder.until("conflicted", |seen| seen.state() == Some(State::Conflicted)).await;
        assert_eq!(node.store.evidence(), Ok(vec![conflict]));
        assert_is_chain(node, &settings, &STANDARD, 20).await;
    });
}

#[test]
fn another_finalized_block_at_our_finalized_height_is_a_conflict() {
    let server = serve(&STANDARD, 20, Vec::new());
    follow(|context| async move {
        let settings = Settings::readymade(&server);
        let node = Node::<StandardScheme>::start(&context, &settings).await;
        let conflict = contradicted(&node, &server, 19, 1).await;
        node.recorder.until("conflicted", |seen| seen.state() == Some(State::Conflicted)).await;
        assert_eq!(node.store.evidence(), Ok(vec![conflict]));
        assert_is_chain(node, &settings, &STANDARD, 20).await;
    });
}

fn catching_up_costs<S: Scheme>() {
    const LONG: u64 = 2_000;
    let chain = sign(LONG, S::MODE);
    let server = serve(&chain, LONG, Vec::new());
    follow(|context| async move {
        let settings = Settings::readymade(&server);
        let node = Node::<S>::start(&context, &settings).await;
        let seen = node.recorder.until_final(LONG).await;
        let work = node.work();
        assert!(work.checks_total() <= 2, "{work:?}");
        assert!(work.requests_total() <= LONG + 16, "{work:?}");
        assert!(server.requests_total() <= LONG + 16, "{server:?}");
        assert_eq!(seen.faults, []);
        assert_is_chain(node, &settings, &chain, LONG).await;
    });
}

#[test]
fn two_thousand_standard_blocks_cost_two_checks_and_one_request_each() {
    catching_up_costs::<StandardScheme>();
}

#[test]
fn two_thousand_vrf_blocks_cost_two_checks_and_one_request_each() {
    catching_up_costs::<VrfScheme>();
}

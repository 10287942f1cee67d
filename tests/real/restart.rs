//! Crashes and restarts of the follower.

use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{path::Path, time::Duration};
use tidewatch_core::{Height, Record, State};
use tidewatch_devnet::{
    Config, Devnet,
    readymade::{Chain, ChainConfig, Kind, Server, ServerConfig},
};
use tidewatch_sources::alto::{CertificateMode, StandardScheme};
use tidewatch_tests::{
    Call, Node, Reader, Settings, assert_kept, assert_lawful, history, process, run,
};

type Standard = Node<StandardScheme>;

fn chain(blocks: u64) -> Chain {
    Chain::sign(blocks, CertificateMode::Standard, ChainConfig::default()).expect("signs")
}

fn serve(chain: &Chain, upto: u64) -> Server {
    let upto = Some(Height::new(upto));
    Server::start(chain, ServerConfig { upto, ..ServerConfig::default() }).expect("serves")
}

/// Follows until finality is `blocks` above where it began, and ends in the middle of it.
async fn follow_and_crash(context: Context, settings: Settings, reader: Reader, blocks: u64) {
    let mut node = Standard::start(&context, &settings).await;
    node.attach(&reader);
    let ready = node.recorder.until("contact", |seen| seen.finalized().is_some()).await;
    let height = ready.finalized().expect("is known").height.get();
    node.recorder.until_final(height + blocks).await;
}

/// What a reader was given from one start to the next: it begins with the first event that was not
/// taken in durably before, and leaves none out.
fn assert_resumed(given: &[Record], durable: u64) {
    for (record, sequence) in given.iter().zip(durable..) {
        assert_eq!(record.sequence(), sequence);
    }
}

#[test]
fn a_follower_that_crashes_again_and_again_goes_on_without_a_gap_or_a_repetition() {
    let outer = tempfile::tempdir().expect("a directory");
    let directory = tempfile::tempdir().expect("a directory");
    let kept = directory.path().to_owned();
    run(outer.path(), |context| async move {
        let config = Config { block_time: Duration::from_millis(50), ..Config::default() };
        let devnet = Devnet::start(context.child("devnet"), config).await.expect("starts");
        let settings = Settings::devnet(&devnet);
        let reader = Reader::new(3);
        let mut given = 0;
        for blocks in 1..=4 {
            let durable = reader.durable();
            let (settings, follower) = (settings.clone(), reader.clone());
            process(&kept, move |context| {
                follow_and_crash(context, settings, follower, blocks * 3)
            })
            .await;
            let records = reader.records();
            assert_resumed(&records[given..], durable);
            given = records.len();
        }
        let durable = reader.durable();
        let last = reader.clone();
        let log = process(&kept, move |context| async move {
            let mut node = Standard::start(&context, &settings).await;
            node.attach(&last);
            let ready = node.recorder.until("contact", |seen| seen.finalized().is_some()).await;
            let height = ready.finalized().expect("is known").height.get() + 3;
            node.recorder.until_final(height).await;
            let identity = node.identity.clone();
            let store = node.stop().await;
            let log = history(&store).await;
            assert_lawful(&log, &identity);
            assert_kept::<StandardScheme>(&store, &settings.identity, 1, height).await;
            log
        })
        .await;
        devnet.stop().await;

        let records = reader.records();
        assert_resumed(&records[given..], durable);
        for record in &records {
            assert_eq!(Some(record), log.get(record.sequence() as usize), "as in the log");
        }
        assert!(reader.durable() > 0);
    });
}

#[test]
fn a_follower_that_crashes_while_it_catches_up_goes_on_where_it_was() {
    let chain = chain(600);
    let server = serve(&chain, 600);
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings::readymade(&server)
        .with_certified(|certified| certified.blocks_max = commonware_utils::NZUsize!(20));
    let mut before = None;
    for crash in [3, 9, 15, 21] {
        let upto = Height::new(crash * 20);
        let settings = settings.clone();
        before = run(directory.path(), |context| async move {
            let node = Standard::start(&context, &settings).await;
            let watermarks = node.store.watermarks().expect("reads");
            let kept = watermarks.delivered.map(|block| block.height);
            assert!(kept >= before, "{kept:?} is kept of {before:?}");
            let seen = node.recorder.until("blocks", |seen| seen.delivered() >= Some(upto)).await;
            assert!(seen.finalized().is_none(), "it is still catching up");
            seen.delivered()
        });
    }
    run(directory.path(), |context| async move {
        let node = Standard::start(&context, &settings).await;
        node.recorder.until_final(600).await;
        let identity = node.identity.clone();
        let from = node.source.calls().into_iter().find_map(|call| match call {
            Call::Blocks(from) => Some(from),
            _ => None,
        });
        assert!(from > before, "{from:?} after {before:?}");
        let store = node.stop().await;
        assert_lawful(&history(&store).await, &identity);
        assert_kept::<StandardScheme>(&store, &settings.identity, 1, 600).await;
    });
}

/// Follows all 200 blocks, with everything taken in durably.
fn follow_all(directory: &Path, settings: &Settings, reader: &Reader) {
    run(directory, |context| async move {
        let mut node = Standard::start(&context, settings).await;
        node.attach(reader);
        node.recorder.until_final(200).await;
        let log = history(&node.store).await;
        while reader.durable() < log.len() as u64 {
            node.follower.sync().await.expect("a pass");
        }
        node.stop().await;
    });
}

#[test]
fn a_restart_with_nothing_missed_asks_the_source_thrice_at_most_and_replays_nothing() {
    let chain = chain(201);
    let server = serve(&chain, 200);
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings::readymade(&server);
    let reader = Reader::new(1);
    follow_all(directory.path(), &settings, &reader);
    let replayed = Reader::new(1);
    let blocks = || [Kind::BlockAt, Kind::BlockNamed].map(|kind| server.requests(kind));
    let asked = blocks();
    run(directory.path(), async |context| {
        let mut node = Standard::start(&context, &settings).await;
        node.attach(&replayed);
        node.recorder.until("live", |seen| seen.state() == Some(State::Live)).await;
        let calls = node.source.calls();
        assert!(calls.len() <= 3, "{calls:?}");
        assert_eq!(blocks(), asked);
        assert!(node.work().checks_total() <= 1, "{:?}", node.work());
        let log = history(&node.store).await;
        assert_eq!(log, reader.records(), "nothing was added");

        server.finalize(&chain, Height::new(201)).expect("serves");
        node.recorder.until_final(201).await;
        while replayed.records().is_empty() {
            node.follower.sync().await.expect("a pass");
        }
        assert_eq!(replayed.records()[0].sequence(), log.len() as u64, "what is new comes first");
        node.stop().await;
    });
}

//! Restarts, of the node and of the follower.

use super::{assert_is_chain, caught_up, epoch, executable, prunes, stands_at, with_anvil};
use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{FaultKind, Record, Source as _, State};
use tidewatch_sources::ethereum::EthBlock;
use tidewatch_store::{Config, Store};
use tidewatch_tests::{
    Anvil, EthereumNode, EthereumSettings, Reader, Seen, anvil::Options, history, process, run,
};

#[test]
fn a_node_that_restarts_is_followed_on_and_may_reorg_what_it_had() {
    with_anvil(epoch(16), async |context, mut anvil| {
        anvil.mine(50).await;
        let mut settings = EthereumSettings::http(&anvil);
        settings.driver.thresholds.contact = Duration::from_millis(300);
        let node = EthereumNode::start(&context, &settings).await;
        caught_up(&node, &anvil).await;
        for _ in 0..2 {
            let before = node.recorder.seen().watermarks;
            anvil.stop();
            let blind = |seen: &Seen| seen.state() == Some(State::Blind);
            let seen = node.recorder.until("blind", blind).await;
            assert_eq!(seen.watermarks, before, "silence moves nothing");
            anvil.restart(epoch(16)).await;
            node.recorder.until("live", |seen| seen.state() == Some(State::Live)).await;
            anvil.reorg(7).await;
            caught_up(&node, &anvil).await;
            anvil.mine(5).await;
            caught_up(&node, &anvil).await;
        }
        assert_is_chain(node, &anvil).await;
    });
}

#[test]
fn a_follower_that_restarts_goes_on_where_it_was_and_takes_in_what_it_missed() {
    let Some(executable) = executable() else { return };
    let outer = tempfile::tempdir().expect("a directory");
    let directory = tempfile::tempdir().expect("a directory");
    let kept = directory.path().to_owned();
    run(outer.path(), async |_| {
        let anvil = Anvil::start(&executable, epoch(16)).await;
        let settings = EthereumSettings::http(&anvil);
        let reader = Reader::new(1);
        anvil.mine(50).await;
        let mut depths = Vec::new();
        for depth in [0, 1, 5, 20] {
            if depth > 0 {
                // Nobody follows now.
                anvil.reorg(depth).await;
                anvil.mine(3).await;
                depths.push(depth);
            }
            let tags = anvil.tags().await;
            let (settings, reader) = (settings.clone(), reader.clone());
            process(&kept, move |context| async move {
                let before = reader.durable();
                let mut node = EthereumNode::start(&context, &settings).await;
                assert!(history(&node.store).await.len() as u64 >= before, "it was kept");
                node.attach(&reader);
                node.recorder.until("the tip", |seen| stands_at(seen, &tags)).await;
            })
            .await;
        }
        let anvil = process(&kept, move |context| async move {
            let mut node = EthereumNode::start(&context, &settings).await;
            node.attach(&reader);
            caught_up(&node, &anvil).await;
            let all = history(&node.store).await.len() as u64;
            while reader.durable() < all {
                node.follower.sync().await.expect("a pass");
            }
            let records = assert_is_chain(node, &anvil).await;
            let told: Vec<_> = prunes(&records).into_iter().map(|(_, depth)| depth).collect();
            assert_eq!(told, depths);
            // A cursor is made when its record is read, and has fewer locators after a prune.
            let place = |record: &Record| (record.event, record.watermarks, record.sequence());
            for record in reader.records() {
                let logged = records.get(record.sequence() as usize).map(place);
                assert_eq!(Some(place(&record)), logged, "as in the log");
            }
            anvil
        });
        drop(anvil.await);
    });
}

/// Follows a node, which goes away, and comes back with another chain.
async fn replaced(
    context: Context,
    mut anvil: Anvil,
    other: Options,
    told: impl AsyncFnOnce(&mut EthereumNode),
) -> Anvil {
    anvil.mine(20).await;
    let settings = EthereumSettings::http(&anvil);
    let mut node = EthereumNode::start(&context, &settings).await;
    caught_up(&node, &anvil).await;
    anvil.stop();
    let gone = |seen: &Seen| seen.count(FaultKind::Unreachable) > 0;
    node.recorder.until("silence", gone).await;
    let before = history(&node.store).await;
    anvil.replace(other).await;
    told(&mut node).await;
    assert_eq!(history(&node.store).await, before, "nothing was told of the other chain");
    anvil
}

/// What a follower of the node makes of another chain in its place, while it runs and when it starts.
fn refused(other: Options) {
    let Some(executable) = executable() else { return };
    let outer = tempfile::tempdir().expect("a directory");
    let directory = tempfile::tempdir().expect("a directory");
    let kept = directory.path().to_owned();
    run(outer.path(), async |_| {
        let anvil = Anvil::start(&executable, epoch(8)).await;
        let anvil = process(&kept, move |context| {
            replaced(context, anvil, other, async |node| {
                let ended = node.follower.ended().await;
                let cause = ended.cause.expect("nobody stopped it");
                let fault = cause.result.expect_err("it cannot go on");
                assert_eq!(fault.kind, FaultKind::WrongChain, "{fault}");
            })
        })
        .await;

        let settings = EthereumSettings::http(&anvil);
        process(&kept, move |context| async move {
            let source = settings.open(&context, Arc::default());
            let chain_info = source.chain_info().await.expect("it answers");
            let config = Config::new(chain_info, ());
            let opened = Store::open::<_, EthBlock>(context.child("store"), config).await;
            let fault = opened.expect_err("it is of another chain");
            assert_eq!(fault.kind, FaultKind::WrongChain, "{fault}");
        })
        .await;
    });
}

#[test]
fn a_node_with_another_genesis_is_refused_as_another_chain() {
    refused(Options { genesis: Options::default().genesis + 1, ..epoch(8) });
}

#[test]
fn a_node_with_another_chain_number_is_refused_as_another_chain() {
    refused(Options { chain: 5, ..epoch(8) });
}

#[test]
fn a_chain_with_another_genesis_that_nobody_saw_come_is_refused_and_takes_nothing_back() {
    // No request fails: the connection that closed is replaced by one to the other chain. With epochs of
    // 8 slots there is finality by then, with 32 there is none.
    for slots in [32, 8] {
        with_anvil(epoch(slots), async |context, mut anvil| {
            anvil.mine(20).await;
            let settings = EthereumSettings::http(&anvil).unpolled();
            let node = EthereumNode::start(&context, &settings).await;
            caught_up(&node, &anvil).await;
            let before = history(&node.store).await;
            let other = Options { genesis: Options::default().genesis + 1, ..epoch(slots) };
            anvil.replace(other).await;
            anvil.mine(30).await;
            node.follower.mailbox().ring();
            let cause = node.follower.ended().await.cause.expect("nobody stopped it");
            let fault = cause.result.expect_err("it cannot go on");
            assert_eq!(fault.kind, FaultKind::WrongChain, "{fault}");
            assert_eq!(history(&node.store).await, before, "nothing was told of the other chain");
        });
    }
}

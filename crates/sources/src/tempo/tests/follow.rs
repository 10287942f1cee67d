//! What a follower does, and what it costs, in the deterministic runtime.

use super::{
    chain::World,
    node::{Node, follow, simulate},
};
use crate::tempo::{Config, TempoBlock};
use commonware_consensus::types::Epoch;
use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use commonware_utils::NZUsize;
use std::{sync::Arc, time::Duration};
use tidewatch_certified::Known;
use tidewatch_conformance::{Verdict, source, source_checks};
use tidewatch_core::{BlockRef, FaultKind, Height, LocalView as _, Source, Tier};
use tidewatch_store::{Memory, MemoryWriter};
use tidewatch_stream::{Mode, Pass, Unguarded};

/// A view, and passes over a source for it.
struct Follower<S> {
    source: S,
    view: MemoryWriter<TempoBlock>,
}

impl<S: Source<Block = TempoBlock>> Follower<S> {
    async fn start(source: S) -> Self {
        let chain_info = source.chain_info().await.unwrap();
        Self { view: Memory::new(chain_info).0, source }
    }

    async fn pass(&mut self) {
        let chain_info = self.source.chain_info().await.unwrap();
        let (source, view) = (&self.source, &mut self.view);
        let report =
            Pass::new(source, view, &chain_info, Mode::GENESIS, Unguarded, &()).run().await;
        assert_eq!(report.unwrap().faults, []);
    }

    async fn delivered(&self) -> Option<BlockRef> {
        self.view.watermarks().await.unwrap().delivered
    }
}

fn config(blocks_max: usize) -> Config {
    let mut config = Config::default();
    config.certified.blocks_max = NZUsize!(blocks_max);
    config.certified.gap_max = NZUsize!(blocks_max);
    config
}

#[test]
fn it_holds_in_every_check_of_a_source_over_changes_of_the_key() {
    for (seed, pushes) in [(1, true), (2, false)] {
        let report = simulate(seed, |context| async move {
            // Growth crosses ends of epochs, one of them with another key.
            let mut node = Node::new(&context, "node", World::new(8, &[0, 0, 1, 1, 2], 20));
            node.change(|world| world.rings = pushes);
            let mut config = config(16);
            config.certified.recent_max = NZUsize!(4);
            let (tempo, upstream, ..) = follow(&context, &[&node], pushes, &config);
            let upstream = pushes.then(|| upstream.start());
            let report = source(context.child("suite"), Arc::new(tempo), &mut node).await;
            if let Some(upstream) = upstream {
                upstream.abort();
            }
            report
        });
        report.assert();
        let other = report.checks().iter().filter(|check| check.verdict != Verdict::Held);
        let other: Vec<_> = other.map(|check| check.name).collect();
        // What a node tells is final: nothing is replaced, and nothing becomes final later.
        let shown = [
            source_checks::DOORBELL,
            source_checks::BELLS,
            source_checks::FINALITY,
            source_checks::REORGANISED,
            source_checks::REPLACED,
            source_checks::SHORTER,
            source_checks::LEFT,
        ];
        let shown = &shown[if pushes { 2 } else { 0 }..];
        assert_eq!(other, shown, "{report}");
    }
}

#[test]
fn a_quiet_pass_and_a_new_block_are_one_request_each_and_a_few_blocks_are_two() {
    simulate(0, |context| async move {
        let node = Node::new(&context, "node", World::new(50, &[0, 1], 40));
        let (tempo, ..) = follow(&context, &[&node], false, &Config::default());
        let mut follower = Follower::start(tempo).await;
        follower.pass().await;
        // Which chain it is, the newest finalization, and one batch for what is below it.
        assert_eq!(node.take_requests().len(), 3);
        for _ in 0..3 {
            follower.pass().await;
            assert_eq!(node.take_requests().len(), 1, "quiet");
        }
        for _ in 0..8 {
            node.change(|world| world.extend(1));
            follower.pass().await;
            assert_eq!(node.take_requests().len(), 1, "the finalization brings the header");
        }
        // Over the end of an epoch: its last block came with the others, and gave the next key.
        node.change(|world| world.extend(40));
        follower.pass().await;
        let tip = node.world.lock().tip();
        assert_eq!(follower.delivered().await, Some(tip));
        // The newest is of an epoch that is not known: its boundary, and then the blocks.
        assert_eq!(node.take_requests().len(), 3);
        let work = follower.source.work();
        assert_eq!(work.checks["epoch"], 1);
        assert!(!work.checks.contains_key("range"), "{:?}", work.checks);
    });
}

#[test]
fn an_open_subscription_makes_a_quiet_pass_cost_nothing_and_a_block_one_request() {
    simulate(0, |context| async move {
        let node = Node::new(&context, "node", World::new(50, &[0], 10));
        let (tempo, upstream, ..) = follow(&context, &[&node], true, &Config::default());
        let mut bell = tempo.doorbell();
        let _upstream = upstream.start();
        bell.rung().await;
        let mut follower = Follower::start(tempo).await;
        follower.pass().await;
        context.sleep(Duration::from_millis(100)).await;
        node.take_requests().len();
        for _ in 0..5 {
            follower.pass().await;
            assert_eq!(node.take_requests().len(), 0, "quiet");
        }
        for _ in 0..5 {
            node.change(|world| world.extend(1));
            bell.rung().await;
            follower.pass().await;
            assert_eq!(follower.delivered().await, Some(node.world.lock().tip()));
            assert_eq!(node.take_requests().len(), 1, "one event, one question");
        }
    });
}

/// Blocks of 5 epochs, followed from nothing. What that took: certificate checks, requests.
async fn from_nothing(
    context: deterministic::Context,
    blocks: u64,
    keys: &[u64],
    config: &Config,
) -> (u64, usize) {
    let node = Node::new(&context, "node", World::new(blocks.div_ceil(5), keys, blocks - 1));
    let (tempo, _, schemes, recorder) = follow(&context, &[&node], false, config);
    let mut follower = Follower::start(tempo).await;
    while follower.delivered().await != Some(node.world.lock().tip()) {
        follower.pass().await;
    }
    assert_eq!(recorder.all(), []);
    for epoch in 1..5 {
        assert!(matches!(schemes.known(Epoch::new(epoch)), Some(Known::Boundary(_))), "{epoch}");
    }
    (follower.source.work().checks_total(), node.take_requests().len())
}

#[test]
fn far_behind_the_newest_certificate_and_one_for_each_range_are_all_that_is_checked() {
    // 1,000 blocks: ranges end at 300, 600 and 900, and the last one at the tip.
    let config = config(300);
    let table = [
        // The boundary that shows that the key is kept; the tip under it; one that was passed over, fetched by the one
        // snapshot; three ends of ranges.
        (&[0_u64][..], 6),
        // The key changes once: all four boundaries, the tip twice, before the change was found and after it.
        (&[0, 0, 0, 1, 1], 9),
        // All four boundaries, one by one, and the tip.
        (&[0, 1, 2, 3, 4], 8),
    ];
    for (keys, want) in table {
        let (checks, requests) = simulate(0, |context| from_nothing(context, 1_000, keys, &config));
        assert_eq!(checks, want, "{keys:?}");
        // Ten batches of a hundred headers, and at most two for each certificate.
        assert!(requests <= 12 + 2 * usize::try_from(checks).unwrap() + 8, "{keys:?}: {requests}");
    }
}

/// What it takes to follow 100,000 blocks over 5 epochs from nothing. Prints:
/// `cargo test --release -p tidewatch-sources tempo -- --ignored --nocapture 100_000`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it says what it measured")]
fn certificate_checks_for_100_000_blocks_over_5_epochs() {
    for (what, keys) in [
        ("one key", &[0_u64][..]),
        ("one change", &[0, 0, 0, 1]),
        ("a key for each epoch", &[0, 1, 2, 3, 4]),
    ] {
        let config = Config::default();
        let (checks, requests) =
            simulate(0, |context| from_nothing(context, 100_000, keys, &config));
        println!(
            "100,000 blocks, 5 epochs, {what}: {checks} certificate checks, {requests} requests"
        );
    }
}

#[test]
fn a_height_without_a_certificate_ends_no_range_and_breaks_none() {
    simulate(0, |context| async move {
        let mut world = World::new(1_000, &[0], 900);
        // Where views were skipped: the end of the first range, and those beside it.
        world.without = (296..=310).collect();
        let node = Node::new(&context, "node", world);
        let (tempo, _, _, recorder) = follow(&context, &[&node], false, &config(300));
        let mut follower = Follower::start(tempo).await;
        follower.pass().await;
        while follower.delivered().await != Some(node.world.lock().tip()) {
            follower.pass().await;
        }
        assert_eq!(recorder.all(), []);
    });
}

#[test]
fn a_slow_range_ends_where_it_stands_after_its_time_and_goes_on_from_there() {
    simulate(0, |context| async move {
        let node = Node::new(&context, "node", World::new(5_000, &[0], 4_000));
        let mut config = config(4_000);
        config.rpc.lanes = NZUsize!(1);
        config.rpc.batch_max = NZUsize!(10);
        // A question brings 160 headers in 16 milliseconds.
        config.certified.range_time_max = Duration::from_millis(40);
        let (tempo, ..) = follow(&context, &[&node], false, &config);
        let tip = tempo.snapshot().await.unwrap().tips.block(Tier::Finalized).unwrap();
        let began = context.current();
        let range = tempo.range(tip, Height::new(1)).await.unwrap();
        let took = context.current().duration_since(began).unwrap();
        assert!((100..1_000).contains(&range.blocks.len()), "{}", range.blocks.len());
        assert!(took < Duration::from_millis(200), "{took:?}");
        assert_eq!(range.certificates.len(), 1, "it ends with a certificate");
        let mut follower = Follower::start(tempo).await;
        while follower.delivered().await != Some(tip) {
            follower.pass().await;
        }
    });
}

#[test]
fn a_node_of_another_chain_is_refused_and_another_one_is_asked() {
    simulate(0, |context| async move {
        let good = Node::new(&context, "good", World::new(50, &[0], 10));
        let other = Node::new(&context, "other", World::new(50, &[1], 90));
        let (tempo, ..) = follow(&context, &[&good, &other], false, &Config::default());
        for _ in 0..4 {
            let tips = tempo.snapshot().await.unwrap().tips;
            assert_eq!(tips.block(Tier::Finalized), Some(good.world.lock().tip()));
        }
        assert_eq!(other.calls("consensus_getFinalization"), 0);
        // Alone it is a fault that says so.
        let network = good.world.lock().network.clone();
        let alone = crate::tempo::over(
            context.child("alone"),
            vec![(other, false)],
            &network,
            crate::tempo::schemes(&network),
            Arc::new(()),
            &Config::default(),
        );
        let fault = alone.unwrap().0.snapshot().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongChain, "{fault}");
    });
}

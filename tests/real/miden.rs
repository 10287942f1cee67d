//! A follower of a real Miden network, whose proofs lag behind its blocks; and our worker in that network.
//!
//! The two programs take a quarter of an hour to build, so these tests have a command of their own, which builds
//! them once and runs the tests:
//!
//! ```text
//! scripts/miden-network
//! ```

use commonware_runtime::tokio::Context;
use std::time::Duration;
use tidewatch_core::{Block as _, BlockRef, FaultKind, Ladder, Severity, State, Tier};
use tidewatch_tests::{
    MidenNode, Seen, Tuning, assert_lawful_on, block_at, history,
    miden::{AT_A_TIME, INTERVAL, Network, Programs, Proving, SlowProver, Worker},
    process, run_within,
};

/// How long one test may take.
const LIMIT: Duration = Duration::from_secs(600);

/// How long a test waits for the network.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many blocks the proven tip is to fall behind.
const BEHIND: u64 = 20;

fn address(network: &Network) -> String {
    format!("miden+http://{}?finalized=committed", network.address())
}

fn tuning() -> Tuning {
    let mut tuning = Tuning::default();
    tuning.driver.thresholds.contact = Duration::from_millis(500);
    tuning
}

fn height(seen: &Seen, tier: Tier) -> u64 {
    seen.watermarks.tips.block(tier).map_or(0, |block| block.height.get())
}

/// How far the proven tip is behind the committed one.
fn lag(seen: &Seen) -> u64 {
    height(seen, Tier::Proposed) - height(seen, Tier::Proven)
}

async fn until(
    node: &MidenNode,
    network: &Network,
    what: &str,
    so: impl FnMut(&Seen) -> bool,
) -> Seen {
    let seen = node.recorder.within(PATIENCE, so).await;
    seen.unwrap_or_else(|seen| panic!("{what}: {seen:?}\n{}", network.shown()))
}

/// Every block from the first to `top`, as a follower has them that asks the network for all of them now.
async fn anew(address: String, top: u64) -> Vec<BlockRef> {
    let directory = tempfile::tempdir().expect("a directory");
    process(directory.path(), async move |context| {
        let node = MidenNode::start(&context, &address, &tuning()).await;
        let there = |seen: &Seen| seen.delivered().is_some_and(|height| height.get() >= top);
        node.recorder.until("all blocks", there).await;
        let store = node.stop().await;
        kept(&store, top).await
    })
    .await
}

/// What is kept up to `top`.
async fn kept(
    store: &tidewatch_store::Reader<Context, tidewatch_sources::miden::MidenBlock>,
    top: u64,
) -> Vec<BlockRef> {
    let mut blocks = Vec::new();
    for height in 1..=top {
        let block = block_at(store, tidewatch_core::Height::new(height)).await;
        blocks.push(block.expect("is kept").reference());
    }
    blocks
}

#[test]
#[ignore = "takes two minutes over a network that scripts/miden-network builds"]
fn proofs_fall_behind_the_sequencer_ends_and_the_follower_goes_on_where_it_stood() {
    let programs = Programs::find(env!("CARGO_TARGET_TMPDIR"));
    let directory = tempfile::tempdir().expect("a directory");
    run_within(directory.path(), LIMIT, async |context| {
        let prover = SlowProver::start(Proving::After(8 * INTERVAL)).await;
        let mut network = Network::start(&programs, prover.address()).await;
        let address = address(&network);
        let node = MidenNode::start(&context, &address, &tuning()).await;

        // The two tips drift apart: fewer blocks are proven in a while than are made.
        let first = until(&node, &network, "a proof", |seen| height(seen, Tier::Proven) > 0).await;
        println!(
            "committed {}, proven {}",
            height(&first, Tier::Proposed),
            height(&first, Tier::Proven)
        );
        for behind in (lag(&first) + 3..=BEHIND).step_by(3) {
            let seen = until(&node, &network, "drifts apart", |seen| lag(seen) >= behind).await;
            println!(
                "committed {}, proven {}",
                height(&seen, Tier::Proposed),
                height(&seen, Tier::Proven)
            );
        }
        let seen = node.recorder.seen();
        assert_eq!(
            height(&seen, Tier::Finalized),
            height(&seen, Tier::Proposed),
            "as the address says"
        );
        assert!(height(&seen, Tier::Proven) > u64::from(AT_A_TIME), "it goes on, slowly");
        assert_eq!(
            seen.state(),
            Some(State::Live),
            "blocks come: proofs that are late are the chain's affair"
        );
        assert_eq!(seen.faults, [], "nothing is wrong");

        // One proof fails three times.
        prover.set(Proving::Fails);
        network.sequencer_ended().await;
        println!("the sequencer ended");
        let seen = node.recorder.until("blind", |seen| seen.state() == Some(State::Blind)).await;
        assert!(lag(&seen) >= BEHIND - u64::from(AT_A_TIME), "silence proves nothing: {seen:?}");
        let (top, proven) = (height(&seen, Tier::Proposed), height(&seen, Tier::Proven));
        assert_eq!(seen.watermarks.delivered.map(|block| block.height.get()), Some(top));

        // It is back, and its prover is well: what was not proven is proven now.
        prover.set(Proving::After(Duration::ZERO));
        network.start_sequencer().await;
        let on = |seen: &Seen| height(seen, Tier::Proposed) > top + 3 && lag(seen) <= 2;
        let seen = until(&node, &network, "goes on and is proven", on).await;
        println!(
            "committed {}, proven {}",
            height(&seen, Tier::Proposed),
            height(&seen, Tier::Proven)
        );
        assert!(height(&seen, Tier::Proven) > proven + BEHIND / 2);

        // The same without a word.
        let before = height(&seen, Tier::Proposed);
        network.kill_sequencer().await;
        node.recorder.until("blind", |seen| seen.state() == Some(State::Blind)).await;
        network.start_sequencer().await;
        let on = |seen: &Seen| height(seen, Tier::Proposed) > before + 3 && lag(seen) <= 2;
        let seen = until(&node, &network, "goes on once more", on).await;

        let invalid: Vec<_> =
            seen.faults.iter().filter(|fault| fault.severity() == Severity::Invalid).collect();
        assert!(invalid.is_empty(), "a node that is away says nothing wrong: {invalid:?}");
        assert_eq!(seen.count(FaultKind::Behind), 0, "{:?}", seen.faults);
        let identity = node.identity.clone();
        let top = seen.delivered().expect("blocks").get();
        let store = node.stop().await;
        let records = history(&store).await;
        assert_lawful_on(Ladder::Certified, &records, &identity);
        let pruned = records
            .iter()
            .any(|record| matches!(record.event, tidewatch_core::Event::Pruned { .. }));
        assert!(!pruned, "the validator signs one chain");
        assert_eq!(kept(&store, top).await, anew(address, top).await);
    });
}

#[test]
#[ignore = "takes a minute over a network that scripts/miden-network builds"]
fn our_worker_proves_for_a_sequencer_and_is_killed_and_started_again() {
    let programs = Programs::find(env!("CARGO_TARGET_TMPDIR"));
    let directory = tempfile::tempdir().expect("a directory");
    run_within(directory.path(), LIMIT, async |context| {
        let mut worker = Worker::start(&programs).await;
        let network = Network::start(&programs, worker.address()).await;
        let node = MidenNode::start(&context, &address(&network), &tuning()).await;
        for round in 1..=4 {
            let before = height(&node.recorder.seen(), Tier::Proven);
            let on = |seen: &Seen| height(seen, Tier::Proven) > before + 4 && lag(seen) <= 1;
            let seen = until(&node, &network, "proven follows committed", on).await;
            println!(
                "round {round}: committed {}, proven {}",
                height(&seen, Tier::Proposed),
                height(&seen, Tier::Proven)
            );
            worker.kill().await;
        }
        assert_eq!(node.recorder.seen().faults, [], "nothing is wrong");
        node.stop().await;
    });
}

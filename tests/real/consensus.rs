//! Followers of a real Ethereum chain whose blocks become safe and final by attestations.
//!
//! Each test has an execution client, a consensus client and validators of its own, with a slot of two seconds and
//! epochs of eight slots, and says that it is skipped where there is no npm to install them. One test is short; those
//! that stop and kill the clients take minutes and have a command of their own:
//!
//! ```text
//! cargo test -p tidewatch-tests --test real consensus:: -- --ignored --nocapture --test-threads 2 --skip a_day
//! ```

mod attested;
mod day;
mod disputed;
mod execution;
mod followed;

use commonware_runtime::tokio::Context;
use std::time::Duration;
use tidewatch_core::{Block as _, Event, Ladder, Record, Tier};
use tidewatch_tests::{
    EthereumNode, EthereumSettings, Seen, assert_lawful_on, block_at,
    consensus::{Chain, SLOT, Tips},
    history, npm, run_within,
};

/// How long one test may take.
const LIMIT: Duration = Duration::from_secs(900);

/// Chains with a block each `slot`, of as many genesis blocks as are asked for, in a runtime with an empty directory;
/// or none, without npm.
fn with_chains<const N: usize, F: Future<Output = ()>>(
    slot: Duration,
    test: impl FnOnce(Context, [Chain; N]) -> F,
) {
    let Some(clients) = npm::clients(env!("CARGO_TARGET_TMPDIR")) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    run_within(directory.path(), LIMIT, async |context| {
        let mut chains = Vec::new();
        for salt in 0..N {
            let salt = u8::try_from(salt).expect("few chains");
            chains.push(Chain::start(&clients, slot, salt).await);
        }
        test(context, chains.try_into().expect("as many as were asked for")).await;
    });
}

/// One chain, of usual slots.
fn with_chain<F: Future<Output = ()>>(test: impl FnOnce(Context, Chain) -> F) {
    with_chains(SLOT, |context, [chain]: [Chain; 1]| test(context, chain));
}

/// Follows the execution client of `chain`, with the consensus client of `beside` beside it.
fn settings(chain: &Chain, beside: &Chain) -> EthereumSettings {
    EthereumSettings::at(&format!(
        "eth+http://{}?beacon=http://{}",
        chain.address(),
        beside.beacon()
    ))
}

/// Whether a follower stands at `tips`, and has every block up to there.
fn stands_at(seen: &Seen, tips: &Tips) -> bool {
    let at = |tier| seen.watermarks.tips.block(tier);
    seen.watermarks.delivered == Some(tips.latest)
        && at(Tier::Proposed) == Some(tips.latest)
        && at(Tier::Checkpointed) == tips.safe
        && at(Tier::Finalized) == tips.finalized
}

/// Waits until the follower is where the chain is at some moment: it moves on while it is looked at.
async fn caught_up(node: &EthereumNode, chain: &Chain) -> Seen {
    let there = async {
        loop {
            let tips = chain.tips().await;
            let seen = node.recorder.seen();
            if stands_at(&seen, &tips) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let there = tokio::time::timeout(Duration::from_secs(60), there).await;
    there.unwrap_or_else(|_| panic!("{:?}\n{}", node.recorder.seen(), chain.shown()))
}

/// Waits until the follower has more finalized than `above`.
async fn finalized_above(node: &EthereumNode, chain: &Chain, above: u64) -> u64 {
    let height = |seen: &Seen| seen.finalized().map_or(0, |block| block.height.get());
    let there =
        node.recorder.within(tidewatch_tests::consensus::FINALITY, |seen| height(seen) > above);
    let seen = there.await;
    height(
        &seen.unwrap_or_else(|seen| panic!("nothing above {above}: {seen:?}\n{}", chain.shown())),
    )
}

/// What is kept is the chain, block by block, up to what is final, and how it came to be obeys the law.
async fn assert_is_chain(node: EthereumNode, chain: &Chain) -> Vec<Record> {
    let identity = node.identity.clone();
    let store = node.stop().await;
    let records = history(&store).await;
    assert_lawful_on(Ladder::Rollup, &records, &identity);
    let finalized = store.watermarks().expect("reads").tips.block(Tier::Finalized);
    let finalized = finalized.expect("something is final").height;
    for height in 1..=finalized.get() {
        let block = chain.at(height).await;
        let kept = block_at(&store, block.height).await.expect("is kept");
        assert_eq!(kept.reference(), block);
    }
    records
}

/// How deep each prune of `records` was.
fn prunes(records: &[Record]) -> Vec<u64> {
    let prune = |record: &Record| match record.event {
        Event::Pruned { depth, .. } => Some(depth),
        _ => None,
    };
    records.iter().filter_map(prune).collect()
}

//! Followers of a real Ethereum node that reorgs its chain.
//!
//! Each test has a node of its own, on a port of its own, and says that it is skipped where there is no
//! npm to install it. At its end stands what holds after anything that a node does: the follower's tips
//! are the node's, its blocks are the node's, and its history obeys the replay law.

mod conforms;
mod cost;
mod followed;
mod reorged;
mod restarted;
mod tabled;

use commonware_runtime::tokio::Context;
use std::path::PathBuf;
use tidewatch_core::{Block as _, BlockRef, Event, Ladder, Record, Tier};
use tidewatch_tests::{
    Anvil, EthereumNode, Seen,
    anvil::{Options, Tags},
    assert_lawful_on, block_at, history, npm, run,
};

/// A node that starts with `options`, in a runtime with an empty directory; or none, without npm.
fn with_anvil<F: Future<Output = ()>>(options: Options, test: impl FnOnce(Context, Anvil) -> F) {
    let Some(executable) = executable() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    run(directory.path(), async |context| {
        let anvil = Anvil::start(&executable, options).await;
        test(context, anvil).await;
    });
}

fn executable() -> Option<PathBuf> {
    npm::anvil(env!("CARGO_TARGET_TMPDIR"))
}

/// An epoch of so many blocks.
fn epoch(epoch: u64) -> Options {
    Options { epoch, ..Options::default() }
}

/// Whether a follower stands at `tags`, and has every block up to there.
fn stands_at(seen: &Seen, tags: &Tags) -> bool {
    let at = |tier| seen.watermarks.tips.block(tier);
    seen.watermarks.delivered == Some(tags.latest)
        && at(Tier::Proposed) == Some(tags.latest)
        && at(Tier::Checkpointed) == Some(tags.safe)
        && at(Tier::Finalized) == Some(tags.finalized)
}

/// Waits until the follower stands where the node does.
async fn caught_up(node: &EthereumNode, anvil: &Anvil) -> Seen {
    let tags = anvil.tags().await;
    node.recorder.until(&format!("{tags:?}"), |seen| stands_at(seen, &tags)).await
}

/// What is kept is the node's chain, block by block, and how it came to be obeys the law. Returns the
/// history.
async fn assert_is_chain(node: EthereumNode, anvil: &Anvil) -> Vec<Record> {
    let identity = node.identity.clone();
    let chain = anvil.chain().await;
    let store = node.stop().await;
    let records = history(&store).await;
    assert_lawful_on(Ladder::Rollup, &records, &identity);
    let delivered = store.watermarks().expect("reads").delivered;
    assert_eq!(delivered.as_ref(), chain.last());
    for block in &chain[1..] {
        let kept = block_at(&store, block.height).await.expect("is kept");
        assert_eq!(kept.reference(), *block);
    }
    assert_eq!(identity.genesis, chain[0]);
    records
}

/// How deep each prune of `records` was, and where it led.
fn prunes(records: &[Record]) -> Vec<(BlockRef, u64)> {
    let prune = |record: &Record| match record.event {
        Event::Pruned { to, depth, .. } => Some((to, depth)),
        _ => None,
    };
    records.iter().filter_map(prune).collect()
}

/// How many blocks `records` delivered.
fn delivered(records: &[Record]) -> u64 {
    let blocks = |record: &Record| match record.event {
        Event::Blocks { from, to } => to.height.get() - from.height.get() + 1,
        _ => 0,
    };
    records.iter().map(blocks).sum()
}

#[test]
fn the_node_does_what_these_tests_count_on() {
    let options = epoch(8);
    with_anvil(options, async |_, mut anvil| {
        let genesis = anvil.tags().await.latest;
        assert_eq!(anvil.tags().await, Tags { latest: genesis, safe: genesis, finalized: genesis });
        anvil.mine(40).await;
        let chain = anvil.chain().await;
        assert_eq!(chain.len(), 41);
        let at = |latest, safe, finalized| Tags {
            latest: chain[latest],
            safe: chain[safe],
            finalized: chain[finalized],
        };
        assert_eq!(anvil.tags().await, at(40, 32, 24));
        anvil.roll_back(3).await;
        assert_eq!(anvil.tags().await, at(37, 29, 21), "all of them go back");
        anvil.reorg(20).await;
        let other = anvil.chain().await;
        assert_eq!(other[..18], chain[..18]);
        assert!(other[18..].iter().zip(&chain[18..]).all(|(other, block)| other != block));

        anvil.restart(Options { epoch: 4, ..options }).await;
        assert_eq!(anvil.chain().await, other, "it kept its chain");
        let tags = Tags { latest: other[37], safe: other[33], finalized: other[29] };
        assert_eq!(anvil.tags().await, tags);
        anvil.reorg(7).await;
        assert_eq!(anvil.chain().await[..31], other[..31], "and how to reorg it");
        assert_ne!(anvil.chain().await[31], other[31]);

        anvil.replace(Options { genesis: options.genesis + 1, ..options }).await;
        assert_eq!(anvil.chain().await.len(), 1);
        assert_ne!(anvil.tags().await.latest, genesis);
    });
}

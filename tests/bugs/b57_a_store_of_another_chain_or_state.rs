//! B57. An archive that was behind the stored state, or belonged to a different chain, was accepted,
//! and wrong data was served.
//!
//! Here a directory of another chain is rejected with both names. Within one directory, the events are
//! authoritative: blocks beyond them belong to a commit that did not complete and are dropped; if a
//! block is missing that is final according to the events, the start fails and names the damaged part.

use crate::support::{announced, block_at, history, open, open_with, simulate, told};
use commonware_runtime::{
    Blob as _, ReadOptions, Storage as _, Supervisor as _, WriteOptions, deterministic,
};
use tidewatch_core::{ChainId, ChainInfo, Change, FaultKind, LocalView as _, Tier};
use tidewatch_testkit::chain::Chain;

/// The events, and the parts of the store that must be consistent with them.
const EVENTS: [&str; 3] = [
    "tidewatch-events_data",
    "tidewatch-events_offsets-blobs",
    "tidewatch-events_offsets-metadata",
];
const ARCHIVE: [&str; 4] = [
    "tidewatch-blocks-0_data",
    "tidewatch-blocks-0_offsets-blobs",
    "tidewatch-digests-0-blobs",
    "tidewatch-digests-0-metadata",
];

type Files = Vec<(&'static str, Vec<u8>, Vec<u8>)>;

async fn read(context: &deterministic::Context, parts: &[&'static str]) -> Files {
    let mut files = Vec::new();
    for part in parts {
        for name in context.scan(part).await.unwrap() {
            let (blob, len) = context.open(part, &name).await.unwrap();
            let bytes = blob.read_at(0, len as usize, ReadOptions::default()).await.unwrap();
            files.push((*part, name, bytes.coalesce().as_ref().to_vec()));
        }
    }
    assert!(!files.is_empty());
    files
}

async fn replace(context: &deterministic::Context, parts: &[&'static str], files: &Files) {
    for part in parts {
        context.remove(part, None).await.unwrap();
    }
    for (part, name, bytes) in files {
        let (blob, _) = context.open(part, name).await.unwrap();
        blob.write_at(0, bytes.clone(), WriteOptions::default()).await.unwrap();
        blob.sync().await.unwrap();
    }
}

/// Adds blocks `from..=to`, all of them final.
async fn follow(context: &deterministic::Context, chain: &Chain, from: u64, to: u64) {
    let mut store = open(context, &chain.chain_info()).await.unwrap();
    let moved = |tier| announced(tier, chain.at(to));
    let blocks = Change::Blocks(chain.range(from, to));
    store.commit(vec![blocks, moved(Tier::Proposed), moved(Tier::Finalized)]).await.unwrap();
    store.writer.close().await.unwrap();
}

#[test]
fn a_store_of_another_chain_is_refused_with_both_names() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        follow(&context, &chain, 1, 9).await;
        let other = ChainInfo { id: ChainId::new("test:2").unwrap(), ..chain.chain_info() };
        let foreign = Chain::of_network('h', 'a', 0).chain_info();
        for (chain_info, names) in [
            (other, ["test:1", "test:2"].map(String::from)),
            (foreign.clone(), [chain.at(0), foreign.genesis].map(|block| block.digest.to_string())),
        ] {
            let config = tidewatch_store::Config::new(chain_info, ());
            let refused = open_with(context.child("other"), config).await.unwrap_err();
            assert_eq!(refused.kind, FaultKind::WrongChain);
            for name in names {
                assert!(refused.detail.contains(&name), "{name} is not in {refused}");
            }
        }
        let store = open(&context, &chain.chain_info()).await.unwrap();
        assert_eq!(
            store.watermarks().await.unwrap().delivered,
            Some(chain.at(9)),
            "nothing was touched"
        );
    });
}

#[test]
fn blocks_of_a_later_state_than_the_events_are_dropped() {
    simulate(|context| async move {
        let chain = Chain::new('a', 40);
        follow(&context, &chain, 1, 20).await;
        let earlier = read(&context, &EVENTS).await;
        follow(&context, &chain, 21, 40).await;
        replace(&context, &EVENTS, &earlier).await;

        let store = open(&context, &chain.chain_info()).await.unwrap();
        assert_eq!(store.watermarks().await.unwrap().delivered, Some(chain.at(20)));
        assert_eq!(block_at(&store, 21).await.unwrap(), None);
        assert_eq!(
            told(&history(&*store).await),
            ["blocks 1a-20a", "proposed 20a", "finalized 20a"]
        );
    });
}

#[test]
fn blocks_of_an_earlier_state_than_the_events_are_refused_by_name() {
    simulate(|context| async move {
        let chain = Chain::new('a', 40);
        follow(&context, &chain, 1, 20).await;
        let earlier = read(&context, &ARCHIVE).await;
        follow(&context, &chain, 21, 40).await;
        replace(&context, &ARCHIVE, &earlier).await;

        let refused = open(&context, &chain.chain_info()).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::CorruptRecord);
        assert!(refused.detail.contains("blocks"), "{refused}");
    });
}

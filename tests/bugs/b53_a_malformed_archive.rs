//! B53. One malformed record in the archive kept a repair loop spinning, which starved the mailbox.
//!
//! Here a checksum failure is detected when the store opens or when the record is read. Damaged blocks
//! that are not final are dropped with an explicit prune, and an ordinary pass fetches them again while
//! requests are served; a damaged final block is rejected once, by name.

use crate::support::{Live, announced, block_at, history, millis, open, secs, simulate, told};
use commonware_runtime::{
    Blob as _, Clock as _, ReadOptions, Storage as _, WriteOptions, deterministic,
};
use tidewatch_core::{ArchiveError, ChainInfo, Change, FaultKind, LocalView as _, Tier};
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

const BLOCKS: &str = "tidewatch-blocks-0_data";

/// A store of 400 blocks, finalized up to `finalized`, that was closed or just dropped.
async fn written(
    context: &deterministic::Context,
    chain_info: &ChainInfo,
    finalized: u64,
    closed: bool,
) -> Chain {
    let chain = Chain::new('a', 400);
    let mut store = open(context, chain_info).await.unwrap();
    let moved = |tier, height| announced(tier, chain.at(height));
    let first = vec![Change::Blocks(chain.range(1, finalized)), moved(Tier::Proposed, finalized)];
    store.commit(first).await.unwrap();
    store.commit(vec![moved(Tier::Finalized, finalized)]).await.unwrap();
    if finalized < 400 {
        let rest = Change::Blocks(chain.range(finalized + 1, 400));
        store.commit(vec![rest, moved(Tier::Proposed, 400)]).await.unwrap();
    }
    if closed {
        store.writer.close().await.unwrap();
    }
    chain
}

/// The only file of the blocks.
async fn file(context: &deterministic::Context) -> Vec<u8> {
    let [name] = &context.scan(BLOCKS).await.unwrap()[..] else { panic!("one file") };
    name.clone()
}

#[test]
fn a_damaged_end_is_dropped_and_fetched_again_while_requests_are_answered() {
    simulate(|context| async move {
        let chain_info = Chain::new('a', 0).chain_info();
        let chain = written(&context, &chain_info, 5, false).await;
        let (blob, len) = context.open(BLOCKS, &file(&context).await).await.unwrap();
        blob.resize(len - 4_096).await.unwrap();
        blob.sync().await.unwrap();
        drop(blob);

        let store = open(&context, &chain_info).await.unwrap();
        let left = store.watermarks().await.unwrap().delivered.unwrap().height.get();
        assert!((5..400).contains(&left), "{left} blocks are left");
        let dropped = told(&history(&*store).await).pop().unwrap();
        assert!(dropped.starts_with(&format!("prune {left}a: {} dropped", 400 - left)));

        let source = ScriptedSource::new(&chain, [400, 0, 0, 5]);
        let log = store.clone();
        let live = Live::on(&context, &source, store, Config::default());
        // Requests are served meanwhile.
        for _ in 0..20 {
            let asked = context.current();
            live.mailbox.sync().await.unwrap();
            assert!(context.current().duration_since(asked).unwrap() <= millis(100));
        }
        assert_eq!(log.watermarks().unwrap().delivered, Some(chain.at(400)));
        for height in 1..=400 {
            let block = block_at(&log, height).await.unwrap();
            assert_eq!(block.as_ref(), chain.blocks().get(height as usize));
        }
        let calls = source.calls().len();
        assert!(calls <= 40 + 400 / 10, "{calls} calls: only what was lost is fetched again");
        live.stop().await;
    });
}

#[test]
fn a_damaged_record_of_a_final_block_is_named_and_nothing_spins() {
    simulate(|context| async move {
        let chain_info = Chain::new('a', 0).chain_info();
        let chain = written(&context, &chain_info, 400, true).await;
        let (blob, _) = context.open(BLOCKS, &file(&context).await).await.unwrap();
        let at = 5_000;
        let byte = blob.read_at(at, 1, ReadOptions::default()).await.unwrap().coalesce();
        let flipped = vec![byte.as_ref()[0] ^ 0x10];
        blob.write_at(at, flipped, WriteOptions::default()).await.unwrap();
        blob.sync().await.unwrap();
        drop(blob);

        let store = match open(&context, &chain_info).await {
            Err(fault) => {
                assert_eq!(fault.kind, FaultKind::CorruptRecord);
                assert!(fault.detail.starts_with("blocks"), "{fault}");
                return;
            }
            Ok(store) => store,
        };
        let mut damaged = 0;
        for height in 1..=400 {
            match block_at(&store, height).await {
                Ok(block) => assert_eq!(block.as_ref(), chain.blocks().get(height as usize)),
                Err(error) => {
                    let ArchiveError::Fault(fault) = error else { panic!("{error}") };
                    damaged += 1;
                    assert_eq!(fault.kind, FaultKind::CorruptRecord);
                    let named = format!("blocks at {height}");
                    assert!(fault.detail.starts_with(&named), "{fault}");
                }
            }
        }
        assert!((1..400).contains(&damaged), "{damaged} of 400");

        // The follower continues at its normal pace.
        let source = ScriptedSource::new(&chain, [400, 0, 0, 400]);
        let live = Live::on(&context, &source, store, Config::default());
        live.sleep(secs(10)).await;
        assert!(live.passes() <= 11, "{} passes in ten seconds", live.passes());
        assert!(live.recorder.kinds().is_empty());
        live.stop().await;
    });
}

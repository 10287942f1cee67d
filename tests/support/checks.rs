//! What must hold of every store and every log, whatever happened.

use alto_types::{Finalization, Identity as PublicKey, NAMESPACE};
use commonware_codec::{Codec, DecodeExt as _};
use commonware_parallel::Sequential;
use commonware_runtime::tokio::Context;
use commonware_utils::NZUsize;
use rand::{SeedableRng as _, rngs::StdRng};
use tidewatch_core::{
    Archive as _, Block, BlockRef, ChainInfo, EventLog, Height, Ladder, Record, Tier, TierProof,
    Watermarks,
};
use tidewatch_sources::alto::{AltoBlock, Scheme};
use tidewatch_store::Reader as Kept;
use tidewatch_testkit::invariants;

/// Every event of a log that has dropped none.
pub async fn history(log: &impl EventLog) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let more = log.read(records.len() as u64, NZUsize!(512)).await.expect("is kept");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// A whole history of a chain of certified blocks obeys the replay law: see [`assert_lawful_on`].
pub fn assert_lawful(records: &[Record], chain_info: &ChainInfo) {
    assert_lawful_on(Ladder::Certified, records, chain_info);
}

/// A whole history is one: no event is missing or there twice, folding the events gives the watermarks of
/// each, blocks are dense and linked to what is below, no tier is above what was delivered, the ladder
/// holds at each event, and finality never moves back.
pub fn assert_lawful_on(ladder: Ladder, records: &[Record], chain_info: &ChainInfo) {
    let mut watermarks = Watermarks::none();
    for (sequence, record) in records.iter().enumerate() {
        let at = format!("event {sequence}, {:?}", record.event);
        assert_eq!(record.sequence(), sequence as u64, "{at}");
        assert!(record.cursor.is_of(&chain_info.id), "{at}");
        let checked = invariants::dense(&watermarks, &record.event)
            .and_then(|()| invariants::record(ladder, &watermarks, record));
        watermarks = checked.unwrap_or_else(|breach| panic!("{at}: {breach}"));
        // Before the first block is delivered, genesis is all that a tip can be at.
        let delivered = watermarks.delivered.or(Some(chain_info.genesis));
        invariants::delivered(&Watermarks { delivered, ..watermarks })
            .unwrap_or_else(|breach| panic!("{at}: {breach}"));
    }
}

/// The block that is kept at `height`; nothing where there is none.
pub async fn block_at<B: Block + Codec>(store: &Kept<Context, B>, height: Height) -> Option<B> {
    let known = store.locate(&[height]).await.expect("reads").into_iter().next().flatten();
    store.block(known.filter(|known| known.height == height)?).await.ok()
}

/// Blocks `first..=last` are kept, linked to each other and to genesis where they start there, and each
/// final one is proved by a kept certificate that the group's key verifies.
pub async fn assert_kept<S: Scheme>(
    store: &Kept<Context, AltoBlock>,
    public: &[u8],
    first: u64,
    last: u64,
) {
    let scheme = S::certificate_verifier(NAMESPACE, PublicKey::decode(public).expect("a key"));
    let genesis = store.chain_info().genesis;
    let mut below: Option<BlockRef> = (first == 1).then_some(genesis);
    let mut blocks = Vec::new();
    for height in (first..=last).map(Height::new) {
        let block = block_at(store, height).await;
        let block = block.unwrap_or_else(|| panic!("there is no block {height}"));
        assert_eq!(block.reference().height, height);
        assert!(below.is_none_or(|below| below.digest == block.parent()), "{height} is not linked");
        below = Some(block.reference());
        blocks.push(block);
    }
    let watermarks = store.watermarks().expect("reads");
    let finalized = watermarks.tips.block(Tier::Finalized).map_or(0, |block| block.height.get());
    let mut height = first;
    while height <= finalized.min(last) {
        let block = blocks[usize::try_from(height - first).expect("fits")].reference();
        let proof = store.proof(Tier::Finalized, block).await.expect("reads");
        let proof = proof.unwrap_or_else(|| panic!("nothing proves {height}"));
        assert_proves(&scheme, &proof);
        let proven = proof.block.height.get();
        assert!(proven >= height);
        // Down to `height`, each block is the one that the proved one vouches for: they are linked.
        let block = store.block(proof.block).await.expect("is kept");
        assert_eq!(block.reference(), proof.block);
        height = proven + 1;
    }
}

fn assert_proves<S: Scheme>(scheme: &S, proof: &TierProof) {
    let certificate = Finalization::<S>::decode(proof.bytes.clone()).expect("a certificate");
    assert_eq!(certificate.proposal.payload, proof.block.digest);
    let mut rng = StdRng::seed_from_u64(0);
    assert!(certificate.verify(&mut rng, scheme, &Sequential), "{} is not proved", proof.block);
}

//! What a pass costs in memory, without a network: `cargo bench -p tidewatch-stream`.
//!
//! | bench | is asked for |
//! |---|---|
//! | `pass/1,000,000 linked blocks` | 5 million blocks a second or more, on one core |
//! | `pass/quiet` | 2 microseconds or less, and one source call |
//! | `pass/reorganisation 100,000 deep` | found with at most 20 source calls |
//!
//! Source calls are printed before the times: they do not drift.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use commonware_utils::NZUsize;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use tidewatch_core::{
    Block, BlockRef, ChainId, Digest, Fault, Height, Identity, Ladder, Limits, Snapshot, Source,
    Tier, TipSet,
};
use tidewatch_store::Memory;
use tidewatch_stream::{Cost, Ended, Mode, Pass, Unguarded};

const BLOCKS: u64 = 1_000_000;
const DEPTH: u64 = 100_000;

/// A block that knows its digest, as a decoded one does.
#[derive(Clone, Copy)]
struct Link {
    reference: BlockRef,
    parent: Digest,
}

impl Block for Link {
    fn reference(&self) -> BlockRef {
        self.reference
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

fn digest(height: u64, fork: u8) -> Digest {
    let mut digest = [fork; 32];
    digest[..8].copy_from_slice(&height.to_be_bytes());
    Digest(digest)
}

/// A chain in memory that leaves the first fork above `common`.
struct Chain {
    links: Vec<Link>,
}

impl Chain {
    fn new(height: u64, common: u64) -> Self {
        let at = |height: u64| digest(height, u8::from(height > common));
        let link = |height: u64| Link {
            reference: BlockRef::new(Height::new(height), at(height)),
            parent: height.checked_sub(1).map_or(Digest([0xff; 32]), at),
        };
        Self { links: (0..=height).map(link).collect() }
    }

    fn identity(&self) -> Identity {
        let chain = ChainId::new("bench:1").unwrap();
        Identity { chain, genesis: self.links[0].reference }
    }

    fn tip(&self) -> BlockRef {
        self.links[self.links.len() - 1].reference
    }
}

impl Source for Chain {
    type Block = Link;

    fn name(&self) -> &str {
        "bench"
    }

    fn ladder(&self) -> Ladder {
        Ladder::Rollup
    }

    fn limits(&self) -> Limits {
        Limits { digests_max: NZUsize!(64), blocks_max: NZUsize!(8_192) }
    }

    async fn identity(&self) -> Result<Identity, Fault> {
        Ok(Self::identity(self))
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        Ok(TipSet::unknown().with(Tier::Proposed, self.tip()).into())
    }

    async fn digests(&self, heights: &[Height]) -> Result<Vec<Option<Digest>>, Fault> {
        let at = |height: &Height| self.links.get(height.get() as usize);
        Ok(heights.iter().map(|height| at(height).map(|link| link.reference.digest)).collect())
    }

    async fn blocks(&self, from: Height, tip: BlockRef) -> Result<Vec<Link>, Fault> {
        let from = from.get() as usize;
        let to = (from + self.limits().blocks_max.get()).min(tip.height.get() as usize + 1);
        Ok(self.links[from..to].to_vec())
    }
}

fn pass(source: &Chain, view: &mut Memory<Link>) -> (Ended, Cost) {
    let identity = Chain::identity(source);
    let mut pass = Pass::new(source, view, &identity, Mode::GENESIS, Unguarded, &());
    let report = block_on(pass.run()).unwrap();
    (report.ended, pass.cost())
}

/// A view that has taken in all of `chain`.
fn followed(chain: &Chain) -> Memory<Link> {
    let mut view = Memory::new(Chain::identity(chain));
    assert_eq!(pass(chain, &mut view).0, Ended::Complete);
    view
}

fn benches(criterion: &mut Criterion) {
    let chain = Chain::new(BLOCKS, BLOCKS);
    let other = Chain::new(BLOCKS, BLOCKS - DEPTH);

    let mut group = criterion.benchmark_group("pass");
    group.sample_size(10).throughput(Throughput::Elements(BLOCKS));
    group.bench_function("1,000,000 linked blocks", |bencher| {
        let empty = || Memory::new(Chain::identity(&chain));
        bencher.iter_batched_ref(empty, |view| pass(&chain, view), BatchSize::PerIteration);
    });

    let mut view = followed(&chain);
    let (ended, cost) = pass(&chain, &mut view);
    assert_eq!(ended, Ended::Quiet);
    println!("pass/quiet: {} source call", cost.total());
    let identity = Chain::identity(&chain);
    group.sample_size(100).throughput(Throughput::Elements(1));
    group.bench_function("quiet", |bencher| {
        bencher.iter(|| {
            let view = &mut view;
            let mut pass = Pass::new(&chain, view, &identity, Mode::GENESIS, Unguarded, &());
            block_on(pass.run()).unwrap().ended
        });
    });

    let (_, cost) = pass(&other, &mut view);
    let find = cost.tip + cost.reorg;
    println!(
        "pass/reorganisation {DEPTH} deep: {} source calls to find and confirm it, {} for digests; \
         {} more for the blocks of the other fork",
        find, cost.reorg, cost.download
    );
    assert!(cost.tip + cost.reorg <= 20, "{cost:?}");
    group.sample_size(10);
    group.bench_function("reorganisation 100,000 deep", |bencher| {
        let before = || followed(&chain);
        bencher.iter_batched_ref(before, |view| pass(&other, view), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);

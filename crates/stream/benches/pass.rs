//! What a pass costs: `cargo bench -p tidewatch-stream`.
//!
//! Everything is in memory and on one core, so what is measured is the pass itself (its decisions, the
//! parent check of every block) and the in-memory view, not a network and not a disk.
//!
//! | measured | target |
//! |---|---|
//! | catching up: a pass over 1,000,000 linked blocks, in ranges of 1,024 | at least 5,000,000 blocks a second |
//! | quiet pass: nothing has changed | at most 2 µs, and one source call |
//! | reorg: 100,000 blocks deep, 64 digests to a question | at most 20 source calls besides the ranges |
//!
//! Before criterion's own figures, each benchmark prints its result in plain words.

#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]
#![allow(clippy::disallowed_types, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on must end")]

use commonware_cryptography::{Hasher as _, Sha256};
use commonware_utils::{NZUsize, sync::Mutex};
use criterion::{BatchSize, Criterion, Throughput};
use futures::executor::block_on;
use std::{hint::black_box, sync::Arc, time::Instant};
use tidewatch_core::{
    Block, BlockRef, ChainId, ChainInfo, Digest, Fault, Height, Ladder, Limits, LocalView as _,
    Snapshot, Source, Tier, TipSet,
};
use tidewatch_store::{Memory, MemoryWriter};
use tidewatch_stream::{Cost, Ended, Mode, Pass, Unguarded};

const BLOCKS: u64 = 1_000_000;
const DEPTH: u64 = 100_000;

#[derive(Clone)]
struct Linked {
    reference: BlockRef,
    parent: Digest,
}

impl Block for Linked {
    fn reference(&self) -> BlockRef {
        self.reference
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

/// Blocks from genesis up to `tip`: those of `below` under `fork`, others from there on.
fn chain(below: &[Linked], fork: u64, tip: u64) -> Vec<Linked> {
    let mut blocks = below[..below.len().min(fork as usize)].to_vec();
    for height in blocks.len() as u64..=tip {
        let parent = blocks.last().map_or(Digest([0; 32]), |block| block.reference.digest);
        let digest = Sha256::hash(&[&parent.0, &tip.to_be_bytes()]);
        blocks.push(Linked { reference: BlockRef::new(Height::new(height), digest), parent });
    }
    blocks
}

/// Answers from the chain that it was told to stand on.
#[derive(Clone)]
struct InMemory(Arc<Mutex<Arc<Vec<Linked>>>>);

impl InMemory {
    fn new(chain: &Arc<Vec<Linked>>) -> Self {
        Self(Arc::new(Mutex::new(chain.clone())))
    }

    fn stand(&self, chain: &Arc<Vec<Linked>>) {
        *self.0.lock() = chain.clone();
    }

    fn chain(&self) -> Arc<Vec<Linked>> {
        self.0.lock().clone()
    }
}

impl Source for InMemory {
    type Block = Linked;

    fn name(&self) -> &str {
        "in memory"
    }

    fn ladder(&self) -> Ladder {
        Ladder::Rollup
    }

    fn limits(&self) -> Limits {
        Limits { digests_max: NZUsize!(64), blocks_max: NZUsize!(1024) }
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        Ok(chain_info(&self.chain()))
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let tip = self.chain().last().unwrap().reference;
        Ok(TipSet::unknown().with(Tier::Proposed, tip).into())
    }

    async fn digests(
        &self,
        _tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let chain = self.chain();
        let at = |height: &Height| chain.get(height.get() as usize);
        Ok(heights.iter().map(|height| at(height).map(|block| block.reference.digest)).collect())
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<Linked>, Fault> {
        let from = from.get() as usize;
        let end = (from + self.limits().blocks_max.get()).min(tip.height.get() as usize + 1);
        Ok(self.chain()[from..end].to_vec())
    }
}

fn chain_info(chain: &[Linked]) -> ChainInfo {
    ChainInfo { id: ChainId::new("bench:1").unwrap(), genesis: chain[0].reference }
}

/// One pass, which must end as it should.
fn pass(
    source: &InMemory,
    view: &mut MemoryWriter<Linked>,
    chain_info: &ChainInfo,
    ended: Ended,
) -> Cost {
    let mut pass = Pass::new(source, view, chain_info, Mode::GENESIS, Unguarded, &());
    let report = block_on(pass.run()).unwrap();
    assert_eq!(report.ended, ended);
    pass.cost()
}

fn catching_up(criterion: &mut Criterion, blocks: &Arc<Vec<Linked>>) {
    let (source, chain_info) = (InMemory::new(blocks), chain_info(blocks));
    let run = || {
        let (mut view, _) = Memory::new(chain_info.clone());
        let cost = pass(&source, &mut view, &chain_info, Ended::Complete);
        (view, cost)
    };
    let fastest = (0..5).map(|_| {
        let start = Instant::now();
        let (view, cost) = run();
        let took = start.elapsed();
        assert_eq!(
            block_on(view.watermarks()).unwrap().head(),
            blocks.last().map(Block::reference)
        );
        (took, cost.total())
    });
    let (took, calls) = fastest.min().unwrap();
    let speed = BLOCKS as f64 / took.as_secs_f64() / 1e6;
    println!("catching up: {speed:.1} million blocks/s ({BLOCKS} blocks, {calls} source calls)");
    let mut group = criterion.benchmark_group("pass");
    group.sample_size(10).throughput(Throughput::Elements(BLOCKS));
    group.bench_function("catching up", |bencher| {
        bencher.iter_batched(|| (), |()| run(), BatchSize::PerIteration);
    });
    group.finish();
}

fn quiet(criterion: &mut Criterion, blocks: &Arc<Vec<Linked>>) {
    let (source, chain_info) = (InMemory::new(blocks), chain_info(blocks));
    let (mut view, _) = Memory::new(chain_info.clone());
    pass(&source, &mut view, &chain_info, Ended::Complete);
    let calls = pass(&source, &mut view, &chain_info, Ended::Quiet).total();
    let runs = 100_000;
    let start = Instant::now();
    for _ in 0..runs {
        black_box(pass(&source, &mut view, &chain_info, Ended::Quiet));
    }
    let nanos = start.elapsed().as_nanos() / runs;
    println!("quiet pass: {nanos} ns, {calls} source call");
    criterion.bench_function("pass/quiet", |bencher| {
        bencher.iter(|| pass(&source, &mut view, &chain_info, Ended::Quiet));
    });
}

fn reorg(criterion: &mut Criterion, blocks: &Arc<Vec<Linked>>) {
    let fork = BLOCKS - DEPTH;
    let other = Arc::new(chain(blocks, fork + 1, BLOCKS + 1));
    let (source, chain_info) = (InMemory::new(blocks), chain_info(blocks));
    let (mut view, _) = Memory::new(chain_info.clone());
    pass(&source, &mut view, &chain_info, Ended::Complete);
    source.stand(&other);
    let start = Instant::now();
    let cost = pass(&source, &mut view, &chain_info, Ended::Complete);
    let millis = start.elapsed().as_secs_f64() * 1e3;
    let Cost { tip, reorg, download, .. } = cost;
    println!(
        "reorg of {DEPTH} blocks: {} source calls to find and prune it ({tip} snapshots, \
         {reorg} questions for digests), {download} ranges to download what replaced it, {millis:.1} ms",
        tip + reorg
    );
    let mut to = [blocks, &other].into_iter().cycle();
    let mut group = criterion.benchmark_group("pass");
    group.sample_size(20);
    group.bench_function("reorg", |bencher| {
        bencher.iter(|| {
            source.stand(to.next().unwrap());
            pass(&source, &mut view, &chain_info, Ended::Complete)
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let blocks = Arc::new(chain(&[], 0, BLOCKS));
    catching_up(&mut criterion, &blocks);
    quiet(&mut criterion, &blocks);
    reorg(&mut criterion, &blocks);
    criterion.final_summary();
}

//! Putting a source and a consumer of your own through the conformance suites.
//!
//! Both suites are one call in a test, and end with a report of every check by name: it held, it is
//! broken and how, or it could not be shown and why. `Report::assert` fails the test. Here the chain is
//! a vector in memory, and the consumer keeps its index in a file; the deterministic runtime makes all
//! the waiting pass at once.
#![allow(clippy::print_stdout, reason = "it is what the program does")]

use commonware_cryptography::{Hasher as _, Sha256};
use commonware_runtime::{Clock, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{io::Write as _, path::PathBuf, sync::Arc, time::Duration};
use tidewatch_conformance::{self as conformance, Stage, Subject};
use tidewatch_core::{
    Ack, Block, BlockRef, ChainId, ChainInfo, Consumer, Digest, Fault, FaultKind, Height, Ladder,
    Limits, Record, Snapshot, Source, Tier, TipSet, Watermarks,
};

/// A block of the toy chain: its digest is the hash of its height, its salt and its parent.
#[derive(Clone)]
struct ToyBlock {
    height: Height,
    salt: u64,
    parent: Digest,
}

impl Block for ToyBlock {
    fn reference(&self) -> BlockRef {
        let (height, salt) = (self.height.get().to_be_bytes(), self.salt.to_be_bytes());
        BlockRef::new(self.height, Sha256::hash(&[&height, &salt, &self.parent]))
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

/// The chain as its nodes know it: genesis first. Clones share it.
#[derive(Clone)]
struct ToyChain(Arc<Mutex<(Vec<ToyBlock>, usize)>>);

impl ToyChain {
    fn new() -> Self {
        let genesis = ToyBlock { height: Height::zero(), salt: 0, parent: Digest([0; 32]) };
        Self(Arc::new(Mutex::new((vec![genesis], 0))))
    }

    /// Replaces the highest `depth` blocks by `blocks` others.
    fn replace(&self, depth: u64, blocks: u64, salt: u64) {
        let (chain, _) = &mut *self.0.lock();
        chain.truncate(chain.len() - depth as usize);
        for _ in 0..blocks {
            let below = chain[chain.len() - 1].reference();
            chain.push(ToyBlock { height: below.height.next(), salt, parent: below.digest });
        }
    }
}

/// The source: asks a node, which takes a moment.
struct ToySource<E> {
    clock: E,
    node: ToyChain,
}

impl<E: Clock> ToySource<E> {
    /// The chain as it is now, and the height of its finalized block.
    async fn ask(&self) -> (Vec<ToyBlock>, usize) {
        self.clock.sleep(Duration::from_millis(1)).await;
        self.node.0.lock().clone()
    }
}

impl<E: Clock> Source for ToySource<E> {
    type Block = ToyBlock;

    fn name(&self) -> &str {
        "toy"
    }

    fn ladder(&self) -> Ladder {
        Ladder::Certified
    }

    fn limits(&self) -> Limits {
        Limits { digests_max: NZUsize!(16), blocks_max: NZUsize!(8) }
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        let chain =
            ChainId::new("toy:1").map_err(|e| FaultKind::InvalidConfig.fault(self.name(), e))?;
        Ok(ChainInfo { id: chain, genesis: self.ask().await.0[0].reference() })
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let (chain, finalized) = self.ask().await;
        let tips = TipSet::unknown()
            .with(Tier::Proposed, chain[chain.len() - 1].reference())
            .with(Tier::Finalized, chain[finalized].reference());
        Ok(tips.into())
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let (chain, _) = self.ask().await;
        if !chain.iter().any(|block| block.reference() == tip) {
            return Err(FaultKind::Torn.fault(self.name(), format!("it moved away from {tip}")));
        }
        let at = |height: &Height| {
            let block = chain.get(usize::try_from(height.get()).ok()?)?;
            (block.height <= tip.height).then_some(block)
        };
        Ok(heights.iter().map(|height| Some(at(height)?.reference().digest)).collect())
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<ToyBlock>, Fault> {
        let (chain, _) = self.ask().await;
        // Without this, blocks of one fork are taken for those of another. The suite says so.
        if !chain.iter().any(|block| block.reference() == tip) {
            return Ok(Vec::new());
        }
        let asked = chain.into_iter().filter(|b| b.height >= from && b.height <= tip.height);
        Ok(asked.take(self.limits().blocks_max.get()).collect())
    }
}

/// What the suite may do to the chain. Whatever is left out is reported as not shown.
struct ToyStage {
    node: ToyChain,
    salt: u64,
}

impl Stage for ToyStage {
    fn is_still(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.node.replace(0, blocks, self.salt);
        true
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        self.salt += 1;
        self.node.replace(depth, blocks, self.salt);
        true
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        self.node.0.lock().1 += blocks as usize;
        true
    }
}

/// The consumer: keeps where the chain stands in a file.
struct Index(PathBuf);

/// The highest block and the finalized one.
fn line(watermarks: &Watermarks) -> String {
    let height = |block: Option<BlockRef>| block.map_or(0, |block| block.height.get());
    format!("{} {}", height(watermarks.delivered), height(watermarks.tips.block(Tier::Finalized)))
}

impl Index {
    /// Replaces the file in one step: after a crash it is the old one or the new one.
    fn keep(&self, watermarks: &Watermarks) -> Result<(), Fault> {
        let failed = |error: std::io::Error| FaultKind::Consumer.fault("index", error);
        let directory = self.0.parent().unwrap_or(&self.0);
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.write_all(line(watermarks).as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.0).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

impl Consumer for Index {
    fn name(&self) -> &str {
        "index"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        // Never empty; each record says where all of them lead.
        self.keep(&records[records.len() - 1].watermarks)?;
        Ok(Ack::Durable)
    }

    async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
        self.keep(&oldest.watermarks)
    }
}

/// The consumer with what it keeps: opened again after each crash.
#[derive(Default)]
struct IndexFile(Option<tempfile::TempDir>);

impl IndexFile {
    /// The file, in a directory that is gone with the subject.
    fn path(&mut self) -> std::io::Result<PathBuf> {
        let directory = match self.0.take() {
            Some(directory) => directory,
            None => tempfile::tempdir()?,
        };
        Ok(self.0.insert(directory).path().join("index"))
    }
}

impl Subject for IndexFile {
    type Consumer = Index;
    type Held = String;

    async fn open(&mut self) -> Result<Index, Fault> {
        self.path().map(Index).map_err(|error| FaultKind::Consumer.fault("index", error))
    }

    async fn holds(&mut self) -> String {
        let kept = self.path().and_then(std::fs::read_to_string);
        kept.unwrap_or_else(|_| line(&Watermarks::none()))
    }

    fn expects(&self, watermarks: &Watermarks) -> String {
        line(watermarks)
    }
}

fn main() -> eyre::Result<()> {
    deterministic::Runner::default().start(|context| async move {
        let node = ToyChain::new();
        let source = ToySource { clock: context.child("clock"), node: node.clone() };
        let mut stage = ToyStage { node, salt: 0 };
        let report =
            conformance::source(context.child("source"), Arc::new(source), &mut stage).await;
        println!("{report}\n");
        report.assert();

        let report = conformance::consumer(context.child("consumer"), IndexFile::default).await;
        println!("{report}");
        report.assert();
        Ok(())
    })
}

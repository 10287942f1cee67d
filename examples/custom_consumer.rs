//! A consumer of your own: an index that survives crashes, restarts and reorgs.
//!
//! It keeps the height of the highest block and the number of finalized blocks in a file, and replaces
//! that file before it acknowledges. Run it on a directory again and it goes on where it was.
#![allow(clippy::print_stdout, reason = "it is what the program does")]

use commonware_codec::Encode as _;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tidewatch_core::{
    Ack, Consumer, Event, Fault, FaultKind, Height, Record, Running, Source as _, Tier, watch,
};
use tidewatch_devnet::{Config as DevnetConfig, Devnet};
use tidewatch_node::{Attachment, Config, Follower, Member};
use tidewatch_sources::alto::{self, AltoBlock, Endpoint, StandardScheme};
use tidewatch_store::{self as store, Store};

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    head: u64,
    finalized: u64,
}

struct IndexFile {
    path: PathBuf,
    index: Index,
    /// For whoever waits for what is in the file.
    kept: watch::Sender<Index>,
}

impl IndexFile {
    fn open(path: PathBuf) -> eyre::Result<Self> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || numbers.next().transpose().map(Option::unwrap_or_default);
        let index = Index { head: next()?, finalized: next()? };
        let (kept, _) = watch::watch(index.clone());
        Ok(Self { path, index, kept })
    }

    /// Replaces the file in one step: after a crash it is the old one or the new one.
    fn replace(&self, index: &Index) -> std::io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        writeln!(file, "{} {}", index.head, index.finalized)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl Consumer for IndexFile {
    fn name(&self) -> &str {
        "index"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        let mut index = self.index.clone();
        for record in records {
            match &record.event {
                Event::Blocks { to, .. } => index.head = to.height.get(),
                // The one undo message: drop everything above it.
                Event::Pruned { to, .. } => index.head = to.height.get(),
                Event::Advanced { tier: Tier::Finalized, tip } => {
                    index.finalized = tip.block.height.get();
                }
                Event::Advanced { .. } | Event::Regressed { .. } => {}
            }
        }
        self.replace(&index).map_err(|error| FaultKind::Consumer.fault("index", error))?;
        self.kept.change(|kept| std::mem::replace(kept, index.clone()) != index);
        self.index = index;
        // The same events may come again after a crash: what they set is set again to the same.
        Ok(Ack::Durable)
    }
}

/// Follows the devnet in `directory` until it has finalized three blocks more than `index` has.
fn run(directory: &Path) -> eyre::Result<Index> {
    let file = directory.join("index");
    let consumer = IndexFile::open(file.clone())?;
    let goal = consumer.index.finalized + 3;
    println!("index before: {:?}", consumer.index);
    let runtime = tokio::Config::new().with_storage_directory(directory.join("store"));
    tokio::Runner::new(runtime).start(|context| async move {
        let config =
            DevnetConfig { directory: Some(directory.join("devnet")), ..Default::default() };
        let devnet = Devnet::start(context.child("devnet"), config).await?;
        let endpoint: Endpoint = format!("alto+{}?mode=standard", devnet.url()).parse()?;
        let config = alto::Config::default();
        let codec = AltoBlock::codec(config.block_size_max);
        let (source, upstream) = alto::open::<_, StandardScheme>(
            context.child("source"),
            &[endpoint],
            &devnet.public().encode(),
            Arc::new(()),
            config,
        )?;
        let config = store::Config::new(source.chain_info().await?, codec);
        let (view, log) = Store::open(context.child("store"), config).await?;
        let config = Config {
            source: Arc::new(source),
            view,
            log,
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        follower.supervise(Member::critical(Running::start(upstream)));
        let kept = consumer.kept.subscribe();
        follower.attach(Attachment::new(consumer));

        // The follower is at `goal` soon, and the consumer right after it, at its own pace.
        follower.heads().reached(Tier::Finalized, Height::new(goal)).await?;
        kept.until(|index| index.finalized >= goal).await?;
        follower.stop(Duration::from_secs(1)).await?;
        devnet.stop().await;
        Ok(IndexFile::open(file)?.index)
    })
}

fn main() -> eyre::Result<()> {
    let directory = tempfile::tempdir()?;
    let first = run(directory.path())?;
    println!("index after the first run: {first:?}");
    let second = run(directory.path())?;
    println!("index after the second run, which went on: {second:?}");
    Ok(())
}

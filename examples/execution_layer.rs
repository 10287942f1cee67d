//! An execution layer of your own as the local view: it keeps the chain itself, so nothing else does.
//!
//! This one has no Engine API and executes nothing: it remembers blocks and where it was pointed. The chain is the
//! embedded devnet.
#![allow(clippy::print_stdout, reason = "it is what the program does")]

use commonware_codec::Encode as _;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidewatch_core::{Block, BlockRef, Fault, Height, Running, Source as _, Tier};
use tidewatch_devnet::Devnet;
use tidewatch_execution::{
    Durably, Execution, Executor, Forkchoice, Payload, Standing, Verdict, View, executor,
};
use tidewatch_node::{Config, Follower, Member};
use tidewatch_sources::alto::{self, AltoBlock, Endpoint, StandardScheme};

/// What the layer is given: here the block as it is. Where bodies are elsewhere, `prepare` fetches them.
#[derive(Clone)]
struct Given(AltoBlock);

impl Payload for Given {
    fn reference(&self) -> BlockRef {
        self.0.reference()
    }

    fn evidence(&self) -> String {
        format!("{:?}", self.0.encode())
    }
}

/// The chain under its head, by height.
struct Ledger(Mutex<(BTreeMap<Height, BlockRef>, Forkchoice)>);

impl Ledger {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut BTreeMap<Height, BlockRef>, &mut Forkchoice) -> T,
    ) -> T {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (blocks, at) = &mut *state;
        work(blocks, at)
    }
}

impl Execution for Ledger {
    type Block = AltoBlock;
    type Payload = Given;

    fn name(&self) -> &str {
        "ledger"
    }

    async fn prepare(&self, blocks: &[AltoBlock]) -> Result<Vec<Given>, Fault> {
        Ok(blocks.iter().cloned().map(Given).collect())
    }

    async fn give(&self, Given(block): &Given) -> Result<Verdict, Fault> {
        let block = block.reference();
        self.with(|blocks, _| blocks.insert(block.height, block));
        Ok(Verdict::Valid(block.digest))
    }

    async fn point(&self, to: &Forkchoice) -> Result<Verdict, Fault> {
        self.with(|_, at| *at = *to);
        Ok(Verdict::Valid(to.head.digest))
    }

    async fn standing(&self) -> Result<Standing, Fault> {
        Ok(Standing { forkchoice: self.with(|_, at| *at), order: None })
    }

    async fn at(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        Ok(self.with(|blocks, _| heights.iter().map(|at| blocks.get(at).copied()).collect()))
    }

    /// As if the last two blocks were not on its disk yet.
    async fn durable(&self) -> Result<Option<Height>, Fault> {
        Ok(self.with(|_, at| at.head.height.get().checked_sub(2).map(Height::new)))
    }
}

fn main() -> eyre::Result<()> {
    let directory = tempfile::tempdir()?;
    let runtime = tokio::Config::new().with_storage_directory(directory.path());
    tokio::Runner::new(runtime).start(|context| async move {
        let devnet = Devnet::start(context.child("devnet"), Default::default()).await?;
        let endpoint: Endpoint = format!("alto+{}?mode=standard", devnet.url()).parse()?;
        let (source, upstream) = alto::open::<_, StandardScheme>(
            context.child("source"),
            &[endpoint],
            &devnet.public().encode(),
            Arc::new(()),
            alto::Config::default(),
        )?;
        let chain_info = source.chain_info().await?;

        let genesis = chain_info.genesis;
        let start = Forkchoice { head: genesis, safe: None, finalized: None };
        let blocks = BTreeMap::from([(genesis.height, genesis)]);
        let ledger = Arc::new(Ledger(Mutex::new((blocks, start))));
        let config = executor::Config::default();
        let (executor, mailbox) = Executor::new(context.child("executor"), ledger.clone(), config);
        let floor = mailbox.floor();
        let config = Config {
            source: Arc::new(Durably::new(Arc::new(source), floor.clone())),
            view: View::new(ledger.clone(), mailbox, chain_info, None),
            log: (),
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        follower.supervise(Member::critical(Running::start(executor)));
        follower.supervise(Member::critical(Running::start(upstream)));

        follower.heads().reached(Tier::Finalized, Height::new(10)).await?;
        let floor = floor.until(|floor| floor.is_some()).await?;
        println!("the ledger stands at {}", ledger.standing().await?.forkchoice);
        println!(
            "it would have {} after a crash",
            floor.map_or("nothing".into(), |at| at.to_string())
        );
        follower.stop(Duration::from_secs(1)).await?;
        devnet.stop().await;
        Ok(())
    })
}

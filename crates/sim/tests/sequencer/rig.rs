//! A sequencer whose every neighbour is scripted.

use bytes::Bytes;
use commonware_runtime::{
    Clock as _, Handle, Metrics as _, Runner as _, Spawner as _, Supervisor as _, deterministic,
};
use std::{future::Future, sync::Arc, time::Duration};
use tidewatch_core::{ChainId, Digest, Fault, Height};
use tidewatch_sequencer::{
    Applier as _, Content, Coordinator, Opened, PreblockMonitor, Proposal, Sender, Transaction,
    coordinator::{self, Answer, Config, Mailbox, Ports, Status},
    disk::{Chain, DiskPool, Genesis, Limits},
    monitor,
};
use tidewatch_sim::sequencing::{
    Network,
    spied::{Applies, Board},
};
use tidewatch_testkit::host::{Host, Trouble};

pub(crate) type Context = Host<deterministic::Context>;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The wall clock of a simulation begins here, so that it can be set back.
const BEGIN: Duration = Duration::from_secs(1_000_000_000);

pub(crate) fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(secs(10_000)).start(|context| async move {
        context.sleep(BEGIN.min(secs(1_000))).await;
        test(context).await
    })
}

pub(crate) fn transaction(sender: u8, nonce: u64) -> Transaction {
    let payload = Bytes::from(format!("transaction {nonce} of {sender}"));
    Transaction { sender: Sender([sender; 32]), nonce, payload }
}

/// A block a second at the least, and everything within a few seconds.
pub(crate) fn timed() -> Config {
    Config { patience: secs(2), deadline: ms(500), answer_max: secs(20), ..Config::every(secs(1)) }
}

/// Blocks when somebody asks.
pub(crate) fn on_demand() -> Config {
    Config { interval: None, ..timed() }
}

pub(crate) struct Rig {
    pub(crate) context: deterministic::Context,
    pub(crate) trouble: Trouble,
    pub(crate) network: Network<deterministic::Context>,
    pub(crate) pool: Arc<DiskPool<Context>>,
    pub(crate) applier: Arc<Applies<Chain<Context>>>,
    pub(crate) board: Board,
    pub(crate) mailbox: Mailbox,
    pub(crate) coordinator: Handle<Result<(), Fault>>,
    pub(crate) monitor: Handle<Result<(), Fault>>,
}

/// The applied chain, from number 1.
pub(crate) async fn chain(
    applier: &impl tidewatch_sequencer::Applier,
) -> Vec<tidewatch_sequencer::Block> {
    let mut blocks = Vec::new();
    for number in 1..=applier.head().block.height.get() {
        blocks.push(applier.block(Height::new(number)).await.unwrap());
    }
    blocks
}

impl Rig {
    pub(crate) async fn start(context: &deterministic::Context, config: Config) -> Self {
        let network = Network::new(context.child("network"), 7);
        Self::over(context, network, Board::default(), config).await
    }

    /// On what there is, over a network and a board that were there before.
    pub(crate) async fn over(
        context: &deterministic::Context,
        network: Network<deterministic::Context>,
        board: Board,
        config: Config,
    ) -> Self {
        let (host, trouble) = Host::new(context.child("host"), 7);
        let id = ChainId::new("test:1").unwrap();
        let genesis = Genesis { chain: id.clone(), digest: Digest([7; 32]), time_ms: 1_000 };
        let pool = DiskPool::open(host.child("pool"), "test", id, Limits::default()).await;
        let chain = Chain::open(host.child("chain"), "test", genesis).await.unwrap();
        let (pool, applier) = (Arc::new(pool.unwrap()), Arc::new(Applies::new(Arc::new(chain))));
        let ports = Ports {
            pool: pool.clone(),
            applier: applier.clone(),
            publisher: Arc::new(board.clone()),
            ordering: Arc::new(network.clone()),
        };
        let (coordinator, mailbox) = Coordinator::new(host.child("sequencer"), ports, config);
        let settings = monitor::Config { silence: secs(3), ..monitor::Config::default() };
        let ordering = Arc::new(network.clone());
        let at = host.child("monitor");
        let monitor = PreblockMonitor::new(at, ordering, mailbox.clone(), settings);
        let (coordinator, monitor) = (coordinator.start(), monitor.start());
        let context = context.child("rig");
        Self { context, trouble, network, pool, applier, board, mailbox, coordinator, monitor }
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.context.sleep(duration).await;
    }

    pub(crate) async fn insert(&self, transactions: Vec<Transaction>) {
        for accepted in self.pool.insert(transactions).await.unwrap() {
            accepted.unwrap();
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.mailbox.status().current()
    }

    pub(crate) fn head(&self) -> u64 {
        self.applier.head().block.height.get()
    }

    /// Waits until the head is at `height`, and knows it.
    pub(crate) async fn reaches(&self, height: u64) {
        let status = self.mailbox.status();
        let reached = status.until(|status| status.head.height.get() >= height);
        let reached = tidewatch_core::within(&self.context, secs(60), reached).await;
        assert!(reached.is_some(), "block {height} is not made: {:?}", self.status());
    }

    /// Waits until `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..6_000 {
            if holds(self) {
                return;
            }
            self.sleep(ms(10)).await;
        }
        panic!("never: {what}; {:?}", self.status());
    }

    /// Asks for a block on a task of its own.
    pub(crate) fn asks(&self, force: bool) -> Handle<Answer> {
        let mailbox = self.mailbox.clone();
        self.context.child("caller").spawn(move |_| async move { mailbox.produce(force).await })
    }

    pub(crate) fn proposed(&self) -> Vec<Proposal> {
        self.network.submissions().into_iter().map(|it| it.proposal).collect()
    }

    /// Over all lives of the runtime, how often `kind` was counted.
    pub(crate) fn counted(&self, kind: &str) -> u64 {
        let label = format!("kind=\"{kind}\"");
        let metrics = self.context.encode();
        let lines = metrics.lines().filter(|line| {
            !line.starts_with('#') && line.contains(&label) && line.contains("_total")
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    pub(crate) async fn stop(self) {
        self.mailbox.stop();
        self.coordinator.await.unwrap().unwrap();
        self.monitor.await.unwrap().unwrap();
    }

    /// Ends it where it stands.
    pub(crate) async fn kill(self) -> (Network<deterministic::Context>, Board) {
        self.coordinator.abort();
        self.monitor.abort();
        let _ = (self.coordinator.await, self.monitor.await);
        // What was being written is written, or is not.
        self.context.sleep(ms(1)).await;
        (self.network, self.board)
    }

    /// Every number once and linked, every transaction once and in order, all of it published in order.
    pub(crate) async fn check(&self) {
        check(&*self.applier).await;
        let chain = chain(&*self.applier).await;
        let posted = self.board.blocks();
        assert!(chain.starts_with(&posted), "what is published is the chain");
    }

    pub(crate) const fn sequencer(&self) -> &Mailbox {
        &self.mailbox
    }
}

pub(crate) async fn check(applier: &impl tidewatch_sequencer::Applier) {
    let mut nonces = std::collections::BTreeMap::<Sender, u64>::new();
    let mut time = 0;
    for (number, block) in (1..).zip(chain(applier).await) {
        assert_eq!(block.identity.number.get(), number);
        assert!(block.content.time_ms >= time, "time goes back at {number}");
        time = block.content.time_ms;
        assert_eq!(block.opened.len(), block.content.transactions.len());
        for transaction in &block.content.transactions {
            let next = nonces.entry(transaction.sender).or_default();
            assert_eq!(transaction.nonce, *next, "{transaction:?} in block {number}");
            *next += 1;
        }
    }
}

pub(crate) fn content(time_ms: u64, transactions: Vec<Transaction>) -> Content {
    Content { time_ms, transactions }
}

pub(crate) fn produced(answer: &Answer) -> Option<(u64, usize)> {
    match answer {
        Answer::Produced { block, transactions } => Some((block.height.get(), *transactions)),
        _ => None,
    }
}

/// Every transaction of a block that counts.
pub(crate) fn counts(block: &tidewatch_sequencer::Block) -> usize {
    block.opened.iter().filter(|opened| matches!(opened, Opened::Clear(_))).count()
}

pub(crate) use coordinator::{Nothing, Refusal, Stage, Upgrade};

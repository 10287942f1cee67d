//! A sequencer over a network that runs.

use super::*;
use crate::ordering::Network;
use commonware_runtime::{Clock as _, Handle};
use std::collections::BTreeMap;
use tidewatch_core::{ChainId, Fault};
use tidewatch_sequencer::{
    Applier as _, Coordinator, Opened, Pool as _, PreblockMonitor, Publisher as _,
    coordinator::{self, Mailbox, Ports},
    disk::{Chain, DiskPool, Genesis, Limits as PoolLimits, Published},
    monitor,
    timelock::Keys,
};

const SENDERS: u8 = 5;
const EACH: u64 = 8;
/// Rounds that a transaction is sealed ahead.
const AHEAD: u64 = 8;

/// Everything in one process, on one storage.
struct Sequencer {
    network: Network,
    remote: Remote,
    pool: Arc<DiskPool<Context>>,
    chain: Arc<Chain<Context>>,
    published: Arc<Published<Context>>,
    mailbox: Mailbox,
    tasks: Vec<Handle<Result<(), Fault>>>,
}

impl Sequencer {
    async fn start(context: &Context, directory: &TempDir) -> Self {
        let mut config = Config::default();
        config.devnet.directory = Some(directory.path().to_owned());
        let network = Network::start(context.child("network"), config).await.unwrap();
        let remote =
            Remote::new(&network.url(), network.keys().clone(), ClientLimits::default()).unwrap();
        let chain = ChainId::new("test:sequenced").unwrap();
        let genesis = Genesis { chain: chain.clone(), digest: Digest([7; 32]), time_ms: 0 };
        let (name, limits) = ("sequencer", PoolLimits::default());
        let pool = DiskPool::open(context.child("pool"), name, chain, limits).await.unwrap();
        let chain = Chain::open(context.child("chain"), name, genesis).await.unwrap();
        let published = Published::open(context.child("published"), name).await.unwrap();
        let (pool, chain, published) = (Arc::new(pool), Arc::new(chain), Arc::new(published));
        let ports = Ports {
            pool: pool.clone(),
            applier: chain.clone(),
            publisher: published.clone(),
            ordering: Arc::new(remote.clone()),
        };
        let ordering = ports.ordering.clone();
        let config = coordinator::Config::every(Duration::from_secs(5));
        let (coordinator, mailbox) = Coordinator::new(context.child("coordinator"), ports, config);
        let monitor = PreblockMonitor::new(
            context.child("monitor"),
            ordering,
            mailbox.clone(),
            monitor::Config::default(),
        );
        let tasks = vec![coordinator.start(), monitor.start()];
        Self { network, remote, pool, chain, published, mailbox, tasks }
    }

    /// Cut off wherever it is, as a crash would.
    async fn kill(self) {
        for mut task in self.tasks {
            task.abort();
            let _ = (&mut task).await;
        }
        self.network.stop().await;
    }

    /// Accepts the next transaction of each sender, sealed to the round that the sequencer names.
    async fn accept(&self, context: &Context) {
        let end = context.current() + DEADLINE;
        let certified = loop {
            if let Ok(seed) = self.remote.round().await {
                break seed.round;
            }
            assert!(context.current() < end, "a round is certified");
            context.sleep(Duration::from_millis(20)).await;
        };
        let outstanding = self.pool.outstanding().map(|proposal| proposal.content);
        let target = Keys::target(certified, outstanding.as_ref(), AHEAD);
        let transactions = (1..=SENDERS).map(|by| {
            let sender = Sender([by; 32]);
            let nonce = self.pool.nonce(&sender);
            let rng = &mut StdRng::seed_from_u64(nonce);
            let said = [by, nonce as u8];
            let payload = self.network.keys().seal(rng, target, (sender, nonce), &said).unwrap();
            Transaction { sender, nonce, payload }
        });
        let transactions: Vec<_> = transactions.collect();
        for accepted in self.pool.insert(transactions).await.unwrap() {
            accepted.unwrap();
        }
    }

    /// Waits until nothing waits and everything is published.
    async fn quiet(&self, context: &Context) {
        let end = context.current() + DEADLINE;
        while self.pool.waiting().current() > 0
            || self.pool.outstanding().is_some()
            || self.published.published() < self.chain.head().block.height
        {
            assert!(context.current() < end, "it is quiet: {:?}", self.mailbox.status().current());
            context.sleep(Duration::from_millis(20)).await;
        }
    }
}

#[test]
fn every_accepted_transaction_is_in_one_block_across_kills_of_sequencer_and_network() {
    embed(|context| async move {
        let directory = TempDir::new().unwrap();
        let mut sequencer = Sequencer::start(&context, &directory).await;
        for nonce in 0..EACH {
            sequencer.accept(&context).await;
            if nonce % 3 == 1 {
                sequencer.kill().await;
                sequencer = Sequencer::start(&context, &directory).await;
            }
        }
        sequencer.quiet(&context).await;
        let (mut found, mut clear) = (BTreeMap::<_, u64>::new(), 0);
        let head = sequencer.chain.head().block.height;
        for number in 1..=head.get() {
            let block = sequencer.chain.block(Height::new(number)).await.unwrap();
            for (transaction, opened) in block.content.transactions.iter().zip(&block.opened) {
                let next = found.entry(transaction.sender).or_default();
                assert_eq!(transaction.nonce, *next, "each once, in the order of nonces");
                *next += 1;
                if let Opened::Clear(said) = opened {
                    assert_eq!(**said, [transaction.sender.0[0], transaction.nonce as u8]);
                    clear += 1;
                }
            }
        }
        assert_eq!(found.len(), usize::from(SENDERS));
        assert!(found.values().all(|next| *next == EACH), "{found:?}");
        // Those that were accepted before a kill may be open before the next order is fixed; the others are not.
        assert!(clear >= u64::from(SENDERS), "{clear} are open");
        println!("{clear} of {} are open, in {head} blocks", u64::from(SENDERS) * EACH);
        sequencer.kill().await;
    });
}

//! A sequencer over a network that runs.

use super::*;
use crate::ordering::Network;
use commonware_runtime::{Clock as _, Handle};
use commonware_utils::sync::Mutex;
use futures::future::join_all;
use std::collections::BTreeMap;
use tidewatch_core::{
    ChainId, Fault,
    watch::{Sender as Watch, watch},
};
use tidewatch_sequencer::{
    Applier as _, Coordinator, Opened, Pool as _, PreblockMonitor, Publisher as _,
    coordinator::{self, Mailbox, Ports},
    disk::{Chain, DiskPool, Door, Genesis, Limits as PoolLimits, NotAccepted, Published},
    monitor,
};

const SENDERS: u8 = 5;
const EACH: u64 = 8;
/// Senders at once.
const MANY: u8 = 40;
const PAUSE: Duration = Duration::from_millis(20);

/// Everything in one process, on one storage.
struct Sequencer {
    network: Network,
    remote: Remote,
    pool: Arc<DiskPool<Context>>,
    chain: Arc<Chain<Context>>,
    published: Arc<Published<Context>>,
    mailbox: Mailbox,
    certified: Watch<Option<Round>>,
    door: Door,
    /// Why transactions were not accepted, and how often.
    refused: Mutex<BTreeMap<String, usize>>,
    tasks: Vec<Handle<Result<(), Fault>>>,
}

impl Sequencer {
    /// With proposals of `room` bytes at the most.
    async fn start(context: &Context, directory: &TempDir, room: usize) -> Self {
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
        let config = coordinator::Config {
            block_bytes: room,
            ..coordinator::Config::every(Duration::from_secs(5))
        };
        let (coordinator, mailbox) = Coordinator::new(context.child("coordinator"), ports, config);
        let monitor = PreblockMonitor::new(
            context.child("monitor"),
            ordering,
            mailbox.clone(),
            monitor::Config::default(),
        );
        let tasks = vec![coordinator.start(), monitor.start()];
        let (certified, newest) = watch(None);
        let door = Door { certified: newest, proposal_bytes: room };
        let refused = Mutex::default();
        Self { network, remote, pool, chain, published, mailbox, certified, door, refused, tasks }
    }

    /// Cut off wherever it is, as a crash would.
    async fn kill(self) {
        for mut task in self.tasks {
            task.abort();
            let _ = (&mut task).await;
        }
        self.network.stop().await;
    }

    /// Has the next transaction of a sender accepted: asks for a round, seals to it, and does so again where it is
    /// refused. So many rounds go by between the two.
    async fn accept(&self, context: &Context, by: u8, rounds: u64) {
        let sender = Sender([by; 32]);
        let nonce = self.pool.nonce(&sender);
        let (said, end) = ([by, nonce as u8], context.current() + DEADLINE);
        loop {
            assert!(context.current() < end, "it is accepted: {:?}", self.refused.lock());
            if let Some(why) = self.try_once(context, (sender, nonce), &said, rounds).await {
                let why: String = why.chars().filter(|letter| !letter.is_ascii_digit()).collect();
                *self.refused.lock().entry(why).or_default() += 1;
                context.sleep(PAUSE).await;
            } else {
                return;
            }
        }
    }

    async fn try_once(
        &self,
        context: &Context,
        (sender, nonce): (Sender, u64),
        said: &[u8],
        rounds: u64,
    ) -> Option<String> {
        let Some(asked) = self.certified().await else { return Some("no round".into()) };
        let target = match self.pool.window(&self.door, 250) {
            Ok(window) => window.target(),
            Err(why) => return Some(why.to_string()),
        };
        let rng = &mut StdRng::seed_from_u64(nonce);
        let payload = self.network.keys().seal(rng, target, (sender, nonce), said).unwrap();
        let transaction = Transaction { sender, nonce, payload };
        let end = asked.view().get() + rounds;
        while self.certified().await.is_none_or(|newest| newest.view().get() < end) {
            context.sleep(PAUSE).await;
        }
        let answers = self.pool.admit(vec![transaction], &self.door).await.unwrap();
        match answers.into_iter().next().unwrap() {
            Ok(_) => None,
            Err(NotAccepted::NotInTime(why)) => Some(why.to_string()),
            Err(why) => panic!("{why}"),
        }
    }

    /// The newest round, where the network says one.
    async fn certified(&self) -> Option<Round> {
        let seed = self.remote.round().await.ok()?;
        self.certified.change(|newest| {
            *newest = (*newest).max(Some(seed.round));
            true
        });
        Some(seed.round)
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
        let mut sequencer = Sequencer::start(&context, &directory, 100_000).await;
        for nonce in 0..EACH {
            join_all((1..=SENDERS).map(|by| sequencer.accept(&context, by, 0))).await;
            if nonce % 3 == 1 {
                sequencer.kill().await;
                sequencer = Sequencer::start(&context, &directory, 100_000).await;
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

/// With proposals that hold all that waits, and with proposals that are full: of what was accepted, nothing is dropped. A
/// third of the senders are slow: a round or two go by before what they sealed arrives.
#[test]
fn nothing_that_was_accepted_is_dropped_for_its_round_however_many_send_at_once() {
    for room in [512 * 1024, 4_000] {
        embed(|context| async move {
            let directory = TempDir::new().unwrap();
            let sequencer = Sequencer::start(&context, &directory, room).await;
            join_all((1..=MANY).map(|by| {
                let (context, sequencer) = (&context, &sequencer);
                async move {
                    for _ in 0..EACH {
                        sequencer.accept(context, by, u64::from(by % 3)).await;
                    }
                }
            }))
            .await;
            sequencer.quiet(&context).await;
            let (mut clear, head) = (0, sequencer.chain.head().block.height);
            for number in 1..=head.get() {
                let block = sequencer.chain.block(Height::new(number)).await.unwrap();
                for (transaction, opened) in block.content.transactions.iter().zip(&block.opened) {
                    let said = [transaction.sender.0[0], transaction.nonce as u8];
                    assert_eq!(*opened, Opened::Clear(said.to_vec().into()), "{transaction:?}");
                    clear += 1;
                }
            }
            assert_eq!(clear, u64::from(MANY) * EACH, "each in a block, and no other");
            println!(
                "{clear} in {head} blocks of {room} bytes; refused: {:#?}",
                sequencer.refused.lock()
            );
            sequencer.kill().await;
        });
    }
}

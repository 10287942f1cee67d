//! A follower around commonware's marshal over real sockets: an alto network whose validators change their key
//! with every epoch.

use alto_types::Block as Chained;
use commonware_consensus::{
    Reporters,
    marshal::{self, core::Actor, resolver::handler, standard::Standard},
    types::{FixedEpocher, ViewDelta},
};
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock as _, Supervisor as _,
    buffer::paged::{CacheRef, page_size},
    tokio::Context,
};
use commonware_storage::{archive::prunable, translator::TwoCap};
use commonware_utils::{NZU64, NZUsize, sync::Mutex};
use std::{collections::BTreeMap, num::NonZeroU64, path::Path, sync::Arc, time::Duration};
use tidewatch_certified::{
    FollowDriver, Keeper, MarshalMailbox,
    epochs::keeper,
    follow::{self, Marshal as _, Resolver, resolver},
};
use tidewatch_core::{Block, BlockRef, Digest, Fault, Height, Running, within};
use tidewatch_devnet::{
    CertificateMode,
    readymade::{Chain, ChainConfig, Server, ServerConfig},
};
use tidewatch_execution::{
    Application, Aside, Execution, Executor, Forkchoice, Order, Payload, Standing, Verdict,
    application::{self, History, Layer},
    executor,
};
use tidewatch_sources::alto::{
    self, AltoBlock, Config, Endpoint, StandardScheme, chain_id, open_under,
};
use tidewatch_tests::run;

const LENGTH: NonZeroU64 = NZU64!(20);
const END: Duration = Duration::from_secs(60);

/// Blocks by height, and where it was pointed at: an execution client, in memory.
#[derive(Clone)]
struct Ledger(Arc<Mutex<State>>);

struct State {
    blocks: BTreeMap<u64, AltoBlock>,
    at: Forkchoice,
    given: u64,
}

/// A block as the ledger is given it.
#[derive(Clone)]
struct Given(AltoBlock);

impl Payload for Given {
    fn reference(&self) -> BlockRef {
        self.0.reference()
    }

    fn evidence(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        let genesis = AltoBlock::genesis();
        let at = Forkchoice { head: genesis.reference(), safe: None, finalized: None };
        let blocks = BTreeMap::from([(0, genesis)]);
        Self(Arc::new(Mutex::new(State { blocks, at, given: 0 })))
    }
}

impl Ledger {
    /// It crashes, and had everything up to `height` on its disk.
    fn lose_above(&self, height: u64) {
        let mut state = self.0.lock();
        state.blocks.retain(|at, _| *at <= height);
        let head = state.blocks.values().next_back().expect("genesis").reference();
        state.at = Forkchoice { head, safe: Some(head), finalized: Some(head) };
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
        let mut state = self.0.lock();
        let (name, parent) = (block.reference(), block.parent());
        let has = |below: &AltoBlock| below.reference().digest == parent;
        if !name
            .height
            .get()
            .checked_sub(1)
            .is_some_and(|at| state.blocks.get(&at).is_some_and(has))
        {
            return Ok(Verdict::NotYet(Aside::Syncing));
        }
        state.blocks.insert(name.height.get(), block.clone());
        state.given += 1;
        Ok(Verdict::Valid(name.digest))
    }

    async fn point(&self, to: &Forkchoice) -> Result<Verdict, Fault> {
        let mut state = self.0.lock();
        if !state.blocks.contains_key(&to.head.height.get()) {
            return Ok(Verdict::NotYet(Aside::Syncing));
        }
        state.at = *to;
        Ok(Verdict::Valid(to.head.digest))
    }

    async fn standing(&self) -> Result<Standing, Fault> {
        Ok(Standing { forkchoice: self.0.lock().at, order: None })
    }

    async fn at(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let state = self.0.lock();
        let at = |height: &Height| state.blocks.get(&height.get()).map(Block::reference);
        Ok(heights.iter().map(at).collect())
    }

    async fn durable(&self) -> Result<Option<Height>, Fault> {
        Ok(Some(self.0.lock().at.head.height))
    }
}

impl History for Ledger {
    async fn block_at(&self, height: Height) -> Result<Option<AltoBlock>, Fault> {
        Ok(self.0.lock().blocks.get(&height.get()).cloned())
    }

    async fn block_by_digest(&self, digest: Digest) -> Result<Option<AltoBlock>, Fault> {
        let has = |block: &&AltoBlock| block.reference().digest == digest;
        Ok(self.0.lock().blocks.values().find(has).cloned())
    }
}

fn archive<C>(name: &str, cache: &CacheRef, codec_config: C) -> prunable::Config<TwoCap, C> {
    prunable::Config {
        translator: TwoCap,
        metadata_partition: format!("{name}-metadata"),
        key_partition: format!("{name}-key"),
        key_page_cache: cache.clone(),
        value_partition: format!("{name}-value"),
        compression: None,
        codec_config,
        items_per_section: NZU64!(64),
        key_write_buffer: NZUsize!(4_096),
        value_write_buffer: NZUsize!(4_096),
        replay_buffer: NZUsize!(4_096),
    }
}

type Port = MarshalMailbox<StandardScheme, Standard<Chained>, AltoBlock>;

/// Starts a follower of `server` on what the disk holds.
async fn follow(context: &Context, server: &Server, ledger: &Ledger) -> (Port, Vec<Running>) {
    let address = format!("alto+{}?mode=standard&epoch_length={LENGTH}", server.url());
    let endpoint: Endpoint = address.parse().expect("an address");
    let identity = commonware_formatting::from_hex(server.identity()).expect("hex");
    let config = Config::default();
    let schemes = alto::schemes::<StandardScheme>(&identity, LENGTH, &config).expect("a key");
    let chain = chain_id(&identity, CertificateMode::Standard);
    let kept = keeper::Config { chain: chain.clone(), partition: alto::EPOCHS.into() };
    let keeper = Keeper::open(context.child("epochs"), kept, &schemes).await.expect("opens");
    let codec = AltoBlock::codec(config.block_size_max);
    let source = context.child("source");
    let (source, upstream) =
        open_under(source, &[endpoint], chain, schemes.clone(), Arc::new(()), config)
            .expect("opens");
    let source = Arc::new(source);

    let cache = CacheRef::from_pooler(context, page_size(4_096), NZUsize!(64));
    let open = context.child("finalizations");
    let finalizations = prunable::Archive::init(open, archive("finalizations", &cache, ()));
    let finalizations = finalizations.await.expect("opens");
    let blocks = prunable::Archive::init(context.child("blocks"), archive("blocks", &cache, codec));
    let blocks = blocks.await.expect("opens");
    let config = marshal::Config {
        provider: schemes.clone(),
        epocher: FixedEpocher::new(LENGTH),
        start: marshal::Start::Genesis(Chained::genesis()),
        partition_prefix: "marshal".into(),
        mailbox_size: NZUsize!(1_024),
        view_retention: ViewDelta::new(64),
        prunable_items_per_section: NZU64!(64),
        page_cache: cache,
        replay_buffer: NZUsize!(4_096),
        key_write_buffer: NZUsize!(4_096),
        value_write_buffer: NZUsize!(4_096),
        block_codec_config: codec,
        max_repair: NZUsize!(32),
        max_pending_acks: NZUsize!(8),
        strategy: Sequential,
    };
    let (actor, mailbox, _) =
        Actor::init(context.child("marshal"), finalizations, blocks, config).await;
    let port = || Port {
        mailbox: mailbox.clone(),
        upstream: PrivateKey::from_seed(0).public_key(),
        into: |block| block.0,
        from: AltoBlock,
    };
    let execution = Arc::new(ledger.clone());
    let order: fn(&AltoBlock) -> Order = |block| {
        let round = block.context.round;
        Order::round(round.epoch().get(), round.view().get())
    };
    let settings =
        executor::Config { retry: Duration::from_millis(50), ..executor::Config::default() };
    let (executor, calls) = Executor::new(context.child("executor"), execution.clone(), settings);
    let layer = Layer::new(execution.clone(), calls.clone(), order);
    let parts = application::Parts { execution, executor: calls, marshal: port(), order };
    let (application, delivered) =
        Application::new(context.child("application"), parts, application::Config::default());
    let parts = follow::Parts {
        marshal: port(),
        epochs: schemes.clone(),
        execution: layer.clone(),
        upstream: source.clone(),
    };
    let settings = follow::Config { poll: Duration::from_secs(1), ..follow::Config::default() };
    let (driver, inbox) = FollowDriver::new(context.child("follow"), parts, settings);
    assert!(source.report_to(inbox.finality()));
    let (receiver, consumer) = handler::init(context.child("handler"), NZUsize!(1_024));
    let parts = resolver::Parts {
        transport: source.shared_transport(),
        execution: Arc::new(layer),
        epochs: schemes,
        consumer,
    };
    let (serving, asking) =
        Resolver::new::<PublicKey>(context.child("resolver"), parts, resolver::Config::default());
    let reporters = Reporters::from((
        inbox.updates::<Standard<Chained>>(AltoBlock),
        delivered.updates::<Standard<Chained>>(AltoBlock),
    ));
    actor.start_unbuffered(reporters, (receiver, asking));
    let running = vec![
        Running::start(keeper),
        Running::start(executor),
        Running::start(application),
        Running::start(serving),
        Running::start(upstream),
        Running::start(driver),
    ];
    (port(), running)
}

/// Waits until everything up to `height` is delivered and acknowledged.
async fn until(context: &Context, port: &Port, height: u64) {
    let delivered = async {
        while port.processed().await != Some(Height::new(height)) {
            context.sleep(Duration::from_millis(20)).await;
        }
    };
    let stands = within(context, END, delivered).await;
    assert!(stands.is_some(), "at {:?}, not {height}", port.processed().await);
}

fn live(directory: &Path, server: &Server, ledger: &Ledger, chain: &Chain, heights: [u64; 2]) {
    let [behind, tip] = heights;
    run(directory, |context| async move {
        let (port, running) = follow(&context, server, ledger).await;
        until(&context, &port, behind).await;
        for height in behind + 1..=tip {
            if height == behind + 5 {
                // It crashes alone, and comes back with less.
                ledger.lose_above(height - 4);
            }
            server.finalize(chain, Height::new(height)).expect("finalizes");
            until(&context, &port, height).await;
        }
        let blocks = ledger.0.lock().blocks.clone();
        assert_eq!(blocks.keys().copied().collect::<Vec<_>>(), (0..=tip).collect::<Vec<_>>());
        for (height, block) in blocks.into_iter().skip(1) {
            assert_eq!(Some(&block.0), chain.block(Height::new(height)));
        }
        assert_eq!(ledger.0.lock().at.finalized.map(|block| block.height.get()), Some(tip));
        for actor in running.into_iter().rev() {
            actor.stop();
            actor.await.expect("ends in order");
        }
    });
}

#[test]
fn a_follower_around_a_marshal_drives_an_execution_layer_over_epochs_crashes_and_restarts() {
    let config = ChainConfig { epoch_length: LENGTH.get(), key_every: 1, ..ChainConfig::default() };
    let chain = Chain::sign(130, CertificateMode::Standard, config).expect("signs");
    let config = ServerConfig { upto: Some(Height::new(70)), ..ServerConfig::default() };
    let server = Server::start(&chain, config).expect("serves");
    let directory = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::default();
    live(directory.path(), &server, &ledger, &chain, [70, 85]);
    for height in 86..=110 {
        server.finalize(&chain, Height::new(height)).expect("finalizes");
    }
    // Both processes end, and the execution layer lost some of what it had.
    ledger.lose_above(75);
    live(directory.path(), &server, &ledger, &chain, [110, 125]);
    // Lost alone: three blocks in each life; and ten between them.
    assert_eq!(ledger.0.lock().given, 125 + 3 + 3 + 10);
}

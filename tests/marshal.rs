//! A follower around commonware's marshal over real sockets: an alto network whose validators change their key
//! with every epoch.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use alto_types::Block;
use commonware_actor::Feedback;
use commonware_consensus::{
    Reporter, Reporters,
    marshal::{self, Update, core::Actor, resolver::handler, standard::Standard},
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
use commonware_utils::{Acknowledgement as _, NZU64, NZUsize, acknowledgement::Exact, sync::Mutex};
use std::{collections::BTreeMap, num::NonZeroU64, path::Path, sync::Arc, time::Duration};
use tidewatch_certified::{
    FollowDriver, Keeper, MarshalMailbox,
    epochs::keeper,
    follow::{self, ExecutionLayer, Marshal as _, Resolver, resolver},
};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, Height, Running, within};
use tidewatch_devnet::{
    CertificateMode,
    readymade::{Chain, ChainConfig, Server, ServerConfig},
};
use tidewatch_sources::alto::{
    self, AltoBlock, Config, Endpoint, StandardScheme, chain_id, open_under,
};
use tidewatch_tests::run;

const LENGTH: NonZeroU64 = NZU64!(20);
const END: Duration = Duration::from_secs(60);

/// Executes blocks, in memory.
#[derive(Clone)]
struct Executed(Arc<Mutex<BTreeMap<u64, AltoBlock>>>);

impl Default for Executed {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(BTreeMap::from([(0, AltoBlock::genesis())]))))
    }
}

impl Executed {
    fn execute(&self, block: AltoBlock) {
        self.0.lock().insert(block.height.get(), block);
    }
}

impl ExecutionLayer for Executed {
    type Block = AltoBlock;

    async fn durable(&self) -> Result<BlockRef, Fault> {
        Ok(self.0.lock().values().next_back().expect("genesis").reference())
    }

    async fn at(&self, height: Height) -> Result<Option<AltoBlock>, Fault> {
        Ok(self.0.lock().get(&height.get()).cloned())
    }

    async fn by_digest(&self, digest: Digest) -> Result<Option<AltoBlock>, Fault> {
        Ok(self.0.lock().values().find(|block| block.reference().digest == digest).cloned())
    }

    async fn redeliver(&self, block: AltoBlock) -> Result<(), Fault> {
        self.execute(block);
        Ok(())
    }
}

impl Reporter for Executed {
    type Activity = Update<Block>;

    fn report(&mut self, update: Update<Block>) -> Feedback {
        if let Update::Block(block, acknowledgement) = update {
            self.execute(AltoBlock(Arc::unwrap_or_clone(block)));
            Exact::acknowledge(acknowledgement);
        }
        Feedback::Ok
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

type Port = MarshalMailbox<StandardScheme, Standard<Block>, AltoBlock>;

/// Starts a follower of `server` on what the disk holds.
async fn follow(context: &Context, server: &Server, execution: &Executed) -> (Port, Vec<Running>) {
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
        start: marshal::Start::Genesis(Block::genesis()),
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
    let parts = follow::Parts {
        marshal: port(),
        epochs: schemes.clone(),
        execution: Arc::new(execution.clone()),
        upstream: source.clone(),
    };
    let settings = follow::Config { poll: Duration::from_secs(1), ..follow::Config::default() };
    let (driver, inbox) = FollowDriver::new(context.child("follow"), parts, settings);
    assert!(source.report_to(inbox.finality()));
    let (receiver, consumer) = handler::init(context.child("handler"), NZUsize!(1_024));
    let parts = resolver::Parts {
        transport: source.shared_transport(),
        execution: Arc::new(execution.clone()),
        epochs: schemes,
        consumer,
    };
    let (serving, asking) =
        Resolver::new::<PublicKey>(context.child("resolver"), parts, resolver::Config::default());
    let reporters =
        Reporters::from((inbox.updates::<Standard<Block>>(AltoBlock), execution.clone()));
    actor.start_unbuffered(reporters, (receiver, asking));
    let running = vec![
        Running::start(keeper),
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

fn live(directory: &Path, server: &Server, execution: &Executed, chain: &Chain, heights: [u64; 2]) {
    let [behind, tip] = heights;
    run(directory, |context| async move {
        let (port, running) = follow(&context, server, execution).await;
        until(&context, &port, behind).await;
        for height in behind + 1..=tip {
            server.finalize(chain, Height::new(height)).expect("finalizes");
            until(&context, &port, height).await;
        }
        let executed = execution.0.lock().clone();
        assert_eq!(executed.keys().copied().collect::<Vec<_>>(), (0..=tip).collect::<Vec<_>>());
        for (height, block) in executed.into_iter().skip(1) {
            assert_eq!(Some(&block.0), chain.block(Height::new(height)));
        }
        for actor in running.into_iter().rev() {
            actor.stop();
            actor.await.expect("ends in order");
        }
    });
}

#[test]
fn a_follower_around_a_marshal_crosses_epochs_over_real_sockets_and_goes_on_after_a_restart() {
    let config = ChainConfig { epoch_length: LENGTH.get(), key_every: 1, ..ChainConfig::default() };
    let chain = Chain::sign(130, CertificateMode::Standard, config).expect("signs");
    let config = ServerConfig { upto: Some(Height::new(70)), ..ServerConfig::default() };
    let server = Server::start(&chain, config).expect("serves");
    let directory = tempfile::tempdir().expect("a directory");
    let execution = Executed::default();
    live(directory.path(), &server, &execution, &chain, [70, 85]);
    for height in 86..=110 {
        server.finalize(&chain, Height::new(height)).expect("finalizes");
    }
    // The execution layer lost some of it meanwhile.
    execution.0.lock().retain(|height, _| *height <= 75);
    live(directory.path(), &server, &execution, &chain, [110, 125]);
}

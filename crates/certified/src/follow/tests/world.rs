//! A real marshal over a ready-made chain, its upstream, and what executes its blocks.

use crate::{
    CertifiedSource, Finalized, Keeper, Key, Push,
    epochs::{
        keeper,
        tests::world::{Epoched, TestSchemes, follow},
    },
    follow::{
        Config, ExecutionLayer, FollowDriver, Mailbox, Marshal, MarshalMailbox, Parts, Resolver,
        metrics::Metrics, resolver,
    },
    mocks::{Answer, DATA_MAX, Scripted, TestBlock, TestScheme},
};
use commonware_actor::Feedback;
use commonware_consensus::{
    Reporter, Reporters,
    marshal::{self, Update, core::Actor, resolver::handler, standard::Standard},
    simplex::types::Finalization,
    types::{FixedEpocher, ViewDelta},
};
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock as _, Runner as _, Spawner as _, Supervisor as _,
    buffer::paged::{CacheRef, page_size},
    deterministic::{self, Context},
};
use commonware_storage::{archive::prunable, translator::TwoCap};
use commonware_utils::{Acknowledgement as _, NZU64, NZUsize, channel::mpsc, sync::Mutex};
use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_core::{Block as _, BlockRef, ChainId, Digest, Fault, FaultKind, Height, Running};
use tidewatch_testkit::host::{Host, Odds};

pub(super) type Source = CertifiedSource<Context, Arc<Scripted>, TestSchemes, TestBlock>;
type RealMarshal = MarshalMailbox<TestScheme, Standard<TestBlock>, TestBlock>;

/// Something that the driver did, or that the marshal delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Reported(u64),
    Hint(u64),
    Floor(u64),
    Delivered(u64),
    Redelivered(u64),
}

/// Keeps what it is given, and what it was asked. It survives the end of a process as another process does, but
/// for what was not durable.
#[derive(Debug, Default)]
pub(super) struct Executed {
    blocks: Mutex<BTreeMap<u64, TestBlock>>,
    durable: Mutex<u64>,
    /// Blocks above the durable ones, after which those become durable.
    lag: u64,
    /// How long the application takes for a block.
    slow: Option<Duration>,
    pub(super) acts: Mutex<Vec<Act>>,
    /// What it was asked for at a start.
    pub(super) reads: Mutex<Vec<Option<u64>>>,
    /// It fails from this read on.
    pub(super) fails_at: Mutex<Option<usize>>,
}

impl Executed {
    /// What has executed `chain` up to `height`, all of it durable.
    pub(super) fn up_to(chain: &Epoched, height: u64) -> Self {
        let blocks = (0..=height).map(|height| (height, chain.block(height).clone())).collect();
        Self { blocks: Mutex::new(blocks), durable: Mutex::new(height), ..Self::default() }
    }

    pub(super) fn new(chain: &Epoched) -> Arc<Self> {
        Self::lagging(chain, 0)
    }

    /// One at genesis, which takes `time` for each block.
    pub(super) fn slow(chain: &Epoched, time: Duration) -> Arc<Self> {
        Arc::new(Self { slow: Some(time), ..Self::up_to(chain, 0) })
    }

    /// One at genesis, of which the last `lag` blocks are not durable.
    pub(super) fn lagging(chain: &Epoched, lag: u64) -> Arc<Self> {
        Arc::new(Self { lag, ..Self::up_to(chain, 0) })
    }

    /// Its process is killed: what was not durable is lost.
    pub(super) fn crash(&self) {
        let durable = *self.durable.lock();
        self.blocks.lock().retain(|height, _| *height <= durable);
    }

    pub(super) fn forget(&self, height: u64) {
        self.blocks.lock().remove(&height);
    }

    pub(super) fn replace(&self, block: &TestBlock) {
        self.blocks.lock().insert(block.reference().height.get(), block.clone());
    }

    pub(super) fn top(&self) -> u64 {
        self.blocks.lock().keys().next_back().copied().unwrap_or_default()
    }

    pub(super) fn held(&self) -> Vec<u64> {
        self.blocks.lock().keys().copied().collect()
    }

    pub(super) fn acts(&self) -> Vec<Act> {
        std::mem::take(&mut self.acts.lock())
    }

    fn act(&self, act: Act) {
        self.acts.lock().push(act);
    }

    fn execute(&self, block: TestBlock) {
        let height = block.reference().height.get();
        self.blocks.lock().entry(height).or_insert(block);
        let mut durable = self.durable.lock();
        *durable = (*durable).max(height.saturating_sub(self.lag));
    }

    fn read(&self, height: Option<u64>) -> Result<(), Fault> {
        let mut reads = self.reads.lock();
        reads.push(height);
        match *self.fails_at.lock() {
            Some(at) if reads.len() > at => Err(FaultKind::Disk.fault("execution", "as told")),
            _ => Ok(()),
        }
    }
}

impl ExecutionLayer for Executed {
    type Block = TestBlock;

    async fn durable(&self) -> Result<BlockRef, Fault> {
        self.read(None)?;
        let durable = *self.durable.lock();
        Ok(self.blocks.lock()[&durable].reference())
    }

    async fn at(&self, height: Height) -> Result<Option<TestBlock>, Fault> {
        self.read(Some(height.get()))?;
        Ok(self.blocks.lock().get(&height.get()).cloned())
    }

    async fn by_digest(&self, digest: Digest) -> Result<Option<TestBlock>, Fault> {
        Ok(self.blocks.lock().values().find(|block| block.reference().digest == digest).cloned())
    }

    async fn redeliver(&self, block: TestBlock) -> Result<(), Fault> {
        let height = block.reference().height.get();
        assert!(height <= self.top() + 1, "in order");
        self.act(Act::Redelivered(height));
        self.execute(block);
        *self.durable.lock() = height;
        Ok(())
    }
}

/// Executes what the marshal delivers.
#[derive(Clone)]
struct Application(Arc<Executed>, Arc<Context>);

impl Reporter for Application {
    type Activity = Update<TestBlock>;

    fn report(&mut self, update: Update<TestBlock>) -> Feedback {
        if let Update::Block(block, acknowledgement) = update {
            self.0.act(Act::Delivered(block.reference().height.get()));
            self.0.execute((*block).clone());
            match self.0.slow {
                None => acknowledgement.acknowledge(),
                Some(time) => {
                    let wait = self.1.sleep(time);
                    self.1.child("slow").spawn(|_| async move {
                        wait.await;
                        acknowledgement.acknowledge();
                    });
                }
            }
        }
        Feedback::Ok
    }
}

/// The marshal, with what the driver asks of it written down.
pub(super) struct Watched {
    inner: RealMarshal,
    chain: Epoched,
    acts: Arc<Executed>,
}

impl Watched {
    fn height(&self, digest: Digest) -> u64 {
        let heights = 0..=self.chain.tip;
        heights.into_iter().find(|at| self.chain.reference(*at).digest == digest).unwrap()
    }
}

impl Marshal for Watched {
    type Scheme = TestScheme;
    type Block = TestBlock;

    fn finalized(&self, finalized: Finalized<TestScheme, TestBlock>) {
        self.acts.act(Act::Reported(finalized.block.reference().height.get()));
        self.inner.finalized(finalized);
    }

    fn hint(&self, height: Height) {
        self.acts.act(Act::Hint(height.get()));
        self.inner.hint(height);
    }

    fn floor(&self, finalization: Finalization<TestScheme, Digest>) {
        self.acts.act(Act::Floor(self.height(finalization.proposal.payload)));
        self.inner.floor(finalization);
    }

    async fn processed(&self) -> Option<Height> {
        self.inner.processed().await
    }

    async fn finalization(&self, height: Height) -> Option<Finalization<TestScheme, Digest>> {
        self.inner.finalization(height).await
    }

    async fn block(&self, height: Height) -> Option<TestBlock> {
        self.inner.block(height).await
    }
}

/// How a node is run.
pub(super) struct Setup {
    /// Names what is on disk: two nodes may have one.
    pub(super) name: &'static str,
    pub(super) chain: Epoched,
    pub(super) execution: Arc<Executed>,
    pub(super) config: Config,
    pub(super) anchor: u64,
    /// Whether boundaries are kept.
    pub(super) keeps: bool,
    /// How long the disk of the boundaries may take.
    pub(super) slow_disk: Odds,
    /// Blocks that the marshal delivers without an acknowledgement.
    pub(super) acks_max: NonZeroUsize,
}

impl Setup {
    pub(super) fn new(chain: &Epoched, execution: &Arc<Executed>) -> Self {
        let config = Config::default();
        let (chain, execution) = (chain.clone(), execution.clone());
        let (name, acks_max) = ("node", NZUsize!(1));
        let slow_disk = Odds::default();
        Self { name, chain, execution, config, anchor: 0, keeps: true, slow_disk, acks_max }
    }
}

/// A node that runs.
pub(super) struct Node {
    pub(super) transport: Arc<Scripted>,
    pub(super) schemes: TestSchemes,
    pub(super) marshal: RealMarshal,
    pub(super) source: Arc<Source>,
    pub(super) pushes: mpsc::Sender<Result<Push, Fault>>,
    pub(super) mailbox: Mailbox<TestScheme, TestBlock>,
    pub(super) driver: Running,
    pub(super) metrics: Metrics,
    pub(super) keeper: Option<Running>,
}

const BUFFER: NonZeroUsize = NZUsize!(1_024);

fn archive<C>(name: &str, cache: &CacheRef, codec_config: C) -> prunable::Config<TwoCap, C> {
    prunable::Config {
        translator: TwoCap,
        metadata_partition: format!("{name}-metadata"),
        key_partition: format!("{name}-key"),
        key_page_cache: cache.clone(),
        value_partition: format!("{name}-value"),
        compression: None,
        codec_config,
        items_per_section: NZU64!(8),
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        replay_buffer: BUFFER,
    }
}

/// Starts a node on what the disk of `context` holds. `answers` is its upstream.
pub(super) async fn launch(context: &Context, setup: &Setup, transport: Arc<Scripted>) -> Node {
    let Setup { name, chain, execution, config, anchor, keeps, slow_disk, acks_max } = setup;
    let context = &context.child(name);
    let schemes = chain.schemes(*anchor);
    let keeper = match keeps {
        true => {
            let chain = ChainId::new("test:follow").unwrap();
            let config = keeper::Config { chain, partition: format!("{name}-epochs") };
            let (host, trouble) = Host::new(context.child("keeper"), 0);
            trouble.slow_disk(*slow_disk);
            let keeper = Keeper::open(host, config, &schemes).await.unwrap();
            Some(Running::start(keeper))
        }
        false => None,
    };
    let pushes = transport.accept();
    let (source, upstream, _) = follow(context, &schemes, &transport, crate::Config::default());
    let source = Arc::new(source);

    let cache = CacheRef::from_pooler(context, page_size(1_024), NZUsize!(64));
    let finalizations = prunable::Archive::init(
        context.child("finalizations"),
        archive(&format!("{name}-finalizations"), &cache, ()),
    );
    let codec = (..=DATA_MAX).into();
    let blocks = prunable::Archive::init(
        context.child("blocks"),
        archive(&format!("{name}-blocks"), &cache, codec),
    );
    let (actor, inner, _) = Actor::init(
        context.child("marshal"),
        finalizations.await.unwrap(),
        blocks.await.unwrap(),
        marshal::Config {
            provider: schemes.clone(),
            epocher: FixedEpocher::new(NZU64!(chain.length)),
            start: marshal::Start::Genesis(chain.block(0).clone()),
            partition_prefix: format!("{name}-marshal"),
            mailbox_size: NZUsize!(64),
            view_retention: ViewDelta::new(16),
            prunable_items_per_section: NZU64!(8),
            page_cache: cache,
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: codec,
            max_repair: NZUsize!(16),
            max_pending_acks: *acks_max,
            strategy: Sequential,
        },
    )
    .await;
    let port = || RealMarshal {
        mailbox: inner.clone(),
        upstream: PrivateKey::from_seed(0).public_key(),
        into: |block| block,
        from: |block| block,
    };
    let watched = Watched { inner: port(), chain: chain.clone(), acts: execution.clone() };
    let parts = Parts {
        marshal: watched,
        epochs: schemes.clone(),
        execution: execution.clone(),
        upstream: source.clone(),
    };
    let (driver, mailbox) = FollowDriver::new(context.child("follow"), parts, config.clone());
    assert!(source.report_to(mailbox.finality()));
    let (receiver, consumer) = handler::init(context.child("handler"), NZUsize!(64));
    let parts = resolver::Parts {
        transport: transport.clone(),
        execution: execution.clone(),
        epochs: schemes.clone(),
        consumer,
    };
    let (served, resolving) =
        Resolver::new::<PublicKey>(context.child("resolver"), parts, resolver::Config::default());
    let reporters = Reporters::from((
        mailbox.updates::<Standard<TestBlock>>(|block| block),
        Application(execution.clone(), Arc::new(context.child("application"))),
    ));
    actor.start_unbuffered(reporters, (receiver, resolving));
    let metrics = driver.metrics();
    served.start();
    upstream.start();
    Node {
        transport,
        schemes,
        marshal: port(),
        source,
        pushes,
        mailbox,
        driver: Running::start(driver),
        metrics,
        keeper,
    }
}

impl Node {
    /// The height up to which the marshal counts blocks as delivered.
    pub(super) async fn processed(&self) -> Option<u64> {
        self.marshal.processed().await.map(Height::get)
    }
}

pub(super) fn run<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(3_600)).start(test);
}

pub(super) fn endpoint(
    context: &Context,
    script: impl FnMut(Key) -> Answer + Send + 'static,
) -> Arc<Scripted> {
    Arc::new(Scripted::new(context, script))
}

/// Runs `test` with a node of `setup` whose endpoint answers as `script` says.
pub(super) fn with_node(
    setup: &Setup,
    script: impl FnMut(Key) -> Answer + Send + 'static,
    test: impl AsyncFnOnce(Context, Node),
) {
    run(|context| async move {
        let node = launch(&context, setup, endpoint(&context, script)).await;
        test(context, node).await;
    });
}

/// An endpoint that has the chain, and says nothing of its tip.
pub(super) fn quiet(chain: &Epoched) -> impl FnMut(Key) -> Answer + Send + use<> {
    let mut answers = chain.answers();
    move |key| match key {
        Key::LatestFinalization | Key::LatestNotarization => Answer::Missing,
        _ => answers(key),
    }
}

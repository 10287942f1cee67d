//! A follower as the command composes it, with a recorder at every port.

use crate::{Counted, Reader, Recorder};
use commonware_codec::{Codec, Read};
use commonware_runtime::{Supervisor as _, tokio::Context};
use commonware_utils::NZU32;
use std::{sync::Arc, time::Duration};
use tidewatch_certified::{Config as Certified, Work};
use tidewatch_core::{ChainInfo, Running as Task, Source};
use tidewatch_devnet::{Devnet, readymade};
use tidewatch_node::{Attachment, Config as NodeConfig, Follower, Member, Role, supervisor};
use tidewatch_serve::{Config as Serving, Listening, Observer, Parts, Server};
use tidewatch_sources::{
    alto::{self, AltoBlock, AltoSource, CertificateMode, Endpoint, Scheme},
    rpc,
};
use tidewatch_store::{Config as StoreConfig, Reader as Kept, Store};
use tidewatch_stream::{Mode, Start, Thresholds, delivery, driver::Config as Driver};

/// How long a follower may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What the partitions of a store begin with.
pub(crate) const PARTITION: &str = "tidewatch";

/// How a node is asked, in a test: waits that are short, deadlines that a busy machine keeps, and blocks as old as the
/// node says.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Settings of the driver.
    pub driver: Driver,
    /// Settings of the source.
    pub rpc: rpc::Config,
}

impl Default for Tuning {
    fn default() -> Self {
        let mut driver = Driver {
            poll: Duration::from_millis(50),
            backoff_max: Duration::from_millis(200),
            ..Driver::default()
        };
        driver.thresholds.tip_age = Duration::MAX;
        let rpc = rpc::Config {
            requests_per_second: NZU32!(10_000),
            requests_burst: NZU32!(10_000),
            lower_max: 2,
            lower_pause: Duration::from_millis(10),
            backoff_base: Duration::from_millis(20),
            backoff_cap: Duration::from_millis(100),
            ..rpc::Config::default()
        };
        Self { driver, rpc }
    }
}

/// What a node follows, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The upstreams.
    pub endpoints: Vec<Endpoint>,
    /// The group's public key.
    pub identity: Vec<u8>,
    /// Settings of the driver.
    pub driver: Driver,
    /// Settings of the source.
    pub alto: alto::Config,
    /// What the partitions of the store begin with, where several followers share a directory.
    pub partition: String,
}

impl Settings {
    fn new(url: &str, mode: CertificateMode, identity: &str) -> Self {
        let endpoint = format!("alto+{url}?mode={}", mode.as_str());
        let identity = (0..identity.len()).step_by(2).map(|at| identity.get(at..at + 2));
        let identity = identity.map(|byte| u8::from_str_radix(byte.expect("in pairs"), 16));
        // Waits that are short for a test, deadlines that a busy machine keeps.
        let certified = Certified {
            request_timeout: Duration::from_secs(10),
            backoff_base: Duration::from_millis(50),
            backoff_cap: Duration::from_millis(200),
            ..Certified::default()
        };
        let driver = Driver {
            poll: Duration::from_millis(100),
            backoff_max: Duration::from_millis(400),
            ..Driver::default()
        };
        Self {
            endpoints: vec![endpoint.parse().expect("an endpoint")],
            identity: identity.collect::<Result<_, _>>().expect("hex"),
            driver,
            alto: alto::Config { certified, ..alto::Config::default() },
            partition: PARTITION.into(),
        }
    }

    /// Follows `devnet`.
    pub fn devnet(devnet: &Devnet) -> Self {
        Self::new(&devnet.url(), devnet.mode(), &devnet.identity())
    }

    /// Follows `server`, whose blocks are as old as they were signed.
    pub fn readymade(server: &readymade::Server) -> Self {
        let settings = Self::new(&server.url(), server.mode(), server.identity());
        settings.with_thresholds(|thresholds| thresholds.tip_age = Duration::MAX)
    }

    /// Starts at `start` in an empty directory.
    #[must_use]
    pub fn with_start(mut self, start: Start) -> Self {
        self.driver.mode = Mode::Blocks { start, skip_finalized: false };
        self
    }

    /// Changes what counts as live.
    #[must_use]
    pub fn with_thresholds(mut self, change: impl FnOnce(&mut Thresholds)) -> Self {
        change(&mut self.driver.thresholds);
        self
    }

    /// Changes the limits of the source.
    #[must_use]
    pub fn with_certified(mut self, change: impl FnOnce(&mut Certified)) -> Self {
        change(&mut self.alto.certified);
        self
    }
}

/// A running follower of an alto chain.
pub type Node<S> = Running<AltoSource<Context, S>>;

/// A running follower.
#[derive(Debug)]
pub struct Running<S: Source<Block: Codec>> {
    /// The source, with the calls that were made.
    pub source: Arc<Counted<S>>,
    /// What is kept.
    pub store: Kept<Context, S::Block>,
    /// The follower.
    pub follower: Follower<Context, Kept<Context, S::Block>>,
    /// What it said.
    pub recorder: Arc<Recorder>,
    /// The chain.
    pub identity: ChainInfo,
}

impl<S: Source<Block: Codec>> Running<S> {
    /// Opens the store in the storage of `context`, and follows `source`, whose monitor `recorder` is.
    pub async fn follow(
        context: &Context,
        source: S,
        codec: <S::Block as Read>::Cfg,
        recorder: Arc<Recorder>,
        (driver, partition): (Driver, &str),
    ) -> Self {
        let source = Arc::new(Counted::new(source));
        let identity = source.chain_info().await.expect("the source says what it follows");
        let config = StoreConfig::new(identity.clone(), codec);
        let config = StoreConfig { partition: partition.into(), ..config };
        let opened = Store::open(context.child("store"), config).await;
        let (view, store) = opened.expect("the store opens");
        let config = NodeConfig {
            source: source.clone(),
            view,
            log: store.clone(),
            monitor: recorder.clone(),
            driver,
            supervisor: supervisor::Config::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        Self { source, store, follower, recorder, identity }
    }

    /// Hands all events to `reader`.
    pub fn attach(&mut self, reader: &Reader) {
        self.follower.attach(Attachment {
            consumer: reader.clone(),
            monitor: self.recorder.clone(),
            role: Role::Critical,
            config: delivery::Config::default(),
        });
    }

    /// Serves what it follows, and says where.
    pub async fn serve(&self, context: &Context) -> (String, Task) {
        let parts = Parts {
            served: self.store.clone(),
            heads: self.follower.heads(),
            ladder: self.source.ladder(),
            observer: Observer::default(),
            source: self.source.name().into(),
        };
        let any = "127.0.0.1:0".parse().expect("an address");
        let listening = Listening::bind(any, Serving::default()).await.expect("listens");
        let url = format!("http://{}", listening.address());
        let server = Server::new(context.child("serve"), listening, parts).await.expect("serves");
        (url, Task::start(server))
    }

    /// Stops cleanly, and gives what was kept.
    pub async fn stop(self) -> Kept<Context, S::Block> {
        self.follower.stop(STOP_LIMIT).await.expect("stops in time");
        self.store
    }
}

impl<S: Scheme> Node<S> {
    /// Opens source and store in the storage of `context`, and follows.
    pub async fn start(context: &Context, settings: &Settings) -> Self {
        let Settings { endpoints, identity, driver, alto, partition } = settings.clone();
        let recorder = Arc::new(Recorder::default());
        let codec = AltoBlock::codec(alto.block_size_max);
        let opened = alto::open::<_, S>(
            context.child("source"),
            &endpoints,
            &identity,
            recorder.clone(),
            alto,
        );
        let (source, upstream) = opened.expect("the source opens");
        let node = Self::follow(context, source, codec, recorder, (driver, &partition)).await;
        node.follower.supervise(Member::critical(Task::start(upstream)));
        node
    }

    /// What the source did.
    pub fn work(&self) -> Work {
        self.source.inner().work()
    }
}

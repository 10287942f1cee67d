//! An executor over a scripted client.

use crate::{
    chain::{Fork, Whole},
    client::{Client, DEADLINE},
};
use commonware_runtime::{
    Handle, Runner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use std::{collections::BTreeMap, future::Future, path::PathBuf, sync::Arc, time::Duration};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, FaultKind};
use tidewatch_execution::{
    Engine, Execution as _, Executor, Forkchoice, Order, Target,
    engine::{Bodies, Config as EngineConfig, EnginePayload, Secret},
    executor::{Config, Mailbox},
};
use tidewatch_sources::{
    ethereum::{EthBlock, EthBody},
    rpc::Endpoint,
};

/// What is far away in a test.
pub(crate) const NEVER: Duration = Duration::from_secs(3_600);

pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    let config = RuntimeConfig::new().with_worker_threads(2);
    Runner::new(config).start(|context| async move {
        let test = test(context);
        assert!(tokio::time::timeout(4 * DEADLINE, test).await.is_ok(), "the test hangs");
    });
}

/// Bodies of blocks that the test made.
#[derive(Debug, Default)]
pub(crate) struct Known(std::sync::Mutex<BTreeMap<Digest, EthBody>>);

impl Known {
    pub(crate) fn learn(&self, whole: &Whole) {
        self.0.lock().unwrap().insert(whole.reference().digest, whole.body());
    }
}

impl Bodies for Known {
    async fn bodies(&self, blocks: &[EthBlock]) -> Result<Vec<EthBody>, Fault> {
        let known = self.0.lock().unwrap();
        let body = |block: &EthBlock| {
            let missing = || FaultKind::Missing.fault("known", "no body");
            known.get(&block.reference().digest).cloned().ok_or_else(missing)
        };
        blocks.iter().map(body).collect()
    }
}

/// How the executor is set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) heartbeat: Duration,
    pub(crate) deadline: Duration,
    pub(crate) durable_depth: u64,
    pub(crate) evidence: Option<PathBuf>,
    pub(crate) secret: Secret,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            heartbeat: NEVER,
            deadline: DEADLINE,
            durable_depth: 0,
            evidence: None,
            secret: Secret::new([7; 32]),
        }
    }
}

/// A client, an executor over it, and blocks to give.
pub(crate) struct Rig {
    pub(crate) client: Client,
    pub(crate) engine: Arc<Engine<Known>>,
    pub(crate) executor: Mailbox<EnginePayload>,
    pub(crate) handle: Handle<Result<(), Fault>>,
    bodies: Arc<Known>,
    /// From the client's head at the start, upwards.
    pub(crate) chain: Vec<Whole>,
}

/// The round that a block of these tests says that it is of: eight bytes of its extra data.
fn order(block: &EthBlock) -> Option<Order> {
    let view = <[u8; 8]>::try_from(&block.header().extra_data[..]).ok()?;
    Some(Order::round(0, u64::from_be_bytes(view)))
}

impl Rig {
    /// An executor over `client`.
    pub(crate) fn start(context: &Context, client: &Client, setup: &Setup) -> Self {
        let bodies = Arc::new(Known::default());
        let engine = engine(context, client, setup, bodies.clone());
        let config = Config {
            deadline: setup.deadline,
            retry: Duration::from_millis(20),
            heartbeat: setup.heartbeat,
            evidence: setup.evidence.clone(),
            ..Config::default()
        };
        let (executor, mailbox) = Executor::new(context.child("executor"), engine.clone(), config);
        let head = client.change(|world| world.head().clone());
        let (client, handle) = (client.clone(), executor.start());
        Self { client, engine, executor: mailbox, handle, bodies, chain: vec![head] }
    }

    /// Makes blocks that the client does not have, on the last one.
    pub(crate) fn grow(&mut self, blocks: usize) {
        for _ in 0..blocks {
            let block = self.chain.last().unwrap().child(Fork::Paris, 0, b"");
            self.bodies.learn(&block);
            self.chain.push(block);
        }
    }

    pub(crate) fn at(&self, place: usize) -> BlockRef {
        self.chain[place].reference()
    }

    /// What the client is given for the block at `place`.
    pub(crate) async fn payload(&self, place: usize) -> EnginePayload {
        let payloads = self.engine.prepare(&[self.chain[place].block()]).await.unwrap();
        payloads.into_iter().next().unwrap()
    }

    pub(crate) fn target(&self, order: u64, place: usize, finalized: Option<usize>) -> Target {
        let finalized = finalized.map(|place| self.at(place));
        let forkchoice = Forkchoice { head: self.at(place), safe: finalized, finalized };
        Target { order: Order::round(0, order), forkchoice }
    }

    /// Gives the client the block at `place`, final, as the one of that round.
    pub(crate) async fn give(&self, place: usize) -> Result<(), Fault> {
        let target = self.target(place as u64, place, Some(place));
        self.executor.give(vec![self.payload(place).await], target).await
    }

    /// Points at the block at `place`, as the one of round `order`.
    pub(crate) async fn point(&self, order: u64, place: usize) -> Result<(), Fault> {
        self.executor.point(self.target(order, place, None)).await
    }

    /// The client has the blocks at these places, and did not move.
    pub(crate) async fn knows(&self, places: std::ops::RangeInclusive<usize>) {
        for place in places {
            let payload = self.payload(place).await;
            self.engine.give(&payload).await.unwrap();
        }
        self.client.change(|world| world.calls.clear());
    }

    /// Waits until the floor is the block at `place`.
    pub(crate) async fn floor(&self, place: usize) {
        let (floor, wanted) = (self.executor.floor(), Some(self.at(place)));
        let reached = floor.until(|at| *at == wanted);
        assert!(tokio::time::timeout(DEADLINE, reached).await.is_ok(), "{:?}", floor.current());
    }

    /// The places that the client was pointed at.
    pub(crate) fn pointed(&self) -> Vec<usize> {
        let place = |hash| self.chain.iter().position(|block| block.hash() == hash).unwrap();
        self.client.heads().into_iter().map(place).collect()
    }
}

/// The engine of `client`.
pub(crate) fn engine<B: Bodies>(
    context: &Context,
    client: &Client,
    setup: &Setup,
    bodies: Arc<B>,
) -> Arc<Engine<B>> {
    let endpoint = Endpoint::engine(&format!("http://{}", client.address)).unwrap();
    let config = EngineConfig {
        request_timeout: 2 * setup.deadline,
        durable_depth: setup.durable_depth,
        order,
    };
    let (context, secret) = (context.child("engine"), setup.secret.clone());
    Arc::new(Engine::new(context, &endpoint, secret, bodies, config).unwrap())
}

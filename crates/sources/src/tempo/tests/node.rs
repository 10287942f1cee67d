//! Nodes of a network, in the deterministic runtime.

use super::chain::World;
use crate::{
    rpc::{Answer, Call, Rpc, Toll, Unanswered},
    tempo::{Config, SourceOver, TempoSchemes, UpstreamOver, over, schemes},
};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use commonware_utils::sync::Mutex;
use std::{sync::Arc, time::Duration};
use tidewatch_conformance::Stage;
use tidewatch_core::{Bell, Doorbell, Fault, Monitor};

/// Replaces the answer to a call.
type Tamper = dyn Fn(&Call, Answer) -> Answer + Send + Sync;

/// A node that lives in the test. Clones are handles of one.
#[derive(Clone)]
pub(super) struct Node {
    context: Arc<deterministic::Context>,
    name: String,
    pub(super) world: Arc<Mutex<World>>,
    tamper: Arc<Mutex<Option<Box<Tamper>>>>,
    /// The calls of each request.
    requests: Arc<Mutex<Vec<Vec<Call>>>>,
    bell: Arc<Bell>,
    /// Whether what is done to its chain rings.
    pub(super) rings: bool,
}

impl Node {
    pub(super) fn new(context: &deterministic::Context, name: &str, world: World) -> Self {
        Self {
            context: Arc::new(context.child("node")),
            name: name.into(),
            world: Arc::new(Mutex::new(world)),
            tamper: Arc::default(),
            requests: Arc::default(),
            bell: Arc::default(),
            rings: true,
        }
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let changed = change(&mut self.world.lock());
        self.bell.ring();
        changed
    }

    pub(super) fn tamper(&self, tamper: impl Fn(&Call, Answer) -> Answer + Send + Sync + 'static) {
        *self.tamper.lock() = Some(Box::new(tamper));
    }

    /// Requests since it was asked for them last.
    pub(super) fn requests(&self) -> usize {
        std::mem::take(&mut *self.requests.lock()).len()
    }

    /// Calls of `method` so far.
    pub(super) fn calls(&self, method: &str) -> usize {
        let requests = self.requests.lock();
        requests.iter().flatten().filter(|call| call.method == method).count()
    }
}

impl Rpc for Node {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        self.context.sleep(Duration::from_millis(1)).await;
        self.requests.lock().push(calls.to_vec());
        let mut world = self.world.lock();
        let tamper = self.tamper.lock();
        let answer = |call: &Call| {
            let truth = world.answer(call.method, &call.params);
            tamper.as_ref().map_or_else(|| truth.clone(), |tamper| tamper(call, truth.clone()))
        };
        Ok(calls.iter().map(answer).collect())
    }

    /// Rings once when it is listened to, as a subscription that was taken.
    fn doorbell(&self, _: Toll) -> Doorbell {
        let bell = self.bell.listen();
        self.bell.ring();
        bell
    }
}

impl Stage for Node {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        self.rings
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.change(|world| world.extend(blocks));
        true
    }
}

pub(super) fn simulate<F: Future>(
    seed: u64,
    test: impl FnOnce(deterministic::Context) -> F,
) -> F::Output {
    let config = deterministic::Config::new()
        .with_seed(seed)
        .with_timeout(Some(Duration::from_secs(86_400)));
    deterministic::Runner::new(config).start(test)
}

pub(super) type Source = SourceOver<deterministic::Context, Node>;
pub(super) type Upstream = UpstreamOver<deterministic::Context, Node>;

/// Writes down what was refused without becoming part of an answer.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Vec<Fault>>);

impl Recorder {
    pub(super) fn faults(&self) -> Vec<Fault> {
        self.0.lock().clone()
    }
}

impl Monitor for Recorder {
    fn fault(&self, fault: &Fault) {
        self.0.lock().push(fault.clone());
    }
}

/// A source over `nodes`, under `schemes` of their network.
pub(super) fn follow(
    context: &deterministic::Context,
    nodes: &[&Node],
    pushes: bool,
    config: &Config,
) -> (Source, Upstream, TempoSchemes, Arc<Recorder>) {
    let network = nodes[0].world.lock().network.clone();
    let (schemes, recorder) = (schemes(&network), Arc::new(Recorder::default()));
    let nodes = nodes.iter().map(|node| ((*node).clone(), pushes)).collect();
    let context = context.child("tempo");
    let (source, upstream) =
        over(context, nodes, &network, schemes.clone(), recorder.clone(), config).unwrap();
    (source, upstream, schemes, recorder)
}

//! The endpoint that serves a certified chain.

use super::finalization;
use crate::support::millis;
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use commonware_utils::{channel::mpsc, sync::Mutex};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_certified::{Feed, Key, Push, Transport};
use tidewatch_core::{Block as _, Fault, FaultKind};
use tidewatch_testkit::chain::Chain;

type Frames = mpsc::Receiver<Result<Push, Fault>>;
type Trouble = Box<dyn FnMut(Key) -> Option<FaultKind> + Send>;

struct Served {
    chain: Chain,
    finalized: u64,
    certificates: BTreeMap<u64, Bytes>,
    /// Push connections are accepted.
    listening: bool,
    /// Nothing is answered.
    silent: bool,
    trouble: Option<Trouble>,
    fetched: Vec<Key>,
    listened: Vec<SystemTime>,
    connections: Vec<mpsc::Sender<Result<Push, Fault>>>,
    open: usize,
    most_open: usize,
}

/// An endpoint that serves a chain up to its finalized height, and pushes frames on request of the test.
/// Clones are the same endpoint.
#[derive(Clone)]
pub(crate) struct Endpoint {
    clock: Arc<deterministic::Context>,
    name: &'static str,
    /// Timeout of the client side of a request, as with a real connection.
    patience: Duration,
    served: Arc<Mutex<Served>>,
}

impl Endpoint {
    /// An endpoint that serves `chain`, finalized up to `finalized`, and accepts push connections.
    pub(crate) fn new(context: &deterministic::Context, chain: &Chain, finalized: u64) -> Self {
        Self::named(context, "endpoint", chain, finalized)
    }

    /// The same, with a name.
    pub(crate) fn named(
        context: &deterministic::Context,
        name: &'static str,
        chain: &Chain,
        finalized: u64,
    ) -> Self {
        let served = Served {
            chain: chain.clone(),
            finalized,
            certificates: BTreeMap::new(),
            listening: true,
            silent: false,
            trouble: None,
            fetched: Vec::new(),
            listened: Vec::new(),
            connections: Vec::new(),
            open: 0,
            most_open: 0,
        };
        let clock = Arc::new(context.child("endpoint"));
        Self { clock, name, patience: Duration::MAX, served: Arc::new(Mutex::new(served)) }
    }

    /// The same endpoint, where requests time out after `patience`.
    pub(crate) fn patient_for(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Moves to `finalized` on `chain`, without a push.
    pub(crate) fn stand(&self, chain: &Chain, finalized: u64) {
        let mut served = self.served.lock();
        if served.chain != *chain {
            served.chain = chain.clone();
            served.certificates.clear();
        }
        served.finalized = finalized;
    }

    /// Serves `certificate`, which includes its block, for `height`, until the chain changes.
    pub(crate) fn certify(&self, height: u64, certificate: Bytes) {
        self.served.lock().certificates.insert(height, certificate);
    }

    /// Sets whether push connections are accepted. If not, open ones are closed.
    pub(crate) fn listening(&self, listening: bool) {
        let mut served = self.served.lock();
        served.listening = listening;
        if !listening {
            served.connections.clear();
        }
    }

    /// Closes every push connection; new ones are accepted.
    pub(crate) fn hang_up(&self) {
        self.served.lock().connections.clear();
    }

    /// Sets whether requests are accepted and never answered.
    pub(crate) fn silent(&self, silent: bool) {
        self.served.lock().silent = silent;
    }

    /// Fails the requests for which `trouble` returns a fault.
    pub(crate) fn trouble(&self, trouble: impl FnMut(Key) -> Option<FaultKind> + Send + 'static) {
        self.served.lock().trouble = Some(Box::new(trouble));
    }

    /// Sends a frame, or a fault, over every open push connection.
    pub(crate) fn push(&self, frame: &Result<Push, Fault>) {
        for connection in &self.served.lock().connections {
            // A closed connection misses the frame.
            let _ = connection.try_send(frame.clone());
        }
    }

    /// All requests so far.
    pub(crate) fn fetched(&self) -> Vec<Key> {
        self.served.lock().fetched.clone()
    }

    /// Times of the attempts to open a push connection.
    pub(crate) fn listened(&self) -> Vec<SystemTime> {
        self.served.lock().listened.clone()
    }

    /// Number of open push connections, now and at most.
    pub(crate) fn open(&self) -> (usize, usize) {
        let served = self.served.lock();
        (served.open, served.most_open)
    }

    fn answer(&self, key: Key) -> Option<Bytes> {
        let served = &mut *self.served.lock();
        let height = match key {
            Key::LatestFinalization => served.finalized,
            Key::LatestNotarization | Key::Certificate { .. } | Key::Blocks { .. } => return None,
            Key::Height(height) => height.get(),
            Key::Digest(digest) => {
                let blocks = &served.chain.blocks()[..=served.finalized as usize];
                return blocks.iter().find(|b| b.reference().digest == digest).map(|b| b.encode());
            }
        };
        if height == 0 || height > served.finalized {
            return None;
        }
        let chain = &served.chain;
        let certificate = served.certificates.entry(height);
        Some(certificate.or_insert_with(|| finalization(chain, height)).clone())
    }
}

impl Transport for Endpoint {
    type Feed = Connection;

    fn name(&self) -> &str {
        self.name
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        let (trouble, silent) = {
            let served = &mut *self.served.lock();
            served.fetched.push(key);
            (served.trouble.as_mut().and_then(|trouble| trouble(key)), served.silent)
        };
        if silent {
            self.clock.sleep(self.patience).await;
            return Err(FaultKind::Timeout.fault(self.name, "no answer"));
        }
        self.clock.sleep(millis(1)).await;
        match trouble {
            Some(kind) => Err(kind.fault(self.name, "as told")),
            None => Ok(self.answer(key)),
        }
    }

    async fn listen(&self) -> Result<Connection, Fault> {
        let served = &mut *self.served.lock();
        served.listened.push(self.clock.current());
        if !served.listening {
            return Err(FaultKind::Unreachable.fault(self.name, "nobody listens"));
        }
        let (sender, frames) = mpsc::channel(4_096);
        served.connections.push(sender);
        served.open += 1;
        served.most_open = served.most_open.max(served.open);
        Ok(Connection { frames, served: self.served.clone() })
    }
}

/// A push connection. It counts as open until it is dropped.
pub(crate) struct Connection {
    frames: Frames,
    served: Arc<Mutex<Served>>,
}

impl Feed for Connection {
    async fn next(&mut self) -> Result<Push, Fault> {
        let lost = || Err(FaultKind::Unreachable.fault("endpoint", "hung up"));
        self.frames.recv().await.unwrap_or_else(lost)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut served = self.served.lock();
        served.open -= 1;
        served.connections.retain(|connection| !connection.is_closed());
    }
}

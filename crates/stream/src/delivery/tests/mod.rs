//! The delivery, in the deterministic runtime: consumers that are prompt, slow, failing, panicking,
//! behind, and gone.

mod behind;
mod ends;
mod hands_over;
mod later;

use super::{Config, Delivery, Mailbox, Parts};
use crate::{
    Stopper,
    tests::{
        chain::{Chain, TestBlock},
        source::Gate,
        words::words,
    },
};
use commonware_runtime::{Clock as _, Handle, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU64, NZUsize, sync::Mutex};
use std::{
    collections::VecDeque,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{
    Ack, Acknowledgement, Change, Consumer, Fault, FaultKind, LocalView as _, Record, Tier, Tip,
};
use tidewatch_store::{Keep, Memory, MemoryReader, MemoryWriter, Retention};
use tidewatch_testkit::monitor::Faults;

/// What a consumer does with the events that it is handed.
#[derive(Clone, Debug)]
enum Manner {
    Accepts,
    Takes,
    /// Takes them, and leaves the acknowledgement to the test.
    Later,
    Fails(FaultKind),
    /// Before it returns a future.
    PanicsAtOnce,
    /// In its future.
    Panics,
    /// Takes them after so long.
    Slow(Duration),
    /// Takes them when the gate opens.
    Held(Gate),
}

/// What a consumer was handed, and when.
#[derive(Default)]
struct Hands {
    /// The sequences of every batch, repetitions included.
    batches: Vec<(SystemTime, Vec<u64>)>,
    /// The events that it took in, in words.
    taken: Vec<String>,
    restarts: Vec<u64>,
    /// Those of the batches that it took and did not acknowledge, in order.
    acknowledgements: VecDeque<Acknowledgement>,
}

/// A consumer that behaves as told, batch by batch, and then as a good one.
struct Scripted {
    clock: deterministic::Context,
    name: String,
    manners: VecDeque<Manner>,
    otherwise: Manner,
    /// Faults that its restarts end with; it starts again when there are none left. `None`: it never
    /// does.
    restarts: Option<VecDeque<Manner>>,
    hands: Arc<Mutex<Hands>>,
}

impl Scripted {
    async fn behave(clock: &deterministic::Context, manner: Manner) -> Result<Ack, Fault> {
        match manner {
            Manner::Accepts => return Ok(Ack::Accepted),
            Manner::Takes | Manner::Later => {}
            Manner::Fails(kind) => return Err(kind.fault("scripted", "as told")),
            Manner::PanicsAtOnce | Manner::Panics => panic!("as told"),
            Manner::Slow(duration) => clock.sleep(duration).await,
            Manner::Held(gate) => gate.pass().await,
        }
        Ok(Ack::Durable)
    }
}

impl Consumer for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn handle(&mut self, records: &[Record]) -> impl Future<Output = Result<Ack, Fault>> + Send {
        let manner = self.manners.pop_front().unwrap_or_else(|| self.otherwise.clone());
        let sequences = records.iter().map(Record::sequence).collect();
        self.hands.lock().batches.push((self.clock.current(), sequences));
        assert!(!matches!(manner, Manner::PanicsAtOnce), "as told");
        let events: Vec<_> = records.iter().map(|record| record.event).collect();
        let (clock, hands) = (&self.clock, self.hands.clone());
        async move {
            let later = matches!(manner, Manner::Later);
            let ack = Self::behave(clock, manner).await?;
            let mut hands = hands.lock();
            hands.taken.extend(words(&events));
            if !later {
                return Ok(ack);
            }
            let (acknowledgement, ack) = Ack::later();
            hands.acknowledgements.push_back(acknowledgement);
            Ok(ack)
        }
    }

    async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
        self.hands.lock().restarts.push(oldest.sequence());
        let Some(restarts) = &mut self.restarts else {
            return Err(FaultKind::TooOld.fault("scripted", "never starts again"));
        };
        match restarts.pop_front() {
            Some(manner) => Self::behave(&self.clock, manner).await.map(drop),
            None => Ok(()),
        }
    }
}

/// A log that can be written to, with a chain to write.
struct Log {
    view: MemoryWriter<TestBlock>,
    memory: MemoryReader<TestBlock>,
    chain: Chain,
    tip: u64,
}

impl Log {
    fn new() -> Self {
        let chain = Chain::new('a', 1000);
        let (view, memory) = Memory::new(chain.chain_info());
        Self { view, memory, chain, tip: 0 }
    }

    /// One that keeps no more than this many events, and all blocks.
    fn keeping(events: u64) -> Self {
        Self::with(Retention::events(NZU64!(events)))
    }

    /// One that keeps no more than this many events, and of finalized blocks the newest.
    fn trimming(events: u64) -> Self {
        let blocks = Keep { count: Some(NZU64!(1)), ..Keep::default() };
        Self::with(Retention { blocks, ..Retention::events(NZU64!(events)) })
    }

    fn with(retention: Retention) -> Self {
        let chain = Chain::new('a', 1000);
        let (view, memory) = Memory::with_retention(chain.chain_info(), retention);
        Self { view, memory, chain, tip: 0 }
    }

    /// Writes one event: its tip is finalized.
    async fn finalize(&mut self) {
        let tip = Tip::from(self.chain.at(self.tip));
        let moved = Change::Advanced { tier: Tier::Finalized, tip, proof: None };
        self.view.commit(vec![moved]).await.unwrap();
    }

    /// Writes so many blocks, two events for each: the block and the tip.
    async fn grow(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.tip += 1;
            let tip = Tip::from(self.chain.at(self.tip));
            let moved = Change::Advanced { tier: Tier::Proposed, tip, proof: None };
            let blocks = Change::Blocks(self.chain.range(self.tip, self.tip));
            self.view.commit(vec![blocks, moved]).await.unwrap();
        }
    }
}

/// A delivery that runs.
struct Running {
    hands: Arc<Mutex<Hands>>,
    faults: Faults,
    mailbox: Mailbox,
    stopper: Stopper,
    handle: Handle<Result<(), Fault>>,
}

/// What a consumer is like.
struct Of {
    name: &'static str,
    manners: Vec<Manner>,
    otherwise: Manner,
    restarts: Option<Vec<Manner>>,
    config: Config,
}

impl Default for Of {
    fn default() -> Self {
        Self {
            name: "scripted",
            manners: Vec::new(),
            otherwise: Manner::Takes,
            restarts: None,
            config: Config::default(),
        }
    }
}

impl Running {
    fn new(context: &deterministic::Context, log: &Log, of: Of) -> Self {
        let hands = Arc::new(Mutex::new(Hands::default()));
        let consumer = Scripted {
            clock: context.child("consumer"),
            name: of.name.into(),
            manners: of.manners.into(),
            otherwise: of.otherwise,
            restarts: of.restarts.map(VecDeque::from),
            hands: hands.clone(),
        };
        let faults = Faults::default();
        let parts = Parts { log: log.memory.clone(), consumer, monitor: faults.clone() };
        let (delivery, mailbox) = Delivery::new(context.child("delivery"), parts, of.config);
        let stopper = mailbox.stopper();
        Self { hands, faults, mailbox, stopper, handle: delivery.start() }
    }

    fn taken(&self) -> Vec<String> {
        self.hands.lock().taken.clone()
    }

    /// Sequences of every batch, repetitions included.
    fn batches(&self) -> Vec<Vec<u64>> {
        self.hands.lock().batches.iter().map(|(_, sequences)| sequences.clone()).collect()
    }

    /// Sequences that were handed over, repetitions included.
    fn handed(&self) -> Vec<u64> {
        self.batches().concat()
    }

    /// The acknowledgement of the batch of this number among those that wait for one.
    fn acknowledgement(&self, nth: usize) -> Acknowledgement {
        self.hands.lock().acknowledgements.remove(nth).expect("that many are out")
    }

    async fn stop(self) {
        self.stopper.stop();
        self.handle.await.expect("joins").expect("ends without a fault");
    }
}

/// Batches of no more than `n` events.
fn batches_of(n: usize) -> Config {
    Config { batch_max: NZUsize!(n), ..Config::default() }
}

/// Runs `test` in a runtime that gives up after two simulated hours.
fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(7200)).start(test)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

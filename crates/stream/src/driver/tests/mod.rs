//! The driver, in the deterministic runtime: when passes run, how it ends, and what it says.

mod clock;
mod ends;
mod head;
mod status;
mod wakes;

use super::{Config, Driver, Mailbox, Parts};
use crate::tests::{
    Watched,
    chain::Chain,
    source::{Kind, ScriptedSource},
};
use commonware_runtime::{
    Clock, Handle, Metrics, Runner as _, Spawner, Supervisor as _, deterministic,
};
use commonware_utils::sync::Mutex;
use rand::Rng;
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{Fault, FaultKind, Ladder, Monitor, State, Status};
use tidewatch_store::Memory;

/// Remembers everything that it is told, and when.
struct Recorder {
    clock: deterministic::Context,
    faults: Mutex<Vec<(SystemTime, FaultKind)>>,
    states: Mutex<Vec<(SystemTime, State)>>,
    last: Mutex<Option<Status>>,
    progressed: Mutex<Option<SystemTime>>,
}

impl Monitor for Recorder {
    fn fault(&self, fault: &Fault) {
        self.faults.lock().push((self.clock.current(), fault.kind));
    }

    fn status(&self, status: &Status) {
        *self.last.lock() = Some(*status);
        let mut states = self.states.lock();
        if states.last().is_none_or(|(_, state)| *state != status.state) {
            states.push((self.clock.current(), status.state));
        }
    }

    fn progressed(&self) {
        *self.progressed.lock() = Some(self.clock.current());
    }
}

/// A driver that runs, with everything around it.
struct Running {
    context: deterministic::Context,
    source: ScriptedSource,
    view: Watched,
    mailbox: Mailbox,
    monitor: Arc<Recorder>,
    handle: Handle<Result<(), Fault>>,
}

impl Running {
    fn new(context: &deterministic::Context, source: &ScriptedSource, config: Config) -> Self {
        let chain_info = Chain::new('a', 0).chain_info();
        let view = Watched::new(Memory::new(chain_info), Ladder::Rollup);
        Self::on(context, source, view, config)
    }

    fn on(
        context: &deterministic::Context,
        source: &ScriptedSource,
        view: Watched,
        config: Config,
    ) -> Self {
        Self::run(context, context.child("driver"), source, view, config)
    }

    /// A driver that runs on `host`, seen from `context`.
    fn run<E: Spawner + Clock + Metrics + Rng>(
        context: &deterministic::Context,
        host: E,
        source: &ScriptedSource,
        view: Watched,
        config: Config,
    ) -> Self {
        let monitor = Arc::new(Recorder {
            clock: context.child("recorder"),
            faults: Mutex::default(),
            states: Mutex::default(),
            last: Mutex::default(),
            progressed: Mutex::default(),
        });
        let (driver, mailbox) = Driver::new(
            host,
            Parts {
                source: Arc::new(source.clone()),
                view: view.clone(),
                monitor: monitor.clone(),
            },
            config,
        );
        let handle = driver.start();
        let context = context.child("test");
        Self { context, source: source.clone(), view, mailbox, monitor, handle }
    }

    /// Passes that have begun.
    fn passes(&self) -> usize {
        self.source.count(Kind::Snapshot)
    }

    fn faults(&self) -> Vec<FaultKind> {
        self.monitor.faults.lock().iter().map(|(_, kind)| *kind).collect()
    }

    fn states(&self) -> Vec<State> {
        self.monitor.states.lock().iter().map(|(_, state)| *state).collect()
    }

    fn state(&self) -> Option<State> {
        self.monitor.last.lock().map(|status| status.state)
    }

    async fn sleep(&self, duration: Duration) {
        self.context.sleep(duration).await;
    }

    /// Lets everything that is ready run, which takes next to no time.
    async fn settle(&self) {
        self.sleep(Duration::from_millis(5)).await;
    }

    async fn stop(self) {
        self.mailbox.stop();
        self.handle.await.expect("joins").expect("ends without a fault");
    }
}

/// Runs `test` in a runtime that gives up after two simulated hours.
fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(7200)).start(test)
}

/// A poll that never comes due in a test.
fn patient() -> Config {
    Config { poll: Duration::from_secs(3600), ..Config::default() }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

//! A driver in the deterministic runtime, and a recorder of its reports.

use super::Watched;
use super::{Both, millis};
use commonware_runtime::{Clock as _, Handle, Supervisor as _, deterministic};
use commonware_utils::sync::Mutex;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{Fault, FaultKind, LocalView, Monitor, State, Status};
use tidewatch_store::Memory;
use tidewatch_stream::{Driver, Mailbox, driver};
use tidewatch_testkit::{
    chain::TestBlock,
    source::{Kind, ScriptedSource},
};

/// Records every report of a driver or a delivery, with its time.
pub(crate) struct Recorder {
    clock: deterministic::Context,
    faults: Mutex<Vec<(SystemTime, Fault)>>,
    statuses: Mutex<Vec<(SystemTime, Status)>>,
}

impl Recorder {
    pub(crate) fn new(context: &deterministic::Context) -> Arc<Self> {
        Arc::new(Self {
            clock: context.child("recorder"),
            faults: Mutex::default(),
            statuses: Mutex::default(),
        })
    }

    /// Every fault so far, with its time.
    pub(crate) fn faults(&self) -> Vec<(SystemTime, Fault)> {
        self.faults.lock().clone()
    }

    /// The kinds of all faults so far.
    pub(crate) fn kinds(&self) -> Vec<FaultKind> {
        self.faults.lock().iter().map(|(_, fault)| fault.kind).collect()
    }

    /// The last status.
    pub(crate) fn status(&self) -> Option<Status> {
        self.statuses.lock().last().map(|(_, status)| *status)
    }

    /// The last state.
    pub(crate) fn state(&self) -> Option<State> {
        self.status().map(|status| status.state)
    }

    /// Every status so far, with its time.
    pub(crate) fn statuses(&self) -> Vec<(SystemTime, Status)> {
        self.statuses.lock().clone()
    }
}

impl Monitor for Recorder {
    fn fault(&self, fault: &Fault) {
        self.faults.lock().push((self.clock.current(), fault.clone()));
    }

    fn status(&self, status: &Status) {
        self.statuses.lock().push((self.clock.current(), *status));
    }
}

/// A running driver, with its source and view.
pub(crate) struct Live<V = Watched> {
    pub(crate) context: deterministic::Context,
    pub(crate) source: ScriptedSource,
    pub(crate) view: V,
    pub(crate) mailbox: Mailbox,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) handle: Handle<Result<(), Fault>>,
}

impl Live {
    /// A driver of `source` over an empty, watched view.
    pub(crate) fn new(
        context: &deterministic::Context,
        source: &ScriptedSource,
        config: driver::Config,
    ) -> Self {
        let mut of = None;
        source.change(|world| of = Some((world.chain.chain_info(), world.ladder)));
        let (chain_info, ladder) = of.expect("set by the change");
        let view = Watched::new(Memory::new(chain_info), ladder);
        Self::start(context, source, view.clone(), view, config)
    }
}

impl<R> Live<R> {
    /// A driver of `source` over the writer of `store`; its reader is what is kept of it.
    pub(crate) fn on<W: LocalView<Block = TestBlock>>(
        context: &deterministic::Context,
        source: &ScriptedSource,
        store: Both<W, R>,
        config: driver::Config,
    ) -> Self {
        Self::start(context, source, store.writer, store.reader, config)
    }

    fn start(
        context: &deterministic::Context,
        source: &ScriptedSource,
        writer: impl LocalView<Block = TestBlock>,
        view: R,
        config: driver::Config,
    ) -> Self {
        let recorder = Recorder::new(context);
        let (driver, mailbox) = Driver::new(
            context.child("driver"),
            driver::Parts {
                source: Arc::new(source.clone()),
                view: writer,
                monitor: recorder.clone(),
            },
            config,
        );
        let handle = driver.start();
        let context = context.child("test");
        Self { context, source: source.clone(), view, mailbox, recorder, handle }
    }

    /// Number of passes started.
    pub(crate) fn passes(&self) -> usize {
        self.source.count(Kind::Snapshot)
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.context.sleep(duration).await;
    }

    /// Runs every runnable task, which takes almost no simulated time.
    pub(crate) async fn settle(&self) {
        self.sleep(millis(5)).await;
    }

    /// Stops the driver, and waits for its end.
    pub(crate) async fn stop(self) {
        self.mailbox.stop();
        self.handle.await.expect("joins").expect("ends without a fault");
    }
}

//! The manager's loop.

use super::{
    super::{CatchUp, Chain, Content, PostMortem, Publisher, RangeProgram, SessionId, work::Job},
    attempt::Attempt,
    config::{Config, Parts},
    core::{Autopsy, Core, fault},
    ingress::{Listed, Mailbox, Message, Status},
    kept::Kept,
    metrics::Metrics,
    requests::answered,
    timely::Timely,
};
use crate::{Error, Prover, Stopwatch, Time};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::select_loop;
use commonware_runtime::{ContextCell, Handle, Spawner, spawn_cell};
use commonware_storage::Context;
use rand::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use tidewatch_core::{Actor, Fault, Stopper, Stopping};
use tracing::{debug, info, warn};

/// The longest that the manager sleeps: what was not seen to pass in twice that counts as that.
const STEP: Duration = Duration::from_secs(1);

/// Has epochs proven and published: see the [module](super).
pub struct Manager<E: Context, C, P, U, M> {
    pub(super) context: ContextCell<E>,
    pub(super) config: Config,
    pub(super) chain: C,
    pub(super) program: Arc<P>,
    pub(super) provers: Vec<Arc<dyn Prover>>,
    pub(super) publisher: Arc<U>,
    pub(super) post_mortem: M,
    pub(super) walk: CatchUp,
    pub(super) core: Core<E>,
    pub(super) inbox: Receiver<Message>,
    pub(super) stop: Stopping,
    /// Keeps the inbox open when all other mailboxes are gone.
    pub(super) own: Mailbox,
    pub(super) tasks: BTreeMap<Job, Handle<()>>,
    pub(super) stopwatch: Stopwatch,
    pub(super) next_tick: Time,
    pub(super) metrics: Metrics,
}

impl<E: Context, C, P, U, M> fmt::Debug for Manager<E, C, P, U, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("walk", &self.walk).finish_non_exhaustive()
    }
}

impl<E, C, P, U, M> Manager<E, C, P, U, M>
where
    E: Context + Spawner + Rng,
    C: Chain<Heavy = Content> + 'static,
    P: RangeProgram,
    U: Publisher,
    M: PostMortem,
{
    /// Opens what a manager left, or begins: after the last epoch that the chain says is proven as a whole. Returns
    /// the mailbox to talk to it.
    ///
    /// # Errors
    ///
    /// Deadlines that do not nest, two provers of one name, a directory of another chain or program, a disk that
    /// fails, or a chain that cannot be read.
    pub async fn open(
        context: E,
        parts: Parts<C, P, U, M>,
        config: Config,
    ) -> Result<(Self, Mailbox), Fault> {
        let Parts { subject, chain, program, provers, publisher, post_mortem } = parts;
        config.check().map_err(|error| fault(error.into()))?;
        let mut names = BTreeSet::new();
        if let Some(twice) = provers.iter().find(|prover| !names.insert(prover.name().to_owned())) {
            return Err(fault(Error::SameName(twice.name().to_owned())));
        }
        let stopwatch = Stopwatch::new(&context, 2 * STEP);
        let kept = Kept::open(&context, &config.proving.disk, &subject, program.id()).await;
        let kept = kept.map_err(fault)?;
        let call = config.proving.call;
        let cursor = {
            let chain = Timely { chain: &chain, clock: &context, call };
            match config.geometry.last_fully_proven(chain.proven().await?) {
                Some(epoch) => {
                    let checkpoints = chain.epoch(epoch).await?.checkpoints;
                    checkpoints.last().map_or(0, |checkpoint| checkpoint.number)
                }
                None => 0,
            }
        };
        let walk = CatchUp::new(config.geometry, cursor);
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.proving.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let own = Mailbox { sender, stopper };
        let metrics = Metrics::new(&context);
        let names = provers.iter().map(|prover| prover.name().to_owned()).collect();
        let core = Core::new(kept, &config, names);
        info!(chain = %subject, cursor, "proving epochs");
        let mailbox = own.clone();
        let manager = Self {
            context: ContextCell::new(context),
            config,
            chain,
            program,
            provers,
            publisher,
            post_mortem,
            walk,
            core,
            inbox,
            stop,
            own,
            tasks: BTreeMap::new(),
            stopwatch,
            next_tick: Time::ZERO,
            metrics,
        };
        Ok((manager, mailbox))
    }

    /// Starts it. The handle resolves with success when it was stopped, and with the fault that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let asking = self.ask_for_offers();
        let ended = self.manage().await;
        asking.iter().chain(self.tasks.values()).for_each(Handle::abort);
        debug!("session manager stopped");
        ended.map_err(fault)
    }

    async fn manage(&mut self) -> Result<(), Error> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        select_loop! {
            self.context,
            on_start => {
                let wait = self.turn().await?;
                let wake = self.context.sleep(wait);
            },
            on_stopped => {},
            () = stop.stopped() => break,
            Some(message) = self.inbox.recv() else break => self.handle(message).await?,
            () = wake => {},
        }
        let ended = self.finish().await;
        drop(held);
        ended
    }

    /// Cancels what is not over, without a word to provers: what they work on is found again after the next start.
    /// Waits for the submission at hand, and takes in proofs that are there.
    async fn finish(&mut self) -> Result<(), Error> {
        self.tasks.values().for_each(Handle::abort);
        self.core.sessions.stop();
        self.core.publishing.stop();
        for decided in self.core.publishing.drain(0, 0) {
            self.decided(decided).await?;
        }
        let grace = self.context.sleep(self.config.proving.grace);
        futures::pin_mut!(grace);
        loop {
            while let Ok(message) = self.inbox.try_recv() {
                if let Message::Report(report) = message {
                    self.report(report).await?;
                }
            }
            if self.core.publishing.in_flight().is_none() {
                return Ok(());
            }
            commonware_macros::select! {
                () = &mut grace => return Ok(()),
                message = self.inbox.recv() => match message {
                    Some(Message::Report(report)) => self.report(report).await?,
                    Some(_) => {},
                    None => return Ok(()),
                },
            }
        }
    }

    /// Carries out everything that is due. Returns how long nothing will be.
    async fn turn(&mut self) -> Result<Duration, Error> {
        let now = self.now();
        if now >= self.next_tick {
            self.tick().await?;
            // From its end: a chain that does not answer leaves time for what else there is.
            self.next_tick = self.now() + self.config.poll;
        }
        while let Some((job, prover)) = self.core.work.claim(now) {
            self.begin(job, prover).await?;
        }
        self.look_into().await;
        let now = self.now();
        self.metrics.status(&self.status());
        let wake = self.core.work.wake(now).unwrap_or(Time::MAX).min(self.next_tick);
        Ok(wake.saturating_sub(now).clamp(Duration::from_millis(1), STEP))
    }

    pub(super) fn now(&mut self) -> Time {
        self.stopwatch.now(&*self.context)
    }

    pub(super) fn timely(&self) -> Timely<'_, C, E> {
        let call = self.config.proving.call;
        Timely { chain: &self.chain, clock: &*self.context, call }
    }

    async fn begin(&mut self, job: Job, at: usize) -> Result<(), Error> {
        let wanted = self.core.inputs(&job, &*self.program).await?;
        let (Some((key, parent, inputs)), Some(prover)) = (wanted, self.provers.get(at).cloned())
        else {
            self.core.work.remove(&job);
            return Ok(());
        };
        let (stopper, unwanted) = Stopper::new();
        let attempt = Attempt {
            job,
            key,
            parent,
            at,
            prover,
            program: self.program.clone(),
            mailbox: self.own.clone(),
            limits: self.core.work.limits().clone(),
            call: self.config.proving.call,
            patience: self.config.proving.patience,
            proof_max: self.config.proving.disk.proof_max,
            unwanted,
        };
        let context = self.context.child("attempt");
        let task = context.spawn(move |context| attempt.run(context, inputs));
        self.core.attempts.insert(job, stopper);
        // One that is not wanted any more ends by itself, after its prover was notified.
        self.tasks.retain(|job, _| self.core.work.has(job));
        self.tasks.insert(job, task);
        Ok(())
    }

    /// Lets somebody know of what failed by itself, if the chain still has it.
    async fn look_into(&mut self) {
        for autopsy in std::mem::take(&mut self.core.autopsies) {
            match autopsy {
                Autopsy::Epoch(spec, ids, reason) => {
                    warn!(epoch = spec.epoch, reason, "an epoch failed");
                    self.post_mortem.epoch(&spec, &ids, &reason);
                }
                Autopsy::Checkpoint(content, reason) => {
                    let epoch = self.config.geometry.epoch(content.id.slot);
                    let at = self.timely().epoch(epoch).await;
                    if at.is_ok_and(|at| at.checkpoints.contains(&content.id)) {
                        warn!(checkpoint = content.id.number, reason, "cannot be proven");
                        self.post_mortem.checkpoint(&content, &reason);
                    }
                }
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        let Core { checkpoints, contents, sessions, publishing, work, .. } = &self.core;
        let entries = checkpoints.within(0..=u64::MAX);
        let listed = |(id, session): (SessionId, &super::super::Session)| Listed {
            id,
            spec: session.spec,
            state: session.state,
            checkpoints: session.content.len(),
        };
        Status {
            cursor: self.walk.cursor(),
            checkpoints: contents.len(),
            failed: entries.iter().filter(|entry| entry.failed).count(),
            running: work.running(),
            waiting: work.waiting(),
            unpublished: publishing.waiting(),
            sessions: sessions.list().map(listed).collect(),
        }
    }

    async fn handle(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Report(report) => self.report(report).await?,
            Message::Offer { prover, offer: Ok(offer) } => self.core.work.advertise(prover, offer),
            Message::Offer { prover, offer: Err(failure) } => {
                debug!(prover = self.provers[prover].name(), %failure, "offers nothing");
            }
            Message::Proven(height) => {
                debug!(height, "the proven tip moved");
                self.drain().await?;
            }
            Message::Checkpointed(number, answer) => {
                let walked = self.walk(number).await;
                return answered(answer, walked);
            }
            Message::Prune(height, answer) => {
                let pruned = self.prune(height).await;
                return answered(answer, pruned);
            }
            Message::Expire(epoch, answer) => {
                let expired = self.expire(epoch).await.map_err(fault);
                return answered(answer, expired);
            }
            Message::Start(epoch, answer) => {
                let started = self.begin_session(epoch).await;
                return answered(answer, started);
            }
            Message::Retry(epoch, answer) => {
                let retried = self.retry(epoch).await;
                return answered(answer, retried);
            }
            Message::Status(answer) => drop(answer.send(self.status())),
        }
        Ok(())
    }
}

impl<E, C, P, U, M> Actor for Manager<E, C, P, U, M>
where
    E: Context + Spawner + Rng,
    C: Chain<Heavy = Content> + 'static,
    P: RangeProgram,
    U: Publisher,
    M: PostMortem,
{
    fn name(&self) -> String {
        "sessions".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}

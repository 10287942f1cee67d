//! The scheduler's loop.

use super::{
    attempt::{Attempt, Begin},
    config::{Config, Parts},
    ingress::{Mailbox, Message, Proven},
    metrics::Metrics,
};
use crate::{
    Error, Failure, Handle as JobHandle, Program, Prover, Stopwatch, Time,
    disk::Disk,
    plan::{Cancel, Claim, Plan, ProverId, Stage, Token},
};
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
use tidewatch_core::{
    Actor, Fault, Stopper, Stopping, TierProof,
    watch::{self, watch},
    within,
};
use tracing::{debug, info, warn};

/// The longest that the scheduler sleeps: what was not seen to pass in twice that counts as that.
const TICK: Duration = Duration::from_secs(1);
/// Jobs in one answer, at the most.
const LISTED_MAX: usize = 1_000;

/// Has blocks proven: see the [module](super).
pub struct Scheduler<E: Context, P> {
    pub(super) context: ContextCell<E>,
    pub(super) config: Config,
    pub(super) program: Arc<P>,
    pub(super) provers: Vec<Arc<dyn Prover>>,
    pub(super) plan: Plan,
    pub(super) disk: Disk<E>,
    pub(super) inbox: Receiver<Message>,
    pub(super) stop: Stopping,
    /// Keeps the inbox open when all other mailboxes are gone.
    pub(super) own: Mailbox,
    pub(super) proven: watch::Sender<Proven>,
    pub(super) room: watch::Sender<bool>,
    pub(super) tasks: BTreeMap<Token, Handle<()>>,
    pub(super) resumed: Vec<(Claim, JobHandle)>,
    pub(super) stopwatch: Stopwatch,
    pub(super) metrics: Metrics,
    pub(super) about: String,
}

impl<E: Context, P> fmt::Debug for Scheduler<E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("about", &self.about).finish_non_exhaustive()
    }
}

impl<E: Context + Spawner + Rng, P: Program> Scheduler<E, P> {
    /// Opens what a scheduler left, or begins. Returns the mailbox to talk to it.
    ///
    /// # Errors
    ///
    /// Deadlines that do not nest, two provers of one name, a directory of another chain or program, damage, or
    /// a disk that fails.
    pub async fn open(
        context: E,
        parts: Parts<P>,
        config: Config,
    ) -> Result<(Self, Mailbox), Fault> {
        let Parts { program, provers, subject } = parts;
        let about = format!("the proof scheduler of {}", subject.chain);
        let failed = |error| Fault::new(about.clone(), error);
        config.check().map_err(|error| failed(error.into()))?;
        let mut names = BTreeSet::new();
        if let Some(twice) = provers.iter().find(|prover| !names.insert(prover.name().to_owned())) {
            return Err(failed(Error::SameName(twice.name().to_owned())));
        }
        let mut stopwatch = Stopwatch::new(&context, 2 * TICK);
        let disk = Disk::open(context.child("disk"), config.disk.clone(), &subject).await;
        let disk = disk.map_err(failed)?;
        let mut plan = Plan::new(config.plan.clone(), disk.tip());
        for prover in &provers {
            plan.prover(prover.name());
        }
        let resumed = plan.restore(disk.jobs(), stopwatch.now(&context));
        let resumed = resumed.map_err(|error| failed(Error::Table(error)))?;
        let published =
            Proven { tip: plan.proven(), committed: plan.committed(), proof: None, stalled: false };
        let (proven, receiver) = watch(published);
        let (room, has_room) = watch(true);
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let wait = config.plan.lag.wait();
        let own = Mailbox { sender, stopper, proven: receiver, room: has_room, wait };
        let metrics = Metrics::new(&context);
        info!(chain = %subject.chain, tip = %plan.proven(), jobs = disk.jobs().count(), "proving");
        let mailbox = own.clone();
        let context = ContextCell::new(context);
        let scheduler = Self {
            context,
            config,
            program,
            provers,
            plan,
            disk,
            inbox,
            stop,
            own,
            proven,
            room,
            tasks: BTreeMap::new(),
            resumed,
            stopwatch,
            metrics,
            about,
        };
        Ok((scheduler, mailbox))
    }

    /// Starts it. The handle resolves with success when it was stopped, and with the fault that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let asking = self.ask_for_offers();
        let ended = self.schedule().await;
        asking.iter().chain(self.tasks.values()).for_each(Handle::abort);
        debug!(about = %self.about, "scheduler stopped");
        ended.map_err(|error| Fault::new(self.about, error))
    }

    async fn schedule(&mut self) -> Result<(), Error> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        self.publish().await?;
        for (claim, handle) in std::mem::take(&mut self.resumed) {
            self.begin(claim, Begin::Handle(handle));
        }
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
        let ended = self.drain().await;
        drop(held);
        ended
    }

    /// Takes in what is finished, without starting anything.
    async fn drain(&mut self) -> Result<(), Error> {
        let grace = self.context.sleep(self.config.grace);
        futures::pin_mut!(grace);
        loop {
            while let Ok(message) = self.inbox.try_recv() {
                if matches!(message, Message::Report(_)) {
                    self.handle(message).await?;
                }
            }
            self.commit().await?;
            if self.plan.status(Time::ZERO).count(Stage::Running) == 0 {
                return Ok(());
            }
            commonware_macros::select! {
                () = &mut grace => return Ok(()),
                message = self.inbox.recv() => match message {
                    Some(message @ Message::Report(_)) => self.handle(message).await?,
                    Some(_) => {},
                    None => return Ok(()),
                },
            }
        }
    }

    /// Carries out everything that is due. Returns how long nothing will be.
    async fn turn(&mut self) -> Result<Duration, Error> {
        let now = self.now();
        for (cancel, failure) in self.plan.expired(now) {
            self.failed(cancel.token, &failure).await?;
            self.cancel(cancel);
        }
        self.commit().await?;
        self.claim(now).await?;
        while let Some(cancel) = self.plan.preempt(now) {
            self.preempted(cancel).await?;
            self.claim(now).await?;
        }
        for key in self.plan.stalled(now) {
            let failure = self.plan.job(key.block.height).and_then(|job| job.failure.clone());
            warn!(block = %key, ?failure, "is not proven for long: it is tried again and again");
        }
        if self.plan.is_stalled(now) != self.own.proven.current().stalled {
            self.publish().await?;
        }
        let status = self.plan.status(now);
        self.metrics.status(&status, self.plan.counters());
        let wake = self.plan.wake(now).map_or(TICK, |wake| wake.saturating_sub(now));
        Ok(wake.clamp(Duration::from_millis(1), TICK))
    }

    /// Starts every attempt that there is a slot for.
    async fn claim(&mut self, now: Time) -> Result<(), Error> {
        while let Some(claim) = self.plan.claim(now) {
            match self.disk.inputs(&claim.key).await {
                Ok(inputs) => self.begin(claim, Begin::Inputs(inputs)),
                Err(error @ Error::Damaged { .. }) => {
                    warn!(block = %claim.key, %error, "cannot be attempted");
                    let failure = Failure::Unprovable(error.to_string());
                    self.failed(claim.token, &failure).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn now(&mut self) -> Time {
        self.stopwatch.now(&*self.context)
    }

    /// Moves the tip over every proof that is there: the one place where that is done.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        while let Some((key, _)) = self.plan.due() {
            self.disk.commit(&key).await?;
            let now = self.now();
            let Some(job) = self.plan.commit() else { return Ok(()) };
            self.metrics.committed(now.saturating_sub(job.since), job.attempts);
            self.publish().await?;
            self.disk.committed(&key).await;
        }
        Ok(())
    }

    /// Lets everybody know where the tip stands.
    pub(super) async fn publish(&mut self) -> Result<(), Error> {
        let (tip, committed) = (self.plan.proven(), self.plan.committed());
        let known = self.own.proven.current();
        let proof = if known.tip == tip && known.proof.is_some() {
            known.proof
        } else {
            let proof = self.disk.proof(tip).await?;
            proof.map(|bytes| TierProof { block: tip, bytes })
        };
        let lag = committed.height.get().saturating_sub(tip.height.get());
        let policy = self.config.plan.lag;
        self.room.change(|room| {
            let next = policy.room(*room, lag);
            std::mem::replace(room, next) != next
        });
        let now = self.now();
        let next = Proven { tip, committed, proof, stalled: self.plan.is_stalled(now) };
        self.proven.change(|proven| std::mem::replace(proven, next.clone()) != next);
        Ok(())
    }

    pub(super) fn begin(&mut self, claim: Claim, begin: Begin) {
        let Claim { token, key, prover, .. } = claim;
        let (Some(prover), Some(parent)) =
            (self.provers.get(prover.0).cloned(), self.plan.parent(&key))
        else {
            return;
        };
        let attempt = Attempt {
            key,
            parent,
            token,
            prover,
            program: self.program.clone(),
            mailbox: self.own.clone(),
            call: self.config.call,
            patience: self.config.patience,
            proof_max: self.config.disk.proof_max,
        };
        let context = self.context.child("attempt");
        let task = context.spawn(move |context| attempt.run(context, begin));
        self.tasks.insert(token, task);
    }

    /// Ends an attempt whose slot is given back. One that was not submitted yet learns it when it is.
    pub(super) fn cancel(&mut self, cancel: Cancel) {
        let Cancel { token, prover, handle } = cancel;
        let task = self.tasks.remove(&token);
        if let Some(handle) = handle {
            task.iter().for_each(Handle::abort);
            self.release(prover, handle);
        }
    }

    pub(super) fn release(&self, prover: ProverId, handle: JobHandle) {
        let Some(prover) = self.provers.get(prover.0).cloned() else { return };
        let call = self.config.call;
        self.context.child("release").spawn(move |context| async move {
            within(&context, call, prover.release(&handle)).await;
        });
    }

    async fn handle(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Report(report) => self.report(report).await?,
            Message::Offer { prover, offer } => self.offered(ProverId(prover), offer),
            Message::Add(blocks, answer) => {
                let added = self.add(blocks).await;
                return self.answer(answer, added);
            }
            Message::Prune(to, answer) => {
                let pruned = self.prune(to).await;
                return self.answer(answer, pruned);
            }
            Message::Requeue(height, answer) => {
                let requeued = self.requeue(height).await;
                return self.answer(answer, requeued);
            }
            Message::Supply(height, proof, answer) => self.supply(height, proof, answer),
            Message::Status(answer) => {
                let now = self.now();
                let _ = answer.send(self.plan.status(now));
            }
            Message::Jobs(from, max, answer) => {
                let jobs = self.plan.jobs(from).take(max.min(LISTED_MAX));
                let _ = answer.send(jobs.map(|job| self.listed(job)).collect());
            }
            Message::Proof(block, answer) => {
                let proof = self.disk.proof(block).await;
                return self.answer(answer, proof);
            }
        }
        Ok(())
    }
}

impl<E: Context + Spawner + Rng, P: Program> Actor for Scheduler<E, P> {
    fn name(&self) -> String {
        "prover".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}

//! The scheduler's loop.

use super::{
    attempt::{Attempt, Begin, verify},
    config::{Config, Parts},
    ingress::{Answer, Listed, Mailbox, Message, NewBlock, Proven, Report},
    metrics::Metrics,
};
use crate::{
    Class, Error, Failure, Handle as JobHandle, Key, Offer, Program, Prover, Stopwatch, Time,
    disk::Disk,
    plan::{Added, Cancel, Claim, Job, Plan, ProverId, Stage, State, Taken, Token, Verdict},
};
use bytes::Bytes;
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
    Actor, BlockRef, Fault, Height, Stopper, Stopping, TierProof,
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
    context: ContextCell<E>,
    config: Config,
    program: Arc<P>,
    provers: Vec<Arc<dyn Prover>>,
    plan: Plan,
    disk: Disk<E>,
    inbox: Receiver<Message>,
    stop: Stopping,
    /// Keeps the inbox open when all other mailboxes are gone.
    own: Mailbox,
    proven: watch::Sender<Proven>,
    tasks: BTreeMap<Token, Handle<()>>,
    resumed: Vec<(Claim, JobHandle)>,
    stopwatch: Stopwatch,
    metrics: Metrics,
    about: String,
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
        let published = Proven { tip: plan.proven(), committed: plan.committed(), proof: None };
        let (proven, receiver) = watch(published);
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let own = Mailbox { sender, stopper, proven: receiver };
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
        for key in self.plan.stalled(now) {
            let failure = self.plan.job(key.block.height).and_then(|job| job.failure.clone());
            warn!(block = %key, ?failure, "is not proven for long: it is tried again and again");
        }
        let status = self.plan.status(now);
        self.metrics.status(&status, self.plan.counters());
        let wake = self.plan.wake(now).map_or(TICK, |wake| wake.saturating_sub(now));
        Ok(wake.clamp(Duration::from_millis(1), TICK))
    }

    fn now(&mut self) -> Time {
        self.stopwatch.now(&*self.context)
    }

    /// Moves the tip over every proof that is there: the one place where that is done.
    async fn commit(&mut self) -> Result<(), Error> {
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
    async fn publish(&mut self) -> Result<(), Error> {
        let (tip, committed) = (self.plan.proven(), self.plan.committed());
        let known = self.own.proven.current();
        let proof = if known.tip == tip && known.proof.is_some() {
            known.proof
        } else {
            let proof = self.disk.proof(tip).await?;
            proof.map(|bytes| TierProof { block: tip, bytes })
        };
        let next = Proven { tip, committed, proof };
        self.proven.change(|proven| std::mem::replace(proven, next.clone()) != next);
        Ok(())
    }

    fn begin(&mut self, claim: Claim, begin: Begin) {
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
    fn cancel(&mut self, cancel: Cancel) {
        let Cancel { token, prover, handle } = cancel;
        let task = self.tasks.remove(&token);
        if let Some(handle) = handle {
            task.iter().for_each(Handle::abort);
            self.release(prover, handle);
        }
    }

    fn release(&self, prover: ProverId, handle: JobHandle) {
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

    /// Answers a request. What concerns the disk as such ends the scheduler too.
    fn answer<T>(&self, answer: Answer<T>, result: Result<T, Error>) -> Result<(), Error> {
        let fatal = matches!(
            result,
            Err(Error::File { .. } | Error::Journal(_) | Error::Closed | Error::Table(_))
        );
        let _ = answer.send(result.map_err(|error| Fault::new(self.about.clone(), error)));
        // The next write fails with what is wrong: a table that a write failed on is closed.
        if fatal { Err(Error::Closed) } else { Ok(()) }
    }

    async fn add(&mut self, blocks: Vec<NewBlock>) -> Result<(), Error> {
        let now = self.now();
        let program = self.program.id();
        let mut fresh: Vec<(Key, Bytes)> = Vec::with_capacity(blocks.len());
        for NewBlock { block, inputs } in blocks {
            let above = fresh.last().map_or(self.plan.committed(), |(key, _)| key.block);
            match self.plan.follows(block, above)? {
                Added::New => fresh.push((Key { block, program }, inputs)),
                Added::Exists => {}
            }
        }
        for job in self.disk.add(&fresh).await? {
            let proof = if let State::Proved(proof) = job.state { Some(proof) } else { None };
            self.plan.add(job.key, job.inputs, proof, now)?;
        }
        self.publish().await
    }

    async fn prune(&mut self, to: BlockRef) -> Result<(), Error> {
        self.disk.prune(to).await?;
        let removed = self.plan.prune(to);
        removed.cancels.into_iter().for_each(|cancel| self.cancel(cancel));
        self.publish().await
    }

    async fn requeue(&mut self, height: Height) -> Result<BlockRef, Error> {
        let now = self.now();
        let key = self.plan.requeue(height, now)?;
        self.disk
            .change(&key, |job| {
                (job.state, job.logical) = (State::Open, 0);
            })
            .await?;
        Ok(key.block)
    }

    /// Has a proof from elsewhere verified, and reported as that of an attempt is.
    fn supply(&self, height: Height, proof: Bytes, answer: Answer<()>) {
        let wanted = self.plan.wanted(height).map_err(Error::from);
        let wanted = wanted.and_then(|key| {
            let max = self.config.disk.proof_max;
            let bytes = proof.len() as u64;
            if bytes > max {
                return Err(Error::Oversized { what: "the proof", block: key.block, bytes, max });
            }
            self.plan.parent(&key).map(|parent| (key, parent)).ok_or(Error::Closed)
        });
        let about = self.about.clone();
        let (key, parent) = match wanted {
            Ok(wanted) => wanted,
            Err(error) => return drop(answer.send(Err(Fault::new(about, error)))),
        };
        let (program, mailbox) = (self.program.clone(), self.own.clone());
        self.context.child("supply").spawn(move |context| async move {
            match verify(&context, &program, (parent, key.block), proof).await {
                Ok(proof) => {
                    let answer = Some(answer);
                    let report = Report::Proved { key, token: None, proof, answer };
                    let _ = mailbox.sender.enqueue(Message::Report(report));
                }
                Err(reason) => {
                    let error = Error::Rejected { block: key.block, reason };
                    let _ = answer.send(Err(Fault::new(about, error)));
                }
            }
        });
    }

    fn listed(&self, job: &Job) -> Listed {
        let name = |prover: ProverId| self.plan.provers().get(prover.0).map(|p| p.name.clone());
        Listed {
            block: job.key.block,
            stage: job.stage(),
            attempts: job.attempts,
            logical: job.logical,
            failure: match &job.state {
                State::Poisoned(reason) => Some(reason.clone()),
                State::Open | State::Proved(_) => job.failure.clone(),
            },
            provers: job.leases().iter().filter_map(|lease| name(lease.prover)).collect(),
        }
    }

    fn offered(&mut self, prover: ProverId, offer: Result<Offer, Failure>) {
        let Some(name) = self.plan.provers().get(prover.0).map(|prover| prover.name.clone()) else {
            return;
        };
        match offer {
            Ok(offer) => {
                let known = self.plan.provers()[prover.0].deadline;
                self.plan.advertise(prover, offer);
                let now = self.now();
                let status = self.plan.status(now).provers.into_iter().nth(prover.0);
                if let Some(warning) = status.and_then(|status| status.warning)
                    && known != offer.deadline
                {
                    warn!(prover = %name, %warning, "a proof that takes longer can never succeed");
                }
            }
            Err(failure) => debug!(prover = %name, %failure, "offers nothing"),
        }
    }

    async fn report(&mut self, report: Report) -> Result<(), Error> {
        let now = self.now();
        match report {
            Report::Alive(token) => {
                self.plan.alive(token, now);
            }
            Report::Submitted { token, handle, wanted } => {
                let is_wanted = self.plan.submitted(token, handle.clone(), now);
                if is_wanted && let Some((key, name)) = self.lease(token) {
                    self.disk.change(&key, |job| job.handles.push((name, handle))).await?;
                }
                let _ = wanted.send(is_wanted);
            }
            Report::Failed { token, failure } => {
                self.tasks.remove(&token);
                self.failed(token, &failure).await?;
            }
            Report::Proved { key, token, proof, answer } => {
                self.proved(key, token, proof).await?;
                if let Some(answer) = answer {
                    let _ = answer.send(Ok(()));
                }
            }
        }
        Ok(())
    }

    /// The job and the prover's name of an attempt that holds a slot.
    fn lease(&self, token: Token) -> Option<(Key, String)> {
        self.plan.lease_of(token).and_then(|(key, lease)| {
            let name = self.plan.provers().get(lease.prover.0)?.name.clone();
            Some((key, name))
        })
    }

    async fn failed(&mut self, token: Token, failure: &Failure) -> Result<(), Error> {
        let lease = self.plan.lease_of(token).map(|(key, lease)| (key, lease.clone()));
        let now = self.now();
        let verdict = self.plan.failed(token, failure, now, &mut *self.context);
        let Some((key, lease)) = lease else { return Ok(()) };
        debug!(block = %key, %failure, ?verdict, "attempt failed");
        let poisoned = match &verdict {
            Verdict::Poisoned(reason) => {
                warn!(block = %key, %reason, "poisoned: nothing above it is proven until it is");
                Some(State::Poisoned(reason.clone()))
            }
            _ => None,
        };
        // What has not changed on disk is not written.
        let handle = lease.handle;
        if failure.class() != Class::Logical && handle.is_none() {
            return Ok(());
        }
        let logical = self.plan.job(key.block.height).map_or(0, |job| job.logical);
        self.disk
            .change(&key, |job| {
                job.logical = logical;
                job.state = poisoned.unwrap_or_else(|| job.state.clone());
                if let Some(handle) = &handle {
                    job.handles.retain(|(_, ours)| ours != handle);
                }
            })
            .await
    }

    /// Takes in a proof that verified: durably, then in the plan; then provers may forget it.
    async fn proved(&mut self, key: Key, token: Option<Token>, proof: Bytes) -> Result<(), Error> {
        let lease = token.and_then(|token| self.plan.lease_of(token));
        let ours = lease.and_then(|(_, lease)| Some((lease.prover, lease.handle.clone()?)));
        let stored = self.disk.proved(&key, &proof).await?;
        let now = self.now();
        let taken = match stored {
            Some(stored) => self.plan.proved(&key, token, stored, now),
            None => self.plan.proved(&key, token, crate::Stored::of(&proof), now),
        };
        if let Some(token) = token {
            self.tasks.remove(&token);
        }
        if let Some((prover, handle)) = ours {
            self.release(prover, handle);
        }
        if let Taken::Proved(cancels) = taken {
            cancels.into_iter().for_each(|cancel| self.cancel(cancel));
        }
        self.commit().await
    }

    /// Asks each prover what it offers, now and then.
    fn ask_for_offers(&self) -> Vec<Handle<()>> {
        let ask = |(at, prover): (usize, &Arc<dyn Prover>)| {
            let (prover, mailbox) = (prover.clone(), self.own.clone());
            let (call, every) = (self.config.call, self.config.offers);
            self.context.child("offers").spawn(move |context| async move {
                loop {
                    let offer = within(&context, call, prover.offer()).await;
                    let silent = || Err(Failure::Unavailable(format!("no answer within {call:?}")));
                    let offer = offer.unwrap_or_else(silent);
                    let message = Message::Offer { prover: at, offer };
                    if !mailbox.sender.enqueue(message).accepted() {
                        return;
                    }
                    context.sleep(every).await;
                }
            })
        };
        self.provers.iter().enumerate().map(ask).collect()
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

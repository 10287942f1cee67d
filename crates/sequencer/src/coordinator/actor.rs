//! The coordinator's loop.

use super::{
    config::Config,
    effect::{Effect, Notice, Stage},
    ingress::{Answer, Mailbox, Message, Refusal, Status, Wanted},
    judge::{Judged, Mismatch},
    metrics::Metrics,
    plan::Plan,
    publishing::Publishing,
};
use crate::{
    Applier, Block, Error, Locked, NotApplied, NotSubmitted, Ordering, Pool, Publisher, Standing,
    Transaction,
};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::select_loop;
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use commonware_utils::{channel::oneshot, sync::Mutex};
use futures::{
    FutureExt as _,
    future::{BoxFuture, pending},
};
use rand::Rng;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidewatch_core::{
    Actor, Backoff, Fault, Height, Stopper, Stopping,
    watch::{Sender, watch},
    within,
};
use tracing::{debug, info, warn};

const ABOUT: &str = "the sequencer";

/// What a coordinator works with.
#[derive(Debug)]
pub struct Ports<P, A, U, O> {
    /// Where transactions wait.
    pub pool: Arc<P>,
    /// The chain.
    pub applier: Arc<A>,
    /// Where blocks are published.
    pub publisher: Arc<U>,
    /// The network of key holders.
    pub ordering: Arc<O>,
}

impl<P, A, U, O> Clone for Ports<P, A, U, O> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            applier: self.applier.clone(),
            publisher: self.publisher.clone(),
            ordering: self.ordering.clone(),
        }
    }
}

/// Coordinates proposals and preblocks: see the [module](super).
pub struct Coordinator<E, P, A, U, O>
where
    E: Spawner + Clock + Rng,
{
    context: ContextCell<E>,
    ports: Ports<P, A, U, O>,
    config: Config,
    inbox: Receiver<Message>,
    stop: Stopping,
    status: Sender<Status>,
    wanted: Sender<Wanted>,
    metrics: Metrics,
    /// Keeps the inbox open when all other mailboxes are gone.
    own: Mailbox,
}

impl<E: Spawner + Clock + Rng, P, A, U, O> fmt::Debug for Coordinator<E, P, A, U, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a call brought.
enum Came {
    Selected(Result<Vec<Transaction>, Locked>),
    Reserved(Result<(), Fault>),
    Submitted(Result<(), NotSubmitted>),
    Applied(Result<Block, NotApplied>),
    Settled(Result<(), Fault>),
    Released(Result<(), Fault>),
    Newest(Result<Option<Height>, Fault>),
}

type Waiter = oneshot::Sender<Answer>;
type Timer = Option<BoxFuture<'static, ()>>;

/// What is in flight, and the timers.
struct Flight {
    call: Option<BoxFuture<'static, Came>>,
    /// The plan's one timer.
    timer: Timer,
    interval: Timer,
    patience: Timer,
    stall: Timer,
    stalled: bool,
    backoff: Backoff,
    /// When the preblock came that the next proposal follows.
    arrived: Option<SystemTime>,
}

/// Awaits what there is, for ever if there is nothing.
pub(super) async fn due<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

impl<E, P, A, U, O> Coordinator<E, P, A, U, O>
where
    E: Spawner + Clock + Register + Rng,
    P: Pool,
    A: Applier,
    U: Publisher,
    O: Ordering,
{
    /// A coordinator over `ports`, and the mailbox to talk to it.
    pub fn new(context: E, ports: Ports<P, A, U, O>, config: Config) -> (Self, Mailbox) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let head = ports.applier.head().block;
        let (status, statuses) = watch(Status {
            stage: Stage::CatchingUp,
            head,
            attempt: None,
            connected: false,
            stalled: false,
            published: ports.publisher.published(),
        });
        let (wanted, wants) = watch(Wanted { from: head.height.next(), again: 0 });
        let cause = Arc::new(Mutex::new(None));
        let own = Mailbox { sender, stopper, status: statuses, wanted: wants, cause };
        let metrics = Metrics::new(&context);
        let (context, mailbox) = (ContextCell::new(context), own.clone());
        let coordinator =
            Self { context, ports, config, inbox, stop, status, wanted, metrics, own };
        (coordinator, mailbox)
    }

    /// Starts it. The handle resolves when it was stopped, or with the fault that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    /// Settles what a crash left between the chain and the pool.
    async fn recover(&self) -> Result<(Plan<Waiter>, Vec<Effect<Waiter>>), Fault> {
        let Ports { pool, applier, .. } = &self.ports;
        let (head, settled) = (applier.head(), pool.settled());
        let damaged = |why: String| Fault::new(ABOUT, Error::Pool(why));
        if settled > head.block.height {
            return Err(damaged(format!(
                "block {settled} was settled, and the chain ends at {}",
                head.block
            )));
        }
        for number in settled.get() + 1..=head.block.height.get() {
            let block = applier.block(Height::new(number)).await?;
            pool.settle(&block).await?;
        }
        let last = match head.block.height.get() {
            0 => None,
            _ => Some(applier.block(head.block.height).await?.identity),
        };
        let outstanding = pool.outstanding();
        if let Some(proposal) = &outstanding
            && proposal.identity.number != head.block.height.next()
        {
            let name = proposal.identity;
            return Err(damaged(format!("{name} is reserved over the head {}", head.block)));
        }
        Ok(Plan::new(self.config.clone(), head, last, outstanding))
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        let ended = match self.recover().await {
            Ok((plan, effects)) => self.run_plan(plan, effects, &stop).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = &ended {
            warn!(%fault, "coordinator ended");
            *self.own.cause.lock() = Some(fault.clone());
        } else {
            info!("coordinator stopped");
        }
        drop(held);
        ended
    }

    async fn run_plan(
        &mut self,
        mut plan: Plan<Waiter>,
        effects: Vec<Effect<Waiter>>,
        stop: &Stopping,
    ) -> Result<(), Fault> {
        let mut pool = self.ports.pool.waiting();
        let Config { retry, retry_max, stall, .. } = self.config;
        let mut flight = Flight {
            call: None,
            timer: None,
            interval: self.interval(plan.head()),
            patience: None,
            stall: Some(self.context.sleep(stall).boxed()),
            stalled: false,
            backoff: Backoff::new(retry, retry_max),
            arrived: None,
        };
        let Ports { applier, publisher, .. } = self.ports.clone();
        let mut publishing = Publishing::new(applier, publisher, &self.config);
        let mut ended = self.take(&plan, effects, &mut flight);
        if ended.is_ok() {
            let effects = plan.pooled(pool.current());
            ended = self.take(&plan, effects, &mut flight);
        }
        let mut stopping = false;
        select_loop! {
            self.context,
            on_start => {
                if ended.is_err() || (stopping && plan.is_quiet()) {
                    break;
                }
                publishing.begin();
                self.show(&plan, &flight);
                let stopped = async {
                    if stopping {
                        pending::<()>().await;
                    }
                    stop.stopped().await;
                };
            },
            on_stopped => {
                // The stop of the runtime is heard through `stop`, and awaited.
                let _ = plan.stop();
            },
            () = stopped => {
                stopping = true;
                let effects = plan.stop();
                ended = self.take(&plan, effects, &mut flight);
            },
            // What a call brought comes before new work.
            came = due(&mut flight.call) => {
                flight.call = None;
                let effects = self.learn(&mut plan, came);
                ended = self.take(&plan, effects, &mut flight);
            },
            step = publishing.step() => {
                publishing.ended(&mut *self.context, &self.metrics, step);
            },
            Some(message) = self.inbox.recv() else break => {
                let effects = self.message(&mut plan, message, &mut flight);
                ended = self.take(&plan, effects, &mut flight);
            },
            waiting = pool.changed() => {
                let Ok(waiting) = waiting else { break };
                let effects = plan.pooled(waiting);
                ended = self.take(&plan, effects, &mut flight);
            },
            () = due(&mut flight.timer) => {
                flight.timer = None;
                let effects = plan.woken();
                ended = self.take(&plan, effects, &mut flight);
            },
            () = due(&mut flight.interval) => {
                flight.interval = None;
                let effects = plan.due();
                ended = self.take(&plan, effects, &mut flight);
            },
            () = due(&mut flight.patience) => {
                flight.patience = None;
                let effects = plan.impatient();
                ended = self.take(&plan, effects, &mut flight);
            },
            () = due(&mut flight.stall) => self.stalled(&plan, &mut flight),
        }
        if ended.is_ok() {
            publishing.finish(&mut *self.context, &self.metrics, self.config.grace).await;
        }
        self.show(&plan, &flight);
        if let (Some(waiter), Err(fault)) = (plan.end(), &ended) {
            // The caller may have left.
            let _ = waiter.send(Answer::Refused(Refusal::Failed(fault.clone())));
        }
        ended
    }

    fn now_ms(&self) -> u64 {
        let since = self.context.current().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Until the next block is due after the head, whatever the wall clock was set to.
    fn interval(&self, head: &Standing) -> Timer {
        let interval = self.config.interval?;
        let elapsed = Duration::from_millis(self.now_ms().saturating_sub(head.time_ms));
        Some(self.context.sleep(interval.saturating_sub(elapsed)).boxed())
    }

    fn message(
        &self,
        plan: &mut Plan<Waiter>,
        message: Message,
        flight: &mut Flight,
    ) -> Vec<Effect<Waiter>> {
        match message {
            Message::Produce { force, answer } => plan.produce(answer, force),
            Message::Connected(connected) => plan.connection(connected),
            Message::Offer { preblock, answer } => {
                let (judged, effects) = plan.preblock(preblock);
                if judged == Judged::Accepted {
                    flight.arrived = Some(self.context.current());
                }
                let _ = answer.send(judged); // The monitor may have been stopped.
                effects
            }
        }
    }

    fn learn(&self, plan: &mut Plan<Waiter>, came: Came) -> Vec<Effect<Waiter>> {
        match came {
            Came::Selected(selected) => plan.selected(selected, self.now_ms()),
            Came::Reserved(reserved) => plan.reserved(reserved),
            Came::Submitted(submitted) => plan.submitted(submitted),
            Came::Applied(applied) => plan.applied(applied),
            Came::Settled(settled) => plan.settled(settled),
            Came::Released(released) => plan.released(released),
            Came::Newest(newest) => plan.newest(newest),
        }
    }

    /// Carries out what follows.
    fn take(
        &mut self,
        plan: &Plan<Waiter>,
        effects: Vec<Effect<Waiter>>,
        flight: &mut Flight,
    ) -> Result<(), Fault> {
        for effect in effects {
            match effect {
                Effect::Answer(waiter, answer) => {
                    let _ = waiter.send(answer); // The caller may have left.
                }
                Effect::Rest => flight.timer = None,
                Effect::Wake(after) => flight.timer = Some(self.context.sleep(after).boxed()),
                Effect::Retry => {
                    let pause = flight.backoff.fail(&mut *self.context);
                    flight.timer = Some(self.context.sleep(pause).boxed());
                }
                Effect::Progress => {
                    flight.backoff.succeed();
                    flight.stalled = false;
                    flight.stall = Some(self.context.sleep(self.config.stall).boxed());
                }
                Effect::Patience => {
                    let patience = self.context.sleep(self.config.answer_max);
                    flight.patience = Some(patience.boxed());
                }
                Effect::Interval => flight.interval = self.interval(plan.head()),
                Effect::Want { again } => {
                    let from = plan.head().block.height.next();
                    self.wanted.change(|wanted| {
                        wanted.again += u64::from(again);
                        again | (std::mem::replace(&mut wanted.from, from) != from)
                    });
                }
                Effect::Notice(notice) => self.notice(plan, &notice),
                Effect::End(fault) => return Err(fault),
                call => flight.call = Some(self.call(call, flight)),
            }
        }
        Ok(())
    }

    fn call(&self, call: Effect<Waiter>, flight: &mut Flight) -> BoxFuture<'static, Came> {
        let Ports { pool, applier, ordering, .. } = self.ports.clone();
        let (context, limit) = (self.context.child("call"), self.config.deadline);
        let late = move |call| Error::NoAnswer { call, limit };
        match call {
            Effect::Select => {
                let bytes = self.config.block_bytes;
                async move { Came::Selected(pool.select(bytes).await) }.boxed()
            }
            Effect::Reserve(proposal) => {
                async move { Came::Reserved(pool.reserve(&proposal).await) }.boxed()
            }
            Effect::Settle(block) => {
                async move { Came::Settled(pool.settle(&block).await) }.boxed()
            }
            Effect::Release => async move { Came::Released(pool.release().await) }.boxed(),
            Effect::Apply(preblock) => {
                async move { Came::Applied(applier.apply(&preblock).await) }.boxed()
            }
            Effect::Submit(proposal) => {
                let now = self.context.current();
                let since = flight.arrived.take().and_then(|at| now.duration_since(at).ok());
                self.metrics.submitted(since);
                debug!(proposal = %proposal.identity, "proposed");
                async move {
                    let submitted = within(&context, limit, ordering.submit(proposal)).await;
                    let unknown = || Fault::new(ordering.name(), late("submit"));
                    Came::Submitted(submitted.unwrap_or_else(|| {
                        // It may have arrived.
                        Err(NotSubmitted::Unknown(unknown()))
                    }))
                }
                .boxed()
            }
            _ => async move {
                let newest = within(&context, limit, ordering.newest()).await;
                let unknown = || Fault::new(ordering.name(), late("newest"));
                Came::Newest(newest.unwrap_or_else(|| Err(unknown())))
            }
            .boxed(),
        }
    }

    fn notice(&self, plan: &Plan<Waiter>, notice: &Notice) {
        self.metrics.event(notice.as_str());
        let (number, attempt) = (plan.head().block.height.next(), plan.attempt());
        let attempt = attempt.map(std::num::NonZeroU32::get);
        let event = notice.as_str();
        match notice {
            Notice::Applied(transactions) => {
                self.metrics.applied(*transactions);
                info!(head = %plan.head().block, transactions, "applied");
            }
            Notice::Discarded(Judged::Foreign(mismatch), identity) => {
                let what = if *mismatch == Mismatch::Broken { "broken" } else { "foreign" };
                warn!(%number, ?attempt, came = %identity, what, "{event}: still waiting");
            }
            Notice::Discarded(_, identity) => debug!(%number, came = %identity, "{event}"),
            Notice::MaybeSubmitted(fault) | Notice::Failed(fault) => {
                warn!(%number, ?attempt, %fault, "{event}");
            }
            Notice::Rejected(why) | Notice::NotTaken(why) => {
                warn!(%number, ?attempt, why, "{event}");
            }
            Notice::TimedOut | Notice::Taken => warn!(%number, ?attempt, "{event}"),
            Notice::CatchUp(newest) => info!(%number, %newest, "{event}"),
            _ => debug!(%number, ?attempt, "{event}"),
        }
    }

    /// No block for too long. On demand, that is nothing while nothing is outstanding.
    fn stalled(&self, plan: &Plan<Waiter>, flight: &mut Flight) {
        flight.stall = None;
        if self.config.interval.is_none() && plan.attempt().is_none() {
            flight.stall = Some(self.context.sleep(self.config.stall).boxed());
            return;
        }
        flight.stalled = true;
        self.metrics.event("stalled");
        let (stage, head) = (plan.stage().as_str(), plan.head());
        let (number, attempt) = (head.block.height.next(), plan.attempt());
        let (since_ms, limit) = (head.time_ms, self.config.stall);
        warn!(stage, %number, ?attempt, since_ms, "no block for {limit:?}");
    }

    fn show(&self, plan: &Plan<Waiter>, flight: &Flight) {
        let status = Status {
            stage: plan.stage(),
            head: plan.head().block,
            attempt: plan.attempt(),
            connected: plan.is_connected(),
            stalled: flight.stalled,
            published: self.ports.publisher.published(),
        };
        self.metrics.status(&status);
        self.status.change(|at| {
            let changed = *at != status;
            if changed {
                if at.stage != status.stage {
                    debug!(from = at.stage.as_str(), to = status.stage.as_str(), "stage");
                }
                *at = status;
            }
            changed
        });
    }
}

impl<E, P, A, U, O> Actor for Coordinator<E, P, A, U, O>
where
    E: Spawner + Clock + Register + Rng,
    P: Pool,
    A: Applier,
    U: Publisher,
    O: Ordering,
{
    fn name(&self) -> String {
        "sequencer".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}

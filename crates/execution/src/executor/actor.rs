//! The executor's loop.

use super::{
    config::Config,
    ingress::{Mailbox, Message, Waiter},
    metrics::Metrics,
    plan::{Call, Effect, Plan},
};
use crate::{Execution, ExecutionError, Forkchoice, Standing, Target, Verdict, evidence};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::select_loop;
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use commonware_utils::sync::Mutex;
use futures::{
    FutureExt as _,
    future::{BoxFuture, pending},
};
use std::{fmt, sync::Arc};
use tidewatch_core::{
    Actor, BlockRef, Fault, Height, Stopper, Stopping,
    watch::{Sender, watch},
    within,
};
use tracing::{debug, info, warn};

/// Makes the calls of one client: see the [module](super).
pub struct Executor<E: Spawner + Clock, X: Execution> {
    context: ContextCell<E>,
    execution: Arc<X>,
    config: Config,
    inbox: Receiver<Message<X::Payload>>,
    stop: Stopping,
    plan: Plan<X::Payload, Waiter>,
    floor: Sender<Option<BlockRef>>,
    metrics: Metrics,
    /// Keeps the inbox open when all other mailboxes are gone.
    own: Mailbox<X::Payload>,
}

impl<E: Spawner + Clock, X: Execution> fmt::Debug for Executor<E, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a call brought.
enum Answer {
    Stands(Result<Standing, Fault>),
    Gave(Result<Verdict, Fault>),
    Pointed(Target, Result<Verdict, Fault>),
    Beaten(Forkchoice, Result<Verdict, Fault>),
    Survives(Result<Option<Height>, Fault>),
}

impl Answer {
    const fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Stands(Err(fault))
            | Self::Gave(Err(fault))
            | Self::Pointed(_, Err(fault))
            | Self::Beaten(_, Err(fault))
            | Self::Survives(Err(fault)) => Some(fault),
            _ => None,
        }
    }
}

type InFlight = BoxFuture<'static, Answer>;

impl<E, X> Executor<E, X>
where
    E: Spawner + Clock + Register,
    X: Execution,
{
    /// An executor for `execution`, and the mailbox to talk to it.
    pub fn new(context: E, execution: Arc<X>, config: Config) -> (Self, Mailbox<X::Payload>) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let (floor, floors) = watch(None);
        let about: Arc<str> = execution.name().into();
        let cause = Arc::new(Mutex::new(None));
        let own = Mailbox { about: about.clone(), sender, stopper, floor: floors, cause };
        let plan = Plan::new(about.to_string(), config.retry, config.tries_max);
        let metrics = Metrics::new(&context);
        let (context, mailbox) = (ContextCell::new(context), own.clone());
        let executor = Self { context, execution, config, inbox, stop, plan, floor, metrics, own };
        (executor, mailbox)
    }

    /// Starts it. The handle resolves when it was stopped, or with the fault that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        let mut in_flight: Option<InFlight> = None;
        let mut pause: Option<BoxFuture<'static, ()>> = None;
        let mut heartbeat = self.context.sleep(self.config.heartbeat).boxed();
        let mut ended = Ok(());
        select_loop! {
            self.context,
            on_start => {
                if in_flight.is_none()
                    && pause.is_none()
                    && let Some(call) = self.plan.next()
                {
                    if matches!(call, Call::Point(_) | Call::Beat(_)) {
                        heartbeat = self.context.sleep(self.config.heartbeat).boxed();
                    }
                    in_flight = Some(self.call(call));
                }
                let answered = async {
                    match &mut in_flight {
                        Some(call) => call.await,
                        None => pending().await,
                    }
                };
                let rested = async {
                    match &mut pause {
                        Some(pause) => pause.await,
                        None => pending().await,
                    }
                };
            },
            on_stopped => {},
            () = stop.stopped() => break,
            // An answer comes before new work: it may make some of that superfluous.
            answer = answered => {
                in_flight = None;
                let effect = self.learn(answer);
                if effect.pause {
                    self.metrics.retry();
                    pause = Some(self.context.sleep(self.config.retry).boxed());
                }
                ended = self.take(effect);
                if ended.is_err() {
                    break;
                }
            },
            Some(message) = self.inbox.recv() else break => {
                let effect = match message {
                    Message::Give { payloads, target, waiter } => {
                        self.plan.give(payloads, target, waiter)
                    }
                    Message::Point { target, waiter } => self.plan.point(target, waiter),
                };
                ended = self.take(effect);
            },
            () = rested => pause = None,
            () = &mut heartbeat => {
                self.plan.beat();
                heartbeat = self.context.sleep(self.config.heartbeat).boxed();
            },
        }
        if let Err(fault) = &ended {
            warn!(%fault, "executor ended");
            *self.own.cause.lock() = Some(fault.clone());
            for waiter in self.plan.end().into_iter().flatten() {
                let _ = waiter.send(Err(fault.clone())); // The caller may have left.
            }
        } else {
            info!(client = %self.own.about, "executor stopped");
        }
        drop(held);
        ended
    }

    /// Makes a call, within the deadline.
    fn call(&self, call: Call<X::Payload>) -> InFlight {
        let (execution, context) = (self.execution.clone(), self.context.child("call"));
        let (limit, name) = (self.config.deadline, name(&call));
        self.metrics.call(name);
        async move {
            let late = || {
                let error = ExecutionError::NoAnswer { call: name, limit };
                Fault::new(execution.name(), error)
            };
            match call {
                Call::Standing => {
                    let answer = within(&context, limit, execution.standing()).await;
                    Answer::Stands(answer.unwrap_or_else(|| Err(late())))
                }
                Call::Give(payload) => {
                    let answer = within(&context, limit, execution.give(&payload)).await;
                    Answer::Gave(answer.unwrap_or_else(|| Err(late())))
                }
                Call::Point(target) => {
                    let answer = execution.point(&target.forkchoice);
                    let answer = within(&context, limit, answer).await;
                    Answer::Pointed(target, answer.unwrap_or_else(|| Err(late())))
                }
                Call::Beat(to) => {
                    let answer = within(&context, limit, execution.point(&to)).await;
                    Answer::Beaten(to, answer.unwrap_or_else(|| Err(late())))
                }
                Call::Durable => {
                    let answer = within(&context, limit, execution.durable()).await;
                    Answer::Survives(answer.unwrap_or_else(|| Err(late())))
                }
            }
        }
        .boxed()
    }

    /// Hands an answer to the plan, after it was counted.
    fn learn(&mut self, answer: Answer) -> Effect<X::Payload, Waiter> {
        if let Some(fault) = answer.fault() {
            debug!(%fault, "call failed");
            self.metrics.fault(fault.kind.as_str());
        }
        match answer {
            Answer::Stands(answer) => self.plan.stands(answer),
            Answer::Gave(answer) => self.plan.gave(answer),
            Answer::Pointed(target, answer) => {
                if matches!(answer, Ok(Verdict::Valid(_))) {
                    self.metrics.head(target.forkchoice.head);
                }
                self.plan.pointed(target, answer)
            }
            Answer::Beaten(to, answer) => self.plan.beaten(to, answer),
            Answer::Survives(answer) => self.plan.survives(answer),
        }
    }

    /// Carries out what follows from an answer or a message.
    fn take(&self, effect: Effect<X::Payload, Waiter>) -> Result<(), Fault> {
        for (waiter, answer) in effect.answers {
            if let Some(waiter) = waiter {
                let _ = waiter.send(answer); // The caller may have left.
            }
        }
        if let Some(floor) = effect.floor {
            self.metrics.floor(floor);
            self.floor.change(|at| at.replace(floor) != Some(floor));
        }
        let Some((error, payload)) = effect.end else { return Ok(()) };
        let fault = Fault::new(self.execution.name(), self.with_evidence(error, payload));
        self.metrics.fault(fault.kind.as_str());
        Err(fault)
    }

    /// Keeps the payload that an error is about.
    fn with_evidence(&self, error: ExecutionError, payload: Option<X::Payload>) -> ExecutionError {
        let (Some(payload), Some(directory)) = (payload, &self.config.evidence) else {
            return error;
        };
        let ExecutionError::Invalid { block, valid, why, .. } = error else { return error };
        let evidence = match evidence::payload(directory, &payload, &why) {
            Ok(path) => Some(path),
            // What the client said counts more than that it could not be written down.
            Err(error) => {
                warn!(%error, "no evidence kept");
                None
            }
        };
        ExecutionError::Invalid { block, valid, why, evidence }
    }
}

/// Names a call in faults and metrics.
const fn name<P>(call: &Call<P>) -> &'static str {
    match call {
        Call::Standing => "standing",
        Call::Give(_) => "give",
        Call::Point(_) => "point",
        Call::Beat(_) => "heartbeat",
        Call::Durable => "durable",
    }
}

impl<E, X> Actor for Executor<E, X>
where
    E: Spawner + Clock + Register,
    X: Execution,
{
    fn name(&self) -> String {
        "executor".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}

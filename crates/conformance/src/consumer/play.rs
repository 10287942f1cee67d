//! One consumer on one durable state, through any number of lives.

use super::{
    name,
    subject::Subject,
    watched::{Crash, Notes, Seen, Watched},
};
use crate::{
    DEADLINE, Runtime,
    patience::{NoAnswer, either, within},
    report::{Flaw, Report},
};
use commonware_runtime::Handle;
use futures::{
    future::{Either, select},
    pin_mut,
};
use std::{num::NonZeroUsize, time::Duration};
use tidewatch_core::{Consumer as _, Fault, FaultKind, Watermarks};
use tidewatch_store::MemoryReader;
use tidewatch_stream::{
    Delivery, Stopper,
    delivery::{Config, Parts},
};
use tidewatch_testkit::chain::TestBlock;

/// Refusals of one batch after which nothing more is expected of a consumer.
const REFUSALS_MAX: usize = 5;

/// Length limit of a name, in bytes: that of a store.
const NAME_MAX: usize = 128;

pub(super) type Look<T = ()> = Result<T, Flaw>;

pub(super) const NOTHING_DURABLE: &str = "it acknowledged nothing as durable";

/// A consumer that is open and is handed events.
pub(super) struct Life {
    /// Nothing once it has ended: its result comes once.
    handle: Option<Handle<Result<(), Fault>>>,
    stopper: Stopper,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was stopped when it had handled everything.
    Stopped,
    /// It had the crash that it was to have.
    Crashed,
    /// Its delivery ended: it does not start again.
    Refused,
}

/// What all plays of a suite have in common.
pub(super) struct Stage<'a, E> {
    pub(super) context: &'a E,
    pub(super) report: &'a mut Report,
    pub(super) name: Option<String>,
    pub(super) lives: u64,
    pub(super) crashes: u64,
    pub(super) events: u64,
}

impl<'a, E> Stage<'a, E> {
    pub(super) const fn new(context: &'a E, report: &'a mut Report) -> Self {
        Self { context, report, name: None, lives: 0, crashes: 0, events: 0 }
    }
}

/// One consumer on one durable state.
pub(super) struct Play<'a, 'b, E, J> {
    stage: &'a mut Stage<'b, E>,
    subject: J,
    notes: Notes,
}

impl<'a, 'b, E: Runtime, J: Subject> Play<'a, 'b, E, J> {
    pub(super) fn new(stage: &'a mut Stage<'b, E>, subject: J) -> Self {
        let notes = Notes::default();
        notes.with(|seen| seen.handed.push((0, Watermarks::none())));
        Self { stage, subject, notes }
    }

    /// The name that it had when it was first opened.
    pub(super) fn name(&self) -> Option<String> {
        self.stage.name.clone()
    }

    pub(super) async fn pause(&self, time: Duration) {
        self.stage.context.sleep(time).await;
    }

    pub(super) fn seen<T>(&self, read: impl FnOnce(&mut Seen) -> T) -> T {
        self.notes.with(read)
    }

    async fn open(&mut self) -> Look<J::Consumer> {
        self.stage.lives += 1;
        let opened = within(self.stage.context, self.subject.open()).await;
        let opened = match opened {
            Ok(Ok(consumer)) => Ok(consumer),
            Ok(Err(fault)) => Err(Flaw::broken(fault)),
            Err(NoAnswer::Late) => Err(Flaw::broken(format_args!("not within {DEADLINE:?}"))),
            Err(NoAnswer::Panicked(message)) => {
                Err(Flaw::broken(format_args!("it panicked: {message}")))
            }
        };
        let look = opened.as_ref().map(|_| ()).map_err(Clone::clone);
        self.stage.report.record(name::OPENS, look);
        let consumer = opened.map_err(|_| Flaw::see(name::OPENS))?;
        self.named(consumer.name());
        Ok(consumer)
    }

    fn named(&mut self, name: &str) {
        let first = self.stage.name.get_or_insert_with(|| name.into());
        let look = if *first != name {
            Err(Flaw::broken(format_args!("{first:?} at first, then {name:?}")))
        } else if name.is_empty() || name.len() > NAME_MAX {
            Err(Flaw::broken(format_args!("{name:?} does not have 1 to {NAME_MAX} bytes")))
        } else {
            Ok(())
        };
        self.stage.report.about(name);
        self.stage.report.record(name::NAME, look);
    }

    /// Opens the consumer, and hands it the events of `log`.
    pub(super) async fn begin(
        &mut self,
        log: &MemoryReader<TestBlock>,
        batch_max: NonZeroUsize,
        crash: Crash,
    ) -> Look<Life> {
        let consumer = self.open().await?;
        let watched = Watched::new(consumer, crash, self.notes.clone());
        let context = self.stage.context.child("delivery").with_attribute("life", self.stage.lives);
        let config = Config { batch_max, ..Config::default() };
        let parts = Parts { log: log.clone(), consumer: watched, monitor: () };
        let (delivery, mailbox) = Delivery::new(context, parts, config);
        Ok(Life { handle: Some(delivery.start()), stopper: mailbox.stopper() })
    }

    /// Waits until `end` events are handled, or until the crash.
    pub(super) async fn reach(&mut self, life: &mut Life, end: u64) -> Look<Ended> {
        let over = |seen: &Seen| {
            let handled = seen.through >= end && seen.out() == 0;
            seen.crashed || handled || seen.faults.len() >= REFUSALS_MAX
        };
        let context = self.stage.context;
        let ended = async { either(self.notes.until(over), context.sleep(DEADLINE)).await };
        let Some(handle) = &mut life.handle else {
            return Err(Flaw::not_shown("its delivery had ended before"));
        };
        let ended = {
            pin_mut!(ended);
            match select(ended, handle).await {
                Either::Left((ended, _)) => Ok(ended),
                Either::Right((result, _)) => Err(result),
            }
        };
        if ended.is_err() {
            life.handle = None;
        }
        let (panicked, fault) = self.seen(|seen| (seen.panicked.clone(), seen.faults.pop()));
        let (check, detail) = match (ended, panicked, fault) {
            (_, Some(message), _) => (name::PANICS, format!("it panicked: {message}")),
            // Its delivery told it that events are gone, and it said that it does not start again.
            (Err(Ok(Err(fault))), _, _) if fault.kind == FaultKind::TooOld => {
                return Ok(Ended::Refused);
            }
            (Err(result), _, _) => (name::REFUSES, format!("its delivery ended: {result:?}")),
            (_, _, Some(fault)) => (name::REFUSES, format!("it answered with a fault: {fault}")),
            (Ok(None), _, _) => (name::ENDS, format!("nothing came of events in {DEADLINE:?}")),
            (Ok(Some(())), _, None) => {
                let crashed = self.seen(|seen| seen.crashed);
                return Ok(if crashed { Ended::Crashed } else { Ended::Stopped });
            }
        };
        self.stage.report.record(check, Err(Flaw::broken(detail)));
        Err(Flaw::see(check))
    }

    /// Ends a life: by a stop, or by a crash.
    pub(super) async fn end(&mut self, life: Life, ended: Ended) -> Look {
        let Life { handle, stopper } = life;
        if ended == Ended::Crashed {
            self.stage.crashes += 1;
            if let Some(handle) = &handle {
                handle.abort();
            }
        }
        stopper.stop();
        let context = self.stage.context;
        let gone = async {
            if let Some(handle) = handle {
                let _ = handle.await; // How it ended was seen.
            }
            self.notes.until(|seen| seen.gone).await;
        };
        let gone = within(context, gone).await;
        if gone.is_err() {
            let detail = format!("it did not stop within {DEADLINE:?}");
            self.stage.report.record(name::ENDS, Err(Flaw::broken(detail)));
            return Err(Flaw::see(name::ENDS));
        }
        Ok(())
    }

    /// One whole life.
    pub(super) async fn live(
        &mut self,
        log: &MemoryReader<TestBlock>,
        batch_max: NonZeroUsize,
        crash: Crash,
        end: u64,
    ) -> Look<Ended> {
        let mut life = self.begin(log, batch_max, crash).await?;
        let ended = self.reach(&mut life, end).await;
        let crashed = ended.clone().unwrap_or(Ended::Crashed);
        self.end(life, crashed).await?;
        if ended == Ok(Ended::Crashed) {
            self.judge_crash().await?;
        }
        ended
    }

    async fn holds(&mut self) -> Look<J::Held> {
        let holds = within(self.stage.context, self.subject.holds()).await;
        holds.map_err(|error| Flaw::broken(format_args!("what it holds cannot be read: {error:?}")))
    }

    /// Where the consumer may be: at what it acknowledged last as durable, at whatever it was handed
    /// after that, or further on, where it had been before.
    fn allowed(&self) -> Vec<Watermarks> {
        self.notes.with(|seen| {
            let Some(durable) = seen.durable else {
                return seen.handed.iter().map(|(_, watermarks)| *watermarks).collect();
            };
            let floor = seen.handed[durable].0;
            let may = |(at, (handled, _)): &(usize, &(u64, Watermarks))| {
                *at >= durable || *handled > floor
            };
            seen.handed
                .iter()
                .enumerate()
                .filter(may)
                .map(|(_, (_, watermarks))| *watermarks)
                .collect()
        })
    }

    /// Whether a consumer that crashed is where it may be.
    async fn judge_crash(&mut self) -> Look {
        let held = self.holds().await?;
        let allowed = self.allowed();
        let is_at = |watermarks: &Watermarks| self.subject.expects(watermarks) == held;
        let report = &mut *self.stage.report;
        let (durable, handed) =
            self.notes.with(|seen| (seen.durable.map(|at| seen.handed[at].1), seen.handed.clone()));
        if allowed.iter().any(is_at) {
            report.record(name::PLACE, Ok(()));
            report.record(
                name::DURABLE,
                match durable {
                    Some(_) => Ok(()),
                    None => Err(Flaw::not_shown(NOTHING_DURABLE)),
                },
            );
            return Ok(());
        }
        let expected = durable.map(|watermarks| self.subject.expects(&watermarks));
        let detail =
            format!("it holds {held:?}, what it acknowledged as durable leads to {expected:?}");
        let somewhere = handed.iter().any(|(_, watermarks)| is_at(watermarks));
        let check = if somewhere { name::DURABLE } else { name::PLACE };
        report.record(check, Err(Flaw::broken(detail)));
        Err(Flaw::see(check))
    }

    /// Whether a consumer that was handed everything is where the events lead. False if it cannot be
    /// told, because it acknowledged nothing as durable.
    pub(super) async fn judge_end(&mut self) -> Look<bool> {
        let held = self.holds().await?;
        let last = self.seen(|seen| seen.handed.last().map(|(_, watermarks)| *watermarks));
        if self.seen(|seen| seen.durable.is_none()) {
            return Ok(false);
        }
        if self.allowed().iter().any(|watermarks| self.subject.expects(watermarks) == held) {
            return Ok(true);
        }
        let expected = last.map(|watermarks| self.subject.expects(&watermarks));
        Err(Flaw::broken(format_args!("it holds {held:?}, the events lead to {expected:?}")))
    }
}

impl<E, J> Drop for Play<'_, '_, E, J> {
    fn drop(&mut self) {
        self.stage.events += self.notes.with(|seen| seen.handed.len() as u64 - 1);
    }
}

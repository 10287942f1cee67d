//! The publisher's loop.

use super::{
    Config,
    metrics::Metrics,
    plan::{self, At, Judged, Next, Why},
};
use crate::{
    Answer, Cluster, End, Error, Leader, Marked, MessageId, Outgoing,
    elector::{Leadership, Standing},
    patience::in_time,
};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::{
    Clock, ContextCell, Handle, Metrics as Register, Spawner, Supervisor, spawn_cell,
};
use rand::Rng;
use serde::Serialize;
use std::{collections::VecDeque, fmt, num::NonZeroUsize, sync::Arc};
use tidewatch_core::{
    Actor, Backoff, Cursor, Fault, FaultKind, History, LogError, Monitor, Record, Resume,
    ResumeError, Stopper, Stopping,
    json::{Control, Lead, Line, Reset},
    watch::{Receiver, Sender, watch},
    within,
};
use tracing::{debug, info, warn};

/// Names this in faults.
const NATS: &str = "nats";

/// Events that are read at once.
const STEP: NonZeroUsize = NonZeroUsize::new(64).expect("is not 0");

/// Publishes: see the [module](super).
pub struct Publisher<E: Spawner + Clock, C, L> {
    context: ContextCell<E>,
    cluster: C,
    log: L,
    monitor: Arc<dyn Monitor>,
    config: Config,
    standing: Sender<Standing>,
    stopper: Stopper,
    stop: Stopping,
    metrics: Metrics,
    /// The number of the next message: no two messages of a run have the same.
    number: u64,
}

impl<E: Spawner + Clock, C, L> fmt::Debug for Publisher<E, C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What is published next.
enum Due {
    Event(Box<Record>),
    /// Readers start again from the cursor.
    Reset(Box<Cursor>, String),
}

impl Due {
    const fn cursor(&self) -> &Cursor {
        match self {
            Self::Event(record) => &record.cursor,
            Self::Reset(cursor, _) => cursor,
        }
    }
}

/// Where a publisher goes on in its log.
struct Opened {
    due: VecDeque<Due>,
    /// The first event after those.
    next: u64,
}

/// A leadership whose record is written.
struct Session {
    leader: Leader,
    at: At,
    /// Its record, and the place of that; `None` while it is written.
    lead: Option<(u64, MessageId)>,
    /// The position that readers are led to.
    position: Cursor,
}

/// What became of a message.
enum Put {
    Stored,
    Republish(Box<Marked>),
    Lead(End),
    Deposed(u64),
}

/// Why a leadership ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// There is a later leader, with this token.
    Deposed(u64),
    /// The log is behind the stream.
    Behind,
}

impl<E, C, L> Publisher<E, C, L>
where
    E: Spawner + Clock + Register + Rng + Supervisor,
    C: Cluster,
    L: History,
{
    /// A publisher of `log` at `cluster`, and what it says to the elector.
    pub fn new(
        context: E,
        cluster: C,
        log: L,
        monitor: Arc<dyn Monitor>,
        config: Config,
    ) -> (Self, Receiver<Standing>) {
        let (stopper, stop) = Stopper::new();
        let (standing, stands) = watch(Standing::Unfit);
        let metrics = Metrics::new(&context);
        let context = ContextCell::new(context);
        let publisher = Self {
            context,
            cluster,
            log,
            monitor,
            config,
            standing,
            stopper,
            stop,
            metrics,
            number: 0,
        };
        (publisher, stands)
    }

    /// The actor, led by `leadership`.
    pub const fn led(self, leadership: Receiver<Leadership>) -> Led<E, C, L> {
        Led { publisher: self, leadership }
    }

    async fn run(mut self, leadership: Receiver<Leadership>) -> Result<(), Fault> {
        let (stop, signal) = self.stop.clone().with_runtime(&*self.context);
        let ended = loop {
            let revision = select! {
                () = stop.stopped() => break Ok(()),
                revision = self.stand_by(&leadership) => revision,
            };
            let revision = match revision {
                Ok(Some(revision)) => revision,
                Ok(None) if stop.is_stopped() => break Ok(()),
                Ok(None) => break Err(FaultKind::Stopped.fault(NATS, "the elector has ended")),
                Err(fault) => break Err(fault),
            };
            let over = leadership.until(|leads| *leads != Leadership::Leads { revision });
            let ended = select! {
                () = stop.stopped() => break Ok(()),
                // What is on the way is abandoned: it is stored or not, and whoever is next reads which.
                _ = over => continue,
                ended = self.lead(revision) => ended,
            };
            match ended {
                Ok(Ended::Deposed(by)) => {
                    info!(revision, by, "deposed");
                    self.stand(Standing::Deposed { revision });
                }
                Ok(Ended::Behind) => self.stand(Standing::Unfit),
                Err(fault) if fault.severity().is_fatal() => break Err(fault),
                Err(fault) => {
                    self.monitor.fault(&fault);
                    self.stand(Standing::Deposed { revision });
                }
            }
            // The elector hears it, and ends the leadership.
            select! {
                () = stop.stopped() => break Ok(()),
                _ = leadership.until(|leads| *leads != Leadership::Leads { revision }) => {},
            }
        };
        drop(signal);
        ended
    }

    fn stand(&self, standing: Standing) {
        self.standing.change(|told| std::mem::replace(told, standing) != standing);
    }

    /// Says whether it could lead until it does; `None` if the elector has ended.
    async fn stand_by(&mut self, leadership: &Receiver<Leadership>) -> Result<Option<u64>, Fault> {
        loop {
            if let Ok(end) = self.end().await {
                let position = self.position(last(&end)?.as_ref());
                match self.open(&position).await {
                    Ok(opened) => {
                        let fit = opened.is_some();
                        self.stand(if fit { Standing::Fit } else { Standing::Unfit });
                    }
                    Err(fault) if fault.severity().is_fatal() => return Err(fault),
                    Err(fault) => self.monitor.fault(&fault),
                }
            }
            let mut revision = None;
            let leads = leadership.until(|leads| match leads {
                Leadership::Standby => false,
                Leadership::Leads { revision: of } => {
                    revision = Some(*of);
                    true
                }
            });
            if let Some(led) = within(&*self.context, self.config.look, leads).await {
                return Ok(led.ok().and(revision));
            }
        }
    }

    /// The position that the stream ends with.
    fn position(&self, last: Option<&Marked>) -> Cursor {
        last.map_or_else(|| Cursor::start(&self.config.chain), |last| last.cursor.clone())
    }

    /// Where the log goes on from `cursor`; `None` where it is behind that.
    async fn open(&self, cursor: &Cursor) -> Result<Option<Opened>, Fault> {
        let opened = |bridge: Vec<Record>, next| Opened {
            due: bridge.into_iter().map(Box::new).map(Due::Event).collect(),
            next,
        };
        let wrong = |error| Fault::new(NATS, Error::Position(error));
        let (restart, why) = match self.log.resume(cursor).await {
            Ok(Resume::Exact { next }) => return Ok(Some(opened(Vec::new(), next))),
            Ok(Resume::Forked { bridge, next, .. }) => return Ok(Some(opened(bridge, next))),
            Err(ResumeError::Ahead { .. }) => return Ok(None),
            Err(ResumeError::Fault(fault)) => return Err(fault),
            Err(error @ (ResumeError::Malformed(_) | ResumeError::WrongChain { .. })) => {
                return Err(wrong(error));
            }
            Err(error @ ResumeError::TooOld { .. }) => {
                let why = error.to_string();
                let ResumeError::TooOld { restart } = error else { return Ok(None) };
                (restart, why)
            }
        };
        let mut then = match self.log.resume(&restart).await {
            Ok(Resume::Exact { next }) => opened(Vec::new(), next),
            Ok(Resume::Forked { bridge, next, .. }) => opened(bridge, next),
            Err(ResumeError::Fault(fault)) => return Err(fault),
            Err(error) => return Err(wrong(error)),
        };
        then.due.push_front(Due::Reset(restart, why));
        Ok(Some(then))
    }

    /// Publishes until the leadership is over.
    async fn lead(&mut self, revision: u64) -> Result<Ended, Fault> {
        let mut floor = revision;
        let (mut end, mut from) = (self.end_at_last().await, None);
        loop {
            let last = last(&end)?;
            let token = plan::token(floor, last.as_ref());
            floor = token;
            let position = from.take().unwrap_or_else(|| self.position(last.as_ref()));
            let Some(opened) = self.open(&position).await? else { return Ok(Ended::Behind) };
            let leader = Leader { publisher: self.config.publisher.clone(), token };
            let at = At { sequence: end.sequence, id: last.map(|last| last.id) };
            let line = Lead::new(leader.publisher.as_str(), token, &position);
            let (subject, payload) = (self.config.names.lead(), json(&line));
            let mut session = Session { lead: None, leader, at, position: position.clone() };
            match self.put(&mut session, "lead", subject, payload).await? {
                Put::Stored => {}
                // Nothing of this leadership is there but an older record of its own.
                Put::Republish(last) => {
                    debug!(sequence = last.sequence, "the stream ends with an older record");
                    end = self.end_at_last().await;
                    continue;
                }
                Put::Lead(now) => {
                    end = now;
                    continue;
                }
                Put::Deposed(by) => return Ok(Ended::Deposed(by)),
            }
            self.metrics.leads(token);
            info!(token, sequence = session.at.sequence, "publishes");
            session.lead = session.at.id.clone().map(|id| (session.at.sequence, id));
            match self.publish(&mut session, opened).await? {
                Over::Ended(ended) => return Ok(ended),
                Over::Lead(after) => {
                    warn!(token, "the cluster has forgotten that this leadership began");
                    self.metrics.forgotten();
                    (end, from) = *after;
                }
            }
        }
    }

    /// Publishes what is `opened`, and what comes after it.
    async fn publish(&mut self, session: &mut Session, opened: Opened) -> Result<Over, Fault> {
        let Opened { mut due, mut next } = opened;
        loop {
            let Some(first) = due.front() else {
                match self.log.read(next, STEP).await {
                    Ok(records) if records.is_empty() => {
                        if let Some(over) = self.idle(session, next).await? {
                            match over {
                                Idle::Over(over) => return Ok(over),
                                Idle::Republish(last) => {
                                    let Some(opened) = self.republish(session, *last).await? else {
                                        return Ok(Over::Ended(Ended::Behind));
                                    };
                                    Opened { due, next } = opened;
                                }
                            }
                        }
                    }
                    Ok(records) => {
                        next += records.len() as u64;
                        due.extend(records.into_iter().map(Box::new).map(Due::Event));
                    }
                    Err(LogError::TooOld { .. }) => {
                        let Some(opened) = self.open(&session.position).await? else {
                            return Ok(Over::Ended(Ended::Behind));
                        };
                        Opened { due, next } = opened;
                    }
                    Err(LogError::Fault(fault)) => return Err(fault),
                }
                continue;
            };
            let cursor = first.cursor().clone();
            let names = &self.config.names;
            let (kind, subject, payload) = match first {
                Due::Event(record) => {
                    let Record { event, cursor, .. } = &**record;
                    (event.name(), names.event(event), json(&Line::event(event, cursor)))
                }
                Due::Reset(cursor, why) => {
                    let reset = Reset::new("too_old", why, cursor, &cursor.watermarks());
                    ("reset", names.reset(), json(&Control::Reset(reset)))
                }
            };
            match self.put(session, kind, subject, payload).await? {
                Put::Stored => {
                    session.position = cursor;
                    due.pop_front();
                }
                Put::Republish(last) => {
                    let Some(opened) = self.republish(session, *last).await? else {
                        return Ok(Over::Ended(Ended::Behind));
                    };
                    Opened { due, next } = opened;
                }
                Put::Lead(end) => return self.again(session, end).await,
                Put::Deposed(by) => return Ok(Over::Ended(Ended::Deposed(by))),
            }
        }
    }

    /// Begins the leadership again after `end`: from the position of the message that stands where its record was, and
    /// otherwise from the last one.
    async fn again(&self, session: &Session, end: End) -> Result<Over, Fault> {
        let Some((sequence, lead)) = &session.lead else {
            return Ok(Over::Lead(Box::new((end, None))));
        };
        let found = within(&*self.context, self.config.answer, self.cluster.message(*sequence));
        let found = found.await.and_then(Result::ok).flatten();
        let found = found.map(|found| Marked::read(&found)).transpose().map_err(foreign)?;
        let in_its_place = found.filter(|found| !plan::leads_still(lead, Some(found)));
        Ok(Over::Lead(Box::new((end, in_its_place.map(|found| found.cursor)))))
    }

    /// Goes on after `last`, the last message that the cluster has not forgotten.
    async fn republish(
        &self,
        session: &mut Session,
        last: Marked,
    ) -> Result<Option<Opened>, Fault> {
        let (had, has) = (session.at.sequence, last.sequence);
        warn!(had, has, "the cluster has forgotten messages: publishing them again");
        self.metrics.forgotten();
        session.at = At { sequence: last.sequence, id: Some(last.id) };
        session.position = last.cursor;
        self.open(&session.position).await
    }

    /// Waits for event `next`, and looks now and then whether the stream has what was written.
    async fn idle(&mut self, session: &Session, next: u64) -> Result<Option<Idle>, Fault> {
        match within(&*self.context, self.config.audit, self.log.wait(next)).await {
            Some(Ok(())) | Some(Err(LogError::TooOld { .. })) => return Ok(None),
            Some(Err(LogError::Fault(fault))) => return Err(fault),
            None => {}
        }
        let Some((sequence, lead)) = &session.lead else { return Ok(None) };
        let found = within(&*self.context, self.config.answer, self.cluster.message(*sequence));
        let (Some(Ok(found)), Ok(end)) = (found.await, self.end().await) else { return Ok(None) };
        let found = found.map(|found| Marked::read(&found)).transpose().map_err(foreign)?;
        let next = plan::review(&session.leader, &session.at, None, &end).map_err(foreign)?;
        let over = match next {
            Next::Deposed { token } => Idle::Over(Over::Ended(Ended::Deposed(token))),
            Next::Lead(end) => Idle::Over(self.again(session, end).await?),
            _ if !plan::leads_still(lead, found.as_ref()) => {
                Idle::Over(self.again(session, end).await?)
            }
            Next::Republish(last) => Idle::Republish(last),
            Next::Again | Next::Stored => return Ok(None),
        };
        Ok(Some(over))
    }

    /// Publishes one message, until it is known what became of it.
    async fn put(
        &mut self,
        session: &mut Session,
        kind: &'static str,
        subject: String,
        payload: Bytes,
    ) -> Result<Put, Fault> {
        let mut backoff = Backoff::new(self.config.retry, self.config.retry_max);
        loop {
            let id = MessageId::new(&session.leader, self.number);
            let message = Outgoing {
                subject: subject.clone(),
                id: id.clone(),
                after: session.at.id.clone(),
                leader: session.leader.clone(),
                expected: session.at.sequence,
                record: session.lead.as_ref().map(|(sequence, _)| *sequence),
                payload: payload.clone(),
            };
            let answer = self.ask(&message).await;
            let next = match plan::judge(&session.at, &answer) {
                Judged::Stored => Next::Stored,
                Judged::Look { why } => {
                    let end = self.end_at_last().await;
                    let next = plan::review(&session.leader, &session.at, Some(&id), &end);
                    let next = next.map_err(foreign)?;
                    match (why, next) {
                        (Why::Named, Next::Again) => {
                            self.number += 1;
                            Next::Again
                        }
                        (Why::Elsewhere, Next::Again) if session.lead.is_some() => Next::Lead(end),
                        (_, next) => next,
                    }
                }
                Judged::Refused { code, description } => {
                    let what = format!("a message on {subject}");
                    let refused = Error::Refused { what, code, description };
                    self.monitor.fault(&Fault::new(NATS, refused));
                    Next::Again
                }
            };
            match next {
                Next::Stored => {
                    self.number += 1;
                    session.at = At { sequence: session.at.sequence + 1, id: Some(id) };
                    self.metrics.published(kind, session.at.sequence, self.context.current());
                    return Ok(Put::Stored);
                }
                Next::Again => {
                    let pause = backoff.fail(&mut *self.context);
                    self.context.sleep(pause).await;
                }
                Next::Republish(last) => return Ok(Put::Republish(last)),
                Next::Lead(end) => return Ok(Put::Lead(end)),
                Next::Deposed { token } => return Ok(Put::Deposed(token)),
            }
        }
    }

    /// Publishes `message`, and counts what is answered.
    async fn ask(&self, message: &Outgoing) -> Result<Answer, Fault> {
        let asked = self.cluster.publish(message);
        let answer = in_time(&*self.context, self.config.answer, "a message", asked).await;
        match &answer {
            Ok(Answer::Stored { .. }) => {}
            Ok(Answer::Refused(refusal)) => self.metrics.refused(refusal.code()),
            Err(fault) => {
                self.metrics.unanswered();
                self.monitor.fault(fault);
            }
        }
        answer
    }

    async fn end(&self) -> Result<End, Fault> {
        let (limit, end) = (self.config.answer, self.cluster.end());
        in_time(&*self.context, limit, "where the stream ends", end).await
    }

    /// Where the stream ends, as soon as somebody says so.
    async fn end_at_last(&mut self) -> End {
        let mut backoff = Backoff::new(self.config.retry, self.config.retry_max);
        loop {
            match self.end().await {
                Ok(end) => return end,
                Err(fault) => self.monitor.fault(&fault),
            }
            let pause = backoff.fail(&mut *self.context);
            self.context.sleep(pause).await;
        }
    }
}

/// Why no more is published under one record.
enum Over {
    Ended(Ended),
    /// The record is gone: another one, after this end, and from this position where another message stands in its
    /// place.
    Lead(Box<(End, Option<Cursor>)>),
}

/// What an idle leader found.
enum Idle {
    Over(Over),
    Republish(Box<Marked>),
}

fn last(end: &End) -> Result<Option<Marked>, Fault> {
    end.message.as_ref().map(Marked::read).transpose().map_err(foreign)
}

fn foreign(foreign: crate::Foreign) -> Fault {
    Fault::new(NATS, Error::Foreign(foreign))
}

fn json(line: &impl Serialize) -> Bytes {
    serde_json::to_vec(line).unwrap_or_default().into()
}

/// A publisher with its elector's word.
pub struct Led<E: Spawner + Clock, C, L> {
    publisher: Publisher<E, C, L>,
    leadership: Receiver<Leadership>,
}

impl<E: Spawner + Clock, C, L> fmt::Debug for Led<E, C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.publisher.fmt(f)
    }
}

impl<E, C, L> Actor for Led<E, C, L>
where
    E: Spawner + Clock + Register + Rng + Supervisor,
    C: Cluster,
    L: History,
{
    fn name(&self) -> String {
        "nats publisher".into()
    }

    fn stopper(&self) -> Stopper {
        self.publisher.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        let Self { mut publisher, leadership } = self;
        spawn_cell!(publisher.context, publisher.run(leadership))
    }
}

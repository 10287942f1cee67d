//! The reader's loop.

use super::{Bounds, Config, Feed, From, Given, Look, NATS, Place, Stream, Taken, look, plan};
use crate::{
    Content, Error, Foreign, Marked, Message, MessageId,
    patience::{self, in_time},
    reader::{Reader, Refused, Step},
};
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::{FutureExt as _, future::BoxFuture};
use rand::Rng;
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};
use tidewatch_core::{Backoff, ChainId, Cursor, Event, Fault, FaultKind, Monitor, Watermarks};
use tracing::{debug, info, warn};

/// Messages that were taken and are remembered, to find the newest that is still there.
const TAKEN: usize = 256;
/// Records that are looked at, from the newest on, for one that begins where the reader has been.
const RECORDS: usize = 64;
/// How often it is looked whether a feed is connected.
const TICK: Duration = Duration::from_secs(1);

/// Reads a stream: see the [module](super).
pub struct Tail<E, S: Stream> {
    context: E,
    stream: S,
    config: Config,
    monitor: Arc<dyn Monitor>,
    reader: Reader,
    from: From,
    /// The last message that left the reader in step with the stream, and those before it.
    taken: VecDeque<Place>,
    reading: Option<Reading<S::Feed>>,
    /// The message that the reader looked again for.
    dropped: Option<MessageId>,
    backoff: Backoff,
    /// Until what failed is tried again: it outlives a caller that gives up.
    pause: Option<BoxFuture<'static, ()>>,
}

struct Reading<F> {
    feed: F,
    /// The message that was read last.
    last: Option<(u64, MessageId)>,
    /// What comes is dropped until a record comes.
    dropping: bool,
    /// Until it is looked whether all is well: it outlives a caller that gives up.
    tick: BoxFuture<'static, ()>,
    silent: Duration,
    quiet: Duration,
}

/// Where a feed begins, and what the reader makes of its first message.
enum Begin {
    Follow(Box<Place>),
    Record(u64),
    Oldest(u64),
}

impl<E, S: Stream> fmt::Debug for Tail<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<E: Clock + Rng, S: Stream> Tail<E, S> {
    /// Reads `stream`. What goes wrong and is tried again is said to `monitor`.
    pub fn new(
        context: E,
        stream: S,
        monitor: Arc<dyn Monitor>,
        config: Config,
        from: From,
    ) -> Self {
        let chain = config.chain.clone();
        let reader = match &from {
            From::Oldest | From::Newest => Reader::new(chain),
            From::Position(cursor) => Reader::at(chain, (**cursor).clone()),
            From::Place(place) => Reader::at(chain, place.cursor.clone()),
        };
        let taken = match &from {
            From::Place(place) => VecDeque::from([(**place).clone()]),
            _ => VecDeque::new(),
        };
        let backoff = Backoff::new(config.retry, config.retry_max);
        let (reading, dropped) = (None, None);
        Self {
            context,
            stream,
            config,
            monitor,
            reader,
            from,
            taken,
            reading,
            dropped,
            backoff,
            pause: None,
        }
    }

    /// The place of the last message that left this reader in step with the stream: also where that was no event, so that
    /// what is kept need not grow old while nothing happens.
    pub fn place(&self) -> Option<&Place> {
        self.taken.back()
    }

    /// What comes next, as soon as it is there.
    ///
    /// # Errors
    ///
    /// [`Error::Trimmed`] where what comes next is kept no more; what the stream has is no publisher's, of another chain, or
    /// contradicts what is final; the cluster is not as it has to be. What may pass by itself is tried again for ever.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any await and called again: nothing is lost.
    pub async fn next(&mut self) -> Result<Taken, Fault> {
        loop {
            if let Some(pause) = &mut self.pause {
                pause.await;
                self.pause = None;
            }
            let read = match &mut self.reading {
                None => self.look().await.map(|()| None),
                Some(_) => self.read().await,
            };
            match read {
                Ok(None) => {}
                Ok(Some(message)) => {
                    self.backoff.succeed();
                    if let Some(taken) = self.take(message)? {
                        return Ok(taken);
                    }
                }
                Err(fault) if fault.severity().is_fatal() => return Err(fault),
                Err(fault) => {
                    debug!(%fault, "the stream is read again");
                    self.monitor.fault(&fault);
                    self.reading = None;
                    let pause = self.backoff.fail(&mut self.context);
                    self.pause = Some(self.context.sleep(pause).boxed());
                }
            }
        }
    }

    /// Looks what became of the reader's place, and begins a feed.
    async fn look(&mut self) -> Result<(), Fault> {
        let begin = self.begin().await?;
        let from = match &begin {
            Begin::Follow(place) => place.sequence + 1,
            Begin::Record(sequence) | Begin::Oldest(sequence) => *sequence,
        };
        let feed =
            in_time(&self.context, self.config.answer, "a feed", self.stream.feed(from)).await?;
        let mut last = None;
        match begin {
            Begin::Follow(place) => {
                let place = *place;
                last = Some((place.sequence, place.id.clone()));
                self.reader.follow(place.id, &place.cursor);
            }
            Begin::Record(_) => self.reader.leave(),
            Begin::Oldest(_) => self.reader.leave_for_the_oldest(),
        }
        debug!(from, "reading");
        let (silent, quiet) = (Duration::ZERO, Duration::ZERO);
        let tick = self.context.sleep(TICK).boxed();
        self.reading = Some(Reading { feed, last, dropping: false, tick, silent, quiet });
        Ok(())
    }

    async fn begin(&mut self) -> Result<Begin, Fault> {
        let bounds =
            in_time(&self.context, self.config.answer, "what the stream has", self.stream.bounds())
                .await?;
        let Some(place) = self.taken.back().cloned() else {
            return Ok(Begin::Oldest(match self.from {
                From::Newest => bounds.last.max(bounds.first),
                _ => bounds.first,
            }));
        };
        let found = self.at(place.sequence).await?;
        match look(place.sequence, &place.id, &bounds, found.as_ref()) {
            Look::Follow => Ok(Begin::Follow(Box::new(place))),
            Look::Trimmed { wanted, oldest } => {
                let restart = self.at(oldest).await?.map(|found| Box::new(found.cursor));
                Err(Fault::new(NATS, Error::Trimmed { wanted, oldest, restart }))
            }
            Look::Forgotten => self.back(&place, &bounds).await,
        }
    }

    /// Where to begin once the message at `place` is gone.
    async fn back(&mut self, place: &Place, bounds: &Bounds) -> Result<Begin, Fault> {
        warn!(sequence = place.sequence, "the cluster has forgotten what was read");
        let older = plan::older(&self.taken, bounds.last).filter(|older| *older != place);
        for older in older.cloned().collect::<Vec<_>>() {
            let found = self.at(older.sequence).await?;
            if found.is_some_and(|found| found.id == older.id) {
                return Ok(Begin::Follow(Box::new(older)));
            }
        }
        // Nothing that this reader took: from the newest record at or below it that begins where the reader has been, or
        // from an older one.
        let mut at = place.sequence.min(bounds.last);
        for _ in 0..RECORDS {
            let Some(mut found) = self.at(at).await? else { break };
            if !found.leads {
                let record = found.record.filter(|record| *record < at);
                let Some(record) = record else { break };
                let Some(record) = self.at(record).await? else { break };
                found = record;
            }
            at = found.sequence;
            if self.reader.has_been(&found.cursor) || at <= bounds.first {
                return Ok(Begin::Record(at));
            }
            at -= 1;
        }
        Ok(Begin::Oldest(bounds.first))
    }

    async fn at(&mut self, sequence: u64) -> Result<Option<Marked>, Fault> {
        let found =
            in_time(&self.context, self.config.answer, "a message", self.stream.at(sequence))
                .await?;
        found.as_ref().map(Marked::read).transpose().map_err(foreign)
    }

    /// The next message of the feed; `None` where there was none for a while, or the feed is to be made again.
    async fn read(&mut self) -> Result<Option<Message>, Fault> {
        let Some(Reading { feed, last, tick, silent, quiet, .. }) = &mut self.reading else {
            return Ok(None);
        };
        select! {
            next = feed.next() => {
                *silent = Duration::ZERO;
                let message = next?;
                if message.is_some() {
                    *quiet = Duration::ZERO;
                }
                return Ok(message);
            },
            () = &mut *tick => {
                *silent += TICK;
                *quiet += TICK;
                *tick = self.context.sleep(TICK).boxed();
            },
        }
        if !feed.connected() {
            info!("connected again: reading again");
            self.reading = None;
            return Ok(None);
        }
        if *silent >= self.config.silence {
            return Err(patience::silent(
                "the feed, not even a sign of life,",
                self.config.silence,
            ));
        }
        if *quiet >= self.config.audit {
            *quiet = Duration::ZERO;
            let Some((sequence, id)) = last.clone() else { return Ok(None) };
            let found = self.at(sequence).await?;
            // One that is gone by age was there.
            if found.is_none_or(|found| found.id != id) {
                self.reading = None;
            }
        }
        Ok(None)
    }

    /// Does as the law says.
    fn take(&mut self, message: Message) -> Result<Option<Taken>, Fault> {
        let marked = Marked::read(&message).map_err(foreign)?;
        let content = Content::read(&message).map_err(foreign)?;
        let Some(reading) = &mut self.reading else { return Ok(None) };
        // A record that does not follow tells of messages that were not read: they may lead on.
        let skips = marked.leads && reading.last.is_some() && !self.reader.is_next(&marked);
        if skips && !reading.dropping && self.dropped.as_ref() != Some(&marked.id) {
            self.dropped = Some(marked.id);
            self.reading = None;
            return Ok(None);
        }
        let before = self.reader.position().cloned();
        let oldest = self.reader.counts_the_next();
        let step = self.reader.take(&marked, &content).map_err(refused)?;
        let Marked { sequence, id, cursor, .. } = marked;
        reading.last = Some((sequence, id.clone()));
        if step == Step::Dropped {
            let again = reading.dropping || self.dropped.as_ref() == Some(&id);
            debug!(sequence, again, "a message that does not follow");
            if again {
                reading.dropping = true;
            } else {
                self.dropped = Some(id);
                self.reading = None;
            }
            return Ok(None);
        }
        reading.dropping = false;
        if step == Step::Restart && oldest && before.is_some() {
            let wanted = self.taken.back().map_or(0, |place| place.sequence + 1);
            let restart = Some(Box::new(cursor));
            return Err(Fault::new(NATS, Error::Trimmed { wanted, oldest: sequence, restart }));
        }
        let place = Place { sequence, id, cursor };
        if step != Step::Behind {
            self.taken.retain(|older| older.sequence < sequence);
            self.taken.push_back(place.clone());
            if self.taken.len() > TAKEN {
                self.taken.pop_front();
            }
        }
        let given = match (step, content) {
            (Step::Event, Content::Event(event)) => Given::Event { event, line: message.payload },
            (Step::Back(events), _) => {
                let before = before.unwrap_or_else(|| Cursor::start(&self.config.chain));
                Given::Back(positions(&self.config.chain, &before, &place.cursor, events))
            }
            (Step::Restart, _) => Given::Restart,
            _ => return Ok(None),
        };
        Ok(Some(Taken { place, given }))
    }
}

/// `events`, each with the position after it, on the way from `before` to `after`.
fn positions(
    chain: &ChainId,
    before: &Cursor,
    after: &Cursor,
    events: Vec<Event>,
) -> Vec<(Event, Cursor)> {
    let (mut at, last): (Watermarks, _) = (before.watermarks(), events.len());
    let led = events.into_iter().zip(1..).map(|(event, number)| {
        at.apply(&event);
        let way = || {
            let locators = after.locators().iter().copied();
            Cursor::located(chain, after.handled(), &at, locators)
        };
        (event, if number == last { after.clone() } else { way() })
    });
    led.collect()
}

fn foreign(foreign: Foreign) -> Fault {
    Fault::new(NATS, Error::Foreign(foreign))
}

fn refused(refused: Refused) -> Fault {
    match refused {
        Refused::Foreign(why) => foreign(why),
        Refused::WrongChain { .. } => FaultKind::WrongChain.fault(NATS, refused.to_string()),
        Refused::Conflict { conflict, .. } => Fault::new(NATS, Error::Conflict(conflict)),
    }
}

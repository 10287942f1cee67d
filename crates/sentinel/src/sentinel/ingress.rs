//! Messages to a sentinel.

use crate::{
    Asked, Detailed, Epoch, EpochReport, Error, Event, Observation, Seen, Slot, SlotReport,
    Statistics, Status, ValidatorId,
};
use commonware_actor::{
    Feedback,
    mailbox::{Overflow, Policy, Sender},
};
use commonware_utils::channel::oneshot;
use std::collections::{BTreeMap, VecDeque};
use tidewatch_core::{Fault, Stopper};

pub(super) type Answer<T> = oneshot::Sender<Result<T, Fault>>;

/// Slots that wait in the overflow at the most: those of which nothing is judged are dropped beyond it.
const WAITING_MAX: usize = 256;
/// Requests that wait in the overflow at the most.
const REQUESTS_MAX: usize = 256;

#[derive(Debug)]
pub(super) enum Request {
    Validator(ValidatorId, Asked, Answer<Option<Detailed>>),
    Validators(Vec<ValidatorId>, Asked, Answer<Vec<Option<crate::ValidatorReport>>>),
    All(Asked, Answer<Statistics>),
    Slots(Asked, Answer<Vec<SlotReport>>),
    Epoch(Epoch, Answer<Option<EpochReport>>),
    Events(u64, usize, Answer<Vec<Event>>),
    Status(Answer<Status>),
}

impl Request {
    fn is_closed(&self) -> bool {
        match self {
            Self::Validator(_, _, answer) => answer.is_closed(),
            Self::Validators(_, _, answer) => answer.is_closed(),
            Self::All(_, answer) => answer.is_closed(),
            Self::Slots(_, answer) => answer.is_closed(),
            Self::Epoch(_, answer) => answer.is_closed(),
            Self::Events(_, _, answer) => answer.is_closed(),
            Self::Status(answer) => answer.is_closed(),
        }
    }
}

#[derive(Debug)]
pub(super) enum Message {
    /// One thing that was seen.
    Observed(Box<Observation>),
    /// Everything that was seen of a slot while the mailbox was full.
    Merged(Slot, Box<Seen>),
    /// Observations were dropped, of slots from this one on.
    Dropped {
        from: Slot,
        observations: u64,
    },
    /// The chain may have moved.
    Ring,
    Request(Request),
}

/// What waits while the mailbox is full: one entry for each slot.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    slots: BTreeMap<Slot, Seen>,
    dropped: Option<(Slot, u64)>,
    ring: bool,
    requests: VecDeque<Request>,
}

impl Waiting {
    fn seen(&mut self, slot: Slot, seen: Seen) {
        self.slots.entry(slot).or_default().merge(seen);
        // The highest slot goes: what claims to be far ahead can push out nothing that is due.
        if self.slots.len() > WAITING_MAX
            && let Some((slot, _)) = self.slots.pop_last()
        {
            self.drop_from(slot, 1);
        }
    }

    fn drop_from(&mut self, slot: Slot, observations: u64) {
        let (from, count) = self.dropped.unwrap_or((slot, 0));
        self.dropped = Some((from.min(slot), count.saturating_add(observations)));
    }

    fn push(&mut self, message: Message) {
        match message {
            Message::Observed(observation) => {
                let mut seen = Seen::default();
                let slot = observation.slot();
                seen.add(*observation);
                self.seen(slot, seen);
            }
            Message::Merged(slot, seen) => self.seen(slot, *seen),
            Message::Dropped { from, observations } => self.drop_from(from, observations),
            Message::Ring => self.ring = true,
            Message::Request(request) => {
                self.requests.retain(|waiting| !waiting.is_closed());
                // Beyond the limit a request is dropped, and its caller learns so.
                if !request.is_closed() && self.requests.len() < REQUESTS_MAX {
                    self.requests.push_back(request);
                }
            }
        }
    }
}

impl Overflow<Message> for Waiting {
    fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.dropped.is_none() && !self.ring && self.requests.is_empty()
    }

    fn drain<F>(&mut self, mut push: F)
    where
        F: FnMut(Message) -> Option<Message>,
    {
        loop {
            let next = if let Some((slot, seen)) = self.slots.pop_first() {
                Message::Merged(slot, Box::new(seen))
            } else if let Some((from, observations)) = self.dropped.take() {
                Message::Dropped { from, observations }
            } else if std::mem::take(&mut self.ring) {
                Message::Ring
            } else if let Some(request) = self.requests.pop_front() {
                Message::Request(request)
            } else {
                return;
            };
            match push(next) {
                None => {}
                // As it was: it had the first place.
                Some(Message::Request(request)) => return self.requests.push_front(request),
                Some(refused) => return self.push(refused),
            }
        }
    }
}

impl Policy for Message {
    type Overflow = Waiting;

    /// Observations of a slot merge, rings are one, requests wait unless their caller has left: nobody who
    /// observes ever waits.
    fn handle(overflow: &mut Waiting, message: Self) {
        overflow.push(message);
    }
}

/// Talks to a sentinel. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    pub(super) sender: Sender<Message>,
    pub(super) stopper: Stopper,
}

impl Mailbox {
    /// Hands in what was seen. Returns at once, whatever the sentinel is doing: `Backoff` says that the
    /// mailbox was full and it was merged.
    pub fn observe(&self, observation: Observation) -> Feedback {
        self.sender.enqueue(Message::Observed(Box::new(observation)))
    }

    /// Says that the chain, or the observer, may have moved: a pass follows.
    pub fn ring(&self) -> Feedback {
        self.sender.enqueue(Message::Ring)
    }

    async fn request<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, Fault> {
        let stopped = || Fault::new("the sentinel", Error::Stopped);
        let (answer, receiver) = oneshot::channel();
        if !self.sender.enqueue(Message::Request(request(answer))).accepted() {
            return Err(stopped());
        }
        receiver.await.map_err(|_| stopped())?
    }

    /// One validator, slot by slot; `None` if nothing of it is recorded there.
    ///
    /// # Errors
    ///
    /// A range that is wider than what is kept, reversed, or not kept at all; a sentinel that has stopped.
    pub async fn validator(
        &self,
        validator: ValidatorId,
        asked: Asked,
    ) -> Result<Option<Detailed>, Fault> {
        self.request(|answer| Request::Validator(validator, asked, answer)).await
    }

    /// Several validators, in the order of the question; `None` for each of whom nothing is recorded.
    ///
    /// # Errors
    ///
    /// As [`Mailbox::validator`].
    pub async fn validators(
        &self,
        validators: Vec<ValidatorId>,
        asked: Asked,
    ) -> Result<Vec<Option<crate::ValidatorReport>>, Fault> {
        self.request(|answer| Request::Validators(validators, asked, answer)).await
    }

    /// Every validator of whom anything is recorded, in ascending order.
    ///
    /// # Errors
    ///
    /// As [`Mailbox::validator`].
    pub async fn all(&self, asked: Asked) -> Result<Statistics, Fault> {
        self.request(|answer| Request::All(asked, answer)).await
    }

    /// What is recorded of slots, in ascending order.
    ///
    /// # Errors
    ///
    /// As [`Mailbox::validator`].
    pub async fn slots(&self, asked: Asked) -> Result<Vec<SlotReport>, Fault> {
        self.request(|answer| Request::Slots(asked, answer)).await
    }

    /// An epoch that was evaluated; `None` if it was not, or is not kept any more.
    ///
    /// # Errors
    ///
    /// A sentinel that has stopped.
    pub async fn epoch(&self, epoch: Epoch) -> Result<Option<EpochReport>, Fault> {
        self.request(|answer| Request::Epoch(epoch, answer)).await
    }

    /// Events from sequence `from` on, at most `max` of those that are kept.
    ///
    /// # Errors
    ///
    /// A sentinel that has stopped.
    pub async fn events(&self, from: u64, max: usize) -> Result<Vec<Event>, Fault> {
        self.request(|answer| Request::Events(from, max, answer)).await
    }

    /// Where it stands.
    ///
    /// # Errors
    ///
    /// A sentinel that has stopped.
    pub async fn status(&self) -> Result<Status, Fault> {
        self.request(Request::Status).await
    }

    /// Stops it. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

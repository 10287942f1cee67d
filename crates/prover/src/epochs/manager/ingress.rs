//! Messages to a session manager.

use super::super::{Expire, NotStarted, SessionId, SessionState, Spec, work::Job};
use crate::{Error, Failure, Handle, Key, Offer};
use bytes::Bytes;
use commonware_actor::mailbox::{Policy, Sender};
use commonware_utils::channel::oneshot;
use std::collections::VecDeque;
use tidewatch_core::{Fault, Stopper};

/// How a session is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which one.
    pub id: SessionId,
    /// What it proves.
    pub spec: Spec,
    /// Where it stands.
    pub state: SessionState,
    /// Checkpoints that it proves.
    pub checkpoints: usize,
}

/// Where a session manager stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Every checkpoint up to this one was taken, skipped or dropped.
    pub cursor: u64,
    /// Checkpoints that are being proven, or were.
    pub checkpoints: usize,
    /// Those of them that cannot be.
    pub failed: usize,
    /// Proofs that are being made, of pieces and of sessions.
    pub running: usize,
    /// Proofs that wait for a slot.
    pub waiting: usize,
    /// Proofs of epochs that wait to be published.
    pub unpublished: usize,
    /// Every session that is known.
    pub sessions: Vec<Listed>,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, Fault>>;

/// How an attempt, or a submission, ended.
#[derive(Debug)]
pub(super) enum Report {
    /// It brought a proof, which was verified, and is at the prover under that name.
    Proved { job: Job, key: Key, proof: Bytes, prover: usize, handle: Handle },
    /// It brought none.
    Failed { job: Job, failure: Failure },
    /// The submission at hand ended: whether it landed; not if that is not known.
    Submitted(Option<bool>),
}

#[derive(Debug)]
pub(super) enum Message {
    Checkpointed(u64, Answer<()>),
    Proven(u64),
    Prune(u64, Answer<()>),
    Expire(u64, Answer<()>),
    Start(u64, Answer<SessionId>),
    Retry(u64, Answer<usize>),
    Status(oneshot::Sender<Status>),
    Report(Report),
    Offer { prover: usize, offer: Result<Offer, Failure> },
}

impl Message {
    fn is_closed(&self) -> bool {
        match self {
            Self::Checkpointed(_, answer) | Self::Prune(_, answer) | Self::Expire(_, answer) => {
                answer.is_closed()
            }
            Self::Start(_, answer) => answer.is_closed(),
            Self::Retry(_, answer) => answer.is_closed(),
            Self::Status(answer) => answer.is_closed(),
            Self::Proven(_) | Self::Report(_) | Self::Offer { .. } => false,
        }
    }

    const fn repeats(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Proven(_), Self::Proven(_)) => true,
            (Self::Offer { prover, .. }, Self::Offer { prover: other, .. }) => *prover == *other,
            _ => false,
        }
    }
}

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// Reports are never dropped, and there is one for each attempt. Of two proven tips or two offers of one prover
    /// the newer stays. Requests whose caller has left are dropped: who still wants them asks again.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        overflow.retain(|waiting| !waiting.is_closed() && !waiting.repeats(&message));
        if !message.is_closed() {
            overflow.push_back(message);
        }
    }
}

/// Talks to a session manager. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    pub(super) sender: Sender<Message>,
    pub(super) stopper: Stopper,
}

impl Mailbox {
    async fn request<T>(&self, message: impl FnOnce(Answer<T>) -> Message) -> Result<T, Fault> {
        let stopped = || Fault::new("the session manager", Error::Stopped);
        let (answer, receiver) = oneshot::channel();
        if !self.sender.enqueue(message(answer)).accepted() {
            return Err(stopped());
        }
        receiver.await.map_err(|_| stopped())?
    }

    /// The checkpointed tip is checkpoint `number`: a thin event, which says everything that older ones said. Once
    /// it returns, every checkpoint up to it was taken, skipped or dropped.
    ///
    /// # Errors
    ///
    /// A read of the chain, or the disk, failed; a manager that has stopped. What was taken is behind the cursor:
    /// notify it again.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have happened or not: notify it again.
    pub async fn checkpointed(&self, number: u64) -> Result<(), Fault> {
        self.request(|answer| Message::Checkpointed(number, answer)).await
    }

    /// The proven tip is at `height`: what waits to be published is looked at.
    pub fn proven(&self, height: u64) {
        let _ = self.sender.enqueue(Message::Proven(height));
    }

    /// Everything above the block at `height` is gone.
    ///
    /// # Errors
    ///
    /// The chain does not know that block; a read failed; a manager that has stopped. Nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// As [`Mailbox::checkpointed`].
    pub async fn prune(&self, height: u64) -> Result<(), Fault> {
        self.request(|answer| Message::Prune(height, answer)).await
    }

    /// Proves what there is of `epoch`, because somebody asked. Returns before it is proven, once a restart would
    /// go on with it; a session that proves it already is that one.
    ///
    /// # Errors
    ///
    /// [`NotStarted`] as the reason; a read of the chain, or the disk, failed; a manager that has stopped.
    ///
    /// # Cancel safety
    ///
    /// As [`Mailbox::checkpointed`].
    pub async fn start(&self, epoch: u64) -> Result<SessionId, Fault> {
        self.request(|answer| Message::Start(epoch, answer)).await
    }

    /// Proves again what failed of `epoch`, checkpoints and sessions, as if it had never failed. How many those were.
    ///
    /// # Errors
    ///
    /// A read of the chain, or the disk, failed; a manager that has stopped.
    ///
    /// # Cancel safety
    ///
    /// As [`Mailbox::checkpointed`].
    pub async fn retry(&self, epoch: u64) -> Result<usize, Fault> {
        self.request(|answer| Message::Retry(epoch, answer)).await
    }

    /// Where it stands; `None` once it has stopped.
    pub async fn status(&self) -> Option<Status> {
        let (answer, receiver) = oneshot::channel();
        let _ = self.sender.enqueue(Message::Status(answer));
        receiver.await.ok()
    }

    /// Stops it: see the module. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

/// What the ticker sweeps.
impl Expire for Mailbox {
    async fn expire(&mut self, epoch: u64) -> Result<(), Fault> {
        self.request(|answer| Message::Expire(epoch, answer)).await
    }
}

/// Why a request to begin a session was refused, if it was.
pub fn not_started(fault: &Fault) -> Option<NotStarted> {
    match fault.reason::<Error>() {
        Some(Error::NotStarted(reason)) => Some(*reason),
        _ => None,
    }
}

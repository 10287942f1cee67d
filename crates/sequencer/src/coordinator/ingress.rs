//! Messages to a coordinator.

use super::{effect::Stage, judge::Judged};
use crate::{Error, Preblock};
use commonware_actor::mailbox::{Policy, Sender};
use commonware_utils::{channel::oneshot, sync::Mutex};
use std::{collections::VecDeque, num::NonZeroU32, sync::Arc};
use tidewatch_core::{BlockRef, Fault, Height, Stopper, watch::Receiver};

/// Why there was no block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The network has other content for the number: it is caught up with first.
    Taken,
    /// The network does not take the proposal: why.
    Network(String),
    /// There was no preblock in time. The block may come all the same.
    Late,
    /// The coordinator ended by itself.
    Failed(Fault),
}

/// Why there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// No transaction waits, and no block is due.
    Early,
    /// The pool gives nothing out now.
    PoolLocked,
}

/// The one answer to whoever asks for a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The block was applied, with so many transactions that count.
    Produced {
        /// The block.
        block: BlockRef,
        /// Transactions that count.
        transactions: usize,
    },
    /// No block is made.
    NothingToDo(Nothing),
    /// A block of this number is under way already.
    Busy(Height),
    /// There was no block.
    Refused(Refusal),
    /// The sequencer is stopping, or has stopped.
    Stopping,
}

/// Where a coordinator is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub stage: Stage,
    /// The head.
    pub head: BlockRef,
    /// The attempt of the proposal that is outstanding.
    pub attempt: Option<NonZeroU32>,
    /// Whether the stream of preblocks is open.
    pub connected: bool,
    /// Whether there was no block for too long: the alert.
    pub stalled: bool,
    /// The number of the newest block that was published.
    pub published: Height,
}

/// What the monitor should read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The number of the next preblock.
    pub from: Height,
    /// Grows when that number is to be asked for again.
    pub again: u64,
}

#[derive(Debug)]
pub(crate) enum Message {
    Produce { force: bool, answer: oneshot::Sender<Answer> },
    Offer { preblock: Box<Preblock>, answer: oneshot::Sender<Judged> },
    Connected(bool),
}

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// A preblock is never dropped: its monitor waits for the answer, so there is one of each monitor. Of two
    /// words about the connection the newer says all. Requests whose caller has left are dropped.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        overflow.retain(
            |waiting| !matches!(waiting, Self::Produce { answer, .. } if answer.is_closed()),
        );
        if matches!(message, Self::Connected(_)) {
            overflow.retain(|waiting| !matches!(waiting, Self::Connected(_)));
        }
        overflow.push_back(message);
    }
}

/// Talks to a coordinator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    pub(super) sender: Sender<Message>,
    pub(super) stopper: Stopper,
    pub(super) status: Receiver<Status>,
    pub(super) wanted: Receiver<Wanted>,
    /// Why it ended by itself.
    pub(super) cause: Arc<Mutex<Option<Fault>>>,
}

impl Mailbox {
    /// Asks for a block now. With `force`, an empty one if no transaction waits. Resolves with exactly one answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the block is made all the same.
    pub async fn produce(&self, force: bool) -> Answer {
        let (answer, answered) = oneshot::channel();
        if !self.sender.enqueue(Message::Produce { force, answer }).accepted() {
            return self.ended();
        }
        answered.await.unwrap_or_else(|_| self.ended())
    }

    fn ended(&self) -> Answer {
        let cause = self.cause.lock().clone();
        cause.map_or(Answer::Stopping, |fault| Answer::Refused(Refusal::Failed(fault)))
    }

    /// Where it is: to read and to await.
    pub fn status(&self) -> Receiver<Status> {
        self.status.clone()
    }

    /// Stops it in order. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// What the monitor should read.
    pub(crate) fn wanted(&self) -> Receiver<Wanted> {
        self.wanted.clone()
    }

    /// Hands over a preblock whose evidence was verified. `None` once the coordinator has ended.
    pub(crate) async fn offer(&self, preblock: Box<Preblock>) -> Option<Judged> {
        let (answer, answered) = oneshot::channel();
        if !self.sender.enqueue(Message::Offer { preblock, answer }).accepted() {
            return None;
        }
        answered.await.ok()
    }

    /// Whether the stream of preblocks is open.
    pub(crate) fn connected(&self, connected: bool) {
        // Nobody needs to know once it has ended.
        let _ = self.sender.enqueue(Message::Connected(connected));
    }

    /// The fault of an actor that needs one which has ended.
    pub(crate) fn fault(&self) -> Fault {
        let cause = self.cause.lock().clone();
        cause.unwrap_or_else(|| Fault::new("the sequencer", Error::Stopped))
    }
}

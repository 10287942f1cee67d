//! Messages to a delivery.

use commonware_actor::mailbox::{Policy, Sender};
use commonware_utils::channel::oneshot;
use std::collections::VecDeque;
use tidewatch_core::Stopper;

/// The delivery ended before it could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the delivery has stopped")]
pub struct Stopped;

#[derive(Debug)]
pub(super) enum Message {
    /// Answer once the consumer has durably handled so many events of the history.
    Durable { handled: u64, answer: oneshot::Sender<u64> },
}

impl Message {
    pub(super) fn is_closed(&self) -> bool {
        let Self::Durable { answer, .. } = self;
        answer.is_closed()
    }
}

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// Requests whose caller has left are dropped. There are as many others as there are callers.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        overflow.retain(|waiting| !waiting.is_closed());
        if !message.is_closed() {
            overflow.push_back(message);
        }
    }
}

/// Talks to a delivery. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    pub(super) sender: Sender<Message>,
    pub(super) stopper: Stopper,
}

impl Mailbox {
    /// Waits until the consumer has durably handled the first `handled` events of the history, and
    /// returns how many it has.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if the delivery ends before that.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it takes its request back.
    pub async fn durable(&self, handled: u64) -> Result<u64, Stopped> {
        let (answer, receiver) = oneshot::channel();
        if !self.sender.enqueue(Message::Durable { handled, answer }).accepted() {
            return Err(Stopped);
        }
        receiver.await.map_err(|_| Stopped)
    }

    /// Stops the delivery: the consumer completes what it is handling, for as long as `grace` allows.
    /// Acknowledgements that are not there by then are not awaited: their events come again. Safe to
    /// call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }
}

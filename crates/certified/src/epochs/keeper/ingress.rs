//! Messages to a keeper.

use super::Record;
use commonware_actor::mailbox::{Policy, Sender};
use commonware_consensus::types::Epoch;
use commonware_utils::channel::oneshot;
use std::collections::VecDeque;
use tidewatch_core::Stopper;

/// What a keeper is asked for.
#[derive(Debug)]
pub(super) enum Message {
    /// Write a boundary that was learned.
    Keep(Record),
    /// Answer once the boundary that gives the scheme of `epoch` is on disk.
    Await { epoch: Epoch, answer: oneshot::Sender<()> },
}

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// Boundaries wait: there is one for each epoch of the chain. So does whoever waits for one, unless it
    /// left.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        match &message {
            Self::Await { answer, .. } if answer.is_closed() => {}
            _ => overflow.push_back(message),
        }
    }
}

/// Talks to a keeper. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::epochs) struct Mailbox {
    pub(super) sender: Sender<Message>,
    pub(super) stopper: Stopper,
}

impl Mailbox {
    /// Has a boundary written, soon.
    pub(in crate::epochs) fn keep(&self, record: Record) {
        // Once the keeper has ended, the boundary is fetched again after the next start.
        let _ = self.sender.enqueue(Message::Keep(record));
    }

    /// Resolves once the boundary that gives the scheme of `epoch` is on disk; whether it is. It is not if the
    /// keeper has ended.
    pub(in crate::epochs) async fn durable(&self, epoch: Epoch) -> bool {
        let (answer, written) = oneshot::channel();
        let _ = self.sender.enqueue(Message::Await { epoch, answer });
        written.await.is_ok()
    }
}

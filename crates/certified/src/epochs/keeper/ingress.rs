//! Messages to a keeper.

use super::Record;
use commonware_actor::mailbox::{Policy, Sender};
use std::collections::VecDeque;
use tidewatch_core::Stopper;

/// A boundary that was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message(pub(super) Record);

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// Boundaries wait: there is one for each epoch of the chain.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        overflow.push_back(message);
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
        let _ = self.sender.enqueue(Message(record));
    }
}

//! Messages to a supervisor.

use super::{
    member::{Id, Member},
    report::{Report, StillRunning},
};
use commonware_actor::mailbox::{Policy, Sender};
use commonware_utils::channel::oneshot;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidewatch_core::watch::Receiver;

/// Why a member was not removed in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// It ended before, or was never added.
    #[error("there is no such member")]
    Unknown,
    /// The supervisor ended.
    #[error("the supervisor has stopped")]
    Stopped,
    /// It did not end in time, and was aborted.
    #[error(transparent)]
    StillRunning(#[from] StillRunning),
}

pub(super) type Removed = oneshot::Sender<Result<(), RemoveError>>;

pub(super) enum Message {
    Add(Id, Member),
    Remove(Id, Removed),
    Stop(Duration),
}

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// Nothing is dropped: each message stands for an actor that runs. Of stops, the first counts.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        let stops = |message: &Self| matches!(message, Self::Stop(_));
        if !(stops(&message) && overflow.iter().any(stops)) {
            overflow.push_back(message);
        }
    }
}

/// Talks to a supervisor. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    pub(super) sender: Sender<Message>,
    pub(super) ids: Arc<AtomicU64>,
    pub(super) report: Receiver<Report>,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("report", &self.report.current()).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// Puts `member` under supervision. A supervisor that has ended aborts it at once.
    pub fn add(&self, member: Member) -> Id {
        let id = Id(self.ids.fetch_add(1, Ordering::Relaxed));
        let _ = self.sender.enqueue(Message::Add(id, member)); // Closed, it drops the member.
        id
    }

    /// Stops the member, waits for its end, and forgets it.
    ///
    /// # Errors
    ///
    /// Those of [`RemoveError`]; the member is gone in every case.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the member is removed all the same.
    pub async fn remove(&self, id: Id) -> Result<(), RemoveError> {
        let (answer, receiver) = oneshot::channel();
        if !self.sender.enqueue(Message::Remove(id, answer)).accepted() {
            return Err(RemoveError::Stopped);
        }
        receiver.await.unwrap_or(Err(RemoveError::Stopped))
    }

    /// Stops every member, and the supervisor after them, within `limit`. The first call counts.
    pub fn stop(&self, limit: Duration) {
        let _ = self.sender.enqueue(Message::Stop(limit)); // A supervisor that has ended has stopped.
    }

    /// What became of the members, to read and to await.
    pub fn report(&self) -> Receiver<Report> {
        self.report.clone()
    }
}

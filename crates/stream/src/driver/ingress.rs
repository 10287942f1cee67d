//! Messages to a driver.

use crate::Ended;
use commonware_actor::{
    Feedback,
    mailbox::{Policy, Sender},
};
use commonware_utils::channel::oneshot;
use std::collections::VecDeque;
use tidewatch_core::{Fault, Heads, Stopper};

/// The driver ended before it could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the driver has stopped")]
pub struct Stopped;

/// Why a [`Mailbox::sync`] brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The driver ended before a pass could begin.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The pass that began after the call ended with this.
    #[error(transparent)]
    Pass(#[from] Fault),
}

pub(super) type Answer = oneshot::Sender<Result<Ended, Fault>>;

#[derive(Debug)]
pub(super) enum Message {
    /// The source may have moved.
    Ring,
    /// Run a pass, and say how it ended.
    Sync(Answer),
}

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// Of doorbells one is as good as many. A request whose caller has left is dropped.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        overflow.retain(|waiting| !matches!(waiting, Self::Sync(answer) if answer.is_closed()));
        match message {
            Self::Ring if overflow.iter().any(|waiting| matches!(waiting, Self::Ring)) => {}
            Self::Sync(answer) if answer.is_closed() => {}
            message => overflow.push_back(message),
        }
    }
}

/// Talks to a driver. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    pub(super) sender: Sender<Message>,
    pub(super) stopper: Stopper,
    pub(super) heads: Heads,
}

impl Mailbox {
    /// Says that the source may have moved: a pass follows.
    pub fn ring(&self) -> Feedback {
        self.sender.enqueue(Message::Ring)
    }

    /// Waits for a pass that begins after this call, and says how it ended. Requests that wait at the
    /// same time share one pass.
    ///
    /// # Errors
    ///
    /// [`SyncError::Stopped`] if the driver ends before that pass has, [`SyncError::Pass`] with the
    /// fault that ended it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it takes its request back.
    pub async fn sync(&self) -> Result<Ended, SyncError> {
        let (answer, receiver) = oneshot::channel();
        if !self.sender.enqueue(Message::Sync(answer)).accepted() {
            return Err(Stopped.into());
        }
        Ok(receiver.await.map_err(|_| Stopped)??)
    }

    /// Where the driver stands, to read and to await.
    pub fn heads(&self) -> Heads {
        self.heads.clone()
    }

    /// Stops the driver: it gives up what it waits for, completes the commit at hand, and ends. Safe to
    /// call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

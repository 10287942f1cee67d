//! Messages to an executor.

use crate::{ExecutionError, Order, Target};
use commonware_actor::mailbox::{Policy, Sender};
use commonware_utils::{channel::oneshot, sync::Mutex};
use std::{collections::VecDeque, sync::Arc};
use tidewatch_core::{BlockRef, Fault, Stopper, watch::Receiver};

/// Who waits for an answer; nobody where a target is only aimed at.
pub(super) type Waiter = Option<oneshot::Sender<Result<(), Fault>>>;

pub(super) enum Message<P> {
    /// Blocks, and where to point at after them.
    Give { payloads: Vec<P>, target: Target, waiter: Waiter },
    /// A target.
    Point { target: Target, waiter: Waiter },
}

impl<P> Message<P> {
    /// The order of a target that nobody waits for.
    const fn aimed(&self) -> Option<Order> {
        match self {
            Self::Point { target, waiter: None } => Some(target.order),
            _ => None,
        }
    }
}

impl<P> Policy for Message<P> {
    type Overflow = VecDeque<Self>;

    /// Of the targets that nobody waits for, the newest says everything. All others have a caller each, who
    /// waits.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        let Some(order) = message.aimed() else { return overflow.push_back(message) };
        if overflow.iter().any(|waiting| waiting.aimed() > Some(order)) {
            return;
        }
        overflow.retain(|waiting| waiting.aimed().is_none());
        overflow.push_back(message);
    }
}

/// Talks to an executor. Cheap to clone.
#[derive(Debug)]
pub struct Mailbox<P> {
    pub(super) about: Arc<str>,
    pub(super) sender: Sender<Message<P>>,
    pub(super) stopper: Stopper,
    pub(super) floor: Receiver<Option<BlockRef>>,
    /// Why it ended by itself.
    pub(super) cause: Arc<Mutex<Option<Fault>>>,
}

impl<P> Clone for Mailbox<P> {
    fn clone(&self) -> Self {
        let (about, sender, stopper) =
            (self.about.clone(), self.sender.clone(), self.stopper.clone());
        Self { about, sender, stopper, floor: self.floor.clone(), cause: self.cause.clone() }
    }
}

impl<P> Mailbox<P> {
    /// Gives the client blocks, parents first, and points it at `target` after them. Resolves when it stands
    /// there, or at a newer target; where there is a newer one that it could not reach, when the blocks are valid.
    ///
    /// # Errors
    ///
    /// The client did not take one of them; none of the blocks is acknowledged then. What it was given before
    /// may be given again. `Rejected` is for good: the executor has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the client is given the blocks all the same.
    pub async fn give(&self, payloads: Vec<P>, target: Target) -> Result<(), Fault> {
        self.ask(|waiter| Message::Give { payloads, target, waiter: Some(waiter) }).await
    }

    /// Points the client at `target`. Resolves when it stands there, or at a newer one.
    ///
    /// # Errors
    ///
    /// The client did not go there, or there is a newer target, or `target` is below what is final.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the client is pointed there all the same.
    pub async fn point(&self, target: Target) -> Result<(), Fault> {
        self.ask(|waiter| Message::Point { target, waiter: Some(waiter) }).await
    }

    /// The same, without waiting. Of several, the newest counts.
    pub fn aim(&self, target: Target) {
        // Once the executor has ended, nobody is pointed at anything.
        let _ = self.sender.enqueue(Message::Point { target, waiter: None });
    }

    /// The highest final block that the client would have after a crash: to read and to await.
    pub fn floor(&self) -> Receiver<Option<BlockRef>> {
        self.floor.clone()
    }

    /// Stops the executor. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    async fn ask(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<(), Fault>>) -> Message<P>,
    ) -> Result<(), Fault> {
        let (waiter, answer) = oneshot::channel();
        if !self.sender.enqueue(message(waiter)).accepted() {
            return Err(self.ended());
        }
        answer.await.unwrap_or_else(|_| Err(self.ended()))
    }

    fn ended(&self) -> Fault {
        let cause = self.cause.lock().clone();
        cause.unwrap_or_else(|| Fault::new(&*self.about, ExecutionError::Ended))
    }
}

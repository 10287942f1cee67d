//! Messages to an application.

use commonware_actor::{
    Feedback,
    mailbox::{Policy, Sender},
};
use commonware_consensus::{
    Reporter,
    marshal::{Update, core::Variant},
};
use commonware_utils::acknowledgement::Exact;
use std::{collections::VecDeque, fmt, sync::Arc};
use tidewatch_core::Stopper;

/// A block that the marshal delivers.
pub(super) struct Delivered<B>(pub(super) B, pub(super) Exact);

impl<B: Send + 'static> Policy for Delivered<B> {
    type Overflow = VecDeque<Self>;

    /// Dropping one would end the marshal, which bounds how many there are.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        overflow.push_back(message);
    }
}

/// Talks to an application. Cheap to clone.
pub struct Mailbox<B: Send + 'static> {
    pub(super) sender: Sender<Delivered<B>>,
    pub(super) stopper: Stopper,
}

impl<B: Send + 'static> Clone for Mailbox<B> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), stopper: self.stopper.clone() }
    }
}

impl<B: Send + 'static> fmt::Debug for Mailbox<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl<B: Send + 'static> Mailbox<B> {
    /// Takes in the updates of a marshal, whose blocks `from` makes into those of the chain.
    pub fn updates<V: Variant>(&self, from: fn(V::ApplicationBlock) -> B) -> Updates<V, B> {
        Updates { mailbox: self.clone(), from }
    }

    /// Stops the application: it gives up what it waits for, and ends. A marshal whose block it had not
    /// acknowledged ends too. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

/// The reporter of a marshal's updates. Cheap to clone.
pub struct Updates<V: Variant, B: Send + 'static> {
    mailbox: Mailbox<B>,
    from: fn(V::ApplicationBlock) -> B,
}

impl<V: Variant, B: Send + 'static> Clone for Updates<V, B> {
    fn clone(&self) -> Self {
        Self { mailbox: self.mailbox.clone(), from: self.from }
    }
}

impl<V: Variant, B: Send + 'static> fmt::Debug for Updates<V, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates").finish_non_exhaustive()
    }
}

impl<V, B> Reporter for Updates<V, B>
where
    V: Variant<ApplicationBlock: Clone>,
    B: Send + 'static,
{
    type Activity = Update<V::ApplicationBlock>;

    fn report(&mut self, update: Self::Activity) -> Feedback {
        match update {
            // Its blocks come by delivery alone.
            Update::Tip(..) => Feedback::Ok,
            Update::Block(block, acknowledgement) => {
                let block = (self.from)(Arc::unwrap_or_clone(block));
                self.mailbox.sender.enqueue(Delivered(block, acknowledgement))
            }
        }
    }
}

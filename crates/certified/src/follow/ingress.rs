//! Messages to a follow driver.

use crate::{Finality, Finalized, Scheme, Verified};
use commonware_actor::{
    Feedback,
    mailbox::{Overflow, Policy, Sender},
};
use commonware_consensus::{
    Reporter,
    marshal::{Update, core::Variant},
    types::{Epoch, Round},
};
use commonware_utils::acknowledgement::Exact;
use std::{collections::VecDeque, fmt, sync::Arc};
use tidewatch_core::{Height, Stopper};

/// What a driver takes in.
pub(super) enum Message<S: Scheme, B> {
    /// A finalization that verified.
    Finalized(Verified<Finalized<S, B>>),
    /// A claim of a finalization in a round whose epoch is not known.
    Unknown(Round),
    /// The marshal's newest finalized block.
    Tip(Round, Height),
    /// The marshal delivers a block.
    Block(B, Exact),
}

/// Messages that wait, coalesced: see the [module](super) for how.
pub(super) struct Waiting<S: Scheme, B> {
    pub(super) blocks: VecDeque<(B, Exact)>,
    pub(super) tip: Option<(Round, Height)>,
    pub(super) finalized: Option<Verified<Finalized<S, B>>>,
    pub(super) unknown: Option<Round>,
    /// Finalizations that gave way to a newer one.
    pub(super) coalesced: u64,
}

impl<S: Scheme, B> Default for Waiting<S, B> {
    fn default() -> Self {
        Self { blocks: VecDeque::new(), tip: None, finalized: None, unknown: None, coalesced: 0 }
    }
}

impl<S: Scheme, B> Waiting<S, B> {
    pub(super) fn push(&mut self, message: Message<S, B>) {
        match message {
            Message::Block(block, acknowledgement) => {
                self.blocks.push_back((block, acknowledgement));
            }
            Message::Tip(round, height) => self.tip = self.tip.max(Some((round, height))),
            Message::Unknown(round) => self.unknown = self.unknown.max(Some(round)),
            Message::Finalized(finalized) => {
                let round = |finalized: &Finalized<S, B>| finalized.finalization.round();
                match &self.finalized {
                    Some(newest) if round(newest) >= round(&finalized) => self.coalesced += 1,
                    Some(_) => {
                        self.coalesced += 1;
                        self.finalized = Some(finalized);
                    }
                    None => self.finalized = Some(finalized),
                }
            }
        }
    }

    /// The epoch that somebody claims the chain to be in, whether it is or not.
    pub(super) fn claimed(&self) -> Option<Epoch> {
        let verified = self.finalized.as_ref().map(|finalized| finalized.finalization.round());
        self.unknown.max(verified).map(|round| round.epoch())
    }
}

impl<S: Scheme, B> Overflow<Message<S, B>> for Waiting<S, B> {
    fn is_empty(&self) -> bool {
        self.blocks.is_empty()
            && self.tip.is_none()
            && self.finalized.is_none()
            && self.unknown.is_none()
    }

    fn drain<F>(&mut self, mut push: F)
    where
        F: FnMut(Message<S, B>) -> Option<Message<S, B>>,
    {
        while let Some((block, acknowledgement)) = self.blocks.pop_front() {
            match push(Message::Block(block, acknowledgement)) {
                Some(Message::Block(block, acknowledgement)) => {
                    self.blocks.push_front((block, acknowledgement));
                    return;
                }
                Some(other) => return self.push(other),
                None => {}
            }
        }
        let newest = [
            self.tip.take().map(|(round, height)| Message::Tip(round, height)),
            self.finalized.take().map(Message::Finalized),
            self.unknown.take().map(Message::Unknown),
        ];
        for message in newest.into_iter().flatten() {
            if let Some(refused) = push(message) {
                self.push(refused);
            }
        }
    }
}

impl<S: Scheme, B> Policy for Message<S, B>
where
    B: Send + 'static,
{
    type Overflow = Waiting<S, B>;

    fn handle(overflow: &mut Waiting<S, B>, message: Self) {
        overflow.push(message);
    }
}

/// Talks to a follow driver. Cheap to clone.
pub struct Mailbox<S: Scheme, B: Send + 'static> {
    pub(super) sender: Sender<Message<S, B>>,
    pub(super) stopper: Stopper,
}

impl<S: Scheme, B: Send + 'static> Clone for Mailbox<S, B> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), stopper: self.stopper.clone() }
    }
}

impl<S: Scheme, B: Send + 'static> fmt::Debug for Mailbox<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl<S: Scheme, B: Send + 'static> Mailbox<S, B> {
    /// Takes in the finality of an upstream: for
    /// [`CertifiedSource::report_to`](crate::CertifiedSource::report_to).
    pub fn finality(&self) -> Reports<S, B> {
        Reports(self.clone())
    }

    /// Takes in the updates of a marshal, whose blocks `from` makes into those of the chain. It belongs among
    /// the marshal's reporters.
    pub fn updates<V: Variant>(&self, from: fn(V::ApplicationBlock) -> B) -> Updates<S, V, B> {
        Updates { mailbox: self.clone(), from }
    }

    /// Stops the driver: it gives up what it waits for, and ends. A marshal whose block it had not acknowledged
    /// ends too. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

/// The reporter of an upstream's finality. Cheap to clone.
pub struct Reports<S: Scheme, B: Send + 'static>(Mailbox<S, B>);

impl<S: Scheme, B: Send + 'static> Clone for Reports<S, B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Scheme, B: Send + 'static> fmt::Debug for Reports<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

impl<S: Scheme, B: Send + 'static> Reporter for Reports<S, B> {
    type Activity = Finality<S, B>;

    fn report(&mut self, finality: Finality<S, B>) -> Feedback {
        self.0.sender.enqueue(match finality {
            Finality::Verified(finalized) => Message::Finalized(finalized),
            Finality::Unknown { round, .. } => Message::Unknown(round),
        })
    }
}

/// The reporter of a marshal's updates. Cheap to clone.
pub struct Updates<S: Scheme, V: Variant, B: Send + 'static> {
    mailbox: Mailbox<S, B>,
    from: fn(V::ApplicationBlock) -> B,
}

impl<S: Scheme, V: Variant, B: Send + 'static> Clone for Updates<S, V, B> {
    fn clone(&self) -> Self {
        Self { mailbox: self.mailbox.clone(), from: self.from }
    }
}

impl<S: Scheme, V: Variant, B: Send + 'static> fmt::Debug for Updates<S, V, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates").finish_non_exhaustive()
    }
}

impl<S, V, B> Reporter for Updates<S, V, B>
where
    S: Scheme,
    V: Variant<ApplicationBlock: Clone>,
    B: Send + 'static,
{
    type Activity = Update<V::ApplicationBlock>;

    fn report(&mut self, update: Self::Activity) -> Feedback {
        self.mailbox.sender.enqueue(match update {
            Update::Tip(round, height, _) => Message::Tip(round, height),
            Update::Block(block, acknowledgement) => {
                Message::Block((self.from)(Arc::unwrap_or_clone(block)), acknowledgement)
            }
        })
    }
}

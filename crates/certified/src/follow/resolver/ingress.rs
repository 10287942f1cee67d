//! Messages to a resolver, in the interface of commonware's resolvers.

use commonware_actor::{
    Feedback,
    mailbox::{Policy, Sender},
};
use commonware_consensus::marshal::resolver::handler::{Annotation, Key};
use commonware_cryptography::PublicKey;
use commonware_resolver::{Fetch, Resolver, TargetedResolver};
use commonware_utils::vec::NonEmptyVec;
use std::{collections::VecDeque, fmt, marker::PhantomData};
use tidewatch_core::{Digest, Stopper};

/// A key that is wanted, and what for.
pub(super) type Want = Fetch<Key<Digest>, Annotation>;
/// What is wanted still.
pub(super) type Keeps = Box<dyn Fn(&Key<Digest>, &Annotation) -> bool + Send>;

pub(super) enum Message {
    Fetch(Vec<Want>),
    Retain(Keeps),
}

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// A marshal says what it wants once: nothing of that is dropped. What waits and is not wanted any more
    /// is.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        if let Self::Retain(keeps) = &message {
            for waiting in overflow.iter_mut() {
                if let Self::Fetch(wants) = waiting {
                    wants.retain(|want| keeps(&want.key, &want.subscriber));
                }
            }
            overflow.retain(|waiting| !matches!(waiting, Self::Fetch(wants) if wants.is_empty()));
        }
        overflow.push_back(message);
    }
}

/// Talks to a resolver; a marshal is started with it. Cheap to clone. There is one upstream, so the peers that
/// a marshal would rather have asked, of type `K`, make no difference.
pub struct Mailbox<K> {
    pub(super) sender: Sender<Message>,
    pub(super) stopper: Stopper,
    pub(super) peers: PhantomData<fn() -> K>,
}

impl<K> Clone for Mailbox<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), stopper: self.stopper.clone(), peers: PhantomData }
    }
}

impl<K> fmt::Debug for Mailbox<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl<K> Mailbox<K> {
    /// Stops the resolver: it gives up what it waits for, and ends. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

impl<K: PublicKey> Resolver for Mailbox<K> {
    type Key = Key<Digest>;
    type Subscriber = Annotation;

    fn fetch<F: Into<Want> + Send>(&mut self, want: F) -> Feedback {
        self.sender.enqueue(Message::Fetch(vec![want.into()]))
    }

    fn fetch_all<F: Into<Want> + Send>(&mut self, wants: Vec<F>) -> Feedback {
        self.sender.enqueue(Message::Fetch(wants.into_iter().map(Into::into).collect()))
    }

    fn retain(
        &mut self,
        keeps: impl Fn(&Key<Digest>, &Annotation) -> bool + Send + 'static,
    ) -> Feedback {
        self.sender.enqueue(Message::Retain(Box::new(keeps)))
    }
}

impl<K: PublicKey> TargetedResolver for Mailbox<K> {
    type PublicKey = K;

    fn fetch_targeted(&mut self, want: impl Into<Want> + Send, _: NonEmptyVec<K>) -> Feedback {
        self.fetch(want)
    }

    fn fetch_all_targeted<F: Into<Want> + Send>(
        &mut self,
        wants: Vec<(F, NonEmptyVec<K>)>,
    ) -> Feedback {
        self.fetch_all(wants.into_iter().map(|(want, _)| want).collect())
    }
}

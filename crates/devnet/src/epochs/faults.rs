//! What is wrong with validators, on purpose.
//!
//! A validator that is stopped does not run: its tasks are dropped with their connections and files, as if its process
//! were killed, and it starts again from its directory. Everything else is done where messages are received: each
//! validator looks up whether it may take what a peer sent it.

use super::schemes::Schemes;
use crate::Certify;
use alto_types::PublicKey;
use commonware_actor::{Feedback, Unreliable};
use commonware_codec::{DecodeExt as _, Encode as _, varint::UInt};
use commonware_consensus::{
    Epochable as _,
    simplex::types::{Finalize, Notarize, Proposal, Vote},
};
use commonware_cryptography::{Hasher as _, Sha256, certificate::Provider as _, sha256::Digest};
use commonware_p2p::{
    CheckedSender, LimitedSender, Message, Receiver, Recipients, Sender, utils::mux,
};
use commonware_runtime::{IoBuf, IoBufs};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use tidewatch_sentinel::simplex::Reporter;
use tokio::sync::watch;

/// What a validator does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// What it should.
    #[default]
    Runs,
    /// It does not run: as if its process were killed.
    Stopped,
    /// It runs, and neither takes nor sends anything; what it was sent waits, as for a process that is halted.
    Paused,
    /// It reaches only validators that are apart with the same number; those that run otherwise are together.
    Apart(u32),
    /// It signs two votes wherever it should sign one: for the proposal and for another one that it makes up. Its peers
    /// block it for that, as validators do, and it stays blocked.
    VotesTwice,
}

impl Condition {
    const fn group(self) -> u32 {
        match self {
            Self::Apart(group) => group.saturating_add(1),
            _ => 0,
        }
    }
}

/// The conditions of all validators.
pub(super) struct Faults {
    keys: Vec<PublicKey>,
    conditions: watch::Sender<Vec<Condition>>,
}

impl Faults {
    pub(super) fn new(keys: Vec<PublicKey>) -> Self {
        let conditions = watch::Sender::new(vec![Condition::Runs; keys.len()]);
        Self { keys, conditions }
    }

    /// Sets the condition of a validator; whether there is one at `index`.
    pub(super) fn set(&self, index: usize, condition: Condition) -> bool {
        self.conditions.send_if_modified(|conditions| {
            let of = conditions.get_mut(index);
            of.is_some_and(|of| std::mem::replace(of, condition) != condition)
        });
        index < self.keys.len()
    }

    fn of(&self, index: usize) -> Condition {
        self.conditions.borrow().get(index).copied().unwrap_or_default()
    }

    /// Waits until the validator at `index` is stopped, or is not.
    pub(super) async fn until(&self, index: usize, stopped: bool) {
        let is = |of: &Vec<Condition>| (of.get(index) == Some(&Condition::Stopped)) == stopped;
        // The sender is here as well, so this resolves by the condition alone.
        let _ = self.conditions.subscribe().wait_for(is).await;
    }

    /// Waits while the validator at `index` takes nothing.
    async fn taking(&self, index: usize) {
        if self.of(index) == Condition::Paused {
            let paused = |of: &Vec<Condition>| of.get(index) == Some(&Condition::Paused);
            let _ = self.conditions.subscribe().wait_for(|of| !paused(of)).await;
        }
    }

    /// Whether what `from` sent reaches the validator at `to`.
    fn reaches(&self, from: &PublicKey, to: usize) -> bool {
        let Some(from) = self.keys.iter().position(|key| key == from) else { return true };
        let (from, to) = (self.of(from), self.of(to));
        from != Condition::Paused && from.group() == to.group()
    }
}

/// The receiver of a channel between peers, which takes what reaches it.
pub(super) struct Gate<R> {
    inner: R,
    faults: Arc<Faults>,
    index: usize,
}

impl<R> fmt::Debug for Gate<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("index", &self.index).finish_non_exhaustive()
    }
}

impl<R> Gate<R> {
    pub(super) const fn new(inner: R, faults: Arc<Faults>, index: usize) -> Self {
        Self { inner, faults, index }
    }
}

impl<R: Receiver<PublicKey = PublicKey>> Receiver for Gate<R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        loop {
            self.faults.taking(self.index).await;
            let message = self.inner.recv().await?;
            if self.faults.reaches(&message.0, self.index) {
                return Ok(message);
            }
        }
    }
}

/// Who hears the votes that a validator takes and sends.
pub(super) type Ears<S> = Arc<Mutex<Vec<Reporter<S>>>>;

/// The part of one validator that all its votes pass: those of the others, and its own.
pub(super) struct Votes<S: Certify> {
    me: PublicKey,
    index: usize,
    faults: Arc<Faults>,
    schemes: Schemes<S>,
    ears: Ears<S>,
}

impl<S: Certify> Clone for Votes<S> {
    fn clone(&self) -> Self {
        Self {
            me: self.me.clone(),
            index: self.index,
            faults: self.faults.clone(),
            schemes: self.schemes.clone(),
            ears: self.ears.clone(),
        }
    }
}

impl<S: Certify> fmt::Debug for Votes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Votes").field("index", &self.index).finish_non_exhaustive()
    }
}

impl<S: Certify> Votes<S> {
    pub(super) const fn new(
        me: PublicKey,
        index: usize,
        faults: Arc<Faults>,
        schemes: Schemes<S>,
        ears: Ears<S>,
    ) -> Self {
        Self { me, index, faults, schemes, ears }
    }

    /// Hands on a vote that `from` sent over its own connection.
    fn heard(&self, from: &PublicKey, message: &IoBuf) {
        let ears = self.ears.lock().unwrap_or_else(PoisonError::into_inner);
        if ears.is_empty() {
            return;
        }
        let Ok((_, vote)) = mux::parse(message.clone()) else { return };
        for ear in &*ears {
            ear.hear(from, vote.clone());
        }
    }

    /// A second vote of the same kind beside the one in `message`, if this validator signs twice.
    fn second(&self, message: &IoBuf) -> Option<IoBufs> {
        if self.faults.of(self.index) != Condition::VotesTwice {
            return None;
        }
        let (channel, vote) = mux::parse(message.clone()).ok()?;
        let vote = Vote::<S, Digest>::decode(vote).ok()?;
        let scheme = self.schemes.scheme(vote.epoch())?;
        let other = |proposal: &Proposal<Digest>| {
            let payload = Sha256::hash(&[b"another block", &proposal.payload]);
            Proposal::new(proposal.round, proposal.parent, payload)
        };
        let vote = match vote {
            Vote::Notarize(vote) => {
                Vote::Notarize(Notarize::sign(&*scheme, other(&vote.proposal))?)
            }
            Vote::Finalize(vote) => {
                Vote::Finalize(Finalize::sign(&*scheme, other(&vote.proposal))?)
            }
            Vote::Nullify(_) => return None,
        };
        let mut message = IoBufs::from(vote.encode());
        message.prepend(UInt(channel).encode().into());
        Some(message)
    }
}

/// The receiver of a channel between peers, which hears votes if it is that of votes.
#[derive(Debug)]
pub(super) struct Heard<S: Certify, R> {
    inner: R,
    votes: Option<Votes<S>>,
}

impl<S: Certify, R> Heard<S, R> {
    pub(super) const fn new(inner: R, votes: Option<Votes<S>>) -> Self {
        Self { inner, votes }
    }
}

impl<S: Certify, R: Receiver<PublicKey = PublicKey>> Receiver for Heard<S, R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        let message = self.inner.recv().await?;
        if let Some(votes) = &self.votes {
            votes.heard(&message.0, &message.1);
        }
        Ok(message)
    }
}

/// The sender of a channel between peers. If it is that of votes, they are heard, and are two where the validator signs
/// twice.
#[derive(Debug)]
pub(super) struct Mouth<S: Certify, T> {
    inner: T,
    votes: Option<Votes<S>>,
}

impl<S: Certify, T> Mouth<S, T> {
    pub(super) const fn new(inner: T, votes: Option<Votes<S>>) -> Self {
        Self { inner, votes }
    }
}

impl<S: Certify, T: Clone> Clone for Mouth<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), votes: self.votes.clone() }
    }
}

/// A message that may be sent.
pub(super) struct Checked<'a, S: Certify, T: Sender<PublicKey = PublicKey> + 'a> {
    inner: T::Checked<'a>,
    again: T,
    votes: Option<Votes<S>>,
}

impl<S: Certify, T: Sender<PublicKey = PublicKey>> LimitedSender for Mouth<S, T> {
    type PublicKey = PublicKey;
    type Checked<'a>
        = Checked<'a, S, T>
    where
        Self: 'a;

    fn check(
        &mut self,
        recipients: Recipients<PublicKey>,
    ) -> Result<Self::Checked<'_>, SystemTime> {
        let (again, votes) = (self.inner.clone(), self.votes.clone());
        Ok(Checked { inner: self.inner.check(recipients)?, again, votes })
    }
}

impl<S: Certify, T: Sender<PublicKey = PublicKey>> CheckedSender for Checked<'_, S, T> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        self.inner.recipients()
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        let Self { inner, mut again, votes } = self;
        let Some(votes) = votes else { return inner.send(message, priority) };
        let message = message.into().coalesce();
        votes.heard(&votes.me, &message);
        let second = votes.second(&message);
        let recipients = Recipients::Some(inner.recipients());
        let sent = inner.send(message, priority);
        if let Some(second) = second {
            again.send(recipients, second, priority);
        }
        sent
    }
}

//! From consensus to the listener.

use bytes::Buf;
use commonware_actor::{
    Feedback,
    mailbox::{Overflow, Policy, Sender},
};
use commonware_codec::{DecodeExt as _, Encode as _, Error, ReadExt as _};
use commonware_consensus::{
    Epochable as _, Viewable as _,
    simplex::types::{Activity, Attributable as _, Finalize, Notarize, Nullify, Vote},
    types::Round,
};
use commonware_cryptography::{certificate::Scheme, ed25519::PublicKey, sha256::Digest};
use commonware_utils::Participant;
use std::{collections::VecDeque, fmt};

/// Messages that wait at the most while the listener is busy.
const WAITING_MAX: usize = 8_192;

/// What is heard.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are votes")]
pub(super) enum Message<S: Scheme> {
    /// A vote, not verified, and who sent it over a connection of its own, where that is to be compared.
    Vote(Vote<S, Digest>, Option<PublicKey>),
    /// A quorum notarized or finalized a proposal, as consensus verified.
    Certified(Round, Digest),
    /// Votes of rounds from the first to the last one were dropped: so many.
    Lost(Round, Round, u64),
}

impl<S: Scheme> Message<S> {
    fn round(&self) -> Round {
        match self {
            Self::Vote(vote, _) => round(vote),
            Self::Certified(round, _) | Self::Lost(round, ..) => *round,
        }
    }
}

/// The round of a vote.
pub(super) fn round<S: Scheme>(vote: &Vote<S, Digest>) -> Round {
    Round::new(vote.epoch(), vote.view())
}

/// Whose vote it is said to be.
pub(super) fn signer<S: Scheme>(vote: &Vote<S, Digest>) -> Participant {
    match vote {
        Vote::Notarize(vote) => vote.signer(),
        Vote::Finalize(vote) => vote.signer(),
        Vote::Nullify(vote) => vote.signer(),
    }
}

/// What waits, up to a limit, and what was dropped beyond it.
pub(super) struct Waiting<S: Scheme> {
    messages: VecDeque<Message<S>>,
    lost: Option<(Round, Round, u64)>,
}

impl<S: Scheme> Default for Waiting<S> {
    fn default() -> Self {
        Self { messages: VecDeque::new(), lost: None }
    }
}

impl<S: Scheme> Overflow<Message<S>> for Waiting<S> {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.lost.is_none()
    }

    fn drain<F>(&mut self, mut push: F)
    where
        F: FnMut(Message<S>) -> Option<Message<S>>,
    {
        // What was dropped is said first: it is of the same rounds as what follows, or of later ones.
        if let Some((first, last, votes)) = self.lost.take()
            && push(Message::Lost(first, last, votes)).is_some()
        {
            self.lost = Some((first, last, votes));
            return;
        }
        while let Some(message) = self.messages.pop_front() {
            if let Some(refused) = push(message) {
                self.messages.push_front(refused);
                return;
            }
        }
    }
}

impl<S: Scheme> Policy for Message<S> {
    type Overflow = Waiting<S>;

    fn handle(overflow: &mut Waiting<S>, message: Self) {
        if overflow.messages.len() < WAITING_MAX {
            overflow.messages.push_back(message);
            return;
        }
        let round = message.round();
        let (first, last, votes) = overflow.lost.unwrap_or((round, round, 0));
        overflow.lost = Some((first.min(round), last.max(round), votes.saturating_add(1)));
    }
}

/// Takes what consensus reports, and returns at once: to be added to its reporters. Cheap to clone.
pub struct Reporter<S: Scheme> {
    pub(super) sender: Sender<Message<S>>,
}

impl<S: Scheme> Clone for Reporter<S> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<S: Scheme> fmt::Debug for Reporter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

impl<S: Scheme> Reporter<S> {
    /// A vote that `from` sent over a connection that it authenticated, or this validator itself; of an engine whose
    /// reporter cannot be chosen. What is not a vote, or is said to be somebody else's, is ignored, as consensus
    /// itself does.
    pub fn hear(&self, from: &PublicKey, vote: impl Buf) {
        if let Ok(vote) = Vote::<S, Digest>::decode(vote) {
            let _ = self.sender.enqueue(Message::Vote(vote, Some(from.clone())));
        }
    }

    /// Both votes of a conflict that consensus found. They are read back from their encoding, because consensus keeps
    /// them to itself.
    fn both(
        &self,
        first: Result<Vote<S, Digest>, Error>,
        second: Result<Vote<S, Digest>, Error>,
    ) -> Feedback {
        let (Ok(first), Ok(second)) = (first, second) else { return Feedback::Ok };
        let _ = self.sender.enqueue(Message::Vote(first, None));
        self.sender.enqueue(Message::Vote(second, None))
    }
}

impl<S: Scheme> commonware_consensus::Reporter for Reporter<S> {
    type Activity = Activity<S, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        let message = match activity {
            Activity::Notarize(vote) => Message::Vote(Vote::Notarize(vote), None),
            Activity::Nullify(vote) => Message::Vote(Vote::Nullify(vote), None),
            Activity::Finalize(vote) => Message::Vote(Vote::Finalize(vote), None),
            Activity::Notarization(certificate) => {
                Message::Certified(certificate.proposal.round, certificate.proposal.payload)
            }
            Activity::Finalization(certificate) => {
                Message::Certified(certificate.proposal.round, certificate.proposal.payload)
            }
            Activity::Certification(_) | Activity::Nullification(_) => return Feedback::Ok,
            Activity::ConflictingNotarize(both) => {
                let bytes = &mut both.encode();
                let mut next = || Notarize::read(bytes).map(Vote::Notarize);
                return self.both(next(), next());
            }
            Activity::ConflictingFinalize(both) => {
                let bytes = &mut both.encode();
                let mut next = || Finalize::read(bytes).map(Vote::Finalize);
                return self.both(next(), next());
            }
            Activity::NullifyFinalize(both) => {
                let bytes = &mut both.encode();
                let nullify = Nullify::read(bytes).map(Vote::Nullify);
                return self.both(nullify, Finalize::read(bytes).map(Vote::Finalize));
            }
        };
        self.sender.enqueue(message)
    }
}

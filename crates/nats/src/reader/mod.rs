//! The law that readers of the stream go by.
//!
//! A reader that takes the messages in the order of the stream, and does as [`Reader::take`] says, has each event once in
//! effect and in order, whatever cluster and publishers went through: each message names the one before it, so that one
//! which does not follow is seen; and each leadership begins with a record of where the stream stands.
//!
//! # Two positions
//!
//! The reader has a position: what its consumer was given. The stream has one too: where what was read of it stands. While
//! the two are the same the reader is *in step*, and each event that follows is the consumer's next one. They come apart
//! where a record, or a `reset`, stands elsewhere than the reader: a cluster forgot what the reader had already taken, or a
//! reader that was away does not find its message any more and begins at an older record. Then:
//!
//! | the stream stands | what | why |
//! |---|---|---|
//! | where the reader does | [`Step::Leads`], [`Step::Joined`]: in step again, nothing for the consumer | what was forgotten is published again, and was taken before |
//! | lower, or with an older finalized block | [`Step::Behind`]: nothing for the consumer yet | the stream may still come to where the reader is: the log that is published is the truth. Finality never goes back |
//! | beyond, or beside, and the highest block that both have is known, not below what the consumer has finalized, and the blocks from there on too | [`Step::Back`]: at most one `pruned`, one `blocks`, then the tiers | as over HTTP after a reorg |
//! | beyond, or beside, otherwise | [`Step::Restart`]: the consumer takes the message's position | no event leads from one to the other: a hole is named, never passed over |
//! | with another block at the finalized height | [`Refused::Conflict`] | one of the two is not the chain |
//!
//! # Messages
//!
//! | message | what |
//! |---|---|
//! | an event that follows the last message, in step | [`Step::Event`]: the consumer's next |
//! | an event that follows, and does not lead to its own position | refused: [`Refused::Foreign`] |
//! | an event that does not follow | [`Step::Dropped`]: what was read before it was forgotten, or the record that it belongs to. The reader looks again, once, from the newest message that it took and that is still there, otherwise from the record at or below it ([`tail`](crate::tail)). If the event is dropped again, only the next record leads on |
//! | a record that does not follow | the reader looks again, once: what it did not read may lead on |
//! | a record that follows, or does not again, and a `reset` that follows | the stream stands there |
//!
//! Tokens mean nothing to readers. Where a cluster forgot a leader's record, an older leader may write in its place, in
//! truth: it is a follower of the chain like any other, and what it writes leads on from what is left.
//!
//! # Keeping a place
//!
//! A reader that keeps its place keeps the sequence, the id and the cursor of the last message that it took, in the same
//! transaction as what it makes of it, and takes the message after that sequence next. A cluster that forgot may end below
//! that place, or have another message there. So a reader that connects again, or hears nothing for a while, looks whether
//! the message at its place is still the one that it took.

mod meeting;
#[cfg(test)]
mod tests;

use crate::{Content, Foreign, Marked, MessageId};
use meeting::{Common, Meeting};
use std::collections::VecDeque;
use tidewatch_core::{BlockRef, ChainId, Conflict, Cursor, Event, Tier, Watermarks};

/// Blocks that a reader was at and remembers, to find where another history left its own.
const HEADS: usize = 256;

/// Where a reader stands.
#[derive(Clone, Debug)]
pub struct Reader {
    chain: ChainId,
    /// The message that the next one has to name; `None` where only a record counts.
    last: Option<MessageId>,
    /// Where the stream stands; `None` before anything of it counts.
    stream: Option<Watermarks>,
    /// What the consumer was given.
    position: Option<Cursor>,
    /// Blocks that the position was at before, the newest last.
    heads: VecDeque<BlockRef>,
    /// What the two have in common while they are apart.
    common: Option<Common>,
    /// The next message counts like a record: there is none at or below it.
    anew: bool,
}

/// What a message is to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next event.
    Event,
    /// A leader begins, from where the reader stands.
    Leads,
    /// With this event the stream is where the reader was already.
    Joined,
    /// The stream is not yet where the reader is.
    Behind,
    /// These events lead from the reader's position to the message's, where the reader stands now.
    Back(Vec<Event>),
    /// No event does: the reader stands at the message's position now, and has nothing from before.
    Restart,
    /// It does not count.
    Dropped,
}

/// Why a message is not gone on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No publisher wrote it.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// It is of another chain.
    #[error("message {sequence} is of another chain than {ours}")]
    WrongChain {
        /// Its place in the stream.
        sequence: u64,
        /// The reader's chain.
        ours: ChainId,
    },
    /// It contradicts what the consumer has as final.
    #[error("message {sequence} has {} as final, this reader has {}", .conflict.theirs, .conflict.ours)]
    Conflict {
        /// Its place in the stream.
        sequence: u64,
        /// Both blocks.
        conflict: Conflict,
    },
}

impl Reader {
    /// A reader of a stream of `chain` that was given nothing yet.
    pub const fn new(chain: ChainId) -> Self {
        let heads = VecDeque::new();
        Self { chain, last: None, stream: None, position: None, heads, common: None, anew: false }
    }

    /// A reader whose consumer was given everything up to `position`.
    pub fn at(chain: ChainId, position: Cursor) -> Self {
        Self { position: Some(position), ..Self::new(chain) }
    }

    /// The reader's position: what its consumer was given. `None` before there was anything.
    pub const fn position(&self) -> Option<&Cursor> {
        self.position.as_ref()
    }

    /// Whether the stream, as far as it was read, stands where the reader does.
    pub fn is_in_step(&self) -> bool {
        let (Some(stream), Some(position)) = (&self.stream, &self.position) else { return false };
        position.stands_at(stream)
    }

    /// What is read next follows the message `id`, after which the stream stands at `cursor`: one that this reader took.
    pub fn follow(&mut self, id: MessageId, cursor: &Cursor) {
        self.leave();
        self.stand(cursor.watermarks());
        self.last = Some(id);
    }

    /// What is read next is not known to follow anything: a record counts.
    pub fn leave(&mut self) {
        (self.last, self.stream, self.common, self.anew) = (None, None, None, false);
    }

    /// What is read next is the oldest message that is kept, and counts like a record.
    pub fn leave_for_the_oldest(&mut self) {
        self.leave();
        self.anew = true;
    }

    /// Whether `message` names the one that was taken last as the one before it.
    pub fn is_next(&self, message: &Marked) -> bool {
        self.last.is_some() && message.after == self.last
    }

    /// Whether `cursor` stands where this reader is known to have been, or before all blocks.
    pub fn has_been(&self, cursor: &Cursor) -> bool {
        cursor.head().is_none_or(|head| self.knows(&head))
    }

    /// Whether the next message counts like a record, whatever it is.
    pub const fn counts_the_next(&self) -> bool {
        self.anew
    }

    /// Takes `message`, which tells `content`.
    ///
    /// # Errors
    ///
    /// See [`Refused`]. The reader stands where it did.
    pub fn take(&mut self, message: &Marked, content: &Content) -> Result<Step, Refused> {
        let Marked { sequence, id, cursor, .. } = message;
        if !cursor.is_of(&self.chain) {
            return Err(Refused::WrongChain { sequence: *sequence, ours: self.chain.clone() });
        }
        let follows = self.is_next(message);
        let before = self.stream.filter(|_| follows);
        let event = match content {
            Content::Event(event) if !self.anew => Some(event),
            _ => None,
        };
        let jumps = *content == Content::Lead || self.anew || (follows && event.is_none());
        let in_step = self.is_in_step();
        match (event, before) {
            (Some(event), Some(mut stream)) => {
                let finalized = |of: &Watermarks| of.tips.block(Tier::Finalized);
                let before = finalized(&stream).map(|block| block.height);
                stream.apply(event);
                let foreign =
                    |why| Foreign { sequence: *sequence, subject: event.name().into(), why };
                if !cursor.stands_at(&stream) {
                    return Err(foreign("its event does not lead to its cursor").into());
                }
                if finalized(&stream).map(|block| block.height) < before {
                    return Err(foreign("it takes back what is final").into());
                }
                if in_step {
                    self.last = Some(id.clone());
                    self.stream = Some(stream);
                    self.handled(event, cursor);
                    return Ok(Step::Event);
                }
                self.common = meeting::goes_on(self.common, event, &stream, |b| self.knows(b));
                self.stream = Some(stream);
            }
            _ if jumps => self.stand(cursor.watermarks()),
            _ => {
                // What comes after this names this: only a record is believed now.
                self.last = None;
                return Ok(Step::Dropped);
            }
        }
        self.anew = false;
        self.last = Some(id.clone());
        self.meet(message, event.is_none())
    }

    /// The stream stands at `watermarks`, without an event that says how it came there.
    fn stand(&mut self, watermarks: Watermarks) {
        if self.stream.is_none_or(|stream| !stream.same_blocks(&watermarks)) {
            let known = watermarks.head().filter(|head| self.knows(head));
            self.common = known.map(Common::at);
        }
        self.stream = Some(watermarks);
    }

    /// What becomes of the reader where the stream stands after `message`.
    fn meet(&mut self, message: &Marked, record: bool) -> Result<Step, Refused> {
        let Marked { sequence, cursor, .. } = message;
        let Some(position) = &self.position else {
            self.restart(cursor);
            return Ok(Step::Restart);
        };
        let (ours, theirs) = (position.watermarks(), cursor.watermarks());
        Ok(match meeting::meet(&ours, &theirs, self.common) {
            Meeting::Same if record => Step::Leads,
            Meeting::Same => Step::Joined,
            Meeting::Behind => Step::Behind,
            Meeting::Conflict(conflict) => {
                return Err(Refused::Conflict { sequence: *sequence, conflict });
            }
            Meeting::Led(events) => {
                for event in &events {
                    self.handled(event, cursor);
                }
                self.common = None;
                Step::Back(events)
            }
            Meeting::Apart => {
                self.restart(cursor);
                Step::Restart
            }
        })
    }

    fn restart(&mut self, cursor: &Cursor) {
        self.heads.clear();
        self.heads.extend(cursor.head());
        (self.position, self.common) = (Some(cursor.clone()), None);
    }

    /// The consumer was given `event`, and is at `cursor` then.
    fn handled(&mut self, event: &Event, cursor: &Cursor) {
        if let Event::Pruned { to, .. } = event {
            self.heads.retain(|head| head.height <= to.height);
        }
        self.position = Some(cursor.clone());
        let head = match event {
            Event::Blocks { to, .. } | Event::Pruned { to, .. } => Some(*to),
            Event::Advanced { .. } | Event::Regressed { .. } => cursor.head(),
        };
        if let Some(head) = head.filter(|head| self.heads.back() != Some(head)) {
            self.heads.push_back(head);
        }
        if self.heads.len() > HEADS {
            self.heads.pop_front();
        }
    }

    /// Whether `block` is known to be of the chain that the consumer was given, at or below its head.
    fn knows(&self, block: &BlockRef) -> bool {
        self.heads.contains(block) || self.position.as_ref().is_some_and(|at| named(at, block))
    }
}

/// Whether `cursor` names `block`.
fn named(cursor: &Cursor, block: &BlockRef) -> bool {
    let Watermarks { delivered, tips } = cursor.watermarks();
    let at_or_below = cursor.head().is_some_and(|head| block.height <= head.height);
    let tier = |tier: Tier| tips.block(tier) == Some(*block);
    at_or_below
        && (delivered == Some(*block)
            || Tier::ALL.into_iter().any(tier)
            || cursor.locators().iter().any(|locator| locator.is(block)))
}

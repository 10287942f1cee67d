//! The law that readers of the stream go by.
//!
//! A reader that takes every message in the order of the stream, and does as [`Reader::take`] says, has each event once
//! in effect and in order, whatever cluster and publishers went through: each message names the one before it, so that
//! one which does not follow is seen; and each leadership begins with a record of where the stream stands.
//!
//! | message | what |
//! |---|---|
//! | an event that follows the last message | [`Step::Event`]: handle it |
//! | an event that does not | [`Step::Dropped`]: what the reader has was forgotten, or the record that the event belongs to. The reader goes back, once, to the newest record at or below it, and takes everything from there; if the event is dropped again, the next record leads on |
//! | a record at the reader's own position | [`Step::Leads`]: nothing changes |
//! | a record elsewhere, or a `reset` | [`Step::Restart`]: what was known before counts no more, the reader stands there now |
//!
//! A cluster that forgot may end below a reader's place, or have another message there. So a reader that connects again,
//! or hears nothing for a while, looks whether the message at its place is still the one that it took. If not, it goes
//! back to the newest record too.
//!
//! A reader that keeps its place by itself keeps the sequence, the id and the cursor of the last message that it took, in
//! the same transaction as what it makes of it, and takes the message after that sequence next.

use crate::{Marked, MessageId};
use tidewatch_core::Cursor;

/// Where a reader stands.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    last: Option<MessageId>,
    position: Option<Cursor>,
}

/// What a message is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next event.
    Event,
    /// A leader begins, from where the reader stands.
    Leads,
    /// The reader stands at the message's position now.
    Restart,
    /// It does not count.
    Dropped,
}

impl Reader {
    /// The reader's position; `None` before there was a record.
    pub const fn position(&self) -> Option<&Cursor> {
        self.position.as_ref()
    }

    /// Takes `message`, which `resets` where its subject says so.
    pub fn take(&mut self, message: &Marked, resets: bool) -> Step {
        let Marked { id, after, leads, cursor, .. } = message;
        let step = if *leads {
            // By content: the same position in two logs has two numbers.
            let stands = self.position.as_ref().is_some_and(|at| same(at, cursor));
            if stands { Step::Leads } else { Step::Restart }
        } else if self.last.is_some() && *after == self.last {
            if resets { Step::Restart } else { Step::Event }
        } else {
            // What comes after this names this: only a record is believed now.
            self.last = None;
            return Step::Dropped;
        };
        (self.last, self.position) = (Some(id.clone()), Some(cursor.clone()));
        step
    }
}

fn same(one: &Cursor, other: &Cursor) -> bool {
    one.stands_at(&other.watermarks())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Leader, PublisherId};
    use tidewatch_core::{BlockRef, ChainId, Digest, Height, Tier, TipSet, Watermarks};

    /// A message of `leader` after `after`, at a position with so many blocks.
    fn message(leader: u64, number: u64, after: Option<&Marked>, blocks: u64) -> Marked {
        let leader = Leader { publisher: PublisherId::read("p"), token: leader };
        let block = BlockRef::new(Height::new(blocks), Digest([blocks as u8; 32]));
        let tips = TipSet::unknown().with(Tier::Proposed, block);
        let watermarks = Watermarks { delivered: Some(block), tips };
        Marked {
            sequence: number,
            id: MessageId::new(&leader, number),
            after: after.map(|after| after.id.clone()),
            leads: number == 0,
            cursor: Cursor::new(&ChainId::new("c").unwrap(), number, &watermarks, &[]),
            leader,
        }
    }

    #[test]
    fn an_event_counts_where_it_follows_and_a_record_where_it_does_not_leads_on() {
        let lead = message(1, 0, None, 3);
        let first = message(1, 1, Some(&lead), 4);
        let second = message(1, 2, Some(&first), 5);
        let mut reader = Reader::default();
        assert_eq!(reader.take(&first, false), Step::Dropped, "nothing was read before");
        assert_eq!(reader.take(&lead, false), Step::Restart);
        assert_eq!(reader.take(&first, false), Step::Event);
        assert_eq!(reader.take(&first, false), Step::Dropped, "twice");
        assert_eq!(reader.take(&second, false), Step::Dropped, "what came in between is not known");
        // A leader with another log, at the same place by another number.
        let next = message(2, 0, Some(&second), 4);
        assert_eq!(reader.take(&next, false), Step::Leads);
        let reset = message(2, 1, Some(&next), 9);
        assert_eq!(reader.take(&reset, true), Step::Restart);
        assert_eq!(reader.position(), Some(&reset.cursor));
        assert_eq!(reader.take(&message(3, 0, Some(&reset), 8), false), Step::Restart);
    }
}

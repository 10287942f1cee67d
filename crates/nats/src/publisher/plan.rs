//! What follows from an answer, and from where the stream ends.

use crate::{Answer, End, Foreign, Leader, Marked, MessageId, Refusal};
use tidewatch_core::Fault;

/// Where a publisher takes the stream to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The last sequence.
    pub sequence: u64,
    /// The message there; `None` where it is gone, or there never was one.
    pub id: Option<MessageId>,
}

/// What the answer to a message means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The message is stored, next after where the stream ended.
    Stored,
    /// The stream has to be read: whether the message is stored is not known.
    Look {
        /// Why.
        why: Why,
    },
    /// It is refused whatever the stream ends with.
    Refused {
        /// The code of JetStream's API.
        code: u64,
        /// For people.
        description: String,
    },
}

/// Why the stream has to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The stream ends elsewhere, or has another `lead` record. If it ends as expected it is the record, which is gone by
    /// age or was forgotten: another one is due.
    Elsewhere,
    /// The cluster takes the message for one that it has. If the stream does not have it, only another name helps.
    Named,
    /// There was no answer, or one that cannot be.
    Unknown,
}

/// Judges the `answer` to a message after `at`.
pub fn judge(at: &At, answer: &Result<Answer, Fault>) -> Judged {
    match answer {
        Ok(Answer::Stored { sequence, duplicate: false }) if *sequence == at.sequence + 1 => {
            Judged::Stored
        }
        // Another server of the cluster may have lost what this one remembers the name of.
        Ok(Answer::Stored { duplicate: true, .. }) => Judged::Look { why: Why::Named },
        Ok(Answer::Refused(Refusal::Elsewhere)) => Judged::Look { why: Why::Elsewhere },
        Ok(Answer::Stored { .. }) | Err(_) => Judged::Look { why: Why::Unknown },
        Ok(Answer::Refused(Refusal::Other { code, description })) => {
            Judged::Refused { code: *code, description: description.clone() }
        }
    }
}

/// What to do next, once the end of the stream was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The message is the last one: go on after it.
    Stored,
    /// Nothing has changed: the message is not there.
    Again,
    /// The cluster forgot the newest messages of this leadership: go on from the position of this one, which is the
    /// last that is left.
    Republish(Box<Marked>),
    /// The cluster forgot that this leadership began: begin it again after this end, with `token` at the least.
    Lead(End),
    /// A later leader writes: stop.
    Deposed {
        /// Its token.
        token: u64,
    },
}

/// What to do, where `mine` wrote everything from its record at `at` on, or has yet to write that, `attempt` was
/// published last, and the stream has `end`.
///
/// # Errors
///
/// The last message is not a publisher's.
pub fn review(
    mine: &Leader,
    at: &At,
    attempt: Option<&MessageId>,
    end: &End,
) -> Result<Next, Foreign> {
    let Some(message) = &end.message else {
        // Gone by age, or never there. A publisher that knows what stood there needs it no more.
        let same = end.sequence == at.sequence;
        return Ok(if same { Next::Again } else { Next::Lead(end.clone()) });
    };
    let last = Marked::read(message)?;
    if last.leader == *mine {
        return Ok(if Some(&last.id) == attempt {
            Next::Stored
        } else if last.sequence == at.sequence && Some(&last.id) == at.id.as_ref() {
            Next::Again
        } else {
            Next::Republish(Box::new(last))
        });
    }
    if last.leader.token >= mine.token {
        return Ok(Next::Deposed { token: last.leader.token });
    }
    let same = last.sequence == at.sequence && Some(&last.id) == at.id.as_ref();
    Ok(if same { Next::Again } else { Next::Lead(end.clone()) })
}

/// The token of a leadership that begins with the lease at `revision`, after `last`: greater than any that the stream
/// knows, also where the bucket was made anew and counts from 1 again.
pub fn token(revision: u64, last: Option<&Marked>) -> u64 {
    last.map_or(revision, |last| revision.max(last.leader.token.saturating_add(1)))
}

/// Whether the stream still has the `lead` record that a leadership wrote, as far as `found`, the message at its
/// place, tells. A record that is gone by age was there.
pub fn leads_still(lead: &MessageId, found: Option<&Marked>) -> bool {
    found.is_none_or(|found| found.id == *lead)
}

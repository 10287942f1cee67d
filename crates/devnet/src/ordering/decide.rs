//! What becomes of a proposal, by its number.

use tidewatch_core::Height;
use tidewatch_sequencer::Identity;

/// What is known of a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// A preblock, or a proposal that is accepted, has this identity.
    Held(&'a Identity),
    /// Nothing has it, and it is the next one.
    Next,
    /// It is not the next one, which is this.
    Other(Height),
}

/// Where `number` is, with history from `first` to `newest`, and the proposal of the next one in hand. `of` gives the
/// identity of a preblock in the history.
pub(super) fn place<'a>(
    number: Height,
    newest: Option<Height>,
    pending: Option<&'a Identity>,
    held: Option<&'a Identity>,
) -> Place<'a> {
    if let Some(identity) = held.or(pending).filter(|identity| identity.number == number) {
        return Place::Held(identity);
    }
    // A network without a history takes it from wherever the sequencer stands.
    let any = newest.is_none() && pending.is_none() && number > Height::zero();
    let next =
        pending.map(|identity| identity.number).or_else(|| newest.map(|newest| newest.next()));
    match next {
        None if any => Place::Next,
        None => Place::Other(Height::new(1)),
        Some(next) if pending.is_none() && next == number => Place::Next,
        Some(next) => Place::Other(next),
    }
}

/// What becomes of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is taken, and made durable.
    Accepted,
    /// The same content was taken before.
    Known,
    /// Other content was.
    Taken,
    /// It is not the next number, which is this.
    NotNext(Height),
}

/// Decides.
pub(super) fn decide(place: Place<'_>, proposed: &Identity) -> Outcome {
    match place {
        Place::Held(held) if held.same(proposed) => Outcome::Known,
        Place::Held(_) => Outcome::Taken,
        Place::Next => Outcome::Accepted,
        Place::Other(next) => Outcome::NotNext(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use tidewatch_core::Digest;

    fn identity(number: u64, content: u8, attempt: u32) -> Identity {
        Identity {
            number: Height::new(number),
            parent: Digest([9; 32]),
            content: Digest([content; 32]),
            attempt: NonZeroU32::new(attempt).unwrap(),
        }
    }

    #[test]
    fn a_proposal_is_accepted_known_taken_or_not_the_next_one() {
        let (none, seven) = (None, Some(Height::new(7)));
        let (pending, held) = (identity(8, 1, 1), identity(7, 1, 1));
        let not = |next| Outcome::NotNext(Height::new(next));
        let cases = [
            (none, None, None, identity(1, 1, 1), Outcome::Accepted),
            (none, None, None, identity(90, 1, 1), Outcome::Accepted),
            (none, None, None, identity(0, 1, 1), not(1)),
            (seven, None, None, identity(8, 1, 1), Outcome::Accepted),
            (seven, None, None, identity(9, 1, 1), not(8)),
            (seven, None, None, identity(2, 1, 1), not(8)),
            (seven, None, Some(&held), identity(7, 1, 1), Outcome::Known),
            (seven, None, Some(&held), identity(7, 1, 5), Outcome::Known),
            (seven, None, Some(&held), identity(7, 2, 1), Outcome::Taken),
            (seven, Some(&pending), None, identity(8, 1, 2), Outcome::Known),
            (seven, Some(&pending), None, identity(8, 2, 1), Outcome::Taken),
            (seven, Some(&pending), None, identity(9, 1, 1), not(8)),
            (seven, Some(&pending), Some(&held), identity(7, 1, 1), Outcome::Known),
            (none, Some(&pending), None, identity(8, 1, 1), Outcome::Known),
            (none, Some(&pending), None, identity(1, 1, 1), not(8)),
        ];
        for (newest, pending, held, proposed, expected) in cases {
            let place = place(proposed.number, newest, pending, held);
            assert_eq!(decide(place, &proposed), expected, "{newest:?} {pending:?} {proposed}");
        }
        let elsewhere = Identity { parent: Digest([8; 32]), ..pending };
        let place = place(Height::new(8), seven, Some(&pending), None);
        assert_eq!(decide(place, &elsewhere), Outcome::Taken);
    }
}

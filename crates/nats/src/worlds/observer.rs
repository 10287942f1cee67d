//! A consumer of the stream that objects.

use super::tail::{Given, Place, Taken};
use std::collections::BTreeMap;
use tidewatch_core::{Cursor, Digest, Event, Watermarks};
use tidewatch_testkit::invariants;

/// What a consumer was given, and what is wrong with that.
#[derive(Default)]
pub(crate) struct Observer {
    /// Where it stands: what it would keep, in one transaction with what it makes of it.
    pub(crate) place: Option<Place>,
    /// Of each kind of thing that was given, how often.
    pub(crate) steps: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
}

impl Observer {
    /// Does what is given. `parents` knows every block that ever was.
    pub(crate) fn take(&mut self, taken: &Taken, parents: &BTreeMap<Digest, Digest>) {
        let Taken { place, given } = taken;
        let before = self.position();
        let name = match given {
            Given::Event { .. } => "event",
            Given::Back(_) => "back",
            Given::Restart if before.is_none() => "begin",
            Given::Restart => "restart",
        };
        *self.steps.entry(name).or_default() += 1;
        let at = place.sequence;
        match (given, before) {
            (Given::Restart, None) => {}
            (Given::Restart, Some(before)) => {
                let after = place.cursor.watermarks();
                if let Err(breach) = invariants::finality(&before.tips, &after.tips) {
                    self.object(at, format!("{breach:#}, from {before:?} to {after:?}"));
                }
                if before.same_blocks(&after) {
                    self.object(at, format!("it starts again where it is, at {after:?}"));
                }
            }
            (Given::Event { .. } | Given::Back(_), None) => {
                self.object(at, "an event before a position");
            }
            (Given::Event { event, .. }, Some(before)) => {
                self.check(at, event, &place.cursor, before, parents);
            }
            (Given::Back(events), Some(mut before)) => {
                for (event, cursor) in events {
                    self.check(at, event, cursor, before, parents);
                    before.apply(event);
                }
                if events.last().map(|(_, cursor)| cursor) != Some(&place.cursor) {
                    self.object(at, "the way back ends elsewhere");
                }
            }
        }
        self.place = Some(place.clone());
    }

    fn object(&mut self, sequence: u64, why: impl std::fmt::Display) {
        self.violations.push(format!("message {sequence}: {why}"));
    }

    fn check(
        &mut self,
        sequence: u64,
        event: &Event,
        cursor: &Cursor,
        before: Watermarks,
        parents: &BTreeMap<Digest, Digest>,
    ) {
        let mut after = before;
        after.apply(event);
        if !cursor.stands_at(&after) {
            let why =
                format!("{event} leads from {before:?} to {after:?}, its cursor is elsewhere");
            self.object(sequence, why);
        }
        let mut parent = |of: &Digest| parents.get(of).copied();
        match (event, before.delivered) {
            (Event::Blocks { from, .. }, Some(delivered))
                if parent(&from.digest) != Some(delivered.digest) =>
            {
                self.object(sequence, format!("{event}: there is a hole after {delivered}"));
            }
            (Event::Pruned { to, .. }, Some(delivered)) => {
                let below = std::iter::successors(Some(delivered.digest), &mut parent);
                let depth = delivered.height.get().saturating_sub(to.height.get());
                if below.take(depth as usize + 1).last() != Some(to.digest) {
                    self.object(sequence, format!("{event}: that is not below {delivered}"));
                }
            }
            _ => {}
        }
        if let Err(breach) = invariants::finality(&before.tips, &after.tips) {
            self.object(sequence, format!("{event}: {breach:#}"));
        }
        if after.same_blocks(&before) {
            self.object(sequence, format!("{event} comes twice"));
        }
    }

    pub(crate) fn position(&self) -> Option<Watermarks> {
        self.place.as_ref().map(|place| place.cursor.watermarks())
    }
}

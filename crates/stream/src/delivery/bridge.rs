//! What leads on from a position that the log does not keep.

use tidewatch_core::{Cursor, Event, Record};

/// What a consumer has of a history, beside the position that it goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// What leads to the position, and nothing else.
    Exactly,
    /// Perhaps more: events that it took in before that was acknowledged. They would come again; a bridge
    /// has others in their place.
    AtLeast,
}

impl Holds {
    /// `bridge`, which leads from `cursor` to event `next`, for somebody who holds this. It is never empty
    /// for somebody who holds anything: only what is acknowledged moves a position.
    pub(super) fn lead(self, cursor: &Cursor, bridge: Vec<Record>, next: u64) -> Vec<Record> {
        let Some(to) = cursor.head() else { return bridge };
        let begins = match bridge.first() {
            Some(first) => self == Self::Exactly || matches!(first.event, Event::Pruned { .. }),
            None => false,
        };
        if begins {
            return bridge;
        }
        let mut watermarks = cursor.watermarks();
        let event = Event::Pruned { to, depth: 0, tips: watermarks.tips };
        watermarks.apply(&event);
        let cursor = cursor.clone().counted(next);
        [Record { event, watermarks, cursor }].into_iter().chain(bridge).collect()
    }
}

//! What a message of the stream tells, read from its JSON.

use crate::{Foreign, Message};
use serde::Deserialize;
use tidewatch_core::{
    BlockRef, Event, Tier, Tip, TipSet,
    json::{Block, TierTip, Tips},
};

/// What a message tells. Its position is in [`Marked`](crate::Marked).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is read, handled and dropped; most are events")]
pub enum Content {
    /// A leadership begins.
    Lead,
    /// No event leads on: readers start again from the message's position.
    Reset,
    /// An event.
    Event(Event),
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a line is read once and dropped")]
enum Line {
    Blocks { from: Block, to: Block },
    Advanced(Move),
    Regressed(Move),
    Pruned { to: Block, depth: u64, tips: Tips },
}

#[derive(Deserialize)]
struct Move {
    tier: String,
    #[serde(flatten)]
    tip: TierTip,
}

impl Move {
    fn read(self) -> Option<(Tier, Tip)> {
        let tier = Tier::ALL.into_iter().find(|tier| tier.as_str() == self.tier)?;
        let at = TipSet::from(&Tips {
            proposed: Some(self.tip),
            checkpointed: None,
            proven: None,
            finalized: None,
        });
        Some((tier, at.get(Tier::Proposed)?))
    }
}

impl Content {
    /// Reads `message`.
    ///
    /// # Errors
    ///
    /// It is no line of the contract, or an event that cannot be.
    pub fn read(message: &Message) -> Result<Self, Foreign> {
        let Message { sequence, subject, payload, .. } = message;
        if subject.ends_with(".lead") {
            return Ok(Self::Lead);
        }
        if subject.ends_with(".event.reset") {
            return Ok(Self::Reset);
        }
        let foreign = |why| Foreign { sequence: *sequence, subject: subject.clone(), why };
        let line = serde_json::from_slice(payload).map_err(|_| foreign("it is no event"))?;
        let tier = || foreign("its tier is none");
        let event = match line {
            Line::Blocks { from, to } if from.height > to.height => {
                return Err(foreign("its blocks end below where they begin"));
            }
            Line::Blocks { from, to } => Event::Blocks { from: from.into(), to: to.into() },
            Line::Advanced(moved) => {
                let (tier, tip) = moved.read().ok_or_else(tier)?;
                Event::Advanced { tier, tip }
            }
            Line::Regressed(moved) => {
                let (tier, tip) = moved.read().ok_or_else(tier)?;
                Event::Regressed { tier, tip }
            }
            Line::Pruned { to, depth, tips } => {
                Event::Pruned { to: BlockRef::from(to), depth, tips: (&tips).into() }
            }
        };
        Ok(Self::Event(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::{ChainId, CheckpointRef, Cursor, Digest, Height, json};

    fn message(subject: &str, payload: String) -> Message {
        Message {
            sequence: 7,
            subject: subject.into(),
            id: None,
            after: None,
            record: None,
            publisher: None,
            token: None,
            payload: payload.into(),
        }
    }

    #[test]
    fn every_event_is_read_as_it_was_written_and_what_cannot_be_is_refused() {
        let at = |height: u64| BlockRef::new(Height::new(height), Digest([height as u8; 32]));
        let checkpoint = Some(CheckpointRef { number: 3, digest: Digest([9; 32]) });
        let tip = Tip { block: at(5), checkpoint };
        let tips = TipSet::unknown().with(Tier::Proposed, at(4)).with(Tier::Finalized, tip);
        let cursor = Cursor::start(&ChainId::new("c").unwrap());
        for event in [
            Event::Blocks { from: at(1), to: at(5) },
            Event::Advanced { tier: Tier::Checkpointed, tip },
            Event::Regressed { tier: Tier::Proven, tip: at(2).into() },
            Event::Pruned { to: at(4), depth: 1, tips },
        ] {
            let line = serde_json::to_string(&json::Line::event(&event, &cursor)).unwrap();
            let read = Content::read(&message("tidewatch.c.event.some", line.clone()));
            assert_eq!(read, Ok(Content::Event(event)));
            for (word, other) in [("\"event\"", "\"even\""), ("\"height\"", "\"hight\"")] {
                let broken = message("tidewatch.c.event.some", line.replace(word, other));
                assert_eq!(Content::read(&broken).unwrap_err().why, "it is no event");
            }
        }
        let wrong = |line: &str, from: &str, to: &str| {
            let line = line.replace(from, to);
            Content::read(&message("tidewatch.c.event.some", line)).unwrap_err().why
        };
        let event = Event::Advanced { tier: Tier::Proven, tip };
        let line = serde_json::to_string(&json::Line::event(&event, &cursor)).unwrap();
        assert_eq!(wrong(&line, "proven", "sure"), "its tier is none");
        let event = Event::Blocks { from: at(3), to: at(5) };
        let line = serde_json::to_string(&json::Line::event(&event, &cursor)).unwrap();
        let why = wrong(&line, "\"height\":3", "\"height\":6");
        assert_eq!(why, "its blocks end below where they begin");
    }
}

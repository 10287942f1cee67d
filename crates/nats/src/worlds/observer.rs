//! A reader of the stream that goes by the law, and objects.

use crate::{
    Marked, Message, MessageId,
    reader::{Reader, Step},
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use tidewatch_core::{
    BlockRef, Digest, Event, Tier, Tip, Watermarks,
    json::{Block, TierTip, Tips},
};

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
    fn read(self) -> (Tier, Tip) {
        let tier = Tier::ALL.into_iter().find(|tier| tier.as_str() == self.tier).expect("a tier");
        (tier, Tip::from(BlockRef::from(self.tip.block)))
    }
}

/// The event that a line of the stream tells of.
pub(crate) fn event(payload: &[u8]) -> Event {
    match serde_json::from_slice(payload).expect("a line of the contract") {
        Line::Blocks { from, to } => Event::Blocks { from: from.into(), to: to.into() },
        Line::Advanced(moved) => {
            let (tier, tip) = moved.read();
            Event::Advanced { tier, tip }
        }
        Line::Regressed(moved) => {
            let (tier, tip) = moved.read();
            Event::Regressed { tier, tip }
        }
        Line::Pruned { to, depth, tips } => {
            Event::Pruned { to: to.into(), depth, tips: (&tips).into() }
        }
    }
}

/// What was seen.
#[derive(Default)]
pub(crate) struct Observer {
    reader: Reader,
    /// The next message to take.
    next: usize,
    /// The id of the one before it.
    at: Option<String>,
    /// The messages that it went back for.
    back: BTreeSet<MessageId>,
    /// Of each step, how often it was taken.
    pub(crate) steps: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
}

impl Observer {
    /// Takes what there is. `parents` knows every block that ever was.
    pub(crate) fn look(&mut self, stream: &[Message], parents: &BTreeMap<Digest, Digest>) {
        let leads = |message: &Message| message.subject.ends_with(".lead");
        let here = self.next.checked_sub(1).and_then(|at| stream.get(at));
        if self.next > 0 && here.and_then(|here| here.id.as_ref()) != self.at.as_ref() {
            // What was read was forgotten.
            self.next = stream.iter().rposition(leads).unwrap_or(0);
        }
        while let Some(message) = stream.get(self.next) {
            let marked = Marked::read(message).expect("of a publisher");
            let before = self.reader.position().map(|cursor| cursor.watermarks());
            let resets = message.subject.ends_with(".reset");
            let step = self.reader.take(&marked, resets);
            let name = match step {
                Step::Event => "event",
                Step::Leads => "leads",
                Step::Restart if resets => "reset",
                Step::Restart => "restart",
                Step::Dropped => "dropped",
            };
            *self.steps.entry(name).or_default() += 1;
            if step == Step::Dropped && self.back.insert(marked.id.clone()) {
                let below = &stream[..=self.next];
                if let Some(lead) = below.iter().rposition(leads) {
                    self.next = lead;
                    continue;
                }
            }
            self.next += 1;
            self.at.clone_from(&message.id);
            if step == Step::Event {
                let before = before.expect("an event follows a record");
                self.check(&marked, message, before, parents);
            }
        }
    }

    fn check(
        &mut self,
        marked: &Marked,
        message: &Message,
        before: Watermarks,
        parents: &BTreeMap<Digest, Digest>,
    ) {
        let event = event(&message.payload);
        let mut after = before;
        after.apply(&event);
        let mut object = |why: String| {
            self.violations.push(format!("message {}: {event}: {why}", marked.sequence));
        };
        if !marked.cursor.stands_at(&after) {
            object(format!("leads from {before:?} to {after:?}, its cursor stands elsewhere"));
        }
        if let (Event::Blocks { from, .. }, Some(delivered)) = (&event, before.delivered)
            && parents.get(&from.digest) != Some(&delivered.digest)
        {
            object(format!("there is a hole after {delivered}"));
        }
        let finalized = |watermarks: &Watermarks| watermarks.tips.block(Tier::Finalized);
        if finalized(&after).map(|b| b.height) < finalized(&before).map(|b| b.height) {
            object("finality goes back".into());
        }
        if after == before {
            object("comes twice".into());
        }
    }

    pub(crate) fn position(&self) -> Option<Watermarks> {
        self.reader.position().map(|cursor| cursor.watermarks())
    }
}

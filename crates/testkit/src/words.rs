//! Compact notation for events, so that a whole history fits into one line of a test.
//!
//! | event | notation |
//! |---|---|
//! | block: height and fork | `7a` |
//! | `Blocks` | `blocks 1a-7a` |
//! | `Advanced`, with a checkpoint | `proposed 7a`, `proven 5a/5` |
//! | `Regressed` | `back proposed 6a` |
//! | `Pruned`: depth, then all tips | `prune 6a: 1 dropped, 6a 5a/5 - -` |

use tidewatch_core::{BlockRef, Event, Tier, Tip, TipSet, Watermarks};

/// Formats a block.
pub fn word(block: BlockRef) -> String {
    format!("{}{}", block.height, char::from(block.digest.0[0]))
}

fn tip_word(tip: Tip) -> String {
    let checkpoint = tip.checkpoint.map(|checkpoint| format!("/{}", checkpoint.number));
    word(tip.block) + &checkpoint.unwrap_or_default()
}

/// Formats all tips, in the order of [`Tier::ALL`].
pub fn tips_words(tips: &TipSet) -> String {
    Tier::ALL.map(|tier| tips.get(tier).map_or("-".into(), tip_word)).join(" ")
}

/// Formats watermarks: the delivered block, then all tips.
pub fn watermarks_words(watermarks: &Watermarks) -> String {
    let delivered = watermarks.delivered.map_or("-".into(), word);
    format!("{delivered}: {}", tips_words(&watermarks.tips))
}

/// Formats events.
pub fn words(events: &[Event]) -> Vec<String> {
    let in_words = |event: &Event| match event {
        Event::Blocks { from, to } => format!("blocks {}-{}", word(*from), word(*to)),
        Event::Advanced { tier, tip } => format!("{tier} {}", tip_word(*tip)),
        Event::Regressed { tier, tip } => format!("back {tier} {}", tip_word(*tip)),
        Event::Pruned { to, depth, tips } => {
            format!("prune {}: {depth} dropped, {}", word(*to), tips_words(tips))
        }
    };
    events.iter().map(in_words).collect()
}

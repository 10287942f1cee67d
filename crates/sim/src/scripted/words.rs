//! Events in words, so that a whole history fits into one line of a test.
//!
//! A block is its height and its fork: `7a`. A tier that moves is `proposed 7a`, or `back proposed
//! 6a`; with a checkpoint it is `proven 5a/5`. Blocks are `blocks 1a-7a`. A prune is `prune 6a: ` with
//! what it dropped and all tips after it: `prune 6a: 1 dropped, 6a 5a/5 - -`.

use tidewatch_core::{BlockRef, Event, Tier, Tip, TipSet, Watermarks};

/// A block in words.
pub fn word(block: BlockRef) -> String {
    format!("{}{}", block.height, char::from(block.digest.0[0]))
}

fn tip_word(tip: Tip) -> String {
    let checkpoint = tip.checkpoint.map(|checkpoint| format!("/{}", checkpoint.number));
    word(tip.block) + &checkpoint.unwrap_or_default()
}

/// All tiers in words.
pub fn tips_words(tips: &TipSet) -> String {
    Tier::ALL.map(|tier| tips.get(tier).map_or("-".into(), tip_word)).join(" ")
}

/// Where a view stands, in words: what was delivered, then all tiers.
pub fn watermarks_words(watermarks: &Watermarks) -> String {
    let delivered = watermarks.delivered.map_or("-".into(), word);
    format!("{delivered}: {}", tips_words(&watermarks.tips))
}

/// Events in words.
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

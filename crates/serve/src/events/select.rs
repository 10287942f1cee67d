//! Which events a consumer asked for.

use tidewatch_core::{Event, Tier, Watermarks};

/// A selection of events. What undoes something that is selected is never left out: a prune comes if it takes
/// back blocks or a tier that were selected, and a tier that moves back comes like one that moves up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Select {
    /// `blocks`.
    pub(crate) blocks: bool,
    /// Moves of these tiers, in the order of [`Tier::ALL`].
    pub(crate) tiers: [bool; 4],
    /// Every `pruned`, whatever it reaches.
    pub(crate) prunes: bool,
}

/// Why a selection cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("there is no tier {0:?}: proposed, checkpointed, proven or finalized")]
    Tier(String),
    #[error("there is no kind {0:?}: blocks, advanced, regressed or pruned")]
    Kind(String),
}

impl Select {
    pub(crate) const ALL: Self = Self { blocks: true, tiers: [true; 4], prunes: true };

    /// What `tiers` and `kinds` ask for, each a list of words with commas between. Without tiers, all of
    /// them; with tiers and without kinds, moves of these tiers alone.
    pub(crate) fn parse(tiers: Option<&str>, kinds: Option<&str>) -> Result<Self, Unknown> {
        let mut select = Self::ALL;
        if let Some(tiers) = tiers {
            select = Self { blocks: false, tiers: [false; 4], prunes: false };
            for word in words(tiers) {
                let tier = Tier::ALL.into_iter().find(|tier| tier.as_str() == word);
                let tier = tier.ok_or_else(|| Unknown::Tier(word.into()))?;
                select.tiers[tier.index()] = true;
            }
        }
        if let Some(kinds) = kinds {
            let (mut blocks, mut moves, mut prunes) = (false, false, false);
            for word in words(kinds) {
                match word {
                    "blocks" => blocks = true,
                    "advanced" | "regressed" => moves = true,
                    "pruned" => prunes = true,
                    _ => return Err(Unknown::Kind(word.into())),
                }
            }
            let tiers = select.tiers.map(|chosen| chosen && moves);
            select = Self { blocks, tiers, prunes };
        }
        Ok(select)
    }

    /// Whether `event` was asked for, where `before` is where the history stood before it.
    pub(crate) fn passes(&self, event: &Event, before: &Watermarks) -> bool {
        match event {
            Event::Blocks { .. } => self.blocks,
            Event::Advanced { tier, .. } | Event::Regressed { tier, .. } => {
                self.tiers[tier.index()]
            }
            Event::Pruned { to, tips, .. } => {
                let drops = before.delivered.is_some_and(|block| block != *to);
                let moves = |tier: Tier| {
                    self.tiers[tier.index()] && tips.block(tier) != before.tips.block(tier)
                };
                self.prunes || (self.blocks && drops) || Tier::ALL.into_iter().any(moves)
            }
        }
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::{BlockRef, Digest, Height, TipSet};

    fn block(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([height as u8; 32]))
    }

    #[test]
    fn what_undoes_something_that_is_selected_is_never_left_out() {
        let tips = TipSet::unknown()
            .with(Tier::Proposed, block(9))
            .with(Tier::Checkpointed, block(7))
            .with(Tier::Finalized, block(3));
        let before = Watermarks { delivered: Some(block(9)), tips };
        let pruned = |to: u64| {
            let mut tips = tips;
            for tier in [Tier::Proposed, Tier::Checkpointed] {
                tips.set(tier, tips.block(tier).map(|tip| block(tip.height.get().min(to)).into()));
            }
            Event::Pruned { to: block(to), depth: 9 - to, tips }
        };
        let blocks = Event::Blocks { from: block(9), to: block(9) };
        let up = |tier| Event::Advanced { tier, tip: block(9).into() };
        let back = |tier| Event::Regressed { tier, tip: block(5).into() };
        use Tier::{Checkpointed, Finalized, Proposed};
        // tiers, kinds, then: blocks, proposed up, checkpointed back, finalized up, pruned to 8, to 6
        let table = [
            (None, None, [true, true, true, true, true, true]),
            (Some("proposed"), None, [false, true, false, false, true, true]),
            (Some("checkpointed"), None, [false, false, true, false, false, true]),
            (Some("finalized"), None, [false, false, false, true, false, false]),
            (Some("finalized,checkpointed"), None, [false, false, true, true, false, true]),
            (None, Some("blocks"), [true, false, false, false, true, true]),
            (None, Some("advanced"), [false, true, true, true, true, true]),
            (None, Some("pruned"), [false, false, false, false, true, true]),
            (Some("finalized"), Some("pruned"), [false, false, false, false, true, true]),
            (Some("finalized"), Some("regressed, blocks"), [true, false, false, true, true, true]),
        ];
        for (tiers, kinds, wanted) in table {
            let select = Select::parse(tiers, kinds).unwrap();
            let events =
                [blocks, up(Proposed), back(Checkpointed), up(Finalized), pruned(8), pruned(6)];
            let passed = events.map(|event| select.passes(&event, &before));
            assert_eq!(passed, wanted, "{tiers:?} {kinds:?}");
        }
        assert_eq!(Select::parse(Some("final"), None), Err(Unknown::Tier("final".into())));
        assert_eq!(Select::parse(None, Some("heads")), Err(Unknown::Kind("heads".into())));
    }
}

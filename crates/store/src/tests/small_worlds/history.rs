//! Histories of a small world, letter by letter.

use crate::tests::world::{Chain, TestBlock, proof};
use std::fmt;
use tidewatch_core::{Change, Tier, TipSet, Watermarks};

/// No chain is higher.
pub(super) const TOP: u64 = 4;

/// A change, as of where the history stands that it is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    /// So many blocks of a fork, above so many that are left out.
    Blocks { gap: u64, count: u64, fork: u64 },
    /// The proposed tip of a view without blocks goes up.
    Tip { by: u64, fork: u64 },
    /// A tier goes up to the head: the finalized one with its proof.
    Up(Tier),
    /// A tier goes back by one block.
    Back(Tier),
    /// Everything above a height is dropped.
    Prune(u64),
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks { gap, count, fork } => {
                write!(f, "{count} blocks of fork {fork} after {gap} left out")
            }
            Self::Tip { by, fork } => write!(f, "proposed up by {by} on fork {fork}"),
            Self::Up(tier) => write!(f, "{tier} up to the head"),
            Self::Back(tier) => write!(f, "{tier} back by one"),
            Self::Prune(to) => write!(f, "prune to {to}"),
        }
    }
}

/// What letters led to.
#[derive(Clone, Debug)]
pub(super) struct Past {
    /// Up to the head, with what was left out.
    pub(super) chain: Chain,
    pub(super) watermarks: Watermarks,
    /// Blocks were taken back: from now on there may be others.
    pruned: bool,
    /// First height of the run.
    first: u64,
    /// How many runs were started. They take turns on two places on disk.
    runs: u64,
}

impl Past {
    /// Of an empty store.
    pub(super) fn none() -> Self {
        Self {
            chain: Chain::of(0),
            watermarks: Watermarks::none(),
            pruned: false,
            first: 0,
            runs: 0,
        }
    }

    pub(super) fn after(letters: &[Letter]) -> Self {
        letters.iter().fold(Self::none(), |past, letter| past.and(*letter))
    }

    /// What two histories may differ in that no answer of a store shows.
    pub(super) const fn hidden(&self) -> (bool, u64, u64) {
        (self.pruned, self.first, self.runs % 2)
    }

    fn head(&self) -> u64 {
        self.chain.top()
    }

    fn at(&self, tier: Tier) -> Option<u64> {
        self.watermarks.tips.block(tier).map(|block| block.height.get())
    }

    /// Every change that a store may take in here. Checkpointed and proven are alike to it: one of the
    /// two will do.
    pub(super) fn letters(&self) -> Vec<Letter> {
        let (head, given) = (self.head(), self.watermarks.delivered.is_some());
        let mut letters = Vec::new();
        for fork in 0..=u64::from(self.pruned) {
            letters.push(Letter::Blocks { gap: 0, count: 1, fork });
            if !given {
                letters.push(Letter::Tip { by: 1, fork });
            }
        }
        letters.push(Letter::Blocks { gap: 0, count: 2, fork: 0 });
        letters.push(Letter::Blocks { gap: 1, count: 1, fork: 0 });
        if !given {
            letters.push(Letter::Tip { by: 2, fork: 0 });
        }
        letters.retain(|letter| match letter {
            Letter::Blocks { gap, count, .. } => head + gap + count <= TOP,
            Letter::Tip { by, .. } => head + by <= TOP,
            _ => true,
        });
        if self.watermarks.head().is_none() {
            return letters;
        }
        let tiers = [Tier::Proposed, Tier::Proven, Tier::Finalized];
        letters
            .extend(tiers.into_iter().filter(|tier| self.at(*tier) != Some(head)).map(Letter::Up));
        let above_genesis = |tier| self.at(tier).is_some_and(|at| at > 0);
        letters.extend(above_genesis(Tier::Proven).then_some(Letter::Back(Tier::Proven)));
        let others = [Tier::Proven, Tier::Finalized];
        let alone = !others.into_iter().any(|tier| self.at(tier) == Some(head));
        let back = !given && above_genesis(Tier::Proposed) && alone;
        letters.extend(back.then_some(Letter::Back(Tier::Proposed)));
        letters.extend((self.at(Tier::Finalized).unwrap_or(0)..=head).map(Letter::Prune));
        letters
    }

    /// The change that `letter` is here.
    pub(super) fn change(&self, letter: Letter) -> Change<TestBlock> {
        let (head, chain) = (self.head(), &self.chain);
        match letter {
            Letter::Blocks { gap, count, fork } => {
                let grown = chain.clone().grown(gap + count, fork);
                grown.blocks(head + gap + 1, head + gap + count)
            }
            Letter::Tip { by, fork } => chain.clone().grown(by, fork).up(Tier::Proposed, head + by),
            Letter::Up(Tier::Finalized) => chain.finalize(head),
            Letter::Up(tier) => chain.up(tier, head),
            Letter::Back(tier) => chain.back(tier, self.at(tier).unwrap() - 1),
            Letter::Prune(to) => chain.prune(&self.watermarks, to),
        }
    }

    /// What `letter` leads to from here.
    pub(super) fn and(mut self, letter: Letter) -> Self {
        let head = self.head();
        if let Letter::Blocks { gap, .. } = letter {
            let (from, given) = (head + gap + 1, self.watermarks.delivered.is_some());
            if gap > 0 || !given || from < self.first {
                (self.first, self.runs) = (from, self.runs + 1);
            }
        }
        self.watermarks.apply(&self.change(letter).event(&self.watermarks).unwrap());
        self.chain = match letter {
            Letter::Blocks { gap, count, fork } => self.chain.grown(gap + count, fork),
            Letter::Tip { by, fork } => self.chain.grown(by, fork),
            Letter::Prune(to) => self.chain.forked(to, 0, 0),
            Letter::Back(Tier::Proposed) => self.chain.forked(head - 1, 0, 0),
            _ => self.chain,
        };
        self.pruned |= matches!(letter, Letter::Prune(_) | Letter::Back(Tier::Proposed));
        self
    }

    /// Changes that a store must refuse here, and why.
    pub(super) fn wrong(&self) -> Vec<(&'static str, Change<TestBlock>)> {
        let (head, chain) = (self.head(), &self.chain);
        let higher = chain.clone().grown(2, 0);
        let mut wrong = vec![
            ("no blocks", Change::Blocks(vec![])),
            ("a hole", Change::Blocks(vec![higher.block(head + 1), higher.block(head + 1)])),
            ("a prune above the head", higher.prune(&self.watermarks, head + 1)),
            (
                "another block's proof",
                Change::Advanced {
                    tier: Tier::Finalized,
                    tip: chain.at(head).into(),
                    proof: Some(proof(higher.at(head + 1))),
                },
            ),
        ];
        if let Some(finalized) = self.at(Tier::Finalized) {
            wrong.push(("finalized back", chain.back(Tier::Finalized, finalized)));
            wrong.push((
                "finalized is lost",
                Change::Pruned { to: chain.at(head), tips: TipSet::unknown() },
            ));
        }
        if let Some(finalized) = self.at(Tier::Finalized).filter(|finalized| *finalized > 0) {
            wrong.push(("a prune below finalized", chain.prune(&self.watermarks, finalized - 1)));
            wrong.push(("finalized down", chain.up(Tier::Finalized, finalized - 1)));
        }
        if let Some(proven) = self.at(Tier::Proven) {
            wrong.push(("back is up", higher.back(Tier::Proven, proven + 1)));
        }
        if self.watermarks.delivered.is_some() {
            wrong.push(("a tip above the blocks", higher.up(Tier::Proven, head + 1)));
            wrong.push(("a block again", chain.blocks(head, head)));
        }
        if self.watermarks.delivered.is_some() && head >= self.first.max(1) {
            let other = chain.forked(head - 1, 2, 9);
            wrong.push(("blocks of another fork", other.blocks(head + 1, head + 1)));
            wrong.push(("a tip of another fork", other.up(Tier::Proven, head)));
            wrong.push(("a prune to another fork", other.prune(&self.watermarks, head)));
        }
        wrong
    }
}

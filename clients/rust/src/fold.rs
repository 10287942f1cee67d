//! The replay law: the fold of all events is the state that a server says.

use crate::{Block, Hello, Message, Moved, Reset, Resume, Tier, Tip, Tips};

/// Where events led.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The highest delivered block.
    pub block: Option<Block>,
    /// The tiers.
    pub tips: Tips,
}

/// Events do not lead where the server says that they do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the replay law is broken: {0}")]
pub struct LawBroken(String);

#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) state: State,
    /// All events come. With a filter, less can be checked.
    whole: bool,
    known: bool,
    /// The next blocks may begin where the log of another history does.
    bridged: bool,
}

fn check(holds: bool, broken: impl FnOnce() -> String) -> Result<(), LawBroken> {
    if holds { Ok(()) } else { Err(LawBroken(broken())) }
}

fn block(tip: Option<&Tip>) -> Option<&Block> {
    tip.map(|tip| &tip.block)
}

impl Fold {
    pub(crate) fn new(whole: bool) -> Self {
        Self { state: State::default(), whole, known: false, bridged: false }
    }

    pub(crate) fn apply(&mut self, message: &Message) -> Result<(), LawBroken> {
        match message {
            Message::Hello(hello) => self.begin(hello),
            Message::Reset(Reset { block, tips, .. }) => {
                self.state = State { block: block.clone(), tips: tips.clone() };
                Ok(())
            }
            Message::Blocks(blocks) => {
                let (from, to, count) = (blocks.from.height, blocks.to.height, blocks.count);
                let counted = from <= to && to - from + 1 == count;
                check(counted, || format!("{count} blocks from {from} to {to}"))?;
                let next = self.state.block.as_ref().map_or(from, |block| block.height + 1);
                let follows = from == next || (self.bridged && from > next);
                check(follows || !self.whole, || {
                    format!("block {from} comes where {next} has to")
                })?;
                self.bridged = false;
                self.state.block = Some(blocks.to.clone());
                Ok(())
            }
            Message::Pruned(pruned) => {
                let (to, depth) = (&pruned.to, pruned.depth);
                let head = self.state.block.as_ref().map(|block| block.height);
                let gone = head.map_or(depth, |head| head.saturating_sub(to.height));
                let counted = depth == gone || (self.bridged && depth < gone);
                check(counted || !self.whole, || {
                    format!("{depth} blocks are pruned, and not {gone}")
                })?;
                let fin = block(self.state.tips.get(Tier::Finalized));
                let kept = fin.is_none() || fin == block(pruned.tips.get(Tier::Finalized));
                check(kept, || "a prune moves what is final".into())?;
                for tier in Tier::ALL {
                    let below = block(pruned.tips.get(tier)).is_none_or(|b| b.height <= to.height);
                    check(below, || format!("{} stands above the prune", tier.as_str()))?;
                }
                let head = head.map(|_| to.clone());
                self.state = State { block: head, tips: pruned.tips.clone() };
                Ok(())
            }
            Message::Lagged(_) => {
                self.bridged = true;
                Ok(())
            }
            Message::Advanced(moved) => self.moved(moved, true),
            Message::Regressed(moved) => self.moved(moved, false),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, hello: &Hello) -> Result<(), LawBroken> {
        if self.known && self.whole && hello.resume != Resume::Reset {
            let same = self.state.block == hello.block;
            check(same, || "the block at the cursor is not the one that was delivered".into())?;
            for tier in Tier::ALL {
                let same = block(self.state.tips.get(tier)) == block(hello.tips.get(tier));
                check(same, || format!("{} at the cursor is another one", tier.as_str()))?;
            }
        }
        self.state = State { block: hello.block.clone(), tips: hello.tips.clone() };
        self.known = true;
        self.bridged = matches!(hello.resume, Resume::Forked | Resume::Ahead);
        Ok(())
    }

    fn moved(&mut self, moved: &Moved, up: bool) -> Result<(), LawBroken> {
        let (tier, is) = (moved.tier, moved.block.height);
        let was = block(self.state.tips.get(tier)).map(|block| block.height);
        let holds = match was {
            None => up,
            Some(was) if up => is >= was,
            Some(was) => is <= was && tier != Tier::Finalized,
        };
        check(holds, || format!("{} moves from {was:?} to {is}, and up is {up}", tier.as_str()))?;
        let delivered = self.state.block.as_ref().is_none_or(|head| is <= head.height);
        check(delivered || !self.whole, || {
            format!("{} is above what was delivered", tier.as_str())
        })?;
        let tip = Tip { block: moved.block.clone(), checkpoint: moved.checkpoint.clone() };
        self.state.tips.set(tier, tip);
        Ok(())
    }
}

//! What the world does at each point, and what the source, the view and the process are made to do then.

use crate::{
    Guard,
    tests::{
        Watched,
        chain::TestBlock,
        interleavings::choices::Choices,
        source::{Call, World},
    },
};
use commonware_utils::sync::Mutex;
use std::{
    fmt::{self, Display},
    future::{Future, pending},
    sync::Arc,
};
use tidewatch_core::{
    BlockRef, ChainInfo, Change, Conflict, Fault, FaultKind, Height, LocalView, Tier, TipSet,
    Watermarks,
};

/// No chain is higher.
pub(super) const TOP: u64 = 4;

/// What the world does at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Grow,
    /// The source's blocks from `at` up are others, up to `end`.
    Fork {
        at: u64,
        end: u64,
    },
    Shrink(u64),
    Rise(Tier, u64),
    /// The snapshot is that of before the last move.
    OldAnswer,
    /// The call or the commit fails, and so many changes were made.
    Fails(usize),
    /// The process dies, and so many changes were made.
    Dies(usize),
}

impl Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grow => write!(f, "the source grows by one"),
            Self::Fork { at, end } => write!(f, "the source changes forks at {at}, up to {end}"),
            Self::Shrink(to) => write!(f, "the source shrinks to {to}"),
            Self::Rise(tier, to) => write!(f, "{tier} rises to {to}"),
            Self::OldAnswer => write!(f, "the answer is an old one"),
            Self::Fails(made) => write!(f, "fails, {made} made"),
            Self::Dies(made) => write!(f, "the process dies, {made} made"),
        }
    }
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Menu {
    /// Every act.
    Long,
    /// The source grows, has another block at its tip, or finalizes the next block; the process dies
    /// before a call, before a commit, or after one.
    Short,
}

impl Menu {
    fn has(self, act: Act, tip: u64, changes: usize) -> bool {
        self == Self::Long
            || match act {
                Act::Fork { at, end } => (at, end) == (tip, tip),
                Act::Dies(made) => made == 0 || made == changes,
                Act::Grow | Act::Rise(Tier::Finalized, _) => true,
                Act::Shrink(_) | Act::Rise(..) | Act::OldAnswer | Act::Fails(_) => false,
            }
    }
}

/// What happens in one run.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) choices: Choices,
    menu: Menu,
    /// The snapshot of before the last move.
    was: TipSet,
    /// An old answer was given. It may be of a fork that is gone, and contradict what is final now.
    pub(super) old_answer: bool,
    /// The process is dead: nothing that it waits for comes.
    pub(super) dead: bool,
    /// Nothing happens.
    pub(super) peace: bool,
}

impl Fate {
    /// A fate that begins in peace.
    pub(super) const fn new(choices: Choices, menu: Menu, was: TipSet) -> Self {
        let (old_answer, dead) = (false, false);
        Self { choices, menu, was, old_answer, dead, peace: true }
    }

    fn choose(&mut self, point: impl Display, menu: impl FnOnce() -> Vec<Act>) -> Option<Act> {
        if self.dead || self.peace { None } else { self.choices.choose(point, menu) }
    }

    /// A call comes to the source.
    pub(super) fn call(&mut self, world: &mut World, call: &Call) -> Option<FaultKind> {
        let old = *call == Call::Snapshot && self.was != world.tips;
        let (offered, tip) = (self.menu, world.chain.tip());
        let act = self.choose(format_args!("before {call:?}"), || {
            let mut menu = moves(world);
            menu.extend(old.then_some(Act::OldAnswer));
            menu.extend([Act::Fails(0), Act::Dies(0)]);
            menu.retain(|act| offered.has(*act, tip, 0));
            menu
        })?;
        match act {
            Act::Fails(_) => return Some(FaultKind::Unavailable),
            Act::Dies(_) => {
                self.dead = true;
                return Some(FaultKind::Stopped);
            }
            Act::OldAnswer => {
                world.say = Some(self.was);
                self.old_answer = true;
            }
            Act::Grow | Act::Fork { .. } | Act::Shrink(_) | Act::Rise(..) => self.go(world, act),
        }
        None
    }

    /// A commit of so many changes comes to the view.
    pub(super) fn commit(&mut self, changes: usize) -> Option<(FaultKind, usize)> {
        let offered = self.menu;
        let menu = || {
            let acts = (0..=changes).flat_map(|made| [Act::Fails(made), Act::Dies(made)]);
            acts.filter(|act| offered.has(*act, 0, changes)).collect()
        };
        match self.choose(format_args!("at a commit of {changes}"), menu)? {
            Act::Dies(made) => {
                self.dead = true;
                Some((FaultKind::Stopped, made))
            }
            Act::Fails(made) => Some((FaultKind::Consumer, made)),
            other => unreachable!("{other}: not in the menu of a commit"),
        }
    }

    /// The source moves, and the fate keeps in mind what it said before.
    fn go(&mut self, world: &mut World, act: Act) {
        self.was = world.tips;
        go(world, act);
    }
}

/// The height of `tier`.
pub(super) fn height(tips: &TipSet, tier: Tier) -> Option<u64> {
    tips.block(tier).map(|block| block.height.get())
}

/// Every move that the source can make: it grows, changes forks above finalized, to a shorter, an equal
/// and a longer chain, shrinks, or a tier rises, by one and as far as it can.
fn moves(world: &World) -> Vec<Act> {
    let tip = world.chain.tip();
    let finalized = height(&world.tips, Tier::Finalized).unwrap_or(0);
    let mut moves: Vec<_> = (tip < TOP).then_some(Act::Grow).into_iter().collect();
    for at in finalized + 1..=tip {
        let mut ends = vec![at, tip, TOP.min(tip + 1)];
        ends.dedup();
        moves.extend(ends.into_iter().map(|end| Act::Fork { at, end }));
    }
    moves.extend((finalized..tip).map(Act::Shrink));
    let [_, lower @ ..] = world.ladder.tiers();
    let mut limit = tip;
    for (n, tier) in lower.into_iter().enumerate() {
        let now = height(&world.tips, tier);
        let below = lower[n + 1..].iter().filter_map(|tier| height(&world.tips, *tier)).max();
        let next = now.map_or(below.unwrap_or(0), |now| now + 1);
        if next <= limit {
            moves.push(Act::Rise(tier, next));
        }
        if next < limit {
            moves.push(Act::Rise(tier, limit));
        }
        limit = now.unwrap_or(limit);
    }
    moves
}

/// Makes a move. Tiers come down to the highest block that stays.
///
/// There are two forks, and a block that is replaced is replaced by one of the other fork: what is
/// replaced twice is what it was.
fn go(world: &mut World, act: Act) {
    let tip = world.chain.tip();
    let mut heights = Tier::ALL.map(|tier| height(&world.tips, tier));
    let on_b = |at| world.chain.at(at).digest.0[0] == b'b';
    let (chain, kept) = match act {
        Act::Grow => {
            let fork = if on_b(tip) { 'b' } else { 'a' };
            (world.chain.fork(tip + 1, fork, tip + 1), tip)
        }
        Act::Fork { at, end } => {
            let fork = if on_b(at) { 'a' } else { 'b' };
            (world.chain.fork(at, fork, end), at - 1)
        }
        Act::Shrink(to) => (world.chain.fork(to + 1, 'a', to), to),
        Act::Rise(tier, to) => {
            heights[tier.index()] = Some(to);
            (world.chain.clone(), tip)
        }
        Act::OldAnswer | Act::Fails(_) | Act::Dies(_) => unreachable!("{act}: not a move"),
    };
    for height in heights.iter_mut().flatten() {
        *height = kept.min(*height);
    }
    heights[Tier::Proposed.index()] = Some(chain.tip());
    world.tips = chain.tips_at(heights);
    world.chain = chain;
}

/// A fate that the source, the view and the process share.
pub(super) type Shared = Arc<Mutex<Fate>>;

/// Does not come back to a dead process.
async fn unless_dead<T>(fate: &Shared, result: T) -> T {
    let dead = fate.lock().dead;
    if dead {
        pending::<()>().await;
    }
    result
}

/// Waits on the source for as long as the process lives.
#[derive(Debug)]
pub(super) struct Lifetime(pub(super) Shared);

impl Guard for Lifetime {
    async fn wait<T: Send>(
        &self,
        call: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let result = call.await;
        unless_dead(&self.0, result).await
    }
}

/// A view that outlives the process.
pub(super) struct Survivor {
    pub(super) inner: Watched,
    pub(super) fate: Shared,
}

impl LocalView for Survivor {
    type Block = TestBlock;

    fn chain_info(&self) -> &ChainInfo {
        self.inner.chain_info()
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        self.inner.watermarks().await
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.inner.locate(heights).await
    }

    async fn commit(&mut self, changes: Vec<Change<TestBlock>>) -> Result<(), Fault> {
        let result = self.inner.commit(changes).await;
        unless_dead(&self.fate, result).await
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        let accident = self.fate.lock().commit(0);
        let result = match accident {
            Some((kind, _)) => Err(kind.fault("view", "as told")),
            None => self.inner.keep_evidence(conflict).await,
        };
        unless_dead(&self.fate, result).await
    }
}

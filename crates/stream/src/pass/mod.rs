//! One run of snapshot, ancestor search, prune, download and reconcile.
//!
//! # Overview
//!
//! ```text
//!  snapshot ─▶ quiet? ──yes──▶ done, one source call
//!     │no
//!     ▼
//!  extends what was delivered? ──no──▶ search ─▶ second snapshot ─▶ prune and clamp, in one step
//!     │yes: its first block's parent says so                            │
//!     ▼                                                                 ▼
//!  download, every parent checked, fetching ahead of the commit ◀───────┘
//!     │ the last block is the snapshot's tip
//!     ▼
//!  tiers: those that move back, then those that move up
//! ```
//!
//! A pass holds no state between runs: all progress is in the local view, so whatever ends a pass
//! (a fault, a stop, a crash) is made up for by the next one.
//!
//! # Situations
//!
//! | situation | what happens |
//! |---|---|
//! | nothing changed | one source call, no event |
//! | fresh view | blocks from the start, then every tier from the highest |
//! | a tier that the source does not know | no event, and what was announced stays |
//! | source ahead, same chain | blocks, then tiers; the first block's parent is the proof, no digest is asked |
//! | source shorter, same chain | prune to its tip, without a search; proposed is announced again |
//! | same height, other digest; or deeper | search, prune to the highest agreement, blocks from there |
//! | digest unknown locally | passed over: a deeper agreement is taken, never a higher one |
//! | digest unknown at the source, at or below its tip | `Missing`, nothing is pruned |
//! | genesis differs, and the source says that it is of another chain | `WrongChain`, no event |
//! | genesis differs, and the source says that it is of this chain | `WrongDigest`, no event |
//! | divergence reaches below local finalized, at both looks | prune to finalized at the deepest, `FinalityConflict` with evidence, nothing is appended; again on every pass |
//! | divergence reaches below local finalized, at one look | `Torn`, no event and no evidence |
//! | genesis differs below a divergence from finalized, or below a tip that is lower | as where genesis differs |
//! | snapshot without a proposed tip | `Unavailable`, no event |
//! | second snapshot stands on the view's head | nothing is pruned |
//! | source goes back to a fork that was left, again and again | `Flapping`, the view stays where it is |
//! | source is shorter than everything that the view knows | prune to its tip |
//! | source proves a contradiction of finalized by itself | `FinalityConflict` with evidence, no event |
//! | source contradicts finalized, but not on the proposed chain, at both looks | `FinalityConflict`, finalized is held, the other tiers go on |
//! | a tier above others is not known to the source any more | it is announced where the highest of those stands, which it cannot be below |
//! | a tier below others is not known to the source any more, and one of those moves back below it | it moves back with that one |
//! | divergence reaches below everything that the view knows | prune to the block under that, as the source has it |
//! | source moves between the two snapshots of a prune | the second one counts; if it lacks the ancestor, `Torn` and the next pass |
//! | source moves away from the tip that digests are asked for | it refuses with `Torn`; nothing is pruned |
//! | source's first block does not stand on the ancestor | `NotLinked`: both are of the chain of one tip |
//! | source moves during the download | what does not link is not emitted; if the last block is not the snapshot's tip, `Torn`, no tiers |
//! | empty range below the tip | `Missing`, what was delivered stays delivered |
//! | short range | accepted, the next one starts after it |
//! | finalized behind ours, same chain | an old answer: finalized stays |
//! | another tier behind ours, same chain | `Regressed` |
//! | start above the source's tip | no blocks, tiers all the same |
//! | a tier above what was delivered | not announced |
//! | tiers only, for a view that was given blocks | `Setting` |
//! | a start at or below tiers that were announced without blocks | `Setting` |
//! | a tier that is not on the proposed chain, or breaks the ladder | withheld, `Torn`; the others go on |
//! | ladder broken inside one snapshot | `LadderBroken`, no event |
//! | a tip so high that nothing could follow it | `WrongPosition`, no event |
//! | view fails on blocks or on a tier | the pass ends; the next one makes the same change again |
//! | stopped | the commit at hand completes, the rest is dropped |
//!
//! # Cost
//!
//! In source calls: quiet 1; one new block 2; catching up `n` blocks `1 + ceil(n / blocks_max)`; a
//! prune 3 more at the most, besides the search (see [`search`](crate::search)): the range that did not
//! link, the second snapshot, and the ancestor's digest under it; a genesis that differs 1 more. No pass
//! takes a third snapshot.

mod announce;
mod config;
mod download;
mod guard;
mod realign;

pub use config::{Mode, Start};
pub use guard::{Guard, Unguarded};

use crate::{Error, Forks};
use realign::Realigned;
use tidewatch_core::{
    BlockRange, BlockRef, ChainInfo, Change, Fault, Height, LocalView, Monitor, Snapshot, Source,
    Tier, TipSet, Watermarks,
};

/// Source calls of one pass, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Snapshots of the tips.
    pub tip: u64,
    /// Digests for the ancestor search, and for checking its result.
    pub reorg: u64,
    /// Ranges of blocks.
    pub download: u64,
    /// Which chain it is, after an answer that contradicts genesis.
    pub chain_info: u64,
}

impl Cost {
    /// All calls.
    pub const fn total(&self) -> u64 {
        self.tip + self.reorg + self.download + self.chain_info
    }
}

/// How a pass ended that no fault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing had changed.
    Quiet,
    /// The view stands where the snapshot does.
    Complete,
    /// The source contradicts what is finalized: the view went no further than that allows.
    Conflicted,
}

/// What a pass did, besides the events that it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub ended: Ended,
    /// The snapshot that the tiers were reconciled from.
    pub snapshot: Snapshot,
    /// Faults that did not end the pass.
    pub faults: Vec<Fault>,
}

/// One pass over `source` for `view`. Make one, [`run`](Pass::run) it, read its [`Cost`].
pub struct Pass<'a, S, V, G> {
    source: &'a S,
    view: &'a mut V,
    chain_info: &'a ChainInfo,
    mode: Mode,
    guard: G,
    monitor: &'a dyn Monitor,
    forks: Option<&'a mut Forks>,
    cost: Cost,
    faults: Vec<Fault>,
}

impl<S: Source, V, G> std::fmt::Debug for Pass<'_, S, V, G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("source", &self.source.name())
            .field("mode", &self.mode)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// What became of the view's head under the snapshot.
enum Stand {
    /// The snapshot's chain goes on from it, as far as is known.
    Extends,
    /// It has to be looked for.
    Diverged,
}

impl<'a, S, V, G> Pass<'a, S, V, G>
where
    S: Source,
    V: LocalView<Block = S::Block>,
    G: Guard,
{
    /// A pass that has not run. `guard` ends waits on the source (see [`Guard`]), `monitor` is told of
    /// every snapshot and of every move of the view.
    pub const fn new(
        source: &'a S,
        view: &'a mut V,
        chain_info: &'a ChainInfo,
        mode: Mode,
        guard: G,
        monitor: &'a dyn Monitor,
    ) -> Self {
        let cost = Cost { tip: 0, reorg: 0, download: 0, chain_info: 0 };
        Self {
            source,
            view,
            chain_info,
            mode,
            guard,
            monitor,
            forks: None,
            cost,
            faults: Vec::new(),
        }
    }

    /// The same, refusing to follow a source that goes back and forth between two forks. `forks` is what
    /// passes before this one found of that; without it every reorg is followed.
    #[must_use]
    pub const fn remembering(mut self, forks: &'a mut Forks) -> Self {
        self.forks = Some(forks);
        self
    }

    /// Source calls so far.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Faults that did not end the pass, so far: for a caller whose pass ended by another one.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Runs the pass once.
    ///
    /// # Errors
    ///
    /// The fault that ended it. Whatever was committed before stays, and the next pass goes on there.
    ///
    /// # Cancel safety
    ///
    /// As safe as the view's `commit`: dropped during one, any prefix of its changes may have been
    /// made. Prefer a [`Guard`] that ends the waits on the source.
    pub async fn run(&mut self) -> Result<Report, Fault> {
        let result = self.attempt().await;
        // A source that can prove a contradiction by itself says so by a fault, and maybe only once.
        if let Some(conflict) = result.as_ref().err().and_then(|fault| fault.conflict) {
            self.view.keep_evidence(conflict).await?;
        }
        result
    }

    async fn attempt(&mut self) -> Result<Report, Fault> {
        if let Some(forks) = self.forks.as_deref_mut() {
            forks.begin();
        }
        let snapshot = self.snapshot().await?;
        let watermarks = self.view.watermarks().await?;
        self.check_mode(&watermarks, &snapshot.tips)?;
        let Some(proposed) = snapshot.tips.block(Tier::Proposed) else {
            return Ok(self.report(Ended::Quiet, snapshot));
        };
        if self.is_quiet(&watermarks, &snapshot.tips, proposed) {
            self.agree();
            return Ok(self.report(Ended::Quiet, snapshot));
        }
        if let Some(report) = self.behind(&watermarks, proposed).await? {
            return Ok(report);
        }
        let baseline = watermarks.tips.block(Tier::Proposed);
        let (stand, ahead) = self.stand(&watermarks, &snapshot).await?;
        let (snapshot, watermarks, ahead) = match stand {
            Stand::Extends => {
                self.agree();
                (snapshot, watermarks, ahead)
            }
            Stand::Diverged => match self.realign(&watermarks, snapshot).await? {
                Realigned::Aligned(snapshot, watermarks) => (snapshot, watermarks, None),
                Realigned::Conflicted(snapshot) => {
                    return Ok(self.report(Ended::Conflicted, snapshot));
                }
            },
        };
        let (watermarks, last) = self.download(watermarks, &snapshot, ahead).await?;
        self.announce(watermarks, baseline, &snapshot, last).await
    }

    /// A view can begin to be given blocks above the tiers that it was told of, and nothing else can be
    /// changed: what was announced without blocks was never linked to any.
    fn check_mode(&self, watermarks: &Watermarks, tips: &TipSet) -> Result<(), Fault> {
        let setting = |error| Err(Fault::new("view", error));
        match (self.mode, watermarks.delivered, watermarks.tips.block(Tier::Proposed)) {
            (Mode::TipsOnly, Some(delivered), _) => setting(Error::HasBlocks { delivered }),
            (Mode::Blocks { .. }, None, Some(told)) if self.first(None, tips) <= told.height => {
                setting(Error::ToldWithoutBlocks { told })
            }
            _ => Ok(()),
        }
    }

    fn report(&mut self, ended: Ended, snapshot: Snapshot) -> Report {
        Report { ended, snapshot, faults: std::mem::take(&mut self.faults) }
    }

    /// Makes a fault of the source of `error`.
    fn fault(&self, error: impl Into<Error>) -> Fault {
        Fault::new(self.source.name(), error.into())
    }

    /// The source is on the fork of the view's head.
    pub(super) const fn agree(&mut self) {
        if let Some(forks) = &mut self.forks {
            forks.agree();
        }
    }

    /// One read of the source's tips, refused if it contradicts itself or nothing could follow it.
    async fn snapshot(&mut self) -> Result<Snapshot, Fault> {
        self.cost.tip += 1;
        let snapshot = self.guard.wait(self.source.snapshot()).await?;
        if let Some(tip) = snapshot.tips.unfollowable() {
            return Err(self.fault(Error::TooHigh { tip }));
        }
        match snapshot.tips.check(self.source.ladder()) {
            Err(broken) => Err(self.fault(broken)),
            // A node that has just started and knows nothing yet is no news of the chain.
            Ok(()) if snapshot.tips.block(Tier::Proposed).is_none() => {
                Err(self.fault(Error::NoProposed))
            }
            Ok(()) => {
                self.monitor.snapshot(&snapshot);
                Ok(snapshot)
            }
        }
    }

    /// Commits, and notifies the source and the monitor of where that left the view.
    async fn commit(&mut self, changes: Vec<Change<S::Block>>) -> Result<Watermarks, Fault> {
        self.view.commit(changes).await?;
        let watermarks = self.view.watermarks().await?;
        self.source.durable(&watermarks);
        self.monitor.moved(&watermarks);
        Ok(watermarks)
    }

    /// Whether the view stands where the snapshot does. A tier that the source does not know does not
    /// count.
    fn is_quiet(&self, watermarks: &Watermarks, tips: &TipSet, proposed: BlockRef) -> bool {
        let announced = Tier::ALL.iter().all(|tier| {
            tips.block(*tier).is_none_or(|block| watermarks.tips.block(*tier) == Some(block))
        });
        let given = match self.mode {
            Mode::TipsOnly => true,
            Mode::Blocks { .. } => {
                watermarks.delivered.is_none_or(|head| head == proposed)
                    && (watermarks.delivered.is_some() || self.first(None, tips) > proposed.height)
            }
        };
        announced && given
    }

    /// The first height that the view is to be given next, standing on `head`.
    fn first(&self, head: Option<BlockRef>, tips: &TipSet) -> Height {
        self.mode.first_height(head, tips)
    }

    /// Whether the snapshot's chain goes on from the view's head. Where blocks follow anyway, the
    /// first range is fetched at once: the parent that its first block names answers the question
    /// for free.
    async fn stand(
        &mut self,
        watermarks: &Watermarks,
        snapshot: &Snapshot,
    ) -> Result<(Stand, Option<BlockRange<S::Block>>), Fault> {
        let (Some(head), Some(proposed)) = (watermarks.head(), snapshot.tips.block(Tier::Proposed))
        else {
            return Ok((Stand::Extends, None));
        };
        if proposed.height <= head.height {
            let stand = if proposed == head { Stand::Extends } else { Stand::Diverged };
            return Ok((stand, None));
        }
        let next = self.first(watermarks.delivered, &snapshot.tips);
        let told = next == head.height.next();
        if self.mode == Mode::TipsOnly || !told {
            return Ok((Stand::Diverged, None)); // Nobody knows: the search finds out, in one call.
        }
        let range = self.range(proposed, next).await?;
        match crate::reconcile::link(Some(head), next, proposed, &range.blocks) {
            Ok(_) => Ok((Stand::Extends, Some(range))),
            Err(crate::reconcile::Unlinked::Parent { below, .. }) if below == head => {
                Ok((Stand::Diverged, None))
            }
            Err(unlinked) => Err(self.fault(unlinked)),
        }
    }
}

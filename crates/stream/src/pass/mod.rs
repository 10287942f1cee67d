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
//! | genesis differs | `WrongChain`, no event |
//! | divergence reaches below local finalized | prune to finalized at the deepest, `FinalityConflict` with evidence, nothing is appended; again on every pass |
//! | source contradicts finalized, but not on the proposed chain | `FinalityConflict`, finalized is held, the other tiers go on |
//! | divergence reaches below the first delivered block | prune to the block under it, as the source has it |
//! | source moves between the two snapshots of a prune | the second one counts; if it lacks the ancestor, `Torn` and the next pass |
//! | source moves during the download | what does not link is not emitted; if the last block is not the snapshot's tip, `Torn`, no tiers |
//! | empty range below the tip | `Missing`, what was delivered stays delivered |
//! | short range | accepted, the next one starts after it |
//! | finalized behind ours, same chain | an old answer: finalized stays |
//! | another tier behind ours, same chain | `Regressed` |
//! | start above the source's tip | no blocks, tiers all the same |
//! | a tier above what was delivered | not announced |
//! | a tier that is not on the proposed chain, or breaks the ladder | withheld, `Torn`; the others go on |
//! | ladder broken inside one snapshot | `LadderBroken`, no event |
//! | view fails on blocks or on a tier | the pass ends; the next one makes the same change again |
//! | stopped | the commit at hand completes, the rest is dropped |
//!
//! # Cost
//!
//! In source calls: quiet 1; one new block 2; catching up `n` blocks `1 + ceil(n / blocks_max)`; a
//! prune 4 more at the most, besides the search (see [`search`](crate::search)).

mod config;
mod download;
mod guard;

pub use config::{Mode, Start};
pub use guard::{Guard, Unguarded};

use crate::{
    reconcile::{Move, Moves, Situation, clamp, moves},
    search::{Found, Search},
};
use tidewatch_core::{
    Block as _, BlockRef, Change, Conflict, Digest, Fault, FaultKind, Height, Identity, LocalView,
    Marks, Monitor, Snapshot, Source, Tier, TipSet,
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
}

impl Cost {
    /// All calls.
    pub const fn total(&self) -> u64 {
        self.tip + self.reorg + self.download
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
    identity: &'a Identity,
    mode: Mode,
    guard: G,
    monitor: &'a dyn Monitor,
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
        identity: &'a Identity,
        mode: Mode,
        guard: G,
        monitor: &'a dyn Monitor,
    ) -> Self {
        let cost = Cost { tip: 0, reorg: 0, download: 0 };
        Self { source, view, identity, mode, guard, monitor, cost, faults: Vec::new() }
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
        let snapshot = self.snapshot().await?;
        let marks = self.view.marks().await?;
        let Some(proposed) = snapshot.tips.block(Tier::Proposed) else {
            return Ok(self.report(Ended::Quiet, snapshot));
        };
        if self.is_quiet(&marks, &snapshot.tips, proposed) {
            return Ok(self.report(Ended::Quiet, snapshot));
        }
        if let Some(report) = self.behind(&marks, &snapshot, proposed).await? {
            return Ok(report);
        }
        let baseline = marks.tips.block(Tier::Proposed);
        let (stand, ahead) = self.stand(&marks, &snapshot).await?;
        let (snapshot, marks, ahead) = match stand {
            Stand::Extends => (snapshot, marks, ahead),
            Stand::Diverged => match self.realign(&marks, snapshot).await? {
                Ok((snapshot, marks)) => (snapshot, marks, None),
                Err(snapshot) => return Ok(self.report(Ended::Conflicted, snapshot)),
            },
        };
        let (marks, last) = self.download(marks, &snapshot, ahead).await?;
        self.announce(marks, baseline, &snapshot, last).await
    }

    /// A source whose whole chain ends below what is finalized here is an old answer, or another
    /// chain: neither is a reason to drop anything.
    async fn behind(
        &mut self,
        marks: &Marks,
        snapshot: &Snapshot,
        proposed: BlockRef,
    ) -> Result<Option<Report>, Fault> {
        let Some(finalized) = marks.tips.block(Tier::Finalized) else { return Ok(None) };
        if proposed.height >= finalized.height {
            return Ok(None);
        }
        let ours = self.witnesses(&[proposed.height]).await?[0];
        match ours.filter(|ours| ours.height == proposed.height && *ours != proposed) {
            Some(ours) => {
                self.conflict(Conflict { ours, theirs: proposed }).await?;
                Ok(Some(self.report(Ended::Conflicted, snapshot.clone())))
            }
            None => {
                let detail = format!("its tip {proposed} is below {finalized}, finalized here");
                Err(self.fault(FaultKind::Behind, detail))
            }
        }
    }

    fn report(&mut self, ended: Ended, snapshot: Snapshot) -> Report {
        Report { ended, snapshot, faults: std::mem::take(&mut self.faults) }
    }

    fn fault(&self, kind: FaultKind, detail: impl std::fmt::Display) -> Fault {
        kind.fault(self.source.name(), detail)
    }

    /// One read of the source's tips, refused if it contradicts itself.
    async fn snapshot(&mut self) -> Result<Snapshot, Fault> {
        self.cost.tip += 1;
        let snapshot = self.guard.wait(self.source.snapshot()).await?;
        match snapshot.tips.check(self.source.ladder()) {
            Ok(()) => {
                self.monitor.snapshot(&snapshot);
                Ok(snapshot)
            }
            Err(broken) => Err(self.fault(FaultKind::LadderBroken, broken)),
        }
    }

    /// Commits, and tells the monitor where that left the view.
    async fn commit(&mut self, changes: Vec<Change<S::Block>>) -> Result<Marks, Fault> {
        self.view.commit(changes).await?;
        let marks = self.view.marks().await?;
        self.monitor.moved(&marks);
        Ok(marks)
    }

    /// Whether the view stands where the snapshot does. A tier that the source does not know does not
    /// count, nor does an older answer about finalized that names nothing else.
    fn is_quiet(&self, marks: &Marks, tips: &TipSet, proposed: BlockRef) -> bool {
        let announced = Tier::ALL.iter().all(|tier| {
            tips.block(*tier).is_none_or(|block| marks.tips.block(*tier) == Some(block))
        });
        let given = match self.mode {
            Mode::TipsOnly => true,
            Mode::Blocks { .. } => {
                marks.delivered.is_none_or(|head| head == proposed)
                    && (marks.delivered.is_some() || self.first(None, tips) > proposed.height)
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
        marks: &Marks,
        snapshot: &Snapshot,
    ) -> Result<(Stand, Option<Vec<S::Block>>), Fault> {
        let (Some(head), Some(proposed)) = (marks.head(), snapshot.tips.block(Tier::Proposed))
        else {
            return Ok((Stand::Extends, None));
        };
        if proposed.height <= head.height {
            let stand = if proposed == head { Stand::Extends } else { Stand::Diverged };
            return Ok((stand, None));
        }
        let next = self.first(marks.delivered, &snapshot.tips);
        if self.mode == Mode::TipsOnly || next != head.height.next() {
            return Ok((Stand::Diverged, None)); // Nobody knows: the search finds out, in one call.
        }
        let blocks = self.blocks(next, proposed).await?;
        match crate::reconcile::link(Some(head), next, proposed, &blocks) {
            Ok(_) => Ok((Stand::Extends, Some(blocks))),
            Err(crate::reconcile::Unlinked::Parent { below, .. }) if below == head => {
                Ok((Stand::Diverged, None))
            }
            Err(unlinked) => Err(self.unlinked(unlinked)),
        }
    }

    /// Finds the ancestor and prunes to it. `Err(snapshot)` where the source contradicts what is
    /// finalized: the view was pruned as far as that allows, and nothing may follow.
    async fn realign(
        &mut self,
        marks: &Marks,
        snapshot: Snapshot,
    ) -> Result<Result<(Snapshot, Marks), Snapshot>, Fault> {
        let found = self.search(marks, &snapshot).await?;
        let head = marks.head();
        match found {
            Found::Ancestor(ancestor) if head == Some(ancestor) => Ok(Ok((snapshot, *marks))),
            Found::Ancestor(ancestor) => self.prune(marks, ancestor).await.map(Ok),
            Found::FloorDiffers { ours, theirs } if ours.height.get() == 0 => {
                Err(self.wrong_genesis(theirs))
            }
            Found::FloorDiffers { ours, theirs } => {
                self.conflict(Conflict { ours, theirs }).await?;
                if head.is_some_and(|head| head.height > ours.height) {
                    let tips = clamp(self.source.ladder(), &marks.tips, &snapshot.tips, ours);
                    self.commit(vec![Change::Pruned { to: ours, tips }]).await?;
                }
                Ok(Err(snapshot))
            }
            Found::Nothing { lowest: Some((ours, theirs)) } if ours.height.get() == 0 => {
                Err(self.wrong_genesis(BlockRef::new(ours.height, theirs)))
            }
            Found::Nothing { lowest: Some((ours, _)) } => self.rebase(marks, ours).await.map(Ok),
            Found::Nothing { lowest: None } => Ok(Ok((snapshot, *marks))),
        }
    }

    fn wrong_genesis(&self, theirs: BlockRef) -> Fault {
        let ours = self.identity.genesis;
        let detail = format!("genesis here is {ours}, the source has {theirs}: check its address");
        self.fault(FaultKind::WrongChain, detail)
    }

    /// Keeps both sides of a contradiction, and says so.
    async fn conflict(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.faults.push(Fault::finality_conflict(self.source.name(), conflict));
        self.view.keep_evidence(conflict).await
    }

    /// The highest block that both sides have, not below finalized.
    async fn search(&mut self, marks: &Marks, snapshot: &Snapshot) -> Result<Found, Fault> {
        let (Some(head), Some(proposed)) = (marks.head(), snapshot.tips.block(Tier::Proposed))
        else {
            return Ok(Found::Nothing { lowest: None });
        };
        let finalized = marks.tips.block(Tier::Finalized);
        let floor = finalized.map_or(Height::zero(), |block| block.height);
        let top = head.height.min(proposed.height);
        let mut search = Search::new(floor, top, self.source.limits().digests_max.get());
        loop {
            let heights = search.next();
            if heights.is_empty() {
                return Ok(search.found());
            }
            let mut ours = self.witnesses(&heights).await?;
            for (height, ours) in heights.iter().zip(&mut ours) {
                // A sparse view may not have it among its witnesses, but its marks name it.
                if Some(*height) == finalized.map(|block| block.height) {
                    *ours = finalized;
                }
            }
            // The tip's own digest is in the snapshot: a shorter chain is told from another one
            // without a call.
            let only_tip = ours.first().copied().flatten() == Some(proposed);
            let theirs =
                if only_tip { vec![Some(proposed.digest)] } else { self.digests(&ours).await? };
            let answers: Vec<_> = heights
                .iter()
                .zip(&ours)
                .zip(theirs.iter().chain(std::iter::repeat(&None)))
                .map(|((height, ours), theirs)| (*height, ours.map(|ours| (ours, *theirs))))
                .collect();
            search.answer(&answers).map_err(|unanswered| {
                let height = unanswered.0;
                let detail = format!("no digest at {height}, below its own tip {proposed}");
                self.fault(FaultKind::Missing, detail)
            })?;
        }
    }

    async fn witnesses(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let witnesses = self.view.witnesses(heights).await?;
        if witnesses.len() != heights.len() {
            let (got, want) = (witnesses.len(), heights.len());
            return Err(FaultKind::Bug.fault("view", format!("{got} witnesses for {want} heights")));
        }
        Ok(witnesses)
    }

    /// The source's digests at the heights of `ours`, in their order.
    async fn digests(&mut self, ours: &[Option<BlockRef>]) -> Result<Vec<Option<Digest>>, Fault> {
        let heights: Vec<_> = ours.iter().flatten().map(|block| block.height).collect();
        if heights.is_empty() {
            return Ok(vec![None; ours.len()]);
        }
        self.cost.reorg += 1;
        let digests = self.guard.wait(self.source.digests(&heights)).await?;
        if digests.len() != heights.len() {
            let (got, want) = (digests.len(), heights.len());
            let detail = format!("{got} digests for {want} heights");
            return Err(self.fault(FaultKind::Malformed, detail));
        }
        let mut digests = digests.into_iter();
        Ok(ours.iter().map(|ours| ours.and_then(|_| digests.next().flatten())).collect())
    }

    /// Prunes to `ancestor`, after a second look at the source: what the prune says about the tiers is
    /// read after the divergence was established, and the ancestor must still be there.
    async fn prune(
        &mut self,
        marks: &Marks,
        ancestor: BlockRef,
    ) -> Result<(Snapshot, Marks), Fault> {
        let again = self.snapshot().await?;
        let Some(proposed) = again.tips.block(Tier::Proposed) else {
            return Err(self.fault(FaultKind::Torn, "its proposed tip was there, and is gone"));
        };
        let to = if proposed.height < ancestor.height {
            let [known] = self.witnesses(&[proposed.height]).await?[..] else {
                return Err(self.fault(FaultKind::Torn, "it moved below the ancestor"));
            };
            known.filter(|known| *known == proposed)
        } else if proposed.height == ancestor.height {
            Some(ancestor).filter(|ancestor| *ancestor == proposed)
        } else {
            let digest = self.digests(&[Some(ancestor)]).await?;
            Some(ancestor).filter(|ancestor| digest == [Some(ancestor.digest)])
        };
        let Some(to) = to else {
            let detail = format!("{ancestor} was on its chain, and is not on that of {proposed}");
            return Err(self.fault(FaultKind::Torn, detail));
        };
        let finalized = marks.tips.block(Tier::Finalized);
        if let Some(finalized) = finalized.filter(|finalized| to.height < finalized.height) {
            let detail = format!("its tip {proposed} is below {finalized}, finalized here");
            return Err(self.fault(FaultKind::Behind, detail));
        }
        let tips = clamp(self.source.ladder(), &marks.tips, &again.tips, to);
        let marks = self.commit(vec![Change::Pruned { to, tips }]).await?;
        Ok((again, marks))
    }

    /// Prunes everything: the source's chain leaves ours below the lowest block that the view knows.
    /// What remains is the block at that height as the source has it, never one below the start.
    async fn rebase(&mut self, marks: &Marks, ours: BlockRef) -> Result<(Snapshot, Marks), Fault> {
        let again = self.snapshot().await?;
        let digest = self.digests(&[Some(ours)]).await?;
        let [Some(digest)] = digest[..] else {
            return Err(
                self.fault(FaultKind::Torn, format!("its block at {} is gone", ours.height))
            );
        };
        let to = BlockRef::new(ours.height, digest);
        let tips = clamp(self.source.ladder(), &marks.tips, &again.tips, to);
        let marks = self.commit(vec![Change::Pruned { to, tips }]).await?;
        Ok((again, marks))
    }

    /// Moves the tiers, from one snapshot, together with the last blocks.
    async fn announce(
        &mut self,
        marks: Marks,
        baseline: Option<BlockRef>,
        snapshot: &Snapshot,
        last: Vec<S::Block>,
    ) -> Result<Report, Fault> {
        let known = self.known(&marks, &snapshot.tips, &last).await?;
        let decided = moves(&Situation {
            ladder: self.source.ladder(),
            marks: &marks,
            baseline,
            source: &snapshot.tips,
            start: self.mode.lowest(&snapshot.tips),
            known,
        });
        let mut changes = Vec::new();
        if !last.is_empty() {
            changes.push(Change::Blocks(last));
        }
        changes.extend(decided.moves.iter().map(|step| Self::change(step, snapshot)));
        if !changes.is_empty() {
            self.commit(changes).await?;
        }
        self.settle(decided, snapshot.clone()).await
    }

    fn change(step: &Move, snapshot: &Snapshot) -> Change<S::Block> {
        let proof = snapshot
            .proof
            .clone()
            .filter(|proof| step.tier == Tier::Finalized && proof.block == step.tip.block);
        Change::Moved { tier: step.tier, tip: step.tip, back: step.back, proof }
    }

    async fn settle(&mut self, decided: Moves, snapshot: Snapshot) -> Result<Report, Fault> {
        for (tier, block) in decided.withheld {
            let detail =
                format!("its {tier} tip {block} does not fit the chain of its proposed tip");
            self.faults.push(self.fault(FaultKind::Torn, detail));
        }
        let ended = match decided.conflict {
            Some(conflict) => {
                self.conflict(conflict).await?;
                Ended::Conflicted
            }
            None => Ended::Complete,
        };
        Ok(self.report(ended, snapshot))
    }

    /// The view's own blocks at the heights of the source's tips, where it knows them, with `last`
    /// taken in already.
    async fn known(
        &self,
        marks: &Marks,
        tips: &TipSet,
        last: &[S::Block],
    ) -> Result<[Option<BlockRef>; 4], Fault> {
        let start = last.first().map(|block| block.reference().height);
        let mut known = [None; 4];
        for tier in Tier::ALL {
            let Some(theirs) = tips.block(tier).filter(|tip| marks.tips.block(tier) != Some(*tip))
            else {
                continue;
            };
            let within = start.and_then(|start| theirs.height.get().checked_sub(start.get()));
            let ours = match within {
                Some(at) => {
                    usize::try_from(at).ok().and_then(|at| last.get(at)).map(|b| b.reference())
                }
                None => self.witnesses(&[theirs.height]).await?.first().copied().flatten(),
            };
            known[tier.index()] = ours.filter(|ours| ours.height == theirs.height);
        }
        Ok(known)
    }
}

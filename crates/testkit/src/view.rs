//! A view, watched: every commit is checked against the invariants of the stream, and can be made to
//! fail. And the two halves of a view, as one.

use crate::{chain::TestBlock, invariants, source::Gate, words::words};
use commonware_utils::sync::{AsyncMutex, Mutex};
use futures::FutureExt as _;
use std::{collections::BTreeSet, fmt, iter::once, ops::Deref, sync::Arc};
use tidewatch_core::{
    Archive, Block as _, BlockRef, ChainInfo, Change, Conflict, Dropped, Event, Fault, FaultKind,
    Height, Ladder, LocalView, Tier, Watermarks,
};

/// What happens to a commit.
#[derive(Clone, Debug)]
enum Accident {
    /// The first so many changes are made, the others are not.
    Fails(FaultKind, usize),
    /// It waits at a gate, and is made then.
    Held(Gate),
}

type Chaos = Box<dyn FnMut(usize) -> Option<(FaultKind, usize)> + Send>;

#[derive(Default)]
struct Seen {
    ladder: Option<Ladder>,
    /// The fold of everything that was committed.
    watermarks: Watermarks,
    events: Vec<Event>,
    commits: usize,
    /// Digests looked up in the view, in questions.
    lookups: usize,
    forgotten: BTreeSet<u64>,
    evidence: Vec<Conflict>,
    accidents: Vec<(usize, Accident)>,
    chaos: Option<Chaos>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").field("events", &words(&self.events)).finish_non_exhaustive()
    }
}

/// A view that records and checks every event. Clones share it: tests look at it while a driver writes,
/// and a second driver takes over where the first one ended. `W` and `R` are the two halves of the view
/// inside, such as those of the store in memory.
#[derive(Debug)]
pub struct Watched<W, R> {
    inner: Arc<AsyncMutex<W>>,
    log: R,
    chain_info: ChainInfo,
    seen: Arc<Mutex<Seen>>,
}

impl<W, R: Clone> Clone for Watched<W, R> {
    fn clone(&self) -> Self {
        let (inner, log) = (self.inner.clone(), self.log.clone());
        Self { inner, log, chain_info: self.chain_info.clone(), seen: self.seen.clone() }
    }
}

impl<W: LocalView<Block = TestBlock>, R: Archive<Block = TestBlock>> Watched<W, R> {
    /// Watches an empty view of a chain with this ladder.
    pub fn new((inner, log): (W, R), ladder: Ladder) -> Self {
        let seen = Seen { ladder: Some(ladder), ..Seen::default() };
        let chain_info = inner.chain_info().clone();
        let (inner, seen) = (Arc::new(AsyncMutex::new(inner)), Arc::new(Mutex::new(seen)));
        Self { inner, log, chain_info, seen }
    }

    /// Where it stands.
    pub fn stands(&self) -> Watermarks {
        self.seen.lock().watermarks
    }

    /// The reader of the view inside.
    pub const fn log(&self) -> &R {
        &self.log
    }

    /// The block that was delivered at `height`; nothing where there is none.
    pub fn block(&self, height: u64) -> Option<TestBlock> {
        let height = Height::new(height);
        let read = async {
            let known = self.inner.lock().await.locate(&[height]).await.ok()?[0];
            self.log.block(known.filter(|known| known.height == height)?).await.ok()
        };
        read.now_or_never().flatten()
    }

    /// Every event so far.
    pub fn events(&self) -> Vec<Event> {
        self.seen.lock().events.clone()
    }

    /// Every event so far, in words.
    pub fn words(&self) -> Vec<String> {
        words(&self.events())
    }

    /// Every contradiction that was kept.
    pub fn evidence(&self) -> Vec<Conflict> {
        self.seen.lock().evidence.clone()
    }

    /// How often the view was asked for digests.
    pub fn lookups(&self) -> usize {
        self.seen.lock().lookups
    }

    /// How many commits were begun.
    pub fn commits(&self) -> usize {
        self.seen.lock().commits
    }

    /// The view no longer knows the block at `height`.
    pub fn forget(&self, height: u64) {
        self.seen.lock().forgotten.insert(height);
    }

    /// The `nth` commit from now fails, after the first `made` of its changes.
    pub fn fail(&self, nth: usize, kind: FaultKind, made: usize) {
        let mut seen = self.seen.lock();
        let nth = seen.commits + nth;
        seen.accidents.push((nth, Accident::Fails(kind, made)));
    }

    /// The `nth` commit from now waits at a gate.
    pub fn hold(&self, nth: usize) -> Gate {
        let gate = Gate::new();
        let mut seen = self.seen.lock();
        let nth = seen.commits + nth;
        seen.accidents.push((nth, Accident::Held(gate.clone())));
        gate
    }

    /// Every commit fails for which `chaos`, given how many changes it has, says so.
    pub fn chaos(&self, chaos: Option<Chaos>) {
        self.seen.lock().chaos = chaos;
    }

    /// What every committed event must keep to, whatever the source did.
    fn check(seen: &mut Seen, change: &Change<TestBlock>) {
        if let Change::Certified(proof) = change {
            let delivered = seen.watermarks.delivered.map(|delivered| delivered.height);
            assert!(Some(proof.block.height) <= delivered, "{} was not delivered", proof.block);
            return;
        }
        let Some(mut event) = change.event(&seen.watermarks) else {
            panic!("a change without an event")
        };
        if let Event::Pruned { to, depth, .. } = &mut event {
            let mut dropped = Dropped::by(to.height);
            dropped.back_over(seen.events.iter().rev());
            *depth = dropped.count();
        }
        let (before, ladder) = (seen.watermarks, seen.ladder.expect("set"));
        let checked = invariants::event(ladder, &before, &event).and_then(|after| {
            if let Change::Blocks(blocks) = change {
                let below = blocks.iter().map(|block| Some(block.reference()));
                for (below, block) in once(before.delivered).chain(below).zip(blocks) {
                    below.map_or(Ok(()), |below| invariants::link(below, block))?;
                }
            }
            Ok(after)
        });
        let in_words = || words(&[event]).join("");
        seen.watermarks =
            checked.unwrap_or_else(|breach| panic!("after {}: {breach:#}", in_words()));
        seen.events.push(event);
    }

    async fn make(&mut self, changes: Vec<Change<TestBlock>>) -> Result<(), Fault> {
        self.inner.lock().await.commit(changes.clone()).await?;
        let watermarks = self.inner.lock().await.watermarks().await?;
        {
            let mut seen = self.seen.lock();
            for change in &changes {
                Self::check(&mut seen, change);
            }
            assert_eq!(watermarks, seen.watermarks, "the replay law");
        }
        self.check_chain(&watermarks).await
    }

    /// Every tier is on the chain that the view has.
    async fn check_chain(&self, watermarks: &Watermarks) -> Result<(), Fault> {
        for tip in Tier::ALL.iter().filter_map(|tier| watermarks.tips.block(*tier)) {
            let known = self.inner.lock().await.locate(&[tip.height]).await?[0];
            let other = known.filter(|known| known.height == tip.height && *known != tip);
            assert_eq!(other, None, "{tip} is announced, and not on the chain");
        }
        Ok(())
    }
}

impl<W: LocalView<Block = TestBlock>, R: Archive<Block = TestBlock>> LocalView for Watched<W, R> {
    type Block = TestBlock;

    fn chain_info(&self) -> &ChainInfo {
        &self.chain_info
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        self.inner.lock().await.watermarks().await
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let forgotten = {
            let mut seen = self.seen.lock();
            seen.lookups += 1;
            seen.forgotten.clone()
        };
        let mut answers = Vec::new();
        for height in heights {
            let mut at = Some(*height);
            let answer = loop {
                let Some(height) = at else { break None };
                let known = self.inner.lock().await.locate(&[height]).await?[0];
                match known {
                    Some(known) if forgotten.contains(&known.height.get()) => {
                        at = known.height.previous();
                    }
                    known => break known,
                }
            };
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn commit(&mut self, changes: Vec<Change<TestBlock>>) -> Result<(), Fault> {
        let accident = {
            let mut seen = self.seen.lock();
            seen.commits += 1;
            let now = seen.commits;
            let wild = seen.chaos.as_mut().and_then(|chaos| chaos(changes.len()));
            let wild = wild.map(|(kind, made)| Accident::Fails(kind, made));
            let at = seen.accidents.iter().position(|(nth, _)| *nth == now);
            wild.or_else(|| at.map(|at| seen.accidents.remove(at).1))
        };
        match accident {
            None => self.make(changes).await,
            Some(Accident::Held(gate)) => {
                gate.pass().await;
                self.make(changes).await
            }
            Some(Accident::Fails(kind, made)) => {
                let made: Vec<_> = changes.into_iter().take(made).collect();
                if !made.is_empty() {
                    self.make(made).await?;
                }
                Err(kind.fault("view", "as told"))
            }
        }
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.seen.lock().evidence.push(conflict);
        self.inner.lock().await.keep_evidence(conflict).await
    }
}

/// A writer, and a reader of what it writes, which answers everything that the writer does not.
#[derive(Debug)]
pub struct Both<W, R> {
    /// The local view.
    pub writer: W,
    /// The log, the archive and the positions.
    pub reader: R,
}

impl<W, R> From<(W, R)> for Both<W, R> {
    fn from((writer, reader): (W, R)) -> Self {
        Self { writer, reader }
    }
}

impl<W, R> Deref for Both<W, R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.reader
    }
}

impl<W: LocalView, R: Send + Sync + 'static> LocalView for Both<W, R> {
    type Block = W::Block;

    fn chain_info(&self) -> &ChainInfo {
        self.writer.chain_info()
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        self.writer.watermarks().await
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.writer.locate(heights).await
    }

    async fn commit(&mut self, changes: Vec<Change<W::Block>>) -> Result<(), Fault> {
        self.writer.commit(changes).await
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.writer.keep_evidence(conflict).await
    }
}

//! The ports of a sentinel over the truth, and rules that are switched off at them.

use super::{
    Off,
    truth::{Placed, Proposed, Truth, id, payload},
};
use commonware_runtime::{Clock, deterministic};
use commonware_utils::sync::Mutex;
use rand::{RngExt as _, rngs::StdRng};
use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, Digest, Fault, FaultKind, Height};
use tidewatch_sentinel::{
    AtSlot, Canonical, Committee, Committees, Epoch, Event, Landed, Observer, Output, Position,
    Slot, Standing, ValidatorId, What,
};

/// What the source shows, and how well it does.
pub(super) struct Shown {
    pub(super) chain: Vec<(Placed, BlockRef)>,
    pub(super) passed: u64,
    pub(super) finalized: Option<BlockRef>,
    /// It stands still.
    pub(super) still: bool,
    /// How often it fails.
    pub(super) fails: f64,
    /// Where the observer stands while it is away.
    pub(super) away: Option<Position>,
    pub(super) rng: StdRng,
    remembered: BTreeMap<u64, AtSlot>,
}

/// Everything that ports share.
#[derive(Clone)]
pub(super) struct World {
    pub(super) truth: Arc<Mutex<Truth>>,
    pub(super) shown: Arc<Mutex<Shown>>,
    /// Events that the output took, by sequence.
    pub(super) given: Arc<Mutex<BTreeMap<u64, Event>>>,
    pub(super) off: Option<Off>,
}

impl World {
    pub(super) fn new(truth: Truth, rng: StdRng, off: Option<Off>) -> Self {
        let shown = Shown {
            chain: truth.chain.clone(),
            passed: 0,
            finalized: None,
            still: false,
            fails: 0.0,
            away: None,
            rng,
            remembered: BTreeMap::new(),
        };
        Self {
            truth: Arc::new(Mutex::new(truth)),
            shown: Arc::new(Mutex::new(shown)),
            given: Arc::default(),
            off,
        }
    }

    /// The source shows what is there, unless it stands still.
    pub(super) fn show(&self) {
        let truth = self.truth.lock();
        let mut shown = self.shown.lock();
        if !shown.still {
            shown.chain = truth.chain.clone();
            (shown.passed, shown.finalized) = (truth.passed, truth.finalized());
        }
    }

    pub(super) fn ports(&self, clock: deterministic::Context) -> Ports {
        Ports { world: self.clone(), clock: Arc::new(clock) }
    }
}

/// All ports of one life.
#[derive(Clone)]
pub(super) struct Ports {
    world: World,
    clock: Arc<deterministic::Context>,
}

impl Ports {
    /// A call takes a while, in which the chain may move, and may fail.
    async fn call(&self) -> Result<(), Fault> {
        let (wait, fails) = {
            let mut shown = self.world.shown.lock();
            let fails = shown.fails;
            (shown.rng.random_range(0..40), fails > 0.0 && shown.rng.random_bool(fails))
        };
        self.clock.sleep(Duration::from_millis(wait)).await;
        if fails { Err(FaultKind::Unreachable.fault("the world", "fails")) } else { Ok(()) }
    }
}

impl Shown {
    fn has(&self, block: &BlockRef) -> bool {
        let at = self.chain.get(block.height.get() as usize);
        at.is_some_and(|(_, at)| at == block)
    }

    fn same(&self, standing: &Standing) -> Result<(), Fault> {
        let torn = || FaultKind::Torn.fault("the world", "it moved away from that tip");
        if self.has(&standing.tip.block) { Ok(()) } else { Err(torn()) }
    }

    fn at(&self, slot: u64) -> AtSlot {
        if slot > self.passed {
            return AtSlot::NotPassed;
        }
        let found = self.chain.binary_search_by_key(&slot, |((slot, _), _)| *slot);
        found.map_or(AtSlot::Empty, |at| {
            let ((slot, variant), block) = self.chain[at];
            let payload = payload(slot, variant);
            AtSlot::Landed(Landed {
                block,
                payload,
                proposer: None,
                attestors: vec![],
                trimmed: false,
            })
        })
    }

    fn position(&self, up_to: Height) -> Position {
        let at = (up_to.get() as usize).min(self.chain.len() - 1);
        let whole = at + 1 == self.chain.len();
        let ((slot, _), block) = self.chain[at];
        Position { block, slot: Slot(if whole { self.passed } else { slot }) }
    }
}

impl Canonical for Ports {
    async fn standing(&self) -> Result<Option<Standing>, Fault> {
        self.call().await?;
        let shown = self.world.shown.lock();
        let tip = shown.position(Height::new(u64::MAX));
        Ok(Some(Standing { tip, finalized: shown.finalized }))
    }

    async fn at(
        &self,
        standing: &Standing,
        slots: RangeInclusive<Slot>,
    ) -> Result<Vec<AtSlot>, Fault> {
        self.call().await?;
        let mut shown = self.world.shown.lock();
        shown.same(standing)?;
        let slots = slots.start().get()..=slots.end().get();
        let mut found = BTreeMap::new();
        for slot in slots {
            let at = shown.at(slot);
            let remembered = shown.remembered.entry(slot).or_insert_with(|| at.clone());
            let remembers = self.world.off == Some(Off::CanonicalRead);
            found.insert(slot, if remembers { remembered.clone() } else { at });
        }
        Ok(found.into_values().collect())
    }

    async fn on_chain(&self, standing: &Standing, blocks: &[BlockRef]) -> Result<Vec<bool>, Fault> {
        self.call().await?;
        let shown = self.world.shown.lock();
        shown.same(standing)?;
        Ok(blocks.iter().map(|block| shown.has(block)).collect())
    }

    async fn checkpoint(&self, _: &Standing, _: u64) -> Result<Option<Digest>, Fault> {
        self.call().await.map(|()| None)
    }
}

impl Observer for Ports {
    async fn position(&self, up_to: Height) -> Result<Option<Position>, Fault> {
        self.call().await?;
        let shown = self.world.shown.lock();
        let here = shown.position(up_to);
        let claims = self.world.off == Some(Off::InStep);
        Ok(Some(shown.away.filter(|_| !claims).unwrap_or(here)))
    }
}

impl Committees for Ports {
    fn epoch(&self, slot: Slot) -> Epoch {
        Epoch(self.world.truth.lock().epoch(slot.get()))
    }

    fn slots(&self, epoch: Epoch) -> Option<RangeInclusive<Slot>> {
        let length = self.world.truth.lock().epoch_slots;
        let first = epoch.get() * length;
        Some(Slot(first)..=Slot(first + length - 1))
    }

    async fn committee(&self, epoch: Epoch) -> Result<Option<Committee>, Fault> {
        self.call().await?;
        let truth = self.world.truth.lock();
        let members = truth.committee(epoch.get());
        let due = !truth.nobody.contains(&epoch.get());
        Ok(due.then(|| members.into_iter().map(id).collect()))
    }

    async fn proposer(&self, slot: Slot) -> Result<Option<ValidatorId>, Fault> {
        self.call().await?;
        let truth = self.world.truth.lock();
        let turn = truth.turns.get(&slot.get());
        debug_assert!(turn.is_none_or(|turn| turn.proposed != Proposed::Nothing || !turn.twice));
        Ok(turn.map(|turn| id(turn.proposer)))
    }
}

impl Output for Ports {
    async fn give(&mut self, event: &Event) -> Result<(), Fault> {
        self.call().await?;
        let drops = self.world.off == Some(Off::Withdrawal);
        if !(drops && matches!(event.what, What::Withdrawn { .. })) {
            self.world.given.lock().insert(event.sequence, event.clone());
        }
        Ok(())
    }
}

//! Every port, as a test scripts it.

use super::{
    Act, AtSlot, Canonical, Committee, Committees, Config, Epoch, Event, Landed, Observation,
    Observer, Output, Position, Signed, Slot, Standing, ValidatorId,
};
use bytes::Bytes;
use commonware_utils::{NZUsize, sync::Mutex};
use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, ChainId, Digest, Fault, FaultKind, Height};

pub(super) fn id(n: u8) -> ValidatorId {
    ValidatorId::new(vec![n; 20]).unwrap()
}

pub(super) fn config() -> Config {
    let chain = ChainId::new("test:1").unwrap();
    Config {
        interval: Duration::from_secs(8),
        target: 0.7,
        mailbox_size: NZUsize!(32),
        ..Config::new(chain, "sentinel", NZUsize!(8))
    }
}

pub(super) fn signed(slot: u64, n: u8, act: Act) -> Observation {
    let bytes = Bytes::from(format!("{slot} {n} {act:?}"));
    Observation::Signed(Signed { slot: Slot(slot), validator: id(n), act, bytes })
}

#[derive(Default)]
struct State {
    /// The blocks of the chain: slot and fork.
    chain: Vec<(u64, u8)>,
    /// What the source does not show yet.
    unseen: Vec<(u64, u8)>,
    passed: u64,
    finalized: Option<u64>,
    off: bool,
    behind: bool,
    fails: bool,
    refuses: bool,
    nobody: BTreeSet<u64>,
    given: Vec<Event>,
    calls: u64,
    asked_max: usize,
}

/// A chain, its observer, its committees, and who takes events.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<Mutex<State>>);

fn block(nth: usize, (slot, fork): (u64, u8)) -> BlockRef {
    BlockRef::new(Height::new(nth as u64), digest(slot, fork))
}

fn digest(slot: u64, fork: u8) -> Digest {
    let mut bytes = [fork; 32];
    bytes[..8].copy_from_slice(&slot.to_be_bytes());
    Digest(bytes)
}

impl State {
    fn read(&mut self) -> Result<(), Fault> {
        self.calls += 1;
        if self.fails { Err(FaultKind::Unreachable.fault("the script", "fails")) } else { Ok(()) }
    }

    fn has(&self, wanted: &BlockRef) -> bool {
        let nth = wanted.height.get() as usize;
        self.chain.get(nth).is_some_and(|at| block(nth, *at) == *wanted)
    }
}

impl Script {
    pub(super) fn new() -> Self {
        let script = Self::default();
        (0..5).for_each(|slot| script.extend(slot));
        script
    }

    pub(super) fn payload(&self, slot: u64) -> Digest {
        self.payload_on(0, slot)
    }

    pub(super) fn payload_on(&self, fork: u8, slot: u64) -> Digest {
        digest(slot, fork)
    }

    pub(super) fn extend(&self, slot: u64) {
        self.extend_on(0, slot);
    }

    pub(super) fn extend_on(&self, fork: u8, slot: u64) {
        let state = &mut *self.0.lock();
        state.chain.push((slot, fork));
        state.passed = slot;
    }

    pub(super) fn extend_unseen(&self, slot: u64) {
        self.0.lock().unseen.push((slot, 0));
    }

    pub(super) fn unveil(&self) {
        let unseen = std::mem::take(&mut self.0.lock().unseen);
        unseen.into_iter().for_each(|(slot, fork)| self.extend_on(fork, slot));
    }

    /// `slot` passes without a block.
    pub(super) fn pass(&self, slot: u64) {
        self.0.lock().passed = slot;
    }

    /// Blocks from `slot` on are gone.
    pub(super) fn cut(&self, slot: u64) {
        let state = &mut *self.0.lock();
        state.chain.retain(|(at, _)| *at < slot);
        state.passed = state.chain.last().unwrap().0;
    }

    pub(super) fn finalize(&self, slot: u64) {
        self.0.lock().finalized = Some(slot);
    }

    pub(super) fn observer_off(&self, off: bool) {
        self.0.lock().off = off;
    }

    /// Where the chain stands is said without its last block.
    pub(super) fn behind(&self, behind: bool) {
        self.0.lock().behind = behind;
    }

    pub(super) fn fail(&self, fails: bool) {
        self.0.lock().fails = fails;
    }

    pub(super) fn refuse(&self, refuses: bool) {
        self.0.lock().refuses = refuses;
    }

    /// Nobody is due in `epoch`.
    pub(super) fn nobody(&self, epoch: u64) {
        self.0.lock().nobody.insert(epoch);
    }

    pub(super) fn given(&self) -> Vec<Event> {
        self.0.lock().given.clone()
    }

    pub(super) fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Blocks in the newest question whether they are on the chain.
    pub(super) fn asked_max(&self) -> usize {
        self.0.lock().asked_max
    }
}

impl Canonical for Script {
    async fn standing(&self) -> Result<Option<Standing>, Fault> {
        let state = &mut *self.0.lock();
        state.read()?;
        let blocks = || state.chain.iter().enumerate();
        let finalized = blocks().find(|(_, (slot, _))| Some(*slot) == state.finalized);
        let tip = blocks().nth_back(usize::from(state.behind));
        let Some((nth, at)) = tip else { return Ok(None) };
        Ok(Some(Standing {
            tip: Position { block: block(nth, *at), slot: Slot(state.passed) },
            finalized: finalized.map(|(nth, at)| block(nth, *at)),
        }))
    }

    async fn at(&self, _: &Standing, slots: RangeInclusive<Slot>) -> Result<Vec<AtSlot>, Fault> {
        let state = &mut *self.0.lock();
        state.read()?;
        let at = |slot: u64| {
            let found = state.chain.iter().enumerate().find(|(_, (at, _))| *at == slot);
            match found {
                _ if slot > state.passed => AtSlot::NotPassed,
                None => AtSlot::Empty,
                Some((nth, at)) => AtSlot::Landed(Landed {
                    block: block(nth, *at),
                    payload: digest(at.0, at.1),
                    proposer: None,
                    attestors: vec![],
                    trimmed: false,
                }),
            }
        };
        Ok((slots.start().get()..=slots.end().get()).map(at).collect())
    }

    async fn on_chain(&self, _: &Standing, blocks: &[BlockRef]) -> Result<Vec<bool>, Fault> {
        let state = &mut *self.0.lock();
        state.read()?;
        state.asked_max = blocks.len();
        Ok(blocks.iter().map(|block| state.has(block)).collect())
    }

    async fn checkpoint(&self, _: &Standing, _: u64) -> Result<Option<Digest>, Fault> {
        self.0.lock().read().map(|()| None)
    }
}

impl Observer for Script {
    async fn position(&self, up_to: Height) -> Result<Option<Position>, Fault> {
        let state = &*self.0.lock();
        let nth = up_to.get().min(state.chain.len() as u64 - 1) as usize;
        let mut at = block(nth, state.chain[nth]);
        if state.off {
            at.digest = Digest([0xFF; 32]);
        }
        Ok(Some(Position { block: at, slot: Slot(state.passed) }))
    }
}

impl Committees for Script {
    fn epoch(&self, slot: Slot) -> Epoch {
        Epoch(slot.get() / 8)
    }

    fn slots(&self, epoch: Epoch) -> Option<RangeInclusive<Slot>> {
        Some(Slot(8 * epoch.get())..=Slot(8 * epoch.get() + 7))
    }

    async fn committee(&self, epoch: Epoch) -> Result<Option<Committee>, Fault> {
        let nobody = self.0.lock().nobody.contains(&epoch.get());
        Ok((!nobody).then(|| (0..4).map(id).collect()))
    }

    async fn proposer(&self, slot: Slot) -> Result<Option<ValidatorId>, Fault> {
        Ok(Some(id((slot.get() % 4) as u8)))
    }
}

impl Output for Script {
    async fn give(&mut self, event: &Event) -> Result<(), Fault> {
        let state = &mut *self.0.lock();
        if state.refuses {
            return Err(FaultKind::Consumer.fault("the script", "refuses"));
        }
        state.given.push(event.clone());
        Ok(())
    }
}

//! The log, the consumer, and what can be done to a delivery between them.

use crate::tests::{
    chain::{Chain, TestBlock},
    interleavings::choices::Choices,
    invariants,
    words::words,
};
use commonware_utils::{NZUsize, sync::Mutex};
use futures::FutureExt as _;
use std::{
    fmt::{self, Display},
    future::{Future, pending},
    sync::Arc,
};
use tidewatch_core::{
    Change, EventLog as _, LocalView as _, LogError, Record, Tier, Tip, TipSet, Watermarks,
};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter, Retention};

/// No chain is higher.
const TOP: u64 = 4;

/// Events that are handed over at once.
pub(super) const BATCH_MAX: usize = 2;

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The writer adds a block and its tip.
    Grow,
    /// The writer finalizes the tip.
    Finalize,
    /// The writer takes the tip back; the next block there is another one.
    Prune,
    /// The consumer takes the events in, and may lose them.
    Accepts,
    /// It does not take them in, and says so.
    Fails,
    /// It takes them in for good, and says that it failed.
    FailsLate,
    Panics,
    /// The process dies, and nothing was done.
    DiesBefore,
    /// The process dies, and what was asked is done.
    DiesAfter,
}

impl Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grow => "a block is added",
            Self::Finalize => "the tip is finalized",
            Self::Prune => "the tip is taken back",
            Self::Accepts => "accepts",
            Self::Fails => "fails",
            Self::FailsLate => "takes them in and fails",
            Self::Panics => "panics",
            Self::DiesBefore => "the process dies before it",
            Self::DiesAfter => "the process dies after it",
        })
    }
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Menu {
    /// Every act.
    Long,
    /// A block is added, the consumer accepts or fails, the process dies after what it did.
    Short,
}

/// How far a consumer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) next: u64,
    pub(super) watermarks: Watermarks,
}

/// All of one path.
pub(super) struct World {
    pub(super) choices: Choices,
    menu: Menu,
    /// Nothing happens.
    pub(super) peace: bool,
    /// The process is dead: nothing that it waits for comes.
    pub(super) dead: bool,
    view: MemoryWriter<TestBlock>,
    pub(super) memory: MemoryReader<TestBlock>,
    chain: Chain,
    forked: bool,
    finalized: u64,
    /// Every event that was ever written.
    pub(super) history: Vec<Record>,
    /// What the consumer has, and what of that survives its process.
    pub(super) now: Taken,
    pub(super) durable: Taken,
    /// The position that the log was given and kept.
    pub(super) position: u64,
    /// The event that has to come next: none is left out, and none comes again without a reason.
    pub(super) expected: u64,
    /// Batches, those of them that are bridges, restarts, and failures of the consumer.
    pub(super) batches: usize,
    pub(super) bridges: usize,
    pub(super) restarts: usize,
    pub(super) failures: usize,
    /// The first rule that was broken. A panic would be taken for one of the consumer's.
    pub(super) broken: Option<String>,
}

/// Shared by the log, the consumer and the test.
pub(super) type Shared = Arc<Mutex<World>>;

impl World {
    /// A log that keeps so much, of two blocks and their tips.
    pub(super) fn new(choices: Choices, menu: Menu, retention: Retention) -> Self {
        let chain = Chain::new('a', 0);
        let (view, memory) = Memory::with_retention(chain.chain_info(), retention);
        let none = Taken { next: 0, watermarks: Watermarks::none() };
        let mut world = Self {
            choices,
            menu,
            peace: true,
            dead: false,
            view,
            memory,
            chain,
            forked: false,
            finalized: 0,
            history: Vec::new(),
            now: none,
            durable: none,
            position: 0,
            expected: 0,
            batches: 0,
            bridges: 0,
            restarts: 0,
            failures: 0,
            broken: None,
        };
        world.write(Act::Grow);
        world.write(Act::Grow);
        world
    }

    /// A new process: of what the consumer had, it has what survives.
    pub(super) fn begin(&mut self) {
        (self.dead, self.now, self.expected) = (false, self.durable, self.position);
    }

    /// What happens at this point: something of what the writer does, or of `menu`.
    pub(super) fn choose(&mut self, point: impl Display, menu: &[Act]) -> Option<Act> {
        if self.dead || self.peace {
            return None;
        }
        let tip = self.chain.tip();
        let mut acts = Vec::new();
        acts.extend((tip < TOP).then_some(Act::Grow));
        acts.extend((self.finalized < tip).then_some(Act::Finalize));
        acts.extend((self.finalized < tip).then_some(Act::Prune));
        acts.extend_from_slice(menu);
        let short = [Act::Grow, Act::Accepts, Act::Fails, Act::DiesAfter];
        acts.retain(|act| self.menu == Menu::Long || short.contains(act));
        let act = self.choices.choose(point, || acts)?;
        match act {
            Act::Grow | Act::Finalize | Act::Prune => self.write(act),
            Act::DiesBefore | Act::DiesAfter => self.dead = true,
            Act::Accepts | Act::Fails | Act::FailsLate | Act::Panics => {}
        }
        Some(act)
    }

    /// The writer adds events.
    fn write(&mut self, act: Act) {
        let tip = self.chain.tip();
        let moved = |tier, chain: &Chain| {
            let tip = Tip::from(chain.at(chain.tip()));
            Change::Advanced { tier, tip, proof: None }
        };
        let changes = match act {
            Act::Grow => {
                let fork = if self.forked { 'b' } else { 'a' };
                self.chain = self.chain.fork(tip + 1, fork, tip + 1);
                let blocks = Change::Blocks(self.chain.range(tip + 1, tip + 1));
                vec![blocks, moved(Tier::Proposed, &self.chain)]
            }
            Act::Finalize => {
                self.finalized = tip;
                vec![moved(Tier::Finalized, &self.chain)]
            }
            Act::Prune => {
                self.forked = !self.forked;
                self.chain = self.chain.fork(tip, 'a', tip - 1);
                let to = self.chain.at(tip - 1);
                vec![Change::Pruned { to, tips: self.lowered(to.into()) }]
            }
            other => unreachable!("{other}: not the writer's"),
        };
        let written = self.view.commit(changes).now_or_never();
        written.expect("in memory").expect("follows the rules");
        let from = self.history.len() as u64;
        let new = self.memory.read(from, NZUsize!(8)).now_or_never().expect("in memory");
        self.history.extend(new.expect("the newest are kept"));
    }

    /// The tips of now, with the proposed one at `to`.
    fn lowered(&self, to: Tip) -> TipSet {
        let watermarks = self.memory.watermarks().expect("open");
        let mut tips = watermarks.tips;
        tips.set(Tier::Proposed, Some(to));
        tips
    }

    fn check(&mut self, holds: bool, rule: impl FnOnce() -> String) {
        if !holds {
            self.broken.get_or_insert_with(rule);
        }
    }

    /// Whether `record` is event `sequence`. Its cursor has fewer locators after a prune.
    fn is_written(&self, sequence: u64, record: &Record) -> bool {
        let what = |record: &Record| (record.event, record.watermarks, record.sequence());
        self.history.get(sequence as usize).map(what) == Some(what(record))
    }

    /// Whether events that are expected are no longer kept.
    fn gone(&self) -> bool {
        let next = self.memory.read(self.expected, NZUsize!(1)).now_or_never();
        matches!(next.expect("in memory"), Err(LogError::TooOld { .. }))
    }

    /// These events came. Says whether they are a bridge.
    pub(super) fn handed(&mut self, records: &[Record]) -> bool {
        self.batches += 1;
        let sequences: Vec<_> = records.iter().map(Record::sequence).collect();
        let (expected, most) = (self.expected, 1..=BATCH_MAX);
        if sequences.first() != Some(&expected) && self.gone() {
            self.bridged(records);
            return true;
        }
        self.check(most.contains(&records.len()), || format!("a batch of {}", sequences.len()));
        self.check(sequences.first() == Some(&expected), || {
            format!("{sequences:?} came, and {expected} was next")
        });
        for (sequence, record) in (expected..).zip(records) {
            let right = self.is_written(sequence, record);
            self.check(right, || format!("{sequence} is not what was written"));
        }
        false
    }

    /// A bridge came: it leads from before the expected event to an event that was written, and announces
    /// every block in between.
    fn bridged(&mut self, records: &[Record]) {
        self.bridges += 1;
        let none = Watermarks::none();
        let after = |world: &Self, handled: u64| match handled.checked_sub(1) {
            Some(last) => world.history.get(last as usize).map_or(none, |last| last.watermarks),
            None => none,
        };
        let mut watermarks = after(self, self.expected);
        for record in records {
            // Who was given no block is given all that are held.
            let led = invariants::dense(&watermarks, &record.event)
                .and_then(|()| invariants::leads(&watermarks, record));
            watermarks.apply(&record.event);
            self.check(led.is_ok(), || format!("the bridge does not lead on: {led:?}"));
        }
        let end = records.last().map_or(0, |last| last.cursor.handled());
        let leads = watermarks.same_blocks(&after(self, end));
        self.check(leads, || format!("the bridge does not lead to where event {end} begins"));
    }

    /// The consumer takes a bridge in, whatever it has.
    pub(super) fn cross(&mut self, bridge: &[Record], durable: bool) {
        for record in bridge {
            self.now.watermarks.apply(&record.event);
            self.now.next = record.cursor.handled();
        }
        let led =
            bridge.last().is_some_and(|last| self.now.watermarks.same_blocks(&last.watermarks));
        self.check(led, || "the bridge leads elsewhere from what the consumer has".into());
        if durable {
            self.durable = self.now;
        }
    }

    /// The consumer takes these in; what it has already, it passes over.
    pub(super) fn take(&mut self, records: &[Record], durable: bool) {
        for record in records {
            let (sequence, next) = (record.sequence(), self.now.next);
            self.check(sequence <= next, || format!("{next} is missing before {sequence}"));
            if sequence < next {
                continue;
            }
            let led = invariants::leads(&self.now.watermarks, record);
            self.now.watermarks.apply(&record.event);
            self.now.next = sequence + 1;
            self.check(led.is_ok(), || format!("event {sequence}: {led:?}"));
        }
        if durable {
            self.durable = self.now;
        }
    }

    /// The consumer is asked to start again.
    pub(super) fn restarted(&mut self, oldest: &Record) {
        self.restarts += 1;
        let (sequence, expected) = (oldest.sequence(), self.expected);
        let gone = self.gone();
        self.check(gone, || {
            format!("{expected} is kept, and a restart at {sequence} is asked for")
        });
        let right = self.is_written(sequence, oldest);
        self.check(right, || format!("{sequence} is not what was written"));
    }

    /// It has, from `oldest`.
    pub(super) fn start_again(&mut self, oldest: &Record) {
        self.now = Taken { next: oldest.sequence() + 1, watermarks: oldest.watermarks };
        self.durable = self.now;
    }

    /// The log is asked to keep a position.
    pub(super) fn acknowledged(&mut self, handled: u64) {
        let Taken { next, .. } = self.durable;
        self.check(handled <= next, || format!("{handled} is acknowledged, {next} is durable"));
        let was = self.position;
        self.check(was < handled, || format!("{handled} is acknowledged after {was}"));
        let expected = self.expected;
        self.check(handled == expected, || format!("{handled} is acknowledged, not {expected}"));
    }

    /// Every event so far, in words.
    pub(super) fn words(&self) -> Vec<String> {
        words(&self.history.iter().map(|record| record.event).collect::<Vec<_>>())
    }
}

/// Does not come back to a dead process.
pub(super) async fn unless_dead<T>(world: &Shared, result: impl Future<Output = T>) -> T {
    let result = result.await;
    let dead = world.lock().dead;
    if dead {
        pending::<()>().await;
    }
    result
}

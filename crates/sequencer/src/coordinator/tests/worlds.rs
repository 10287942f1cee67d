//! Every order of events in a small world: whatever comes, at most one number is outstanding, its content stays,
//! and every caller gets one answer.

use super::*;
use std::collections::BTreeMap;

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Produce(bool),
    Due,
    Woken,
    Impatient,
    Stop,
    /// What is in flight ends, in one of so many ways.
    Ends(u8),
    /// A preblock of what was proposed nth last.
    Preblock(usize),
    /// One with other content for the next number.
    Foreign,
    Future,
}

/// A call that is in flight.
#[derive(Clone, Debug)]
enum Call {
    Select,
    Reserve(Proposal),
    Submit,
    Apply(Box<Preblock>),
    Settle,
    Release,
    Newest,
}

#[derive(Clone)]
struct World {
    plan: Plan<u32>,
    call: Option<Call>,
    /// Everything that was submitted.
    submitted: Vec<Proposal>,
    /// What is reserved in the pool.
    reserved: Option<Proposal>,
    answers: BTreeMap<u32, usize>,
    applied: Vec<Block>,
    caught_up: bool,
    stopped: bool,
    timer: bool,
}

impl World {
    fn new() -> Self {
        let config = Config::every(std::time::Duration::from_secs(1));
        let (plan, effects) = Plan::new(config, genesis(), None, None);
        let mut world = Self {
            plan,
            call: None,
            submitted: Vec::new(),
            reserved: None,
            answers: BTreeMap::new(),
            applied: Vec::new(),
            caught_up: false,
            stopped: false,
            timer: false,
        };
        world.take(effects);
        world
    }

    fn head(&self) -> Standing {
        self.applied.last().map_or_else(genesis, standing)
    }

    fn take(&mut self, effects: Vec<Effect<u32>>) {
        for effect in effects {
            match effect {
                Effect::Select => {
                    assert!(self.caught_up, "it builds before it has caught up");
                    self.call = Some(Call::Select);
                }
                Effect::Reserve(proposal) => {
                    if let Some(there) = &self.reserved {
                        assert!(there.identity.same(&proposal.identity), "two are outstanding");
                    }
                    assert_eq!(proposal.identity.parent, self.head().block.digest);
                    self.call = Some(Call::Reserve(proposal));
                }
                Effect::Submit(proposal) => {
                    assert_eq!(self.reserved.as_ref(), Some(&proposal), "durable first");
                    assert!(!self.stopped && self.caught_up);
                    self.submitted.push(proposal);
                    self.call = Some(Call::Submit);
                }
                Effect::Apply(preblock) => {
                    assert_eq!(preblock.identity.number, self.head().block.height.next());
                    assert_eq!(preblock.identity.parent, self.head().block.digest);
                    self.call = Some(Call::Apply(preblock));
                }
                Effect::Settle(_) => self.call = Some(Call::Settle),
                Effect::Release => self.call = Some(Call::Release),
                Effect::Newest => self.call = Some(Call::Newest),
                Effect::Answer(waiter, _) => *self.answers.entry(waiter).or_default() += 1,
                Effect::Wake(_) | Effect::Retry => self.timer = true,
                Effect::Rest => self.timer = false,
                Effect::End(fault) => panic!("{fault}"),
                Effect::Notice(Notice::CaughtUp) => self.caught_up = true,
                Effect::Notice(_)
                | Effect::Progress
                | Effect::Patience
                | Effect::Interval
                | Effect::Want { .. } => {}
            }
        }
    }

    /// Takes one step; `false` if it is none here.
    fn step(&mut self, step: Step) -> bool {
        let effects = match step {
            Step::Produce(force) => {
                let waiter = self.answers.len() as u32;
                self.answers.insert(waiter, 0);
                self.plan.produce(waiter, force)
            }
            Step::Due => self.plan.due(),
            Step::Woken if self.timer => {
                self.timer = false;
                self.plan.woken()
            }
            Step::Impatient => self.plan.impatient(),
            Step::Stop if !self.stopped => {
                self.stopped = true;
                self.plan.stop()
            }
            Step::Ends(way) => match self.ends(way) {
                Some(effects) => effects,
                None => return false,
            },
            Step::Preblock(nth) => {
                let Some(at) = self.submitted.len().checked_sub(nth + 1) else { return false };
                self.plan.preblock(Box::new(preblock(&self.submitted[at]))).1
            }
            Step::Foreign => {
                let other = content(vec![transaction(77)]);
                let foreign = preblock(&Proposal::new(self.head().block, other));
                let (judged, effects) = self.plan.preblock(Box::new(foreign));
                assert!(judged != Judged::Accepted || !self.caught_up, "foreign content");
                effects
            }
            Step::Future => {
                let next = BlockRef::new(self.head().block.height.next(), Digest([5; 32]));
                let future = preblock(&Proposal::new(next, content(Vec::new())));
                let (judged, effects) = self.plan.preblock(Box::new(future));
                assert!(judged != Judged::Accepted, "out of order");
                effects
            }
            _ => return false,
        };
        self.take(effects);
        self.check();
        true
    }

    fn ends(&mut self, way: u8) -> Option<Vec<Effect<u32>>> {
        let call = self.call.take()?;
        let effects = match (&call, way) {
            (Call::Select, 0) => self.plan.selected(Ok(vec![transaction(0)]), 2_000),
            (Call::Select, 1) => self.plan.selected(Ok(Vec::new()), 2_000),
            (Call::Select, 2) => self.plan.selected(Err(Locked), 2_000),
            (Call::Reserve(proposal), 0) => {
                self.reserved = Some(proposal.clone());
                self.plan.reserved(Ok(()))
            }
            (Call::Submit, 0) => self.plan.submitted(Ok(())),
            (Call::Submit, 1) => self.plan.submitted(Err(NotSubmitted::Unknown(fault()))),
            (Call::Submit, 2) => {
                let effects = self.plan.submitted(Err(NotSubmitted::Taken));
                self.caught_up = false;
                effects
            }
            (Call::Submit, 3) => self.plan.submitted(Err(NotSubmitted::Refused("no".into()))),
            (Call::Apply(preblock), 0) => {
                let block = Block::of(preblock);
                self.applied.push(block.clone());
                self.plan.applied(Ok(block))
            }
            (Call::Apply(_), 1) => self.plan.applied(Err(NotApplied::Failed(fault()))),
            (Call::Apply(_), 2) => self.plan.applied(Err(NotApplied::Rejected("no".into()))),
            (Call::Settle, 0) => {
                self.reserved = None;
                self.plan.settled(Ok(()))
            }
            (Call::Release, 0) => {
                self.reserved = None;
                self.plan.released(Ok(()))
            }
            (Call::Newest, 0) => self.plan.newest(Ok(None)),
            (Call::Newest, 1) => self.plan.newest(Ok(Some(self.head().block.height.next()))),
            (Call::Newest, 2) => self.plan.newest(Err(fault())),
            _ => {
                self.call = Some(call);
                return None;
            }
        };
        Some(effects)
    }

    fn check(&self) {
        assert!(self.answers.values().all(|answers| *answers <= 1), "two answers");
        assert_eq!(self.plan.head(), &self.head());
        let waits = self.answers.values().filter(|answers| **answers == 0).count();
        assert!(waits <= 1, "one caller waits at the most, {waits} do");
        // Somebody always has the next move: a call, a timer, or an idle plan that waits for a reason.
        let moves = self.call.is_some() || self.timer;
        let rests = matches!(self.plan.stage(), Stage::Idle | Stage::Stopping);
        assert!(moves || rests, "wedged in {:?}", self.plan.stage());
        if self.stopped && self.plan.is_quiet() {
            assert_eq!(waits, 0, "a caller is left behind by the stop");
        }
    }
}

const STEPS: [Step; 15] = [
    Step::Produce(true),
    Step::Produce(false),
    Step::Due,
    Step::Woken,
    Step::Impatient,
    Step::Stop,
    Step::Ends(0),
    Step::Ends(1),
    Step::Ends(2),
    Step::Ends(3),
    Step::Preblock(0),
    Step::Preblock(1),
    Step::Foreign,
    Step::Future,
    Step::Due,
];

fn explore(world: &World, depth: usize, count: &mut usize) {
    *count += 1;
    if depth == 0 {
        return;
    }
    for step in &STEPS[..14] {
        let mut next = world.clone();
        if next.step(*step) {
            explore(&next, depth - 1, count);
        }
    }
}

/// PC-10, PC-01, B1, B2, B3: whatever order requests, answers and preblocks come in.
#[test]
fn the_invariants_hold_after_every_order_of_events_in_a_small_world() {
    let mut count = 0;
    explore(&World::new(), 5, &mut count);
    // From where a proposal is out.
    let mut out = World::new();
    for step in [Step::Ends(0), Step::Produce(true), Step::Ends(0), Step::Ends(0)] {
        assert!(out.step(step), "{step:?}");
    }
    explore(&out, 5, &mut count);
    assert!(count > 100_000, "{count} worlds");
}

/// Long random ones, of everything that can happen.
#[test]
fn the_invariants_hold_in_long_random_orders_of_events() {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        for _ in 0..500 {
            let step = STEPS[rng.random_range(0..STEPS.len())];
            // A stop ends the world: it is drawn less often.
            if step != Step::Stop || rng.random_bool(0.01) {
                world.step(step);
            }
        }
        // It goes on: what is in flight ends well, and a block is made.
        let before = world.applied.len();
        for _ in 0..40 {
            world.step(Step::Due);
            world.step(Step::Ends(0));
            world.step(Step::Woken);
            world.step(Step::Preblock(0));
        }
        assert!(world.stopped || world.applied.len() > before, "seed {seed} is wedged");
        let waits = world.answers.values().filter(|answers| **answers == 0).count();
        assert!(waits <= 1);
    }
}

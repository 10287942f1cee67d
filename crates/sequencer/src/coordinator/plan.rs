//! What a coordinator does next: decisions over states, without a clock, a disk or a network.

use super::{
    build::{Build, build},
    config::Config,
    effect::{Effect, Notice, Stage},
    ingress::{Answer, Nothing, Refusal},
    judge::{Expected, Judged, judge},
};
use crate::{
    Block, Identity, Locked, NotApplied, NotSubmitted, Opened, Preblock, Proposal, Standing,
    Transaction,
};
use std::num::NonZeroU32;
use tidewatch_core::{Block as _, Fault, Height};

/// The state.
#[derive(Clone, Debug)]
enum State {
    /// The network is asked, or what it fixed is waited for.
    CatchingUp,
    Idle,
    Selecting,
    /// With a preblock of an earlier attempt that came meanwhile.
    Reserving(Proposal, Option<Box<Preblock>>),
    Submitting,
    Awaiting,
    Applying(Box<Preblock>),
    Settling(Box<Block>),
    Releasing,
}

/// Whoever waits, and whether an empty block would do.
#[derive(Clone, Debug)]
struct Request<W> {
    waiter: W,
    force: bool,
}

/// Decides. `W` is whoever waits for an answer.
#[derive(Clone, Debug)]
pub(super) struct Plan<W> {
    config: Config,
    head: Standing,
    last: Option<Identity>,
    state: State,
    /// What may be at the network: durable in the pool.
    outstanding: Option<Proposal>,
    /// What the network fixed while nobody looked is not known, or not applied: nothing new is proposed.
    behind: bool,
    /// Up to where the network was ahead when it was asked.
    until: Option<Height>,
    request: Option<Request<W>>,
    waiting: usize,
    due: bool,
    /// A failure: nothing is built but for a request, until the pause is over.
    cooling: bool,
    connected: bool,
    stopping: bool,
}

type Effects<W> = Vec<Effect<W>>;

impl<W> Plan<W> {
    /// A plan at `head`, all of whose blocks are settled. It asks the network what it has.
    pub(super) fn new(
        config: Config,
        head: Standing,
        last: Option<Identity>,
        outstanding: Option<Proposal>,
    ) -> (Self, Effects<W>) {
        let plan = Self {
            config,
            head,
            last,
            state: State::CatchingUp,
            outstanding,
            behind: true,
            until: None,
            request: None,
            waiting: 0,
            due: false,
            cooling: false,
            connected: false,
            stopping: false,
        };
        (plan, vec![Effect::Want { again: false }, Effect::Newest])
    }

    pub(super) const fn head(&self) -> &Standing {
        &self.head
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.connected
    }

    /// What it does, as others see it.
    pub(super) fn stage(&self) -> Stage {
        let again = |proposal: &Proposal| proposal.identity.attempt > NonZeroU32::MIN;
        match &self.state {
            _ if self.stopping => Stage::Stopping,
            State::CatchingUp | State::Awaiting if !self.connected => Stage::Disconnected,
            State::CatchingUp => Stage::CatchingUp,
            State::Idle => Stage::Idle,
            State::Selecting => Stage::Building,
            State::Reserving(proposal, _) if !again(proposal) => Stage::Building,
            State::Submitting if !self.outstanding.as_ref().is_some_and(again) => Stage::Submitting,
            State::Reserving(..) | State::Submitting => Stage::Reproposing,
            State::Awaiting => Stage::Awaiting,
            State::Applying(_) | State::Settling(_) => Stage::Applying,
            State::Releasing => Stage::Releasing,
        }
    }

    /// The attempt that is outstanding.
    pub(super) fn attempt(&self) -> Option<NonZeroU32> {
        self.outstanding.as_ref().map(|proposal| proposal.identity.attempt)
    }

    /// Whether nothing more has to be finished before the end.
    pub(super) const fn is_quiet(&self) -> bool {
        !matches!(
            self.state,
            State::Applying(_) | State::Settling(_) | State::Releasing | State::Reserving(..)
        )
    }

    /// Somebody asks for a block.
    pub(super) fn produce(&mut self, waiter: W, force: bool) -> Effects<W> {
        if self.stopping {
            return vec![Effect::Answer(waiter, Answer::Stopping)];
        }
        if !matches!(self.state, State::Idle) {
            let number = self.head.block.height.next();
            return vec![Effect::Answer(waiter, Answer::Busy(number))];
        }
        self.request = Some(Request { waiter, force });
        self.state = State::Selecting;
        vec![Effect::Patience, Effect::Select]
    }

    /// So many transactions wait.
    pub(super) fn pooled(&mut self, waiting: usize) -> Effects<W> {
        self.waiting = waiting;
        self.go_on()
    }

    /// The next block is due.
    pub(super) fn due(&mut self) -> Effects<W> {
        self.due = self.config.interval.is_some();
        self.go_on()
    }

    /// Builds if there is a reason to, and nothing else is under way.
    fn go_on(&mut self) -> Effects<W> {
        let timed = self.config.interval.is_some() && (self.waiting > 0 || self.due);
        if !matches!(self.state, State::Idle) || !timed || self.cooling || self.stopping {
            return Vec::new();
        }
        self.state = State::Selecting;
        vec![Effect::Select]
    }

    fn idle(&mut self) -> Effects<W> {
        self.state = State::Idle;
        self.go_on()
    }

    /// The same, after a pause.
    fn cool(&mut self) -> Effects<W> {
        (self.state, self.cooling) = (State::Idle, true);
        vec![Effect::Retry]
    }

    fn answer(&mut self, answer: Answer) -> Option<Effect<W>> {
        self.request.take().map(|request| Effect::Answer(request.waiter, answer))
    }

    /// What the pool gave out, at `now_ms`.
    pub(super) fn selected(
        &mut self,
        selected: Result<Vec<Transaction>, Locked>,
        now_ms: u64,
    ) -> Effects<W> {
        let mut effects = Vec::new();
        if self.stopping {
            self.state = State::Idle;
            return effects;
        }
        let Ok(transactions) = selected else {
            effects.extend(self.answer(Answer::NothingToDo(Nothing::PoolLocked)));
            effects.push(Effect::Notice(Notice::PoolLocked));
            effects.extend(self.cool());
            return effects;
        };
        // Decided here, and not when it was asked for: what was due then may not be any more.
        let forced = self.due || self.request.as_ref().is_some_and(|request| request.force);
        match build(&self.config.upgrades, &self.head, transactions, forced, now_ms) {
            Build::Propose(proposal) => {
                self.state = State::Reserving(proposal.clone(), None);
                effects.push(Effect::Reserve(proposal));
            }
            Build::Early => {
                effects.extend(self.answer(Answer::NothingToDo(Nothing::Early)));
                self.state = State::Idle;
            }
        }
        effects
    }

    /// The proposal is durable.
    pub(super) fn reserved(&mut self, reserved: Result<(), Fault>) -> Effects<W> {
        if let Err(fault) = reserved {
            return vec![Effect::End(fault)];
        }
        let State::Reserving(proposal, early) = std::mem::replace(&mut self.state, State::Idle)
        else {
            debug_assert!(false, "nothing is reserved");
            return Vec::new();
        };
        let first = proposal.identity.attempt == NonZeroU32::MIN;
        self.outstanding = Some(proposal.clone());
        if let Some(preblock) = early {
            return self.apply(preblock);
        }
        if self.stopping {
            // The network never saw it: it is given back. One that it may have seen is kept for the next start.
            if first {
                return self.release();
            }
            self.state = State::Awaiting;
            return Vec::new();
        }
        self.state = State::Submitting;
        vec![Effect::Submit(proposal)]
    }

    /// What the network said to the submission.
    pub(super) fn submitted(&mut self, submitted: Result<(), NotSubmitted>) -> Effects<W> {
        let first = self.attempt() == Some(NonZeroU32::MIN);
        let mut effects = Vec::new();
        match submitted {
            Ok(()) => effects.push(Effect::Notice(Notice::Submitted)),
            Err(NotSubmitted::Unknown(fault)) => {
                effects.push(Effect::Notice(Notice::MaybeSubmitted(fault)));
            }
            Err(NotSubmitted::Taken) => {
                effects.push(Effect::Notice(Notice::Taken));
                effects.extend(self.answer(Answer::Refused(Refusal::Taken)));
                // Ours stays what it was until a block of its number is applied: what is said without that block to
                // show for it may be wrong, and is believed at a bounded rate.
                (self.behind, self.cooling) = (true, true);
                self.state = State::CatchingUp;
                effects.push(Effect::Newest);
                return effects;
            }
            Err(NotSubmitted::Refused(why)) => {
                effects.push(Effect::Notice(Notice::NotTaken(why.clone())));
                if first {
                    effects.extend(self.answer(Answer::Refused(Refusal::Network(why))));
                    self.cooling = true;
                    effects.extend(self.release());
                    return effects;
                }
                // An attempt before this one may be there.
            }
        }
        self.state = State::Awaiting;
        effects.push(Effect::Wake(self.config.patience));
        effects
    }

    fn release(&mut self) -> Effects<W> {
        self.outstanding = None;
        self.state = State::Releasing;
        vec![Effect::Release]
    }

    /// What was reserved waits again.
    pub(super) fn released(&mut self, released: Result<(), Fault>) -> Effects<W> {
        if let Err(fault) = released {
            return vec![Effect::End(fault)];
        }
        if self.cooling { self.cool() } else { self.idle() }
    }

    /// The number of the network's newest preblock.
    pub(super) fn newest(&mut self, newest: Result<Option<Height>, Fault>) -> Effects<W> {
        match newest {
            Err(fault) => vec![Effect::Notice(Notice::Failed(fault)), Effect::Retry],
            Ok(Some(newest)) if newest > self.head.block.height => {
                self.until = Some(newest);
                self.state = State::CatchingUp;
                let wake = Effect::Wake(self.config.patience);
                let notice = Effect::Notice(Notice::CatchUp(newest));
                vec![notice, Effect::Want { again: true }, wake]
            }
            Ok(_) => self.caught_up(),
        }
    }

    fn caught_up(&mut self) -> Effects<W> {
        (self.behind, self.until) = (false, None);
        let mut effects = vec![Effect::Notice(Notice::CaughtUp), Effect::Rest];
        effects.extend(match self.outstanding.clone() {
            Some(_) if self.cooling => {
                self.state = State::Awaiting;
                vec![Effect::Retry]
            }
            // It may be there, or the network may have lost it: it is proposed as it was.
            Some(proposal) => self.repropose(&proposal),
            None if self.cooling => self.cool(),
            None => self.idle(),
        });
        effects
    }

    fn repropose(&mut self, proposal: &Proposal) -> Effects<W> {
        let again = proposal.clone().again();
        self.state = State::Reserving(again.clone(), None);
        vec![Effect::Rest, Effect::Reserve(again)]
    }

    /// The timer.
    pub(super) fn woken(&mut self) -> Effects<W> {
        match &self.state {
            State::Awaiting => match self.outstanding.clone() {
                Some(proposal) => {
                    let mut effects = vec![Effect::Notice(Notice::TimedOut)];
                    effects.push(Effect::Want { again: true });
                    effects.extend(self.repropose(&proposal));
                    effects
                }
                None => self.idle(),
            },
            State::CatchingUp => {
                self.state = State::CatchingUp;
                vec![Effect::Newest]
            }
            State::Applying(preblock) => vec![Effect::Apply(preblock.clone())],
            State::Idle => {
                self.cooling = false;
                self.go_on()
            }
            _ => Vec::new(),
        }
    }

    /// Whoever waits has waited long enough.
    pub(super) fn impatient(&mut self) -> Effects<W> {
        let answered = self.answer(Answer::Refused(Refusal::Late));
        let late = answered.is_some().then_some(Effect::Notice(Notice::AnsweredLate));
        late.into_iter().chain(answered).collect()
    }

    /// A preblock whose evidence was verified.
    pub(super) fn preblock(&mut self, preblock: Box<Preblock>) -> (Judged, Effects<W>) {
        let expected = match (&self.state, &self.outstanding) {
            (State::Applying(preblock), _) => Expected::Applying(&preblock.identity),
            (State::Reserving(_, Some(preblock)), _) => Expected::Applying(&preblock.identity),
            (State::CatchingUp, _) if self.until.is_some() => Expected::Any,
            (_, Some(proposal)) => Expected::Proposed(proposal),
            (_, None) => Expected::Nothing,
        };
        let mut judged = judge(&self.head, self.last.as_ref(), expected, &preblock);
        if judged == Judged::Accepted && self.stopping {
            judged = Judged::Stopping;
        }
        if judged != Judged::Accepted {
            let notice = Notice::Discarded(judged, preblock.identity);
            return (judged, vec![Effect::Notice(notice)]);
        }
        if let State::Reserving(_, early) = &mut self.state {
            // Two writes of the pool never overlap.
            *early = Some(preblock);
            return (judged, Vec::new());
        }
        (judged, self.apply(preblock))
    }

    fn apply(&mut self, preblock: Box<Preblock>) -> Effects<W> {
        self.state = State::Applying(preblock.clone());
        vec![Effect::Rest, Effect::Apply(preblock)]
    }

    /// What became of the preblock that is being applied.
    pub(super) fn applied(&mut self, applied: Result<Block, NotApplied>) -> Effects<W> {
        let State::Applying(preblock) = &mut self.state else {
            debug_assert!(false, "nothing is applied");
            return Vec::new();
        };
        match applied {
            Ok(block) => {
                let block = Box::new(block);
                let time_ms = block.content.time_ms;
                debug_assert_eq!(block.identity.number, self.head.block.height.next());
                self.head = Standing { block: block.reference(), time_ms };
                self.last = Some(block.identity);
                self.due = false;
                let applied = Effect::Notice(Notice::Applied(block.applied()));
                self.state = State::Settling(block.clone());
                let want = Effect::Want { again: false };
                vec![applied, Effect::Interval, want, Effect::Settle(block)]
            }
            Err(NotApplied::Rejected(why)) => {
                let dropped = |opened: &Opened| matches!(opened, Opened::Dropped(_));
                let notice = Effect::Notice(Notice::Rejected(why.clone()));
                if preblock.opened.iter().all(dropped) {
                    // The chain does not even take an empty block.
                    return vec![notice, Effect::Retry];
                }
                // The number keeps its order, and nothing in it counts.
                let refused = Box::new(preblock.clone().dropped(&why));
                vec![notice].into_iter().chain(self.apply(refused)).collect()
            }
            Err(NotApplied::Failed(fault)) if fault.severity().is_fatal() => {
                vec![Effect::End(fault)]
            }
            Err(NotApplied::Failed(fault)) => {
                vec![Effect::Notice(Notice::Failed(fault)), Effect::Retry]
            }
        }
    }

    /// The pool knows of the block that was applied.
    pub(super) fn settled(&mut self, settled: Result<(), Fault>) -> Effects<W> {
        if let Err(fault) = settled {
            return vec![Effect::End(fault)];
        }
        let State::Settling(block) = std::mem::replace(&mut self.state, State::Idle) else {
            debug_assert!(false, "nothing is settled");
            return Vec::new();
        };
        self.outstanding = None;
        self.cooling = false;
        let mut effects = vec![Effect::Progress];
        let (transactions, block) = (block.applied(), block.reference());
        effects.extend(self.answer(Answer::Produced { block, transactions }));
        match self.until {
            _ if self.stopping || !self.behind => effects.extend(self.idle()),
            Some(until) if until > block.height => {
                self.state = State::CatchingUp;
                effects.push(Effect::Wake(self.config.patience));
            }
            // Further ones may have come meanwhile.
            _ => {
                self.state = State::CatchingUp;
                effects.push(Effect::Newest);
            }
        }
        effects
    }

    /// The stream of preblocks is open, or is not.
    pub(super) fn connection(&mut self, connected: bool) -> Effects<W> {
        let changed = std::mem::replace(&mut self.connected, connected) != connected;
        changed.then_some(Effect::Notice(Notice::Connected(connected))).into_iter().collect()
    }

    /// Refuses what is new from now on; what is being applied is finished.
    pub(super) fn stop(&mut self) -> Effects<W> {
        self.stopping = true;
        let finishing = matches!(self.state, State::Applying(_) | State::Settling(_));
        let answered = if finishing { None } else { self.answer(Answer::Stopping) };
        answered.into_iter().collect()
    }

    /// Whoever still waits, because it is over.
    pub(super) fn end(&mut self) -> Option<W> {
        self.request.take().map(|request| request.waiter)
    }
}

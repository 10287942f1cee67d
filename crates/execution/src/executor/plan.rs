//! What is called next, and what an answer means: decisions alone, without a client and without a clock.

use crate::{ExecutionError, Forkchoice, Order, Payload, Standing, Target, Verdict, floor::Floor};
use std::{collections::VecDeque, num::NonZeroU32, time::Duration};
use tidewatch_core::{BlockRef, Fault, Height};

/// A call to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call<P> {
    /// Where it stands: the first one.
    Standing,
    /// The next block.
    Give(P),
    /// The newest target.
    Point(Target),
    /// The last target again, which nobody waits for.
    Beat(Forkchoice),
    /// The height that would survive a crash.
    Durable,
}

/// Blocks that are given one after another, then pointed at.
struct Batch<P, W> {
    payloads: VecDeque<P>,
    target: Target,
    waiter: W,
}

/// What follows from an answer.
#[derive(Debug)]
pub(super) struct Effect<P, W> {
    /// Who is answered.
    pub(super) answers: Vec<(W, Result<(), Fault>)>,
    /// The same call again is of no use before a pause.
    pub(super) pause: bool,
    /// The floor moved here.
    pub(super) floor: Option<BlockRef>,
    /// The client refused something for good: everything ends. With the payload, where it was one.
    pub(super) end: Option<(ExecutionError, Option<P>)>,
}

impl<P, W> Effect<P, W> {
    const fn none() -> Self {
        Self { answers: Vec::new(), pause: false, floor: None, end: None }
    }
}

/// What waits, and where the client stands. `W` is whoever waits for an answer.
pub(super) struct Plan<P, W> {
    about: String,
    retry: Duration,
    tries_max: NonZeroU32,
    standing: Option<Standing>,
    batches: VecDeque<Batch<P, W>>,
    wanted: Option<Target>,
    /// Who waits for a target of that order, or for a newer one that stands for it.
    waiting: Vec<(Order, W)>,
    /// Answers in a row that were no verdict on the first block that waits.
    given: u32,
    /// Those on the wanted target.
    tries: u32,
    /// The wanted target was tried too often: it waits for the heartbeat.
    tired: bool,
    beat: bool,
    durable: bool,
    floor: Floor,
}

impl<P: Payload, W> Plan<P, W> {
    pub(super) fn new(about: String, retry: Duration, tries_max: NonZeroU32) -> Self {
        Self {
            about,
            retry,
            tries_max,
            standing: None,
            batches: VecDeque::new(),
            wanted: None,
            waiting: Vec::new(),
            given: 0,
            tries: 0,
            tired: false,
            beat: false,
            durable: false,
            floor: Floor::default(),
        }
    }

    /// What is called next. Targets come before blocks: a block that waits is not in the way of a newer head. One
    /// that was tried in vain comes after them: the client may lack what waits.
    pub(super) fn next(&mut self) -> Option<Call<P>> {
        let Some(standing) = self.standing else { return Some(Call::Standing) };
        let in_vain = self.tries > 0 && self.front().is_some();
        if let Some(target) = self.wanted.filter(|_| !self.tired && !in_vain) {
            // It is what the heartbeat would repeat.
            self.beat = false;
            return Some(Call::Point(target));
        }
        if std::mem::take(&mut self.durable) {
            return Some(Call::Durable);
        }
        if let Some(payload) = self.batches.front().and_then(|batch| batch.payloads.front()) {
            return Some(Call::Give(payload.clone()));
        }
        let again = || Call::Beat(standing.forkchoice);
        std::mem::take(&mut self.beat).then(again)
    }

    /// It is time to repeat the last target.
    pub(super) const fn beat(&mut self) {
        (self.beat, self.tired, self.tries) = (true, false, 0);
    }

    /// Takes in blocks, which are never empty, and where to point at after them.
    pub(super) fn give(&mut self, payloads: Vec<P>, target: Target, waiter: W) -> Effect<P, W> {
        let batch = Batch { payloads: payloads.into(), target, waiter };
        self.batches.push_back(batch);
        self.finish_batches()
    }

    /// Takes in a target.
    pub(super) fn point(&mut self, target: Target, waiter: W) -> Effect<P, W> {
        let mut effect = Effect::none();
        match self.admit(target) {
            Admitted::Newest => self.want(target, waiter),
            Admitted::Waits => self.waiting.push((target.order, waiter)),
            Admitted::Stands => effect.answers.push((waiter, Ok(()))),
            Admitted::Older => {
                let error = ExecutionError::Older(target.forkchoice.head);
                effect.answers.push((waiter, Err(self.fault(error))));
            }
            Admitted::Below(finalized) => {
                let to = target.forkchoice.head;
                let error = ExecutionError::BelowFinalized { to, finalized };
                effect.answers.push((waiter, Err(self.fault(error))));
            }
        }
        effect
    }

    fn want(&mut self, target: Target, waiter: W) {
        let forkchoice = match self.standing {
            Some(standing) => merged(target.forkchoice, standing.forkchoice),
            None => target.forkchoice,
        };
        self.wanted = Some(Target { forkchoice, ..target });
        (self.tired, self.tries) = (false, 0);
        self.waiting.push((target.order, waiter));
    }

    /// Whether the target is to be gone to.
    fn admit(&self, target: Target) -> Admitted {
        let finalized = self.standing.and_then(|standing| standing.forkchoice.finalized);
        let head = target.forkchoice.head;
        let below = |finalized: &BlockRef| {
            head.height < finalized.height || head.height == finalized.height && head != *finalized
        };
        if let Some(finalized) = finalized.filter(below) {
            return Admitted::Below(finalized);
        }
        if let Some(wanted) = self.wanted {
            return match target.order.cmp(&wanted.order) {
                std::cmp::Ordering::Greater => Admitted::Newest,
                std::cmp::Ordering::Equal if wanted.forkchoice.head == head => Admitted::Waits,
                _ => Admitted::Older,
            };
        }
        let standing = self.standing.and_then(|it| Some((it.order?, it.forkchoice)));
        match standing {
            Some((order, _)) if target.order > order => Admitted::Newest,
            Some((order, at)) if target.order == order && at.head == head => Admitted::Stands,
            Some(_) => Admitted::Older,
            // The client's own head has no place among targets: any target is newer.
            None => Admitted::Newest,
        }
    }

    /// Where the client stands, at the start.
    pub(super) fn stands(&mut self, answer: Result<Standing, Fault>) -> Effect<P, W> {
        let mut effect = Effect::none();
        match answer {
            Err(fault) => {
                // Nobody is kept waiting for a client that is not there.
                let told = self.end().into_iter().map(|waiter| (waiter, Err(fault.clone())));
                effect.answers.extend(told);
                (self.wanted, effect.pause) = (None, true);
            }
            Ok(standing) => {
                self.standing = Some(standing);
                let waiting = std::mem::take(&mut self.waiting);
                if let Some(target) = self.wanted.take() {
                    // Those who waited for older ones wait for this one.
                    for (_, waiter) in waiting {
                        effect.answers.extend(self.point(target, waiter).answers);
                    }
                }
            }
        }
        effect
    }

    /// What the client said of the first block that waits.
    pub(super) fn gave(&mut self, answer: Result<Verdict, Fault>) -> Effect<P, W> {
        let Some(block) = self.front() else { return Effect::none() };
        match judge(block, answer) {
            Judged::Done => {
                self.given = 0;
                let given = self.batches.front_mut().and_then(|batch| batch.payloads.pop_front());
                debug_assert!(given.is_some(), "{block} was given, and nothing had to be");
                self.finish_batches()
            }
            Judged::NotYet(_) if self.given + 1 < self.tries_max.get() => {
                self.given += 1;
                Effect { pause: true, ..Effect::none() }
            }
            Judged::NotYet(said) => self.drop_batch(self.not_done(block, said)),
            Judged::Wrong(error) => self.drop_batch(self.fault(error)),
            Judged::Failed(fault) => self.drop_batch(fault),
            Judged::Invalid { valid, why } => {
                let payload = self.batches.front_mut().and_then(|batch| batch.payloads.pop_front());
                let error = ExecutionError::Invalid { block, valid, why, evidence: None };
                Effect { end: Some((error, payload)), ..Effect::none() }
            }
        }
    }

    /// What the client said of the wanted target.
    pub(super) fn pointed(&mut self, to: Target, answer: Result<Verdict, Fault>) -> Effect<P, W> {
        let superseded = self.wanted.is_none_or(|wanted| wanted.order != to.order);
        let mut effect = Effect::none();
        match judge(to.forkchoice.head, answer) {
            Judged::Done => {
                let order = Some(to.order);
                self.standing = Some(Standing { forkchoice: to.forkchoice, order });
                self.accepted(to.forkchoice);
                if !superseded {
                    (self.wanted, self.tries) = (None, 0);
                }
                let (done, waiting) = std::mem::take(&mut self.waiting)
                    .into_iter()
                    .partition::<Vec<_>, _>(|(order, _)| *order <= to.order);
                self.waiting = waiting;
                effect.answers.extend(done.into_iter().map(|(_, waiter)| (waiter, Ok(()))));
            }
            Judged::Invalid { why, .. } => {
                let error = ExecutionError::Rejected { forkchoice: to.forkchoice, why };
                effect.end = Some((error, None));
            }
            // The newer one is tried at once.
            _ if superseded => {}
            Judged::NotYet(said) => {
                effect.pause = true;
                if self.try_later() {
                    let fault = self.not_done(to.forkchoice.head, said);
                    effect.answers = self.refuse(&fault);
                }
            }
            Judged::Wrong(error) => {
                let fault = self.fault(error);
                effect.pause = true;
                effect.answers = self.refuse(&fault);
                self.try_later();
            }
            Judged::Failed(fault) => {
                effect.pause = true;
                effect.answers = self.refuse(&fault);
                self.try_later();
            }
        }
        effect
    }

    /// What the client said of the last target, when it was repeated.
    pub(super) fn beaten(
        &mut self,
        to: Forkchoice,
        answer: Result<Verdict, Fault>,
    ) -> Effect<P, W> {
        match judge(to.head, answer) {
            Judged::Done => self.accepted(to),
            Judged::Invalid { why, .. } => {
                let error = ExecutionError::Rejected { forkchoice: to, why };
                return Effect { end: Some((error, None)), ..Effect::none() };
            }
            // The next one comes.
            Judged::NotYet(_) | Judged::Wrong(_) | Judged::Failed(_) => {}
        }
        Effect::none()
    }

    /// What the client would have after a crash. A failure moves nothing.
    pub(super) fn survives(&mut self, answer: Result<Option<Height>, Fault>) -> Effect<P, W> {
        let floor = self.floor.durable(answer.ok().flatten());
        Effect { floor, ..Effect::none() }
    }

    /// Everybody who waits, because it is over.
    pub(super) fn end(&mut self) -> Vec<W> {
        let batches = self.batches.drain(..).map(|batch| batch.waiter);
        self.waiting.drain(..).map(|(_, waiter)| waiter).chain(batches).collect()
    }

    fn front(&self) -> Option<BlockRef> {
        Some(self.batches.front()?.payloads.front()?.reference())
    }

    fn fault(&self, error: ExecutionError) -> Fault {
        Fault::new(self.about.clone(), error)
    }

    fn not_done(&self, about: BlockRef, said: String) -> Fault {
        let limit = self.retry * self.tries_max.get();
        self.fault(ExecutionError::NotDone { about, said, limit })
    }

    fn accepted(&mut self, forkchoice: Forkchoice) {
        if let Some(finalized) = forkchoice.finalized {
            self.floor.offer(finalized);
        }
        self.durable = self.floor.waits();
    }

    /// The wanted target was tried once more. Whether that was often enough.
    const fn try_later(&mut self) -> bool {
        self.tries += 1;
        self.tired = self.tries >= self.tries_max.get();
        self.tired
    }

    fn refuse(&mut self, fault: &Fault) -> Vec<(W, Result<(), Fault>)> {
        self.waiting.drain(..).map(|(_, waiter)| (waiter, Err(fault.clone()))).collect()
    }

    /// The first batch is not acknowledged; those behind it may stand on something else.
    fn drop_batch(&mut self, fault: Fault) -> Effect<P, W> {
        self.given = 0;
        let dropped = self.batches.pop_front();
        let answers = dropped.map(|batch| (batch.waiter, Err(fault))).into_iter().collect();
        Effect { answers, pause: false, ..Effect::none() }
    }

    /// Points at the targets of batches whose blocks are all given.
    fn finish_batches(&mut self) -> Effect<P, W> {
        let mut effect = Effect::none();
        while self.batches.front().is_some_and(|batch| batch.payloads.is_empty()) {
            let Some(Batch { target, waiter, .. }) = self.batches.pop_front() else { break };
            match self.admit(target) {
                Admitted::Newest => self.want(target, waiter),
                // The client has the block. Where a newer target waits, it is done once that is.
                Admitted::Waits => {
                    // It may be reached now that its blocks are there.
                    (self.tired, self.tries) = (false, 0);
                    self.waiting.push((target.order, waiter));
                }
                Admitted::Older if self.wanted.is_some() && !self.tired => {
                    self.waiting.push((target.order, waiter));
                }
                // A newer target that could not be reached holds up nobody: it may need these very blocks.
                Admitted::Older | Admitted::Stands | Admitted::Below(_) => {
                    effect.answers.push((waiter, Ok(())));
                }
            }
        }
        effect
    }
}

/// What becomes of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admitted {
    /// It is the newest: the client is pointed at it next.
    Newest,
    /// It is the one that the client is to be pointed at already.
    Waits,
    /// It is where the client stands.
    Stands,
    /// There is a newer one.
    Older,
    /// It is below what is final, or beside that.
    Below(BlockRef),
}

/// What an answer about `asked` means.
enum Judged {
    Done,
    NotYet(String),
    /// The client speaks of something else.
    Wrong(ExecutionError),
    Failed(Fault),
    Invalid {
        valid: Option<tidewatch_core::Digest>,
        why: String,
    },
}

fn judge(asked: BlockRef, answer: Result<Verdict, Fault>) -> Judged {
    match answer {
        Err(fault) => Judged::Failed(fault),
        Ok(Verdict::Valid(said)) if said == asked.digest => Judged::Done,
        Ok(Verdict::Valid(said)) => Judged::Wrong(ExecutionError::OtherHead { asked, said }),
        Ok(Verdict::NotYet(aside)) => Judged::NotYet(aside.to_string()),
        Ok(Verdict::Invalid { valid, why }) => Judged::Invalid { valid, why },
    }
}

/// `to`, with what is final staying final, and nothing final that is not safe.
fn merged(to: Forkchoice, standing: Forkchoice) -> Forkchoice {
    let higher = |a: Option<BlockRef>, b: Option<BlockRef>| match (a, b) {
        (Some(a), Some(b)) if b.height > a.height => Some(b),
        (a, b) => a.or(b),
    };
    let finalized = higher(to.finalized, standing.finalized);
    let safe = match (to.safe, finalized) {
        (Some(safe), Some(finalized)) if safe.height < finalized.height => Some(finalized),
        (safe, finalized) => safe.or(finalized),
    };
    Forkchoice { safe, finalized, ..to }
}

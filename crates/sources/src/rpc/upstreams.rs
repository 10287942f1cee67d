//! Several endpoints of one chain, as one.
//!
//! # Overview
//!
//! One endpoint is asked until it fails: what belongs together, such as a snapshot and the blocks under
//! it, comes from one node as long as that is possible. Then the next one is asked. An endpoint that
//! failed, or was not waited for any longer, comes last for a number of requests that doubles with every
//! failure in a row; if all rest, they are asked all the same.
//!
//! An endpoint says which chain it is of before it is asked for anything else, and again after the
//! connection to it was lost. One that is of another chain than the first is refused.
//!
//! # Bounds
//!
//! | what | by |
//! |---|---|
//! | the time of a request | [`Config::request_timeout`], shared by the endpoints |
//! | requests in a second | the budget of each endpoint ([`Rate`](super::Rate)); what is beyond it waits |
//! | calls in a batch | [`Config::batch_max`], less where the endpoint refuses, more after a while |
//! | batches at once | [`Config::lanes`], one where the endpoint is asked too often |
//!
//! An endpoint that says when it wants to be asked again is left alone until then
//! ([`Config::busy_max`] at the most).
//!
//! # What the view finds
//!
//! Answers can be sound, and of no use: behind what is final here, or without the blocks that are needed.
//! Only the view finds that out. The endpoint that gave them then comes last for a number of requests that
//! doubles each time until the view could use its answers again.

use super::{
    Answer, Call, Config, NodeError, Rpc, Toll, Unanswered, Work,
    budget::Budget,
    limits::{Allowance, Next, Slot, sort},
    metrics::Metrics,
};
use crate::error::fault;
use commonware_runtime::{Clock, Metrics as Register};
use commonware_utils::sync::Mutex;
use futures::future::join_all;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{BlockRef, ChainInfo, Doorbell, Fault, FaultKind, Monitor, Severity, within};
use tracing::debug;

/// Requests that an endpoint comes last for after its first failure.
const REST: u64 = 8;

/// Requests that it comes last for at the most.
const REST_MAX: u64 = 512;

/// What an endpoint is asked first: which chain it is of.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    /// The calls of one request.
    pub(crate) calls: Vec<Call>,
    /// Reads their answers. The first argument names the endpoint.
    pub(crate) read: fn(&str, &[Answer]) -> Result<ChainInfo, Fault>,
    /// Whether two endpoints that name their chain like this are of one chain. An endpoint need not know
    /// everything that another one says.
    pub(crate) same: fn(&ChainInfo, &ChainInfo) -> bool,
}

/// What is remembered of one endpoint.
#[derive(Debug, Default)]
struct Standing {
    /// It said that it is of the chain that is followed.
    greeted: bool,
    failures: u32,
    /// The number of the request from which on it is in turn again.
    rests_until: u64,
    /// Passes in a row that found no use in its answers.
    unfit: u32,
    /// The number of the request from which on it is in turn again after such a pass.
    unfit_until: u64,
    /// Refusals for their number in a row, of requests that had no answer at all.
    busy: u32,
}

struct Member<R> {
    rpc: R,
    standing: Mutex<Standing>,
    allowed: Mutex<Allowance>,
    /// None where requests are not limited.
    budget: Option<Arc<Mutex<Budget>>>,
}

/// Endpoints of one chain. See the [module](self).
pub(crate) struct Upstreams<E: Clock, R> {
    context: Arc<E>,
    name: String,
    members: Vec<Member<R>>,
    current: AtomicUsize,
    asked: AtomicU64,
    handshake: Handshake,
    chain_info: Mutex<Option<ChainInfo>>,
    timeout: Duration,
    batch_max: usize,
    lanes: usize,
    answer_max: usize,
    busy_max: Duration,
    metrics: Metrics,
}

impl<E: Clock, R> fmt::Debug for Upstreams<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = self.metrics.work();
        f.debug_struct("Upstreams").field("name", &self.name).field("work", &work).finish()
    }
}

impl<E: Clock + Register, R: Rpc> Upstreams<E, R> {
    /// One of all `members`; nothing is asked yet. What is refused on the way to an answer is told to
    /// `monitor`.
    ///
    /// # Errors
    ///
    /// `Setting`: there is no endpoint.
    pub(crate) fn new(
        context: E,
        members: Vec<R>,
        handshake: Handshake,
        monitor: Arc<dyn Monitor>,
        config: &Config,
    ) -> Result<Self, Fault> {
        if members.is_empty() {
            return Err(fault("source", NodeError::NoEndpoint));
        }
        let names: Vec<_> = members.iter().map(|rpc| rpc.name().to_owned()).collect();
        let metrics = Metrics::new(&context, monitor);
        let batch = config.batch_max.get();
        // A silent endpoint must leave time for the others.
        let timeout = config.request_timeout / u32::try_from(members.len()).unwrap_or(u32::MAX);
        let now = context.current();
        let members = members.into_iter().map(|rpc| {
            let budget = config.budget(rpc.rate(), now).map(|it| Arc::new(Mutex::new(it)));
            let allowed = Mutex::new(Allowance::new(batch));
            Member { rpc, standing: Mutex::default(), allowed, budget }
        });
        Ok(Self {
            members: members.collect(),
            name: names.join(", "),
            handshake,
            timeout,
            batch_max: batch,
            lanes: config.lanes.get(),
            answer_max: config.answer_max,
            busy_max: config.busy_max,
            metrics,
            context: Arc::new(context),
            current: AtomicUsize::default(),
            asked: AtomicU64::default(),
            chain_info: Mutex::default(),
        })
    }
}

impl<E: Clock, R: Rpc> Upstreams<E, R> {
    /// All endpoints by name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn context(&self) -> &E {
        &self.context
    }

    pub(crate) fn work(&self) -> Work {
        self.metrics.work()
    }

    /// Calls that the endpoint which is asked now takes in one request.
    pub(crate) fn batch_max(&self) -> usize {
        self.members[self.first()].allowed.lock().batch
    }

    /// Calls that one question to the endpoint which is asked now may have: a few rounds of the requests that
    /// may be on their way at once.
    #[cfg_attr(
        not(feature = "ethereum"),
        allow(dead_code, reason = "others ask for a range in one call")
    )]
    pub(crate) fn question_max(&self) -> usize {
        self.members[self.first()].allowed.lock().question(self.answer_max)
    }

    /// Whether a pass could use what was answered last. An endpoint whose answers were of no use comes
    /// last for a while, where there is another one.
    pub(crate) fn judged(&self, verdict: Result<(), &Fault>) {
        let at = self.current.load(Ordering::Relaxed);
        let mut standing = self.members[at].standing.lock();
        let Err(fault) = verdict else {
            standing.unfit = 0;
            return;
        };
        // A chain that moves while it is asked for is torn now and then, wherever it is asked for.
        let raced = fault.kind == FaultKind::Torn && standing.unfit == 0;
        if raced {
            standing.unfit = 1;
        } else if self.members.len() > 1 {
            debug!(%fault, endpoint = self.members[at].rpc.name(), "of no use to the view");
            standing.unfit_until = self.until(standing.unfit);
            standing.unfit = standing.unfit.saturating_add(1);
        }
    }

    /// A snapshot has another tip than the one before.
    pub(crate) fn moved(&self) {
        self.members.iter().for_each(|member| member.rpc.moved());
    }

    /// A fault of whatever was answered last: counted, and the endpoint rests if it lied, or said that it
    /// cannot answer now.
    pub(crate) fn refuse(&self, fault: Fault) -> Fault {
        if fault.severity() == Severity::Invalid || fault.kind == FaultKind::Unavailable {
            self.move_on();
        }
        self.metrics.refused(fault)
    }

    /// The place of the endpoint that is asked first now.
    #[cfg_attr(
        not(feature = "ethereum"),
        allow(dead_code, reason = "others remember nothing of one")
    )]
    pub(crate) fn current(&self) -> usize {
        self.first()
    }

    /// The block that the chain begins with, once an endpoint said so.
    pub(crate) fn genesis(&self) -> Option<BlockRef> {
        self.chain_info.lock().as_ref().map(|chain_info| chain_info.genesis)
    }

    /// The endpoint that was asked last has `theirs` where the chain begins: connections are made again
    /// in silence, and what is there now may be something else. Asks which chain it is.
    ///
    /// Returns `WrongChain` if no endpoint is of the chain that was followed so far.
    pub(crate) async fn doubt(&self, theirs: Option<BlockRef>) -> Fault {
        match self.greet_again().await {
            Ok(()) => self.refuse(fault(&self.name, NodeError::OtherStart { theirs })),
            Err(fault) => fault,
        }
    }

    /// Asks the endpoint that was asked last which chain it is of.
    ///
    /// # Errors
    ///
    /// `WrongChain` if no endpoint is of the chain that was followed so far.
    pub(crate) async fn greet_again(&self) -> Result<(), Fault> {
        self.members[self.first()].standing.lock().greeted = false;
        self.ask(&[]).await.map(drop)
    }

    /// A fault of whatever was answered last that costs nobody the rest of the answer: counted, and
    /// reported.
    #[cfg_attr(
        not(feature = "ethereum"),
        allow(dead_code, reason = "there alone a fault costs a part of an answer")
    )]
    pub(crate) fn absorb(&self, fault: Fault) {
        let fault = self.refuse(fault);
        self.metrics.absorbed(&fault);
    }

    /// Lets the endpoint rest that was asked last, where there is another one.
    pub(crate) fn move_on(&self) {
        self.rest(self.first());
    }

    /// Which chain this is, asked again.
    ///
    /// # Errors
    ///
    /// As of [`ask`](Self::ask), but that endpoints which all are of another chain than before are an
    /// answer: what that means is for whoever asked.
    pub(crate) async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        for member in &self.members {
            member.standing.lock().greeted = false;
        }
        let greeted = self.ask(&[]).await;
        let known = self.chain_info.lock().clone();
        match (greeted, known) {
            (Ok(_), Some(chain_info)) => Ok(chain_info),
            (Err(fault), Some(_)) if fault.kind == FaultKind::WrongChain => {
                self.says(self.first()).await
            }
            (Err(fault), _) => Err(fault),
            (Ok(_), None) => Err(fault(&self.name, NodeError::NoChainInfo)),
        }
    }

    /// Asks `calls` of one endpoint, in as few requests as it allows. One answer each, in their order.
    ///
    /// # Errors
    ///
    /// The fault of one of the endpoints; all were asked. `WrongChain` only if all are of another chain.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the endpoint that was asked rests, for it was not waited for.
    pub(crate) async fn ask(&self, calls: &[Call]) -> Result<Vec<Answer>, Fault> {
        let mut failed: Option<Fault> = None;
        for at in self.in_turn() {
            if failed.is_some() && self.left_alone(at).is_some() {
                continue;
            }
            match self.ask_member(at, calls).await {
                Ok(answers) => {
                    self.current.store(at, Ordering::Relaxed);
                    failed.iter().for_each(|fault| self.metrics.absorbed(fault));
                    return Ok(answers);
                }
                Err(fault) => {
                    debug!(%fault, "asking the next endpoint");
                    let worse = failed.as_ref().is_none_or(|f| f.kind == FaultKind::WrongChain);
                    if let Some(before) = failed.take_if(|_| worse) {
                        self.metrics.absorbed(&before);
                    }
                    match &failed {
                        None => failed = Some(fault),
                        Some(_) => self.metrics.absorbed(&fault),
                    }
                }
            }
        }
        Err(failed.unwrap_or_else(|| fault(&self.name, NodeError::NoEndpoint)))
    }

    async fn ask_member(&self, at: usize, calls: &[Call]) -> Result<Vec<Answer>, Fault> {
        if let Some(error) = self.left_alone(at) {
            return Err(self.metrics.refused(fault(self.members[at].rpc.name(), error)));
        }
        if !self.members[at].standing.lock().greeted {
            self.greet(at).await?;
        }
        self.send(at, calls).await
    }

    /// Why the endpoint must not be asked yet, if it asked for that.
    fn left_alone(&self, at: usize) -> Option<NodeError> {
        let left = self.members[at].allowed.lock().left_alone(self.context.current());
        let (left, said) = left?;
        Some(NodeError::LeftAlone { left: Duration::from_secs(left.as_secs() + 1), said })
    }

    /// Asks which chain the endpoint is of. One that is of another chain is asked twice: a proxy may
    /// have sent us to a wrong node once.
    async fn greet(&self, at: usize) -> Result<(), Fault> {
        let theirs = self.says(at).await?;
        let ours = self.chain_info.lock().get_or_insert_with(|| theirs.clone()).clone();
        let same = self.handshake.same;
        let theirs = if same(&ours, &theirs) { theirs } else { self.says(at).await? };
        let member = &self.members[at];
        if same(&ours, &theirs) {
            member.standing.lock().greeted = true;
            return Ok(());
        }
        let error = NodeError::OtherChain { ours, theirs };
        Err(self.failed(at, fault(member.rpc.name(), error)))
    }

    /// Which chain the endpoint says that it is of.
    async fn says(&self, at: usize) -> Result<ChainInfo, Fault> {
        let answers = self.send(at, &self.handshake.calls).await?;
        let theirs = (self.handshake.read)(self.members[at].rpc.name(), &answers);
        theirs.map_err(|fault| self.failed(at, fault))
    }

    /// Sends `calls` to one endpoint, in batches that it takes, several at once where it is not asked too
    /// often. What is answered is kept while the rest is asked for again.
    async fn send(&self, at: usize, calls: &[Call]) -> Result<Vec<Answer>, Fault> {
        let member = &self.members[at];
        let (batch_before, pause_before) = {
            let allowed = member.allowed.lock();
            (allowed.batch, allowed.pause)
        };
        let mut slots: Vec<_> = calls.iter().map(|_| Slot::Open).collect();
        let (mut waited, mut kept) = (Duration::ZERO, 0_usize);
        loop {
            let open: Vec<_> =
                (0..calls.len()).filter(|call| !slots[*call].is_answered()).collect();
            if open.is_empty() {
                break;
            }
            let (batch, lanes, pause) = {
                let allowed = member.allowed.lock();
                (allowed.batch, allowed.lanes, allowed.pause)
            };
            if !pause.is_zero() {
                waited += pause;
                self.context.sleep(pause).await;
            }
            let batches: Vec<_> = open.chunks(batch).take(lanes).collect();
            let requests = batches.iter().map(|batch| {
                let calls = batch.iter().map(|call| calls[*call].clone());
                // What is on its way at once shares the longest answer.
                let share = match batches.len() {
                    1 => usize::MAX,
                    lanes => self.answer_max / lanes / batch.len(),
                };
                let shared = |call: Call| Call { answer_max: call.answer_max.min(share), ..call };
                let calls: Vec<_> = calls.map(shared).collect();
                async move { self.request(at, &calls).await }
            });
            let (mut good, mut slowed) = (0, false);
            for (batch, answered) in batches.iter().zip(join_all(requests).await) {
                let (answers, next) = sort(member.rpc.name(), batch.len(), answered);
                let answered = answers.iter().filter(|slot| slot.is_answered()).count();
                let bytes = answers.iter().map(Slot::bytes).sum();
                member.allowed.lock().weighed(answered, bytes);
                batch.iter().zip(answers).for_each(|(call, answer)| slots[*call] = answer);
                (good, kept) = (good + answered, kept + bytes);
                if kept > self.answer_max {
                    let error = NodeError::TooLarge { max: self.answer_max };
                    return Err(self.failed(at, fault(member.rpc.name(), error)));
                }
                // Requests that were on their way together are refused together: that is one refusal.
                let slower = matches!(next, Next::Slower(..));
                if slower && slowed {
                    continue;
                }
                slowed |= slower;
                let others = open.len() < calls.len() || good > 0;
                self.learn(at, next, (answered, batch.len()), (waited, others)).inspect_err(
                    |_| {
                        if batch.len() == 1 {
                            // Smaller batches were of no use either.
                            member.allowed.lock().batch = batch_before;
                        }
                    },
                )?;
            }
            if good == 0 && slowed && open.len() < calls.len() {
                // Others were answered, and these are refused whenever they are asked for: it is not for
                // their number. What was said of each is its answer.
                let mut allowed = member.allowed.lock();
                (allowed.batch, allowed.pause) = (batch_before, pause_before);
                break;
            }
        }
        let mut standing = member.standing.lock();
        (standing.failures, standing.rests_until, standing.busy) = (0, 0, 0);
        drop(standing);
        let answers = slots.into_iter().filter_map(|slot| match slot {
            Slot::Open => None,
            Slot::Refused(error) => Some(Err(error)),
            Slot::Answered(answer) => Some(answer),
        });
        let answers: Vec<_> = answers.collect();
        if answers.len() < calls.len() {
            let error = NodeError::AnswerCount { got: answers.len(), want: calls.len() };
            return Err(self.failed(at, fault(member.rpc.name(), error)));
        }
        Ok(answers)
    }

    /// Takes in what a request says about how much, and how often, the endpoint may be asked. Fails if the
    /// calls that are left are not to be asked of it now.
    fn learn(
        &self,
        at: usize,
        next: Next,
        (good, calls): (usize, usize),
        (waited, others): (Duration, bool),
    ) -> Result<(), Fault> {
        let member = &self.members[at];
        match next {
            Next::Done => {
                member.allowed.lock().took(calls, (self.batch_max, self.lanes));
                Ok(())
            }
            Next::Smaller(fault) => {
                member.allowed.lock().smaller(good, calls);
                debug!(%fault, good, calls, "a smaller batch");
                Ok(())
            }
            Next::Slower(fault, after) => {
                let mut allowed = member.allowed.lock();
                if calls > 1 {
                    allowed.smaller(good, calls);
                }
                allowed.slower();
                debug!(%fault, good, calls, pause = ?allowed.pause, "more slowly");
                let patient = after.is_none_or(|after| after <= allowed.pause);
                let alone = self.members.len() == 1;
                if alone && patient && (others || waited + allowed.pause <= self.timeout) {
                    return Ok(());
                }
                let busy = {
                    let mut standing = member.standing.lock();
                    standing.busy = standing.busy.saturating_add(1);
                    standing.busy
                };
                let usual =
                    Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(busy.min(6)));
                let length = after.unwrap_or(usual).min(self.busy_max);
                allowed.leave_alone(self.context.current(), length, &fault.detail);
                drop(allowed);
                self.rest(at);
                Err(self.metrics.refused(fault))
            }
            Next::Fail(fault) => {
                if fault.kind == FaultKind::Timeout && calls > 1 {
                    member.allowed.lock().smaller(0, calls);
                }
                Err(self.failed(at, fault))
            }
        }
    }

    /// One request, within budget and deadline.
    async fn request(&self, at: usize, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let rpc = &self.members[at].rpc;
        if let Some(budget) = &self.members[at].budget {
            afford(&*self.context, budget).await;
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.metrics.requested(calls.len());
        let unheard = Unheard { upstreams: self, at: Some(at) };
        let answers = within(&*self.context, self.timeout, rpc.send(calls)).await;
        let answers = answers.unwrap_or_else(|| {
            let error = NodeError::NoAnswer { limit: self.timeout };
            Err(Unanswered::TooMany(fault(rpc.name(), error)))
        });
        unheard.heard();
        answers
    }

    /// Counts a fault of an endpoint, which rests.
    fn failed(&self, at: usize, fault: Fault) -> Fault {
        if fault.severity() == Severity::Transient {
            // Whatever is there when it comes back may be something else.
            self.members[at].standing.lock().greeted = false;
        }
        self.rest(at);
        self.metrics.refused(fault)
    }

    fn rest(&self, at: usize) {
        let mut standing = self.members[at].standing.lock();
        standing.rests_until = self.until(standing.failures);
        standing.failures = standing.failures.saturating_add(1);
    }

    /// The number of the request at which a rest ends, after this many before it.
    fn until(&self, before: u32) -> u64 {
        let rest = REST.saturating_mul(2_u64.saturating_pow(before)).min(REST_MAX);
        self.asked.load(Ordering::Relaxed).saturating_add(rest)
    }

    /// The endpoint that is asked first now.
    fn first(&self) -> usize {
        self.in_turn().first().copied().unwrap_or_default()
    }

    /// From the one that answered last, and last those that rest: whichever rests longest comes last. An
    /// endpoint that is to be left alone comes after all others.
    fn in_turn(&self) -> Vec<usize> {
        let asked = self.asked.load(Ordering::Relaxed);
        let current = self.current.load(Ordering::Relaxed);
        let mut turn: Vec<_> = (current..self.members.len()).chain(0..current).collect();
        turn.sort_by_cached_key(|at| {
            let until = {
                let standing = self.members[*at].standing.lock();
                standing.rests_until.max(standing.unfit_until)
            };
            let rests = if until > asked { until } else { 0 };
            (self.left_alone(*at).is_some(), rests)
        });
        turn
    }

    /// A doorbell that rings when any endpoint pushes that its chain moved. What it asks for counts as
    /// requests.
    pub(crate) fn doorbell(&self) -> Doorbell {
        Doorbell::any(self.members.iter().map(|member| member.rpc.doorbell(self.toll(member))))
    }

    fn toll(&self, member: &Member<R>) -> Toll {
        let (context, metrics) = (self.context.clone(), self.metrics.clone());
        let budget = member.budget.clone();
        Arc::new(move || {
            let (context, metrics, budget) = (context.clone(), metrics.clone(), budget.clone());
            Box::pin(async move {
                if let Some(budget) = &budget {
                    afford(&*context, budget).await;
                }
                metrics.requested(1);
            })
        })
    }
}

/// Waits until the budget has one more request.
async fn afford(context: &impl Clock, budget: &Mutex<Budget>) {
    loop {
        let taken = budget.lock().take(context.current());
        let Err(wait) = taken else { break };
        context.sleep(wait).await;
    }
}

/// A request on its way. Dropped, nobody waited for it any longer.
struct Unheard<'a, E: Clock, R: Rpc> {
    upstreams: &'a Upstreams<E, R>,
    at: Option<usize>,
}

impl<E: Clock, R: Rpc> Unheard<'_, E, R> {
    fn heard(mut self) {
        self.at = None;
    }
}

impl<E: Clock, R: Rpc> Drop for Unheard<'_, E, R> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            self.upstreams.rest(at);
        }
    }
}

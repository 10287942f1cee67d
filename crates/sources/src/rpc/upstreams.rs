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
//! | requests in a second | [`Config::requests_per_second`]; what is beyond them waits |
//! | calls in a batch | [`Config::batch_max`], halved when the endpoint refuses, doubled after a while |

use super::{
    Answer, Call, Config, NodeError, Rpc, Unanswered, Work, budget::Budget, metrics::Metrics,
};
use crate::error::fault;
use commonware_runtime::{Clock, Metrics as Register};
use commonware_utils::sync::Mutex;
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

/// Full batches in a row after which a larger one is tried.
const STREAK: usize = 64;

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
    /// The most calls in a batch that it is known, or hoped, to take.
    batch: usize,
    /// Full batches that it took in a row.
    streak: usize,
}

struct Member<R> {
    rpc: R,
    standing: Mutex<Standing>,
}

/// Endpoints of one chain. See the [module](self).
pub(crate) struct Upstreams<E: Clock, R> {
    context: E,
    name: String,
    members: Vec<Member<R>>,
    current: AtomicUsize,
    asked: AtomicU64,
    handshake: Handshake,
    chain_info: Mutex<Option<ChainInfo>>,
    budget: Mutex<Budget>,
    timeout: Duration,
    batch_max: usize,
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
        let (rate, burst) = (config.requests_per_second.get(), config.requests_burst.get());
        let budget = Mutex::new(Budget::new(rate, burst, context.current()));
        let batch = config.batch_max.get();
        // A silent endpoint must leave time for the others.
        let timeout = config.request_timeout / u32::try_from(members.len()).unwrap_or(u32::MAX);
        let members = members.into_iter().map(|rpc| {
            let standing = Mutex::new(Standing { batch, ..Standing::default() });
            Member { rpc, standing }
        });
        Ok(Self {
            members: members.collect(),
            name: names.join(", "),
            budget,
            handshake,
            timeout,
            batch_max: batch,
            metrics,
            context,
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

    pub(crate) const fn context(&self) -> &E {
        &self.context
    }

    pub(crate) fn work(&self) -> Work {
        self.metrics.work()
    }

    /// Calls that the endpoint which is asked now takes in one request.
    pub(crate) fn batch_max(&self) -> usize {
        self.members[self.first()].standing.lock().batch
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
        if !self.members[at].standing.lock().greeted {
            self.greet(at).await?;
        }
        self.send(at, calls).await
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

    /// Sends `calls` to one endpoint, in batches that it takes.
    async fn send(&self, at: usize, calls: &[Call]) -> Result<Vec<Answer>, Fault> {
        let member = &self.members[at];
        let mut answers = Vec::with_capacity(calls.len());
        while answers.len() < calls.len() {
            let rest = &calls[answers.len()..];
            let batch = &rest[..rest.len().min(member.standing.lock().batch)];
            match self.request(at, batch).await {
                Ok(got) if got.len() == batch.len() => {
                    member.standing.lock().took(batch.len(), self.batch_max);
                    answers.extend(got);
                }
                Ok(got) => {
                    let error = NodeError::AnswerCount { got: got.len(), want: batch.len() };
                    return Err(self.failed(at, fault(member.rpc.name(), error)));
                }
                Err(Unanswered::TooMany(fault)) if batch.len() > 1 => {
                    let batch = member.standing.lock().refused(batch.len());
                    debug!(%fault, batch, "a smaller batch");
                    if fault.kind == FaultKind::Timeout {
                        return Err(self.failed(at, fault));
                    }
                }
                Err(unanswered) => return Err(self.failed(at, unanswered.into_fault())),
            }
        }
        let mut standing = member.standing.lock();
        (standing.failures, standing.rests_until) = (0, 0);
        drop(standing);
        Ok(answers)
    }

    /// One request, within budget and deadline.
    async fn request(&self, at: usize, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        loop {
            let taken = self.budget.lock().take(self.context.current());
            let Err(wait) = taken else { break };
            self.context.sleep(wait).await;
        }
        let rpc = &self.members[at].rpc;
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.metrics.requested(calls.len());
        let unheard = Unheard { upstreams: self, at: Some(at) };
        let answers = within(&self.context, self.timeout, rpc.send(calls)).await;
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
        let asked = self.asked.load(Ordering::Relaxed);
        let mut standing = self.members[at].standing.lock();
        let rest = REST.saturating_mul(2_u64.saturating_pow(standing.failures)).min(REST_MAX);
        standing.failures = standing.failures.saturating_add(1);
        standing.rests_until = asked.saturating_add(rest);
    }

    /// The endpoint that is asked first now.
    fn first(&self) -> usize {
        self.in_turn().first().copied().unwrap_or_default()
    }

    /// From the one that answered last, and last those that rest: whichever rests longest comes last.
    fn in_turn(&self) -> Vec<usize> {
        let asked = self.asked.load(Ordering::Relaxed);
        let current = self.current.load(Ordering::Relaxed);
        let mut turn: Vec<_> = (current..self.members.len()).chain(0..current).collect();
        turn.sort_by_key(|at| {
            let until = self.members[*at].standing.lock().rests_until;
            if until > asked { until } else { 0 }
        });
        turn
    }

    /// A doorbell that rings when any endpoint pushes that its chain moved.
    pub(crate) fn doorbell(&self) -> Doorbell {
        Doorbell::any(self.members.iter().map(|member| member.rpc.doorbell()))
    }
}

impl Standing {
    fn took(&mut self, calls: usize, max: usize) {
        if calls < self.batch || self.batch >= max {
            return;
        }
        self.streak += 1;
        if self.streak >= STREAK {
            (self.batch, self.streak) = ((self.batch * 2).min(max), 0);
        }
    }

    fn refused(&mut self, calls: usize) -> usize {
        (self.batch, self.streak) = ((calls / 2).max(1), 0);
        self.batch
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

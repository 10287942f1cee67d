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

mod request;
mod turns;

use super::{Answer, Call, Config, NodeError, Rpc, Work, limits::Allowance, metrics::Metrics};
use crate::{error::fault, rate::Meter};
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
use tidewatch_core::{BlockRef, ChainInfo, Doorbell, Fault, FaultKind, Monitor};
use tracing::debug;
use turns::Standing;

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

/// Sees answers before the question is answered.
pub(crate) type Early<'a> = &'a (dyn Fn(&[usize], &[Answer]) + Send + Sync);

struct Member<E, R> {
    rpc: R,
    standing: Mutex<Standing>,
    allowed: Mutex<Allowance>,
    meter: Arc<Meter<E>>,
}

/// Endpoints of one chain. See the [module](self).
pub(crate) struct Upstreams<E: Clock, R> {
    context: Arc<E>,
    name: String,
    members: Vec<Member<E, R>>,
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
        let context = Arc::new(context);
        let members = members.into_iter().map(|rpc| {
            let meter = Arc::new(Meter::new(context.clone(), config.limit(rpc.rate())));
            let allowed = Mutex::new(Allowance::new(batch));
            Member { rpc, standing: Mutex::default(), allowed, meter }
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
            context,
            current: AtomicUsize::default(),
            asked: AtomicU64::default(),
            chain_info: Mutex::default(),
        })
    }
}

impl<E: Clock, R: Rpc> Upstreams<E, R> {
    /// The same, of a chain that is known beforehand: an endpoint of another one is refused from the first on.
    #[cfg_attr(not(feature = "tempo"), allow(dead_code, reason = "others take the first's word"))]
    pub(crate) fn of(self, chain_info: ChainInfo) -> Self {
        *self.chain_info.lock() = Some(chain_info);
        self
    }

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
    #[cfg_attr(
        not(any(feature = "aztec", feature = "ethereum")),
        allow(dead_code, reason = "others have no batches")
    )]
    pub(crate) fn batch_max(&self) -> usize {
        self.members[self.first()].allowed.lock().batch
    }

    /// Calls that one question to the endpoint which is asked now may have: a few rounds of the requests that
    /// may be on their way at once.
    #[cfg_attr(
        not(any(feature = "ethereum", feature = "tempo")),
        allow(dead_code, reason = "others ask for a range in one call")
    )]
    pub(crate) fn question_max(&self) -> usize {
        self.members[self.first()].allowed.lock().question(self.answer_max)
    }

    /// A snapshot has another tip than the one before.
    pub(crate) fn moved(&self) {
        self.members.iter().for_each(|member| member.rpc.moved());
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
        self.ask_showing(calls, &|_, _| ()).await
    }

    /// The same, where `early` sees what a request brought before the others are answered: places in `calls`,
    /// and an answer for each. What counts is what is returned: an endpoint that fails later is not believed.
    ///
    /// # Errors
    ///
    /// As of [`ask`](Self::ask).
    pub(crate) async fn ask_showing(
        &self,
        calls: &[Call],
        early: Early<'_>,
    ) -> Result<Vec<Answer>, Fault> {
        let mut failed: Option<Fault> = None;
        for at in self.in_turn() {
            if failed.is_some() && self.left_alone(at).is_some() {
                continue;
            }
            match self.ask_member(at, calls, early).await {
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

    async fn ask_member(
        &self,
        at: usize,
        calls: &[Call],
        early: Early<'_>,
    ) -> Result<Vec<Answer>, Fault> {
        if let Some(error) = self.left_alone(at) {
            return Err(self.metrics.refused(fault(self.members[at].rpc.name(), error)));
        }
        if !self.members[at].standing.lock().greeted {
            self.greet(at).await?;
        }
        self.send(at, calls, early).await
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
        let answers = self.send(at, &self.handshake.calls, &|_, _| ()).await?;
        let theirs = (self.handshake.read)(self.members[at].rpc.name(), &answers);
        theirs.map_err(|fault| self.failed(at, fault))
    }

    /// The highest number that any endpoint pushed.
    #[cfg_attr(
        not(feature = "etherlink"),
        allow(dead_code, reason = "what others push is not looked at")
    )]
    pub(crate) fn pushed(&self) -> Option<u64> {
        self.members.iter().filter_map(|member| member.rpc.pushed()).max()
    }

    /// A doorbell that rings when any endpoint pushes that its chain moved. What it asks for counts as
    /// requests.
    pub(crate) fn doorbell(&self) -> Doorbell {
        Doorbell::any(self.members.iter().map(|member| member.rpc.doorbell(self.toll(member))))
    }
}

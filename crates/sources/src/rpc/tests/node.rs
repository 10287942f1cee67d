//! A node that lives in the test, of whatever chain.

use super::script::said;
use crate::rpc::{Answer, Call, Rpc, Toll, Unanswered};
use commonware_runtime::{Clock as _, deterministic::Context, reschedule};
use commonware_utils::sync::Mutex;
use serde_json::{Value, value::to_raw_value};
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};
use tidewatch_conformance::Stage;
use tidewatch_core::{Bell, Doorbell, Fault, FaultKind};
use tidewatch_testkit::node;

/// What a request is answered, from the calls in it and what would be true.
type Tamper = Box<dyn FnMut(&[Call], Vec<Answer>) -> Result<Vec<Answer>, Unanswered> + Send>;

/// A chain, and what its nodes answer.
pub(crate) trait Backend: Send + 'static {
    /// Whether a node rings once when it is listened to, as a subscription that was taken.
    const GREETS: bool = false;

    /// What a node answers.
    fn answer(&mut self, method: &str, params: &[Value]) -> node::Answer;

    /// Whether what these calls ask for is too large an answer.
    fn is_oversized(&self, _calls: &[Call]) -> bool {
        false
    }

    /// Makes `blocks` more blocks.
    fn extend(&mut self, blocks: u64);

    /// Takes `depth` blocks away and puts `blocks` others in their place. `false`: this chain has no reorgs.
    fn reorg(&mut self, _depth: u64, _blocks: u64) -> bool {
        false
    }

    /// Makes `blocks` more blocks final. `false`: all of this chain are.
    fn finalize(&mut self, _blocks: u64) -> bool {
        false
    }
}

/// The chain behind a node, and how the node behaves.
pub(crate) struct State<W> {
    world: W,
    pub(crate) tamper: Option<Tamper>,
    pub(crate) latency: Duration,
    /// Calls that it takes in one batch.
    pub(crate) batch_max: usize,
    /// The highest number that it pushed.
    pub(crate) pushed: Option<u64>,
    /// Whether what is done to its chain rings.
    pub(crate) rings: bool,
    /// The calls of each request.
    pub(crate) requests: Vec<Vec<Call>>,
}

impl<W> Deref for State<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.world
    }
}

impl<W> DerefMut for State<W> {
    fn deref_mut(&mut self) -> &mut W {
        &mut self.world
    }
}

/// A scripted node. Clones are handles of one.
pub(crate) struct Node<W> {
    /// Where requests take time.
    context: Option<Arc<Context>>,
    name: String,
    pub(crate) world: Arc<Mutex<State<W>>>,
    bell: Arc<Bell>,
}

impl<W> Clone for Node<W> {
    fn clone(&self) -> Self {
        Self {
            context: self.context.clone(),
            name: self.name.clone(),
            world: self.world.clone(),
            bell: self.bell.clone(),
        }
    }
}

impl<W> fmt::Debug for Node<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<W: Backend> Node<W> {
    /// A node of this chain, whose requests take a millisecond.
    pub(crate) fn of(context: Context, name: &str, world: W) -> Self {
        Self { context: Some(Arc::new(context)), ..Self::instant(name, world) }
    }

    /// A node of this chain, whose requests take no time.
    pub(crate) fn instant(name: &str, world: W) -> Self {
        let state = State {
            world,
            tamper: None,
            latency: Duration::from_millis(1),
            batch_max: usize::MAX,
            pushed: None,
            rings: true,
            requests: Vec::new(),
        };
        Self {
            context: None,
            name: name.into(),
            world: Arc::new(Mutex::new(state)),
            bell: Arc::default(),
        }
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State<W>) -> T) -> T {
        let mut state = self.world.lock();
        let result = change(&mut state);
        if state.rings {
            self.bell.ring();
        }
        result
    }

    pub(crate) fn tamper(
        &self,
        tamper: impl FnMut(&[Call], Vec<Answer>) -> Result<Vec<Answer>, Unanswered> + Send + 'static,
    ) {
        self.change(|state| state.tamper = Some(Box::new(tamper)));
    }

    /// Fails every request.
    pub(crate) fn fail(&self, fault: Fault) {
        self.tamper(move |_, _| Err(Unanswered::Fault(fault.clone())));
    }

    /// Changes the answer to each call.
    pub(crate) fn tamper_each(&self, tamper: impl Fn(&Call, Answer) -> Answer + Send + 'static) {
        self.tamper(move |calls, truth| {
            Ok(calls.iter().zip(truth).map(|(call, answer)| tamper(call, answer)).collect())
        });
    }

    /// Changes every result of `method`.
    pub(crate) fn edit(
        &self,
        method: &'static str,
        change: impl Fn(&[Value], &mut Value) + Send + 'static,
    ) {
        self.tamper_each(move |call, answer| match answer {
            Ok(result) if call.method == method => {
                let mut value = serde_json::from_str(result.get()).unwrap();
                change(&call.params, &mut value);
                Ok(to_raw_value(&value).unwrap())
            }
            answer => answer,
        });
    }

    pub(crate) fn context(&self) -> &Context {
        self.context.as_ref().expect("its requests take time")
    }

    /// What it answers if nobody tampers.
    pub(crate) fn truth(&self, calls: &[Call]) -> Vec<Answer> {
        let mut state = self.world.lock();
        calls.iter().map(|call| said(state.answer(call.method, &call.params))).collect()
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.world.lock().requests.len()
    }

    /// How many calls of `method` came.
    pub(crate) fn calls(&self, method: &str) -> usize {
        let state = self.world.lock();
        state.requests.iter().flatten().filter(|call| call.method == method).count()
    }

    /// The requests since the last time.
    pub(crate) fn take_requests(&self) -> Vec<Vec<Call>> {
        std::mem::take(&mut self.world.lock().requests)
    }
}

impl<W: Backend> Rpc for Node<W> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let latency = self.world.lock().latency;
        match &self.context {
            Some(context) => context.sleep(latency).await,
            None => reschedule().await,
        }
        let (batch_max, is_oversized, tamper) = {
            let mut state = self.world.lock();
            state.requests.push(calls.to_vec());
            (state.batch_max, state.is_oversized(calls), state.tamper.take())
        };
        if calls.len() > batch_max {
            let fault = FaultKind::Unavailable.fault(&self.name, "batch too large");
            return Err(Unanswered::TooMany(fault));
        }
        if is_oversized {
            let fault = FaultKind::Oversized.fault(&self.name, "too large an answer");
            let many = calls.len() > 1;
            return Err(if many { Unanswered::TooMany(fault) } else { Unanswered::Fault(fault) });
        }
        let truth = self.truth(calls);
        let Some(mut tamper) = tamper else { return Ok(truth) };
        let answers = tamper(calls, truth);
        self.world.lock().tamper.get_or_insert(tamper);
        answers
    }

    fn doorbell(&self, _: Toll) -> Doorbell {
        let bell = self.bell.listen();
        if W::GREETS {
            self.bell.ring();
        }
        bell
    }

    fn pushed(&self) -> Option<u64> {
        self.world.lock().pushed
    }
}

impl<W: Backend> Stage for Node<W> {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        self.world.lock().rings
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.change(|state| state.extend(blocks));
        true
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        self.change(|state| state.reorg(depth, blocks))
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        self.change(|state| state.finalize(blocks))
    }
}

//! A node whose responses the fuzzer mutates, and which is honest afterwards.

use super::{
    chain::{Chains, Family, Move, Stand},
    edit::Edit,
};
use alloy_primitives::B256;
use alloy_rpc_types_eth::Header as RpcHeader;
use arbitrary::Arbitrary;
use commonware_runtime::{Clock as _, deterministic::Context};
use commonware_utils::sync::Mutex;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, Digest, Fault, FaultKind, Height};
use tidewatch_sources::{
    aztec::Field,
    rpc::{Answer, Call, Rpc, RpcError, Unanswered},
};

/// Mutation of the response to one request.
#[derive(Arbitrary, Clone, Debug)]
pub struct Reply {
    /// Moves the chain first.
    moved: Option<Move>,
    edits: Vec<(u8, Edit)>,
    /// Recomputes header hashes after the edits.
    reseal: bool,
    /// Replaces some bytes in the text of one response.
    text: Option<(u8, u16, u8, String)>,
    order: Option<Order>,
    end: End,
}

/// Mutation of a batch of responses.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Order {
    Swap(u8, u8),
    Omit(u8),
    Twice(u8),
    /// Duplicates the response to one call as that to another.
    ForOther(u8, u8),
    /// Responds as if another height had been requested.
    Shifted(i8),
}

#[derive(Arbitrary, Clone, Debug)]
enum End {
    Answers,
    Late(u8),
    Error {
        at: u8,
        code: i32,
        message: String,
    },
    /// The node lacks the data, or limits its size.
    Refused {
        at: u8,
        limit: Option<u8>,
    },
    TooMany(u8),
    Fault(u8),
    Silence,
}

struct State {
    stand: Stand,
    script: std::vec::IntoIter<Reply>,
    said: HashSet<BlockRef>,
    /// Whether a response was beyond what this target can parse, though possibly not a source.
    unheard: bool,
    requests: usize,
}

/// The node. Clones share its state.
#[derive(Clone)]
pub struct Node {
    clock: Arc<Context>,
    chains: &'static Chains,
    limit: u64,
    state: Arc<Mutex<State>>,
}

impl Node {
    pub fn new(
        clock: Context,
        chains: &'static Chains,
        limit: u64,
        stand: Stand,
        script: Vec<Reply>,
    ) -> Self {
        let (script, said) = (script.into_iter(), HashSet::new());
        let state = State { stand, script, said, unheard: false, requests: 0 };
        Self { clock: Arc::new(clock), chains, limit, state: Arc::new(Mutex::new(state)) }
    }

    pub const fn chains(&self) -> &'static Chains {
        self.chains
    }

    pub fn stand(&self) -> Stand {
        self.state.lock().stand
    }

    /// Moves the chain.
    pub fn go(&self, moved: Move) {
        self.state.lock().stand = self.chains.stand(moved);
    }

    /// Makes the node honest from now on.
    pub fn repent(&self) {
        self.state.lock().script = Vec::new().into_iter();
    }

    /// Number of requests so far.
    pub fn requests(&self) -> usize {
        self.state.lock().requests
    }

    /// Whether a response named this block.
    pub fn has_said(&self, block: BlockRef) -> bool {
        let state = self.state.lock();
        state.unheard || state.said.contains(&block)
    }

    fn answers(&self, stand: &Stand, calls: &[Call]) -> Vec<Answer> {
        calls.iter().map(|call| self.chains.answer(stand, self.limit, call)).collect()
    }

    fn edited(&self, reply: &Reply, stand: &Stand, calls: &[Call]) -> Result<Vec<Answer>, Fault> {
        let mut answers = match reply.order {
            Some(Order::Shifted(by)) => {
                let calls: Vec<_> = calls.iter().map(|call| shifted(call, by)).collect();
                self.answers(stand, &calls)
            }
            _ => self.answers(stand, calls),
        };
        let length = answers.len().max(1);
        for (at, edit) in &reply.edits {
            if let Some(Ok(answer)) = answers.get_mut(usize::from(*at) % length) {
                // An earlier edit may have nested the value too deeply.
                let Ok(mut value) = serde_json::from_str(answer.get()) else { continue };
                edit.apply(&mut value);
                *answer = to_raw_value(&value).expect("JSON");
            }
        }
        if reply.reseal && self.chains.family != Family::Aztec {
            answers.iter_mut().flatten().for_each(seal);
        }
        if let Some((at, from, gone, put)) = &reply.text
            && let Some(Ok(answer)) = answers.get_mut(usize::from(*at) % length)
        {
            *answer = torn(answer, (*from, *gone), put)?;
        }
        reorder(&mut answers, reply.order);
        Ok(answers)
    }
}

impl Rpc for Node {
    fn name(&self) -> &str {
        "fuzz"
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let (reply, stand) = {
            let mut state = self.state.lock();
            state.requests += 1;
            let reply = state.script.next();
            if let Some(moved) = reply.as_ref().and_then(|reply| reply.moved) {
                state.stand = self.chains.stand(moved);
            }
            (reply, state.stand)
        };
        let answers = match reply {
            None => self.answers(&stand, calls),
            Some(reply) => {
                let mut answers = self.edited(&reply, &stand, calls).map_err(Unanswered::Fault)?;
                let length = answers.len().max(1);
                match reply.end {
                    End::Answers => {}
                    End::Late(seconds) => {
                        self.clock.sleep(Duration::from_secs(seconds.into())).await;
                    }
                    End::Error { at, code, message } => {
                        // As from a transport: short and printable.
                        let message = message.escape_default().take(80).collect();
                        if let Some(answer) = answers.get_mut(usize::from(at) % length) {
                            *answer = Err(RpcError { code, message });
                        }
                    }
                    End::Refused { at, limit } => {
                        if let Some(answer) = answers.get_mut(usize::from(at) % length) {
                            *answer = Err(refusal(limit));
                        }
                    }
                    End::TooMany(kind) => return Err(Unanswered::TooMany(fault(kind))),
                    End::Fault(kind) => return Err(Unanswered::Fault(fault(kind))),
                    End::Silence => std::future::pending().await,
                }
                answers
            }
        };
        let mut state = self.state.lock();
        for answer in answers.iter().flatten() {
            match serde_json::from_str(answer.get()) {
                Ok(value) => listen(&mut state.said, &value),
                Err(_) => state.unheard = true,
            }
        }
        Ok(answers)
    }
}

fn refusal(limit: Option<u8>) -> RpcError {
    match limit {
        None => RpcError { code: -32000, message: "block not found".into() },
        Some(limit) => {
            let message = format!("Number must be less than or equal to {limit} (1)");
            RpcError { code: -32701, message }
        }
    }
}

fn fault(kind: u8) -> Fault {
    // A transport may report every fault except local ones.
    let kinds: Vec<_> =
        FaultKind::ALL.iter().filter(|kind| !kind.severity().is_fatal()).copied().collect();
    kinds[usize::from(kind) % kinds.len()].fault("fuzz", "as told")
}

fn shifted(call: &Call, by: i8) -> Call {
    let mut call = call.clone();
    if let Some(height) = call.params.first_mut() {
        Edit::Add(0, by).apply(height);
    }
    call
}

/// Sets the hash of a header to its computed hash.
fn seal(answer: &mut Box<RawValue>) {
    let Ok(header) = serde_json::from_str::<RpcHeader>(answer.get()) else { return };
    let mut value: Value = serde_json::from_str(answer.get()).expect("JSON");
    value["hash"] = serde_json::to_value(header.inner.hash_slow()).expect("JSON");
    *answer = to_raw_value(&value).expect("JSON");
}

/// Replaces `gone` bytes of a response, starting at `from`. A result that is not JSON is discarded,
/// because no transport would return it.
fn torn(answer: &RawValue, (from, gone): (u16, u8), put: &str) -> Result<Box<RawValue>, Fault> {
    let mut bytes = answer.get().as_bytes().to_vec();
    let from = usize::from(from) % (bytes.len() + 1);
    let to = bytes.len().min(from + usize::from(gone));
    bytes.splice(from..to, put.bytes());
    let text = String::from_utf8_lossy(&bytes).into_owned();
    RawValue::from_string(text).map_err(|_| FaultKind::Malformed.fault("fuzz", "it is no JSON"))
}

fn reorder(answers: &mut Vec<Answer>, order: Option<Order>) {
    let length = answers.len().max(1);
    let at = |at: u8| usize::from(at) % length;
    match order {
        _ if answers.is_empty() => {}
        None | Some(Order::Shifted(_)) => {}
        Some(Order::Swap(a, b)) => answers.swap(at(a), at(b)),
        Some(Order::Omit(a)) => drop(answers.remove(at(a))),
        Some(Order::Twice(a)) => answers.insert(at(a), answers[at(a)].clone()),
        Some(Order::ForOther(a, b)) => answers[at(a)] = answers[at(b)].clone(),
    }
}

/// Every block that `value` identifies by number and hash, in any notation that a source may read.
fn listen(said: &mut HashSet<BlockRef>, value: &Value) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| listen(said, value)),
        Value::Object(map) => {
            if let (Some(number), Some(hash)) = (map.get("number"), map.get("hash")) {
                let field = |value: &Value| serde_json::from_value::<Field>(value.clone()).ok();
                let eth = serde_json::from_value::<RpcHeader>(value.clone());
                let numbers = [
                    field(number).and_then(Field::to_u64),
                    eth.as_ref().ok().map(|header| header.inner.number),
                ];
                let digests = [
                    field(hash).map(|field| *field.bytes()),
                    serde_json::from_value::<B256>(hash.clone()).ok().map(|hash| hash.0),
                ];
                for number in numbers.into_iter().flatten() {
                    let names = digests.iter().flatten();
                    said.extend(
                        names.map(|digest| BlockRef::new(Height::new(number), Digest(*digest))),
                    );
                }
            }
            map.values().for_each(|value| listen(said, value));
        }
        _ => {}
    }
}

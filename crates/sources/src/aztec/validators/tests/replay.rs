//! The recorded network, slot by slot: at each slot it has answered with what it had then.

use super::*;
use commonware_utils::sync::Mutex;
use serde::Deserialize;
use serde_json::{Value, json, value::to_raw_value};
use std::sync::LazyLock;

const RECORDED: &str = include_str!("fixtures/recorded.json");

/// When slot 0 began, and how long one is, in seconds.
pub(super) const GENESIS: u64 = 1_795_719_321;
pub(super) const SLOT: u64 = 24;

/// The function of a call, by its selector.
pub(super) fn selector(function: &str) -> String {
    format!("0x{}", commonware_formatting::hex(&alloy_primitives::keccak256(function)[..4]))
}

#[derive(Deserialize)]
pub(super) struct Exchange {
    to: String,
    method: String,
    params: Vec<Value>,
    response: Value,
}

pub(super) static EXCHANGES: LazyLock<Vec<Exchange>> =
    LazyLock::new(|| serde_json::from_str(RECORDED).unwrap());

fn answered(response: &Value) -> Answer {
    if let Some(error) = response.get("error") {
        let code = i32::try_from(error["code"].as_i64().unwrap()).unwrap();
        let message = error["message"].as_str().unwrap().to_owned();
        return Err(RpcError { code, message });
    }
    Ok(to_raw_value(response.get("result").unwrap_or(&Value::Null)).unwrap())
}

/// What was answered to a call of a contract, at whichever block.
pub(super) fn called(data: &str) -> Option<Answer> {
    let exchange = EXCHANGES.iter().find(|exchange| {
        exchange.method == "eth_call" && exchange.params[0]["data"].as_str() == Some(data)
    });
    exchange.map(|exchange| answered(&exchange.response))
}

/// What a contract answered to `function` of a number.
pub(super) fn contract(function: &str, number: u64) -> Value {
    let data = format!("{}{number:064x}", selector(function));
    let answer = called(&data).unwrap_or_else(|| panic!("{function} {number} was not recorded"));
    serde_json::from_str(answer.unwrap().get()).unwrap()
}

/// What was answered to `method`.
pub(super) fn recorded(method: &str, params: &[Value]) -> Value {
    let exchange = EXCHANGES
        .iter()
        .find(|exchange| exchange.method == method && exchange.params == params)
        .unwrap_or_else(|| panic!("{method} {params:?} was not recorded"));
    exchange.response["result"].clone()
}

/// Slots of the checkpoints from 1 on.
pub(super) const SLOTS: [u64; 6] = [72, 73, 76, 78, 80, 81];

/// Changes an answer of one side.
type Tamper = Box<dyn Fn(&str, &[Value], Answer) -> Answer + Send>;

struct World {
    /// The slot that it is at.
    now: u64,
    /// Checkpoints that are taken back.
    lost: usize,
    /// Checkpoints that the node has not taken in.
    behind: u64,
    tamper: Tamper,
}

/// The network; clones are the same one.
#[derive(Clone)]
pub(super) struct Replay(Arc<Mutex<World>>);

/// One side of it.
#[derive(Clone)]
pub(super) struct Side {
    network: Replay,
    is_l1: bool,
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Side")
    }
}

impl Replay {
    /// The network in `slot`.
    pub(super) fn at(slot: u64) -> Self {
        let tamper: Tamper = Box::new(|_, _, answer| answer);
        Self(Arc::new(Mutex::new(World { now: slot, lost: 0, behind: 0, tamper })))
    }

    pub(super) fn node(&self) -> Side {
        Side { network: self.clone(), is_l1: false }
    }

    pub(super) fn l1(&self) -> Side {
        Side { network: self.clone(), is_l1: true }
    }

    pub(super) fn go(&self, slot: u64) {
        self.0.lock().now = slot;
    }

    /// Layer 1 takes its newest checkpoints back.
    pub(super) fn lose(&self, checkpoints: usize) {
        self.0.lock().lost = checkpoints;
    }

    /// The node stays behind by so many checkpoints.
    pub(super) fn stay_behind(&self, checkpoints: u64) {
        self.0.lock().behind = checkpoints;
    }

    pub(super) fn tamper(
        &self,
        tamper: impl Fn(&str, &[Value], Answer) -> Answer + Send + 'static,
    ) {
        self.0.lock().tamper = Box::new(tamper);
    }

    /// Changes every result of `method`, or of a contract's function, from now on.
    pub(super) fn change(
        &self,
        method: &'static str,
        change: impl Fn(&mut Value) + Send + 'static,
    ) {
        let function = selector(method);
        self.tamper(move |called, params, answer| {
            let data = params.first().and_then(|call| call["data"].as_str());
            let is_it = called == method || data.is_some_and(|data| data.starts_with(&function));
            match answer {
                Ok(result) if is_it => {
                    let mut value = serde_json::from_str(result.get()).unwrap();
                    change(&mut value);
                    Ok(to_raw_value(&value).unwrap())
                }
                answer => answer,
            }
        });
    }

    pub(super) fn answer(&self, is_l1: bool, method: &str, params: &[Value]) -> Answer {
        let world = self.0.lock();
        (world.tamper)(method, params, world.answer(is_l1, method, params))
    }
}

impl World {
    /// Checkpoints that have landed.
    fn landed(&self) -> usize {
        let landed = SLOTS.iter().filter(|slot| **slot <= self.now).count();
        landed - self.lost.min(landed)
    }

    fn block(&self) -> Value {
        let hash = format!("0x{:056x}{:08x}", self.lost, self.now);
        let time = GENESIS + self.now * SLOT + SLOT - 1;
        json!({"hash": hash, "timestamp": format!("0x{time:x}")})
    }

    fn answer(&self, is_l1: bool, method: &str, params: &[Value]) -> Answer {
        let result = |value: &Value| Ok(to_raw_value(value).unwrap());
        let number = |at: usize| params[at].as_u64().unwrap();
        let taken = self.landed() as u64 - self.behind.min(self.landed() as u64);
        match (is_l1, method) {
            (true, "eth_getBlockByNumber") if params[0] == "latest" => result(&self.block()),
            (true, "eth_getBlockByNumber") => result(&Value::Null),
            (true, "eth_call") => {
                if let Some(hash) = params[1].get("blockHash")
                    && *hash != self.block()["hash"]
                {
                    return Err(RpcError { code: -32_001, message: "Resource not found".into() });
                }
                let data = params[0]["data"].as_str().unwrap();
                if data == selector("getTips()") {
                    return result(&json!(format!("0x{:064x}{:064x}", self.landed(), 0)));
                }
                called(data).unwrap_or_else(|| {
                    Err(RpcError { code: 3, message: format!("execution reverted: {data}") })
                })
            }
            (false, "node_getL2Tips") => {
                let checkpoint = json!({"number": taken, "hash": "0x0"});
                result(&json!({"checkpointed": {"checkpoint": checkpoint}}))
            }
            (false, "node_getCheckpointsDataForEpoch") => {
                let all = if (8..=10).contains(&number(0)) {
                    recorded(method, params)
                } else {
                    json!([])
                };
                let all = all.as_array().unwrap().iter();
                let known = all.filter(|data| data["checkpointNumber"].as_u64().unwrap() <= taken);
                result(&known.cloned().collect())
            }
            (false, "p2p_getCheckpointAttestationsForSlot") => {
                let known = (72..=81).contains(&number(0)) && number(0) <= self.now;
                result(&if known { recorded(method, params) } else { json!([]) })
            }
            _ => {
                let found = EXCHANGES.iter().find(|exchange| {
                    (exchange.to == "l1") == is_l1
                        && exchange.method == method
                        && exchange.params == params
                });
                found.map_or_else(
                    || {
                        let message = format!("Method not found: {method}");
                        Err(RpcError { code: -32_601, message })
                    },
                    |exchange| answered(&exchange.response),
                )
            }
        }
    }
}

impl Rpc for Side {
    fn name(&self) -> &str {
        if self.is_l1 { "l1" } else { "node" }
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        commonware_runtime::reschedule().await;
        let answer = |call: &Call| self.network.answer(self.is_l1, call.method, &call.params);
        Ok(calls.iter().map(answer).collect())
    }
}

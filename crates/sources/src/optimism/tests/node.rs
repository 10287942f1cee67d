//! A rollup node that lives in the test, beside a scripted execution node.

use crate::{
    ethereum::tests::node::Node as Execution,
    rpc::{Answer, Call, Rpc, RpcError, Toll, Unanswered},
};
use alloy_consensus::Header;
use alloy_primitives::B256;
use commonware_utils::sync::Mutex;
use serde_json::{Value, json, value::to_raw_value};
use std::sync::Arc;
use tidewatch_conformance::Stage;
use tidewatch_core::Doorbell;

/// What is changed about a sync status before it is sent.
type Edit = Box<dyn FnMut(&mut Value) + Send + Sync>;

/// How a rollup node behaves.
pub(super) struct State {
    pub(super) chain_id: u64,
    pub(super) edit: Option<Edit>,
    pub(super) requests: usize,
}

/// A rollup node over the chain of an execution node. Clones are handles of one.
#[derive(Clone)]
pub(super) struct Rollup {
    /// The execution node whose chain it derives.
    pub(super) chain: Execution,
    pub(super) state: Arc<Mutex<State>>,
}

/// Either node of a pair.
#[derive(Clone)]
pub(super) enum Either {
    Rollup(Rollup),
    Execution(Execution),
}

impl Rollup {
    pub(super) fn new(chain: Execution, chain_id: u64) -> Self {
        let state = State { chain_id, edit: None, requests: 0 };
        Self { chain, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn edit(&self, edit: impl FnMut(&mut Value) + Send + Sync + 'static) {
        self.state.lock().edit = Some(Box::new(edit));
    }

    /// A sync status, field for field as op-node writes it.
    pub(super) fn status(&self) -> Value {
        self.chain.change(|world| {
            let l2 = |height: Option<u64>| {
                height.map_or_else(|| l2_ref(None), |h| l2_ref(world.canonical.get(h as usize)))
            };
            let top = Some(world.height());
            let origin = l1_ref(world.height() / 6 + 4);
            json!({
                "current_l1": origin, "current_l1_finalized": l1_ref(2), "head_l1": origin,
                "safe_l1": l1_ref(3), "finalized_l1": l1_ref(2),
                "unsafe_l2": l2(top), "safe_l2": l2(world.safe), "finalized_l2": l2(world.finalized),
                "pending_safe_l2": l2(world.safe), "cross_unsafe_l2": l2(top),
                "local_safe_l2": l2(world.safe),
            })
        })
    }

    fn answer(&self, call: &Call) -> Answer {
        let value = match call.method {
            "optimism_syncStatus" => {
                let mut status = self.status();
                if let Some(edit) = &mut self.state.lock().edit {
                    edit(&mut status);
                }
                status
            }
            "optimism_rollupConfig" => json!({
                "genesis": {
                    "l1": {"hash": B256::repeat_byte(1), "number": 0},
                    "l2": {"hash": B256::new(self.chain.at(0).digest.0), "number": 0},
                    "l2_time": 1_700_000_000, "system_config": {"gasLimit": 30_000_000},
                },
                "block_time": 2, "max_sequencer_drift": 600, "seq_window_size": 3600,
                "channel_timeout": 300, "l1_chain_id": 900, "l2_chain_id": self.state.lock().chain_id,
            }),
            method => {
                let message = format!("the method {method} does not exist/is not available");
                return Err(RpcError { code: -32601, message });
            }
        };
        Ok(to_raw_value(&value).unwrap())
    }
}

fn l1_ref(number: u64) -> Value {
    let hash = |number: u64| B256::from(alloy_primitives::U256::from(number + 0x1000));
    json!({"hash": hash(number), "number": number, "parentHash": hash(number - 1), "timestamp": 7})
}

/// A block as op-node names it; all zeros for one that it does not know.
fn l2_ref(header: Option<&Header>) -> Value {
    let header = header.map(|header| (header.hash_slow(), header));
    let origin = |h: &Header| json!({"hash": B256::repeat_byte(77), "number": h.number / 6});
    match header {
        Some((hash, header)) => json!({
            "hash": hash, "number": header.number, "parentHash": header.parent_hash,
            "timestamp": header.timestamp, "l1origin": origin(header), "sequenceNumber": 3,
        }),
        None => json!({
            "hash": B256::ZERO, "number": 0, "parentHash": B256::ZERO, "timestamp": 0,
            "l1origin": {"hash": B256::ZERO, "number": 0}, "sequenceNumber": 0,
        }),
    }
}

impl Rpc for Either {
    fn name(&self) -> &str {
        match self {
            Self::Rollup(_) => "rollup",
            Self::Execution(node) => node.name(),
        }
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        match self {
            Self::Rollup(rollup) => {
                // As far away as the execution node.
                commonware_runtime::Clock::sleep(
                    rollup.chain.context(),
                    std::time::Duration::from_millis(1),
                )
                .await;
                rollup.state.lock().requests += 1;
                Ok(calls.iter().map(|call| rollup.answer(call)).collect())
            }
            Self::Execution(node) => node.send(calls).await,
        }
    }

    fn doorbell(&self, toll: Toll) -> Doorbell {
        match self {
            Self::Rollup(_) => Doorbell::silent(),
            Self::Execution(node) => node.doorbell(toll),
        }
    }
}

impl Stage for Rollup {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.chain.grow(blocks).await
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        self.chain.reorg(depth, blocks).await
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        self.chain.finalize(blocks).await
    }
}

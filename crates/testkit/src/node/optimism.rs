//! Rollup nodes, field for field as op-node writes.

use super::{Answer, Chain, ethereum::number, word};
use serde_json::{Value, json};
use tidewatch_core::Tier;

/// What a rollup node answers that derives the chain of an execution node. What is proven is its `local_safe_l2`.
pub fn answer(chain: &impl Chain, method: &str) -> Option<Answer> {
    Some(Ok(match method {
        "optimism_syncStatus" => status(chain),
        "optimism_rollupConfig" => json!({
            "genesis": {
                "l1": {"hash": word(1), "number": 0},
                "l2": {"hash": chain.hash(0), "number": 0},
                "l2_time": 1_700_000_000, "system_config": {"gasLimit": 30_000_000},
            },
            "block_time": 2, "max_sequencer_drift": 600, "seq_window_size": 3600,
            "channel_timeout": 300, "l1_chain_id": 900, "l2_chain_id": chain.id(),
        }),
        _ => return None,
    }))
}

/// A sync status.
pub fn status(chain: &impl Chain) -> Value {
    let l2 = |tier| l2_ref(chain.tip(tier).and_then(|height| chain.block(height)).as_ref());
    let top = chain.tip(Tier::Proposed).unwrap_or_default();
    let origin = l1_ref(top / 6 + 4);
    json!({
        "current_l1": origin, "current_l1_finalized": l1_ref(2), "head_l1": origin,
        "safe_l1": l1_ref(3), "finalized_l1": l1_ref(2),
        "unsafe_l2": l2(Tier::Proposed), "safe_l2": l2(Tier::Checkpointed),
        "finalized_l2": l2(Tier::Finalized), "pending_safe_l2": l2(Tier::Checkpointed),
        "cross_unsafe_l2": l2(Tier::Proposed), "local_safe_l2": l2(Tier::Proven),
    })
}

fn l1_ref(number: u64) -> Value {
    let hash = |number: u64| word(number + 0x1000);
    json!({"hash": hash(number), "number": number, "parentHash": hash(number - 1), "timestamp": 7})
}

/// A block as op-node names it; all zeros for one that it does not know.
fn l2_ref(block: Option<&Value>) -> Value {
    let zero = word(0);
    let Some(block) = block else {
        return json!({
            "hash": zero, "number": 0, "parentHash": zero, "timestamp": 0,
            "l1origin": {"hash": zero, "number": 0}, "sequenceNumber": 0,
        });
    };
    let height = number(&block["number"]);
    json!({
        "hash": block["hash"], "number": height, "parentHash": block["parentHash"],
        "timestamp": number(&block["timestamp"]),
        "l1origin": {"hash": word(77), "number": height / 6}, "sequenceNumber": 3,
    })
}

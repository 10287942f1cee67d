//! Nodes of Aztec.

use super::{Answer, Chain, refused, word};
use serde_json::{Value, json};
use tidewatch_core::Tier;

/// What a node answers that gives at most `limit` blocks at once. Each block is a checkpoint.
pub fn answer(
    chain: &impl Chain,
    version: u64,
    limit: u64,
    method: &str,
    params: &[Value],
) -> Option<Answer> {
    let number = |at: usize| params[at].as_u64().unwrap();
    Some(Ok(match method {
        "node_getChainId" => json!(chain.id()),
        "node_getVersion" => json!(version),
        "node_getL2Tips" => tips(chain),
        // Without a result where there is none, which is null by the time it comes here.
        "node_getBlockHeader" => {
            chain.block(number(0)).map_or(Value::Null, |block| block["header"].clone())
        }
        "node_getBlocks" if number(1) > limit => {
            let message = format!("Number must be less than or equal to {limit} (1)");
            return Some(refused(-32_701, message));
        }
        "node_getBlocks" => {
            let heights = (0..number(1)).map_while(|nth| number(0).checked_add(nth));
            heights.map_while(|height| chain.block(height)).collect()
        }
        _ => return None,
    }))
}

fn tips(chain: &impl Chain) -> Value {
    let name = |height: u64| json!({"number": height, "hash": chain.hash(height)});
    let tip = |tier| {
        chain.tip(tier).map(|height| {
            let checkpoint = json!({"number": height, "hash": word(height.saturating_add(1))});
            json!({"block": name(height), "checkpoint": checkpoint})
        })
    };
    json!({
        "proposed": chain.tip(Tier::Proposed).map(name),
        "proven": tip(Tier::Proven),
        "finalized": tip(Tier::Finalized),
        "checkpointed": tip(Tier::Checkpointed),
    })
}

//! Execution nodes, of Ethereum and of what is built on it.

use super::{Answer, Chain, refused};
use serde_json::{Value, json};
use tidewatch_core::Tier;

/// A number as such nodes write it.
pub fn quantity(number: u64) -> Value {
    format!("{number:#x}").into()
}

/// The number that such a node wrote.
pub fn number(quantity: &Value) -> u64 {
    u64::from_str_radix(&quantity.as_str().unwrap()[2..], 16).unwrap()
}

/// What the node answers. `safe` is what is checkpointed.
pub fn answer(chain: &impl Chain, method: &str, params: &[Value]) -> Option<Answer> {
    let block = match (method, params) {
        ("eth_chainId", []) => Some(quantity(chain.id())),
        ("eth_getBlockByNumber", [at, ..]) => {
            let height = match at.as_str().unwrap() {
                "latest" => chain.tip(Tier::Proposed),
                "safe" => chain.tip(Tier::Checkpointed),
                "finalized" => chain.tip(Tier::Finalized),
                _ => Some(number(at)),
            };
            height.and_then(|height| chain.block(height))
        }
        ("eth_getBlockByHash", [hash, ..]) => chain.hashed(hash),
        _ => return None,
    };
    Some(Ok(block.unwrap_or_default()))
}

/// What a node of Etherlink answers in addition: the level `first` of L1 and each after it made `each` blocks final.
pub fn levels(
    chain: &impl Chain,
    (first, each): (i64, u64),
    method: &str,
    params: &[Value],
) -> Option<Answer> {
    let ("tez_getFinalizedBlocksOfL1Level", [level]) = (method, params) else { return None };
    let nth = level.as_i64().and_then(|level| u64::try_from(level - first).ok());
    let end = nth.map(|nth| (nth + 1) * each);
    let end = end.filter(|end| *end <= chain.tip(Tier::Finalized).unwrap_or_default());
    let Some(end) = end else { return Some(refused(-32_001, format!("Unknown L1 block {level}"))) };
    // The name is misspelled there.
    Some(Ok(json!({"startBlockNumber": quantity(end - each), "endBlockkNumber": quantity(end)})))
}

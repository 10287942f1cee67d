//! Nodes that answer JSON-RPC as a test says.
//!
//! [`Script`] is served at a real address, over HTTP and WebSocket alike. What it answers a test says call by call, or
//! as a node of a [`Chain`] does, with the functions of [`ethereum`], [`optimism`] and [`aztec`]: each answers the
//! methods that it knows, and `None` to every other one.

pub mod aztec;
pub mod ethereum;
pub mod optimism;
mod script;

pub use script::{Script, notification};
use serde_json::Value;
use tidewatch_core::Tier;

/// What a node answers one call.
pub type Answer = Result<Value, Refused>;

/// An error of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The code of the error.
    pub code: i32,
    /// What it says.
    pub message: String,
}

/// A chain, as its nodes write it.
pub trait Chain {
    /// The number of the chain.
    fn id(&self) -> u64;

    /// The height of the tip of `tier`, where the node has one.
    fn tip(&self, tier: Tier) -> Option<u64>;

    /// The block at `height`, where the node has one.
    fn block(&self, height: u64) -> Option<Value>;

    /// The hash of the block at `height`, where the node has one.
    fn hash(&self, height: u64) -> Option<Value> {
        self.block(height).map(|mut block| block["hash"].take())
    }

    /// The block with this hash, where the node has one: of the chain as it is now.
    fn hashed(&self, hash: &Value) -> Option<Value> {
        let heights = 0..=self.tip(Tier::Proposed)?;
        heights.filter_map(|height| self.block(height)).find(|block| block["hash"] == *hash)
    }
}

/// The error of a node.
///
/// # Errors
///
/// Always: it is one.
pub fn refused<T>(code: i32, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { code, message: message.into() })
}

/// What a node answers a method that it does not have.
///
/// # Errors
///
/// Always.
pub fn unknown(method: &str) -> Answer {
    refused(-32_601, format!("the method {method} does not exist/is not available"))
}

/// Thirty-two bytes of this number.
fn word(number: u64) -> Value {
    format!("0x{number:064x}").into()
}

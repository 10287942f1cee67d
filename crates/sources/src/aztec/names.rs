//! One method by several names.
//!
//! Nodes of version 5 call two methods otherwise than those before, and some answer to another prefix. A node
//! says by an error that it does not know a name; it is asked by the next one then, and by the one that it
//! knows from then on. A node that is upgraded, or taken back to an older version, is found out in the same
//! way.

use crate::rpc::{Answer, Call, Rate, Rpc, RpcError, Toll, Unanswered};
use commonware_utils::sync::Mutex;
use std::fmt;
use tidewatch_core::Doorbell;

/// The names of each method, the one that is written elsewhere in this crate first. `getBlock` answers with
/// a block, whose header is what `getBlockHeader` answered with.
const NAMES: [&[&str]; 5] = [
    &["node_getChainId", "aztec_getChainId"],
    &["node_getVersion", "aztec_getVersion"],
    &["node_getL2Tips", "node_getChainTips", "aztec_getChainTips", "aztec_getL2Tips"],
    &["node_getBlockHeader", "node_getBlock", "aztec_getBlock", "aztec_getBlockHeader"],
    &["node_getBlocks", "aztec_getBlocks"],
];

/// The code of an error that says that there is no such method.
const NO_METHOD: i32 = -32601;

/// Whether a node does not know a method by the name that it was called by.
pub(super) fn is_unknown(error: &RpcError) -> bool {
    error.code == NO_METHOD || error.message.to_ascii_lowercase().contains("method not found")
}

/// The place of a method in [`NAMES`].
fn place(method: &str) -> Option<usize> {
    NAMES.iter().position(|names| names[0] == method)
}

/// A node that is asked by the names that it knows.
pub(super) struct Renamed<R> {
    node: R,
    /// For each method, which of its names was known last.
    known: Mutex<[usize; NAMES.len()]>,
}

impl<R: fmt::Debug> fmt::Debug for Renamed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

impl<R> Renamed<R> {
    pub(super) fn new(node: R) -> Self {
        Self { node, known: Mutex::default() }
    }

    /// `call` by the name that is `step` names after the one that was known last, and which name that is.
    fn rename(&self, call: &Call, step: usize) -> Option<(Call, usize, usize)> {
        let place = place(call.method)?;
        let names = NAMES[place];
        let name = (self.known.lock()[place] + step) % names.len();
        let renamed = Call { method: names[name], ..call.clone() };
        (step < names.len()).then_some((renamed, place, name))
    }
}

impl<R: Rpc> Rpc for Renamed<R> {
    fn name(&self) -> &str {
        self.node.name()
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let by_known = calls.iter().map(|call| self.rename(call, 0).map(|(call, ..)| call));
        let by_known: Vec<_> = by_known
            .zip(calls)
            .map(|(known, call)| known.unwrap_or_else(|| call.clone()))
            .collect();
        let mut answers = self.node.send(&by_known).await?;
        let mut learned = *self.known.lock();
        for step in 1.. {
            let unknown = answers
                .iter()
                .enumerate()
                .filter(|(_, answer)| answer.as_ref().is_err_and(is_unknown));
            let unknown =
                unknown.filter_map(|(at, _)| Some((at, self.rename(calls.get(at)?, step)?)));
            let unknown: Vec<_> = unknown.collect();
            if unknown.is_empty() {
                break;
            }
            let again: Vec<_> = unknown.iter().map(|(_, (call, ..))| call.clone()).collect();
            let others = self.node.send(&again).await?;
            for ((at, (_, place, name)), answer) in unknown.into_iter().zip(others) {
                if !answer.as_ref().is_err_and(is_unknown) {
                    learned[place] = name;
                }
                answers[at] = answer;
            }
        }
        *self.known.lock() = learned;
        Ok(answers)
    }

    fn rate(&self) -> Rate {
        self.node.rate()
    }

    fn doorbell(&self, toll: Toll) -> Doorbell {
        self.node.doorbell(toll)
    }

    fn moved(&self) {
        self.node.moved();
    }
}

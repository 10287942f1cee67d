//! What `tidewatch prover` asks whoever proves, and is told.

use crate::command::control::Control;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidewatch_core::json::Block;

/// Where whoever proves listens.
pub(super) const CONTROL: Control = Control { socket: "prover.sock", owner: "tidewatch prove" };

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Ask {
    Status,
    Jobs {
        from: u64,
        max: u32,
    },
    Requeue {
        height: u64,
    },
    /// The bytes after it are the proof.
    Supply {
        height: u64,
    },
    Verify {
        height: u64,
    },
    /// Blocks that are as final as the finality of that name.
    Range {
        from: u64,
        finality: String,
        max: u32,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub(super) enum Told {
    Status(Standing),
    Jobs {
        jobs: Vec<Job>,
    },
    Requeued {
        block: Named,
    },
    Supplied {
        block: Named,
    },
    /// The bytes after it are the proof.
    Verified {
        block: Named,
        parent: Named,
        bytes: usize,
        verified_ms: u64,
    },
    /// All of it as it stood at one moment.
    Range {
        finality: String,
        /// How far blocks are as final.
        tip: Named,
        /// Every tier that is known.
        tips: BTreeMap<String, Named>,
        blocks: Vec<Header>,
    },
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) height: u64,
    pub(super) digest: String,
}

impl From<tidewatch_core::BlockRef> for Named {
    fn from(block: tidewatch_core::BlockRef) -> Self {
        let Block { height, digest } = block.into();
        Self { height, digest: digest.to_string() }
    }
}

/// A block, and the one below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(flatten)]
    pub(super) block: Named,
    pub(super) parent: String,
}

/// Where proving stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Whether somebody proves; otherwise it is what is on disk.
    pub(super) running: bool,
    pub(super) proven: Named,
    pub(super) committed: Named,
    /// Blocks between them.
    pub(super) lag: u64,
    /// How long the lowest block that is not proven has waited here.
    pub(super) oldest_ms: Option<u64>,
    pub(super) pending: usize,
    pub(super) active: usize,
    pub(super) waiting: usize,
    pub(super) poisoned: usize,
    pub(super) stalled: bool,
    /// Why the lowest block is poisoned.
    pub(super) reason: Option<String>,
    pub(super) provers: Vec<Prover>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prover {
    pub(super) name: String,
    pub(super) slots: usize,
    pub(super) used: usize,
    pub(super) down: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) block: Named,
    pub(super) stage: String,
    pub(super) attempts: u32,
    pub(super) failure: Option<String>,
    pub(super) provers: Vec<String>,
}

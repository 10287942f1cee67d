//! What a server sends.

use serde::Deserialize;
use std::time::Duration;

/// How final a block is. `Proposed` is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "a word of the contract says it")]
pub enum Tier {
    Proposed,
    Checkpointed,
    Proven,
    Finalized,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Self; 4] = [Self::Proposed, Self::Checkpointed, Self::Proven, Self::Finalized];

    /// The word in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Checkpointed => "checkpointed",
            Self::Proven => "proven",
            Self::Finalized => "finalized",
        }
    }
}

/// Declares structures whose fields are those of the contract.
macro_rules! contract {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[expect(missing_docs, reason = "the contract names the fields")]
        pub struct $name { $(pub $field: $type,)+ }
    )+};
}

contract! {
    /// A block by height and digest.
    Block { height: u64, digest: String, }
    /// A checkpoint by number and digest.
    Checkpoint { number: u64, digest: String, }
    /// Where a tier is.
    Tip { block: Block, checkpoint: Option<Checkpoint>, }
    /// Blocks were delivered.
    Blocks { from: Block, to: Block, count: u64, cursor: String, }
    /// A tier moved.
    Moved { tier: Tier, block: Block, checkpoint: Option<Checkpoint>, cursor: String, }
    /// Everything above `to` is undone, and all tiers are what `tips` says.
    Pruned { to: Block, depth: u64, tips: Tips, cursor: String, }
    /// What the server is, and where the stream begins: at `cursor`, with `block` and `tips`.
    Hello {
        protocol: u32, chain: String, genesis: Block, ladder: [Tier; 4], version: String,
        heartbeat_ms: u64, head: Option<Block>, resume: Resume, block: Option<Block>, tips: Tips,
        cursor: String,
    }
    /// The stream is alive.
    Bookmark {
        state: String, lag: u64, source_height: Option<u64>, tip_age_ms: Option<u64>,
        cause: Option<String>, cursor: String,
    }
    /// How many events of each kind were left out.
    Skipped { blocks: u64, advanced: u64, regressed: u64, }
    /// Events are left out; what follows leads over them.
    Lagged { from: u64, to: u64, skipped: Option<Skipped>, cursor: String, }
    /// What was known before counts no more: go on from `block` and `tips`.
    Reset { code: String, detail: String, block: Option<Block>, tips: Tips, cursor: String, }
    /// The server ends the stream.
    Goodbye { reason: String, retry_ms: u64, cursor: String, }
}

/// All tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Tips {
    pub proposed: Option<Tip>,
    pub checkpointed: Option<Tip>,
    pub proven: Option<Tip>,
    pub finalized: Option<Tip>,
}

impl Tips {
    /// Where `tier` is.
    pub const fn get(&self, tier: Tier) -> Option<&Tip> {
        match tier {
            Tier::Proposed => self.proposed.as_ref(),
            Tier::Checkpointed => self.checkpointed.as_ref(),
            Tier::Proven => self.proven.as_ref(),
            Tier::Finalized => self.finalized.as_ref(),
        }
    }

    pub(crate) fn set(&mut self, tier: Tier, tip: Tip) {
        let slot = match tier {
            Tier::Proposed => &mut self.proposed,
            Tier::Checkpointed => &mut self.checkpointed,
            Tier::Proven => &mut self.proven,
            Tier::Finalized => &mut self.finalized,
        };
        *slot = Some(tip);
    }
}

/// How a stream goes on from a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// There was no cursor.
    Start,
    /// Nothing was missed.
    Exact,
    /// What follows leads over from another history.
    Forked,
    /// The server is behind the cursor: events follow once it has caught up.
    Ahead,
    /// No event leads on: a `reset` follows.
    Reset,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is what its content says")]
pub enum Message {
    Blocks(Blocks),
    Advanced(Moved),
    Regressed(Moved),
    Pruned(Pruned),
    Hello(Hello),
    Bookmark(Bookmark),
    Lagged(Lagged),
    Reset(Reset),
    Goodbye(Goodbye),
    /// The connection ended. The next one is tried after `wait`.
    #[serde(skip)]
    Lost {
        why: String,
        wait: Duration,
    },
    /// One of a kind that is newer than this client.
    #[serde(other)]
    Other,
}

impl Message {
    /// The position after it.
    pub fn cursor(&self) -> Option<&str> {
        Some(match self {
            Self::Blocks(Blocks { cursor, .. })
            | Self::Advanced(Moved { cursor, .. })
            | Self::Regressed(Moved { cursor, .. })
            | Self::Pruned(Pruned { cursor, .. })
            | Self::Hello(Hello { cursor, .. })
            | Self::Bookmark(Bookmark { cursor, .. })
            | Self::Lagged(Lagged { cursor, .. })
            | Self::Reset(Reset { cursor, .. })
            | Self::Goodbye(Goodbye { cursor, .. }) => cursor,
            Self::Lost { .. } | Self::Other => return None,
        })
    }
}

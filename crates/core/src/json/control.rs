//! The lines with which a server speaks of a stream itself. Each has a cursor to go on from.

use super::{Block, Tips};
use crate::{Cause, Cursor, Ladder, Status, Watermarks};
use serde::Serialize;

/// A line about the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a line is written once and dropped")]
pub enum Control<'a> {
    /// The first line of a stream.
    Hello(Hello<'a>),
    /// Nothing else was to be said, or was filtered out.
    Bookmark(Bookmark),
    /// Events were left out; what follows leads over them.
    Lagged(Lagged),
    /// No event leads on from the position that was asked for.
    Reset(Reset<'a>),
    /// The last line of a stream that the server ends.
    Goodbye(Goodbye),
}

impl Control<'_> {
    /// The word in `event`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Bookmark(_) => "bookmark",
            Self::Lagged(_) => "lagged",
            Self::Reset(_) => "reset",
            Self::Goodbye(_) => "goodbye",
        }
    }

    /// The position to go on from.
    pub fn cursor(&self) -> &str {
        match self {
            Self::Hello(Hello { cursor, .. })
            | Self::Bookmark(Bookmark { cursor, .. })
            | Self::Lagged(Lagged { cursor, .. })
            | Self::Reset(Reset { cursor, .. })
            | Self::Goodbye(Goodbye { cursor, .. }) => cursor,
        }
    }
}

/// How a stream goes on from the position that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "resume", rename_all = "snake_case")]
pub enum Resumes {
    /// No position was asked for.
    Start,
    /// The next event follows.
    Exact,
    /// What follows first leads over from another history, from a fork that is gone, or over events that are
    /// no longer kept.
    Forked {
        /// The highest block that both sides have.
        ancestor: Block,
        /// How many of the consumer's blocks the prune that follows drops; 0 without one.
        depth: u64,
    },
    /// The position is ahead of this server: events follow once it has caught up.
    Ahead,
    /// No event leads on from the position: a `reset` follows.
    Reset,
}

/// What a server is, and where its stream begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hello<'a> {
    /// The version of this contract: 1.
    pub protocol: u32,
    /// The chain's name.
    pub chain: &'a str,
    /// Its block at height 0.
    pub genesis: Block,
    /// The chain's tiers from the highest to the lowest.
    pub ladder: [&'static str; 4],
    /// The server's version.
    pub version: &'a str,
    /// The longest time between two lines, in milliseconds.
    pub heartbeat_ms: u64,
    /// The highest delivered block of this server.
    pub head: Option<Block>,
    /// How the stream goes on.
    #[serde(flatten)]
    pub resume: Resumes,
    /// The highest block delivered at `cursor`.
    pub block: Option<Block>,
    /// The tiers at `cursor`.
    pub tips: Tips,
    /// The position that the stream begins after.
    pub cursor: String,
}

impl Hello<'_> {
    /// The chain's tiers by name.
    pub fn ladder(ladder: Ladder) -> [&'static str; 4] {
        ladder.tiers().map(|tier| tier.as_str())
    }
}

/// The stream is alive, and stands at a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bookmark {
    /// The public name of the follower's state.
    pub state: &'static str,
    /// Blocks between the source's proposed tip and the follower.
    pub lag: u64,
    /// The height of the source's proposed tip, as last seen.
    pub source_height: Option<u64>,
    /// The age of that tip by its own time, in milliseconds, where blocks carry one.
    pub tip_age_ms: Option<u64>,
    /// The public name of what keeps the state from being live, where more is known than the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// The position that everything before this line led to.
    pub cursor: String,
}

impl Bookmark {
    /// The bookmark of a follower in `status`, at `cursor`.
    pub fn new(status: &Status, cursor: &Cursor) -> Self {
        Self {
            state: status.state.as_str(),
            lag: status.lag,
            source_height: status.source_height.map(|height| height.get()),
            tip_age_ms: status.tip_age_ms,
            cause: status.cause.map(Cause::as_str),
            cursor: cursor.to_string(),
        }
    }
}

/// Events that are left out, by number of the server's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lagged {
    /// The first of them.
    pub from: u64,
    /// The first event after them.
    pub to: u64,
    /// How many of each kind were left out; `null` where they are no longer kept, so that nobody knows.
    pub skipped: Option<Skipped>,
    /// The position before them.
    pub cursor: String,
}

/// How many events of each kind were left out. Prunes never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// `blocks`, of which one that follows announces all.
    pub blocks: u64,
    /// `advanced`, of which the last of each tier follows.
    pub advanced: u64,
    /// `regressed`, likewise.
    pub regressed: u64,
}

/// What was known before counts no more: the consumer stands at `cursor` now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reset<'a> {
    /// Why, in a word: `malformed_cursor`, `wrong_chain`, `too_old`.
    pub code: &'a str,
    /// Why, for people.
    pub detail: &'a str,
    /// The highest block delivered at `cursor`.
    pub block: Option<Block>,
    /// The tiers at `cursor`.
    pub tips: Tips,
    /// The position to start again from.
    pub cursor: String,
}

impl<'a> Reset<'a> {
    /// A reset to `cursor`, where the history stands at `watermarks`.
    pub fn new(code: &'a str, detail: &'a str, cursor: &Cursor, watermarks: &Watermarks) -> Self {
        let (block, tips) = (watermarks.delivered.map(Into::into), (&watermarks.tips).into());
        Self { code, detail, block, tips, cursor: cursor.to_string() }
    }
}

/// Why a server ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is stopped.
    Shutdown,
    /// There are too many streams, or the events that were asked for have come.
    Limit,
    /// The height that was asked for is final.
    Until,
    /// It did not catch up with the consumer's position in time.
    Ahead,
    /// The consumer has to start again from the `reset` before this.
    Reset,
    /// The history could not be read.
    Failed,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Shutdown, Self::Limit, Self::Until, Self::Ahead, Self::Reset, Self::Failed];

    /// Name in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Limit => "limit",
            Self::Until => "until",
            Self::Ahead => "ahead",
            Self::Reset => "reset",
            Self::Failed => "failed",
        }
    }
}

/// The end of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Goodbye {
    /// Why it ends.
    pub reason: Reason,
    /// When to come again, in milliseconds.
    pub retry_ms: u64,
    /// The position to go on from.
    pub cursor: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockRef, ChainId, Digest, Height, State, Tier, TipSet};

    /// The contract, byte for byte.
    #[test]
    fn every_line_about_a_stream_has_the_fields_of_the_contract_in_their_order() {
        let block = BlockRef::new(Height::new(2), Digest([5; 32]));
        let shown = format!(r#"{{"height":2,"digest":"{}"}}"#, "05".repeat(32));
        let tips = TipSet::unknown().with(Tier::Proposed, block);
        let tips_shown = format!(
            r#"{{"proposed":{{"block":{shown},"checkpoint":null}},"checkpointed":null,"proven":null,"finalized":null}}"#
        );
        let watermarks = Watermarks { delivered: Some(block), tips };
        let cursor = Cursor::new(&ChainId::new("test:1").unwrap(), 1, &watermarks, &[]);
        let hello = |resume| Hello {
            protocol: 1,
            chain: "test:1",
            genesis: block.into(),
            ladder: Hello::ladder(Ladder::Certified),
            version: "0.1.0",
            heartbeat_ms: 15_000,
            head: Some(block.into()),
            resume,
            block: Some(block.into()),
            tips: (&tips).into(),
            cursor: cursor.to_string(),
        };
        let began = |resume: &str| {
            format!(
                r#"{{"event":"hello","protocol":1,"chain":"test:1","genesis":{shown},"ladder":["proposed","finalized","checkpointed","proven"],"version":"0.1.0","heartbeat_ms":15000,"head":{shown},{resume},"block":{shown},"tips":{tips_shown},"cursor":"{cursor}"}}"#
            )
        };
        let status = Status { state: State::Live, lag: 1, ..Status::unknown() };
        let skipped = Skipped { blocks: 2, advanced: 3, regressed: 0 };
        let table = [
            (Control::Hello(hello(Resumes::Exact)), began(r#""resume":"exact""#)),
            (
                Control::Hello(hello(Resumes::Forked { ancestor: block.into(), depth: 3 })),
                began(&format!(r#""resume":"forked","ancestor":{shown},"depth":3"#)),
            ),
            (
                Control::Bookmark(Bookmark::new(&status, &cursor)),
                format!(
                    r#"{{"event":"bookmark","state":"live","lag":1,"source_height":null,"tip_age_ms":null,"cursor":"{cursor}"}}"#
                ),
            ),
            (
                Control::Lagged(Lagged {
                    from: 3,
                    to: 9,
                    skipped: Some(skipped),
                    cursor: cursor.to_string(),
                }),
                format!(
                    r#"{{"event":"lagged","from":3,"to":9,"skipped":{{"blocks":2,"advanced":3,"regressed":0}},"cursor":"{cursor}"}}"#
                ),
            ),
            (
                Control::Reset(Reset::new("too_old", "it is gone", &cursor, &watermarks)),
                format!(
                    r#"{{"event":"reset","code":"too_old","detail":"it is gone","block":{shown},"tips":{tips_shown},"cursor":"{cursor}"}}"#
                ),
            ),
            (
                Control::Goodbye(Goodbye {
                    reason: Reason::Shutdown,
                    retry_ms: 1_000,
                    cursor: cursor.to_string(),
                }),
                format!(
                    r#"{{"event":"goodbye","reason":"shutdown","retry_ms":1000,"cursor":"{cursor}"}}"#
                ),
            ),
        ];
        for (control, want) in table {
            assert_eq!(serde_json::to_string(&control).unwrap(), want);
            assert!(want.starts_with(&format!(r#"{{"event":"{}","#, control.name())));
            assert_eq!(control.cursor(), cursor.to_string());
        }
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}

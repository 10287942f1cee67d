//! The public contract of the JSON lines, as types that serialize to them.
//!
//! One [`Line`] is one object on one line; the order of its keys is that of the fields here. The README
//! describes the lines for those who read them. Existing keys keep their meaning, their type and their
//! place; new ones may be added.
//!
//! ```text
//! {"event":"blocks","from":BLOCK,"to":BLOCK,"count":50,"cursor":"..."}
//! {"event":"advanced","tier":"finalized","block":BLOCK,"checkpoint":CHECKPOINT or null,"cursor":"..."}
//! {"event":"regressed", likewise}
//! {"event":"pruned","to":BLOCK,"depth":3,"tips":{"proposed":TIP or null,...},"cursor":"..."}
//! {"event":"fault","kind":"...","source":"...","detail":"..."}
//! {"event":"status","state":"live","lag":0,"source_height":9 or null}
//! {"event":"status","state":"lagging","lag":1,"source_height":9,"cause":"missing"}
//! {"event":"status","state":"live","lag":0,"source_height":99,"verification":{"epoch":9,
//!   "anchor":"identity","age_ms":40 or null,"seen":99,"verified":99,"contiguous":99}}
//! {"event":"proving","proven":BLOCK,"committed":BLOCK,"lag":3,"lag_ms":11240,"pending":0,"running":1,
//!   "waiting":2,"poisoned":0,"per_minute":12,"stalled":false}
//! ```
//!
//! A served stream has the same lines, and those of [`Control`] about the stream itself:
//!
//! ```text
//! {"event":"hello","protocol":1,"chain":"...","genesis":BLOCK,"ladder":[TIER,TIER,TIER,TIER],"version":"...",
//!   "heartbeat_ms":15000,"head":BLOCK or null,"resume":"start|exact|ahead|reset","block":BLOCK or null,
//!   "tips":TIPS,"cursor":"..."}                    "resume":"forked","ancestor":BLOCK,"depth":3 likewise
//! {"event":"bookmark","state":"live","lag":0,"source_height":9 or null,"tip_age_ms":40 or null,"cursor":"..."}
//! {"event":"lagged","from":3,"to":9,"skipped":{"blocks":2,"advanced":3,"regressed":0} or null,"cursor":"..."}
//! {"event":"reset","code":"...","detail":"...","block":BLOCK or null,"tips":TIPS,"cursor":"..."}
//! {"event":"goodbye","reason":"shutdown","retry_ms":1000,"cursor":"..."}
//! ```
//!
//! A stream that several followers write in turn has events, resets, and a line where one of them begins:
//!
//! ```text
//! {"event":"lead","token":7,"publisher":"...","block":BLOCK or null,"tips":TIPS,"cursor":"..."}
//! ```

mod control;
mod lead;

pub use control::{Bookmark, Control, Goodbye, Hello, Lagged, Reason, Reset, Resumes, Skipped};
pub use lead::Lead;

use crate::{
    BlockRef, Cause, CheckpointRef, Cursor, Digest, Event, Fault, Height, Status, Tier, Tip,
    TipSet, Verification,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// One line: an event with the cursor after it, a fault, or a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a line is written once and dropped")]
pub enum Line<'a> {
    /// [`Event::Blocks`].
    Blocks {
        /// The first block.
        from: Block,
        /// The last block.
        to: Block,
        /// How many there are.
        count: u64,
        /// The position after this event.
        cursor: String,
    },
    /// [`Event::Advanced`].
    Advanced(Move),
    /// [`Event::Regressed`].
    Regressed(Move),
    /// [`Event::Pruned`].
    Pruned {
        /// The highest block that survives.
        to: Block,
        /// How many delivered blocks were dropped.
        depth: u64,
        /// All tiers after the prune, those at or below `to` as well: nothing else says that they moved.
        tips: Tips,
        /// The position after this event.
        cursor: String,
    },
    /// Something was refused or failed.
    Fault {
        /// The public name of the kind of fault.
        kind: &'static str,
        /// The source or part that the fault is about.
        source: &'a str,
        /// What happened, for people.
        detail: &'a str,
    },
    /// The state of the follower.
    Status {
        /// The public name of the state.
        state: &'static str,
        /// Blocks between the source's proposed tip and the follower.
        lag: u64,
        /// The height of the source's proposed tip, as last seen.
        source_height: Option<u64>,
        /// The public name of what keeps the state from being live, where more is known than the state.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<&'static str>,
        /// What the certificates rest on, for a chain whose validators change.
        #[serde(skip_serializing_if = "Option::is_none")]
        verification: Option<Verified>,
    },
    /// How far proving is, where blocks are proven here.
    Proving(Proving),
}

impl Line<'_> {
    /// The line of `event`, where `cursor` is the position after it.
    pub fn event(event: &Event, cursor: &Cursor) -> Self {
        let cursor = cursor.to_string();
        match event {
            Event::Blocks { from, to } => {
                debug_assert!(from.height <= to.height, "blocks {from} to {to}");
                let count = to.height.get() - from.height.get() + 1;
                Self::Blocks { from: (*from).into(), to: (*to).into(), count, cursor }
            }
            Event::Advanced { tier, tip } => Self::Advanced(Move::new(*tier, tip, cursor)),
            Event::Regressed { tier, tip } => Self::Regressed(Move::new(*tier, tip, cursor)),
            Event::Pruned { to, depth, tips } => {
                Self::Pruned { to: (*to).into(), depth: *depth, tips: tips.into(), cursor }
            }
        }
    }
}

impl<'a> From<&'a Fault> for Line<'a> {
    fn from(fault: &'a Fault) -> Self {
        Self::Fault { kind: fault.kind.as_str(), source: &fault.about, detail: &fault.detail }
    }
}

impl From<&Status> for Line<'_> {
    fn from(status: &Status) -> Self {
        let source_height = status.source_height.map(|height| height.get());
        let cause = status.cause.map(Cause::as_str);
        let verification = status.verification.map(Into::into);
        let (state, lag) = (status.state.as_str(), status.lag);
        Self::Status { state, lag, source_height, cause, verification }
    }
}

/// How far proving is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proving {
    /// The proven tip: it and all below it are proven.
    pub proven: Block,
    /// The highest block that is to be proven.
    pub committed: Block,
    /// Blocks between the two.
    pub lag: u64,
    /// How long ago the lowest block that is not proven was made, by its own time, in milliseconds; 0 if there is
    /// none.
    pub lag_ms: u64,
    /// Blocks that wait for a prover.
    pub pending: u64,
    /// Blocks that are being proven.
    pub running: u64,
    /// Blocks whose proofs wait for lower ones.
    pub waiting: u64,
    /// Blocks that could not be proven, and wait for an operator.
    pub poisoned: u64,
    /// Blocks that became proven in the last minute.
    pub per_minute: u64,
    /// Whether the lowest block waits for too long: alert on it.
    pub stalled: bool,
    /// Why it does, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

impl Proving {
    /// Whether `next` is news after this: the tip moved, a block is poisoned or is no more, it stalls or goes on.
    pub fn is_passed_by(&self, next: &Self) -> bool {
        let marks = |of: &Self| (of.proven, of.poisoned, of.stalled);
        marks(self) != marks(next)
    }
}

/// How far a chain whose validators change is verified, and on whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The newest epoch whose certificate scheme is known.
    pub epoch: u64,
    /// The public name of what the first of them was taken from.
    pub anchor: &'static str,
    /// The age of the newest known block that ends an epoch, in milliseconds.
    pub age_ms: Option<u64>,
    /// The height that was last claimed.
    pub seen: Option<u64>,
    /// The highest block that verified.
    pub verified: Option<u64>,
    /// The highest block that was delivered with everything below it.
    pub contiguous: Option<u64>,
}

impl From<Verification> for Verified {
    fn from(verification: Verification) -> Self {
        let Verification { epoch, anchor, age_ms, seen, verified, contiguous } = verification;
        let [seen, verified, contiguous] =
            [seen, verified, contiguous].map(|height| height.map(|height| height.get()));
        Self { epoch, anchor: anchor.as_str(), age_ms, seen, verified, contiguous }
    }
}

/// A tier that moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// The public name of the tier.
    pub tier: &'static str,
    /// The block that the tier is at now.
    pub block: Block,
    /// The checkpoint that brought it there, where the chain names one.
    pub checkpoint: Option<Checkpoint>,
    /// The position after this event.
    pub cursor: String,
}

impl Move {
    fn new(tier: Tier, tip: &Tip, cursor: String) -> Self {
        let checkpoint = tip.checkpoint.map(Into::into);
        Self { tier: tier.as_str(), block: tip.block.into(), checkpoint, cursor }
    }
}

/// A block by height and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The height.
    pub height: u64,
    /// The digest, 64 hex digits.
    #[serde(serialize_with = "hex", deserialize_with = "unhex")]
    pub digest: Digest,
}

impl From<BlockRef> for Block {
    fn from(block: BlockRef) -> Self {
        Self { height: block.height.get(), digest: block.digest }
    }
}

/// A checkpoint by number and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The number.
    pub number: u64,
    /// The digest, 64 hex digits.
    #[serde(serialize_with = "hex", deserialize_with = "unhex")]
    pub digest: Digest,
}

impl From<Block> for BlockRef {
    fn from(block: Block) -> Self {
        Self::new(Height::new(block.height), block.digest)
    }
}

impl From<CheckpointRef> for Checkpoint {
    fn from(checkpoint: CheckpointRef) -> Self {
        Self { number: checkpoint.number, digest: checkpoint.digest }
    }
}

/// Where a tier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierTip {
    /// The highest block that has the tier.
    pub block: Block,
    /// The checkpoint that brought it there, where the chain names one.
    pub checkpoint: Option<Checkpoint>,
}

impl From<Tip> for TierTip {
    fn from(tip: Tip) -> Self {
        Self { block: tip.block.into(), checkpoint: tip.checkpoint.map(Into::into) }
    }
}

/// All tiers by name; `null` where one is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tips {
    /// [`Tier::Proposed`].
    pub proposed: Option<TierTip>,
    /// [`Tier::Checkpointed`].
    pub checkpointed: Option<TierTip>,
    /// [`Tier::Proven`].
    pub proven: Option<TierTip>,
    /// [`Tier::Finalized`].
    pub finalized: Option<TierTip>,
}

impl From<&TipSet> for Tips {
    fn from(tips: &TipSet) -> Self {
        let tip = |tier| tips.get(tier).map(TierTip::from);
        Self {
            proposed: tip(Tier::Proposed),
            checkpointed: tip(Tier::Checkpointed),
            proven: tip(Tier::Proven),
            finalized: tip(Tier::Finalized),
        }
    }
}

impl From<&Tips> for TipSet {
    fn from(tips: &Tips) -> Self {
        let Tips { proposed, checkpointed, proven, finalized } = *tips;
        let tiers = [
            (Tier::Proposed, proposed),
            (Tier::Checkpointed, checkpointed),
            (Tier::Proven, proven),
            (Tier::Finalized, finalized),
        ];
        let known = tiers.into_iter().filter_map(|(tier, tip)| Some((tier, tip?)));
        known.fold(Self::unknown(), |tips, (tier, TierTip { block, checkpoint })| {
            let checkpoint =
                checkpoint.map(|Checkpoint { number, digest }| CheckpointRef { number, digest });
            tips.with(tier, Tip { block: block.into(), checkpoint })
        })
    }
}

/// A digest that stands alone, as 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Hex(#[serde(deserialize_with = "unhex")] pub Digest);

fn unhex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = commonware_formatting::from_hex(&text).and_then(|bytes| bytes.try_into().ok());
    bytes
        .filter(|_| text.len() == 64)
        .map(Digest)
        .ok_or_else(|| D::Error::custom("not 64 hex digits"))
}

fn hex<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChainId, FaultKind, State, Watermarks};

    fn at(height: u64, fill: u8) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([fill; 32]))
    }

    fn line(line: &Line<'_>) -> String {
        serde_json::to_string(line).unwrap()
    }

    /// The contract, byte for byte and in the words of the README.
    #[test]
    fn every_event_has_the_fields_of_the_contract_in_their_order() {
        let hex = |fill: u8| format!("{fill:02x}").repeat(32);
        let block = |height, fill| format!(r#"{{"height":{height},"digest":"{}"}}"#, hex(fill));
        let checkpoint = CheckpointRef { number: 3, digest: Digest([9; 32]) };
        let tip = Tip { block: at(5, 1), checkpoint: Some(checkpoint) };
        let tips = TipSet::unknown().with(Tier::Proposed, at(2, 5)).with(Tier::Finalized, tip);
        let sealed = format!(r#"{{"number":3,"digest":"{}"}}"#, hex(9));
        let table = [
            (
                Event::Blocks { from: at(1, 2), to: at(50, 3) },
                format!(
                    r#"{{"event":"blocks","from":{},"to":{},"count":50,"#,
                    block(1, 2),
                    block(50, 3)
                ),
            ),
            (
                Event::Advanced { tier: Tier::Checkpointed, tip },
                format!(
                    r#"{{"event":"advanced","tier":"checkpointed","block":{},"checkpoint":{sealed},"#,
                    block(5, 1)
                ),
            ),
            (
                Event::Regressed { tier: Tier::Proposed, tip: at(4, 4).into() },
                format!(
                    r#"{{"event":"regressed","tier":"proposed","block":{},"checkpoint":null,"#,
                    block(4, 4)
                ),
            ),
            (
                Event::Pruned { to: at(2, 5), depth: 3, tips },
                format!(
                    concat!(
                        r#"{{"event":"pruned","to":{},"depth":3,"tips":{{"#,
                        r#""proposed":{{"block":{},"checkpoint":null}},"checkpointed":null,"#,
                        r#""proven":null,"finalized":{{"block":{},"checkpoint":{}}}}},"#
                    ),
                    block(2, 5),
                    block(2, 5),
                    block(5, 1),
                    sealed
                ),
            ),
        ];
        for (event, start) in table {
            let cursor = Cursor::new(&ChainId::new("test:1").unwrap(), 1, &Watermarks::none(), &[]);
            let want = format!(r#"{start}"cursor":"{cursor}"}}"#);
            assert_eq!(line(&Line::event(&event, &cursor)), want);
        }
    }

    #[test]
    fn proving_is_a_line_and_news_when_it_moves_or_stalls() {
        let proving = Proving {
            proven: at(118, 1).into(),
            committed: at(121, 2).into(),
            lag: 3,
            lag_ms: 11_240,
            pending: 0,
            running: 1,
            waiting: 2,
            poisoned: 0,
            per_minute: 12,
            stalled: false,
            cause: None,
        };
        let block =
            |height, fill: &str| format!(r#"{{"height":{height},"digest":"{}"}}"#, fill.repeat(32));
        let want = format!(
            concat!(
                r#"{{"event":"proving","proven":{},"committed":{},"lag":3,"lag_ms":11240,"pending":0,"#,
                r#""running":1,"waiting":2,"poisoned":0,"per_minute":12,"stalled":false}}"#
            ),
            block(118, "01"),
            block(121, "02")
        );
        assert_eq!(line(&Line::Proving(proving.clone())), want);
        let next = |change: fn(&mut Proving)| {
            let mut next = proving.clone();
            change(&mut next);
            proving.is_passed_by(&next)
        };
        assert!(
            !next(|next| (next.lag, next.lag_ms, next.running, next.per_minute) = (9, 1, 0, 0))
        );
        assert!(next(|next| next.poisoned = 1));
        assert!(next(|next| next.proven.height = 119));
        let stalled = Proving { stalled: true, cause: Some("no".into()), ..proving.clone() };
        assert!(proving.is_passed_by(&stalled) && stalled.is_passed_by(&proving));
        let text = line(&Line::Proving(stalled));
        assert!(text.ends_with(r#""stalled":true,"cause":"no"}"#), "{text}");
    }

    #[test]
    fn faults_and_states_are_lines_too() {
        let fault = FaultKind::Timeout.fault("eth+http://host", "no \"answer\"");
        let want = r#"{"event":"fault","kind":"timeout","source":"eth+http://host","detail":"no \"answer\""}"#;
        assert_eq!(line(&(&fault).into()), want);
        let status = |source_height| Status {
            state: State::CatchingUp,
            lag: 7,
            source_height,
            tip_age_ms: Some(1),
            cause: None,
            verification: None,
        };
        let want = r#"{"event":"status","state":"catching_up","lag":7,"source_height":9}"#;
        assert_eq!(line(&(&status(Some(Height::new(9)))).into()), want);
        let want = r#"{"event":"status","state":"catching_up","lag":7,"source_height":null}"#;
        assert_eq!(line(&(&status(None)).into()), want);
        let status = Status { cause: Some(Cause::TipAhead), ..status(None) };
        let want = r#"{"event":"status","state":"catching_up","lag":7,"source_height":null,"cause":"tip_ahead"}"#;
        assert_eq!(line(&(&status).into()), want);
        let height = |value| Some(Height::new(value));
        let verification = Some(Verification {
            epoch: 3,
            anchor: crate::Anchor::Pinned,
            age_ms: None,
            seen: height(40),
            verified: height(39),
            contiguous: height(9),
        });
        let status = Status { cause: None, verification, ..status };
        let want = concat!(
            r#"{"event":"status","state":"catching_up","lag":7,"source_height":null,"#,
            r#""verification":{"epoch":3,"anchor":"pinned","age_ms":null,"#,
            r#""seen":40,"verified":39,"contiguous":9}}"#,
        );
        assert_eq!(line(&(&status).into()), want);
    }
}

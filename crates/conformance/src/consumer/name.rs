//! The checks of a consumer by name.

/// Opened again, it has the same name, of 1 to 128 bytes.
pub const NAME: &str = "its name is the same whenever it is opened";
/// It opens on whatever it left.
pub const OPENS: &str = "it opens on whatever it left";
/// In batches of any size, it ends up where the events lead.
pub const TAKES: &str = "it takes in every event, in batches of any size";
/// It takes in events that come after it has caught up with those before, and was idle for a while.
pub const LIVE: &str = "it takes in events as they come";
/// Events that it had handled before a crash, and that come again, leave it where they lead.
pub const AGAIN: &str = "events that come again change nothing";
/// The same, where they come in other batches than before.
pub const CUT: &str = "events that come again in other batches change nothing";
/// After a crash inside of [`handle`](tidewatch_core::Consumer::handle) it ends up where the events
/// lead.
pub const DROPPED: &str = "a crash while it handles events is made up for";
/// What it acknowledged with [`Ack::Durable`](tidewatch_core::Ack::Durable) is there after a crash.
pub const DURABLE: &str = "what it acknowledged as durable survives a crash";
/// After a crash it is where some event left it, not between two.
pub const PLACE: &str = "after a crash it is where an event left it";
/// After a crash while several batches were out, acknowledged in part and in any order, it ends up where
/// the events lead. Only consumers that answer [`Ack::Later`](tidewatch_core::Ack::Later) are asked.
pub const OUT: &str = "a crash with several batches out is made up for";
/// Where events are no longer kept, it starts again from the oldest, or refuses and keeps what it has.
pub const RESTART: &str = "it starts again where events are no longer kept, or refuses";
/// After a prune, every tier is where the prune says: also one at or below its target, which may have moved
/// back with it. No other event says so.
pub const PRUNED: &str = "after a prune every tier is where the prune says";
/// It goes over a bridge from the position of another log, such as one of a fork that is gone.
pub const BRIDGE: &str = "it goes on from its position in another log";
/// It refuses no event.
pub const REFUSES: &str = "it refuses no event";
/// No call outlasts [`DEADLINE`](crate::DEADLINE).
pub const ENDS: &str = "every call ends";
/// No call panics.
pub const PANICS: &str = "no call panics";

/// All of them, in the order of the report.
pub const ALL: [&str; 16] = [
    NAME, OPENS, TAKES, PRUNED, LIVE, AGAIN, CUT, DROPPED, OUT, DURABLE, PLACE, RESTART, BRIDGE,
    REFUSES, ENDS, PANICS,
];

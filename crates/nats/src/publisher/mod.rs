//! Publishes the events of a log into a stream that several publishers write in turn.
//!
//! # Overview
//!
//! ```text
//!  log ──resume(the position of the stream's last message)──▶ bridge, events ──▶ stream
//!                                                            one in flight, each expects
//!                                                            the last sequence it knows
//! ```
//!
//! A publisher is a reader of its log, like any served reader; its cursor is in the stream's last message. So logs of
//! several followers, with events of their own in places of their own, make one history: whoever takes over resumes from
//! where the stream stands, exactly where its log has the same, and over a bridge (one prune, blocks, tiers) where it has
//! not. Nothing is kept beside the stream, and the log stays the truth: what a cluster forgot is published again from the
//! last message that is left.
//!
//! # The fence
//!
//! A message is stored only if the stream ends with the sequence that it expects. A leader's first act is a `lead` record
//! under that expectation; from then on whatever an older leader has on the way expects another end, and is refused. Tokens
//! only tell a refused leader why. What sequences cannot tell is content: a cluster that forgets the record just when an
//! older leader's message arrives takes that message in its place. So each message names the one before it, readers go by
//! that ([`reader`](crate::reader)), and a leader looks every few seconds whether its record is still there.
//!
//! # Situations
//!
//! | situation | what happens |
//! |---|---|
//! | stored at the next sequence | the next event |
//! | refused with 10071, taken for a duplicate, or no answer | the end of the stream is read, and says which of these it was: |
//! | – the message is the last one | it was stored: the next event. One server says 10071 to the retry of a stored message, several say duplicate |
//! | – nothing has changed | published again; under another name, where the cluster took it for one that it does not have |
//! | – an older message of this leadership is the last one | the cluster forgot: go on from the position of that one |
//! | – not even the `lead` record is there | the leadership begins again, with another record |
//! | – a later leader's message is the last one | deposed: stop, and give the lease up |
//! | another message stands where the `lead` record was | the leadership begins again, from the position of that message |
//! | refused for another reason (full, too large) | reported, and tried again after a pause |
//! | the log cannot lead on from the stream's position | a `reset` says where readers start again, as over HTTP |
//! | the log is behind the stream's position | it does not lead: somebody else is further on |
//! | the stream is of another chain, or holds what no publisher wrote | it ends with that reason |
//!
//! # Restart safety
//!
//! There is nothing to recover. A message on the way when a publisher ends is stored or not, and the next one reads which.
//!
//! # Cost
//!
//! One request for each event, one in flight. An idle leader makes two small requests every three seconds, a standby one
//! a second.

mod actor;
mod config;
mod metrics;
pub mod plan;
#[cfg(test)]
mod plan_tests;

pub use actor::Publisher;
pub use config::Config;

//! Tip events on NATS JetStream: several followers of one chain publish as one.
//!
//! # Overview
//!
//! ```text
//!  log of a follower ──▶ Publisher ──▶ stream TIDEWATCH_<chain>: events, and a record where a leader begins
//!                           ▲
//!                        Elector ◀───▶ bucket TIDEWATCH_LEADER_<chain>: who leads
//! ```
//!
//! | part | what |
//! |---|---|
//! | [`publisher`] | reads the log from where the stream stands, and writes on under a fence |
//! | [`elector`] | who leads: liveness alone, safety is the stream's |
//! | [`reader`] | the law that readers of the stream go by |
//! | [`tail`] | a reader that goes by it over whatever happens to servers |
//! | [`positions`] | where each named consumer is, in a bucket |
//! | [`settings`] | how stream and bucket have to be, compared with what the server made of it |
//! | [`Cluster`] | the port |
//! | [`client`] | the port over a connection to servers |
//! | [`service`] | all of it as one actor |
//! | `jobs` | a prover's queue of jobs, with the feature `jobs` |
//!
//! Nothing that a cluster promises to keep is relied on: the local log stays the truth, and what was forgotten is published
//! again.

pub mod client;
mod content;
pub mod elector;
mod error;
#[cfg(feature = "jobs")]
pub mod jobs;
mod patience;
mod port;
pub mod positions;
pub mod publisher;
pub mod reader;
pub mod service;
pub mod settings;
pub mod tail;
mod values;
#[cfg(test)]
mod worlds;

pub use content::Content;
pub use elector::Elector;
pub use error::Error;
pub use port::{Answer, Claim, Cluster, Lease, Refusal};
pub use positions::Positions;
pub use publisher::Publisher;
pub use service::Service;
pub use tail::Tail;
pub use values::{End, Foreign, Leader, Marked, Message, MessageId, Names, Outgoing, PublisherId};

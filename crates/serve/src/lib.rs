//! A follower's events over HTTP: cursors that a browser and curl can read.
//!
//! # Overview
//!
//! ```text
//!  log ──pulse──▶ tail: the newest events, encoded once ─┬─▶ stream at the tip ──▶ socket
//!   │               └── one watch wakes them all         └─▶ stream at the tip ──▶ socket
//!   └──read(position)──▶ stream further back ──────────────────────────────────▶ socket
//! ```
//!
//! [`Server`] is an actor for a follower's supervisor. `GET /v1/events` gives the events of the log as
//! server-sent events, as JSON lines or as pages, with the objects of [`tidewatch_core::json`]: those of
//! standard output, and control lines about the stream itself. Every line but `status` and `fault` has a cursor.
//!
//! Of a certified chain the routes of an alto indexer are served as well (`indexer`): an `alto-follower` can follow
//! this server.
//!
//! # Reorg safety
//!
//! A cursor of another history, or of a fork that is gone, is answered by [`resume`](tidewatch_core::resume()):
//! ordinary events lead over. No filter leaves out a prune that takes back what it let through.
//!
//! # Restart safety
//!
//! A server keeps nothing of its streams. Each ends with a `goodbye` whose cursor can be gone on from, here or at
//! any other server of the chain; one that is cut goes on from the last line that came.
//!
//! # Slow consumers
//!
//! A stream is a position in the log and has no queue: what comes next is read when the socket has room. So a
//! reader that does not read costs what a position costs, and delays nobody. One that falls behind the events
//! that are kept is notified with `lagged`, and led on by a bridge; where none leads on, with `reset`.
//! A connection whose client takes nothing for [`Config::stall`] is cut by the kernel.
//!
//! # Limits
//!
//! | what | bound |
//! |---|---|
//! | streams, in all and of one client | [`Config::streams_max`], [`Config::streams_per_client_max`] |
//! | new streams of one client | [`Config::opens_per_second`] |
//! | connections | 256 more than streams |
//! | time for the head of a request | [`Config::ask`] |
//! | body of a request | 64 KiB, within [`Config::ask`] |
//! | a page | 1,000 events, 1 MiB, a wait of 30 s |
//! | memory of a stream | its position, and 16 KiB of buffers of its connection |
//!
//! # Security
//!
//! Loopback is the default; any other address needs a [`Token`], or [`Config::open`]. A request whose `Host` is
//! not this server's is refused, and so is a page of another origin.

mod config;
mod describe;
mod events;
mod frame;
mod gate;
mod indexer;
mod liveness;
mod metrics;
mod observer;
mod problem;
mod routes;
mod rpc;
mod served;
mod server;
mod shared;
mod socket;
mod tail;
mod times;

#[cfg(test)]
mod tests;

pub use config::{Config, Token, TokenError};
pub use observer::Observer;
pub use served::Served;
pub use server::{ListenError, Listening, Parts, Server};

//! Sinks: a served Tidewatch into a Postgres database.
//!
//! # Overview
//!
//! ```text
//!                      events, with cursors
//!  tidewatch --serve ─────────────────────▶ Events (a client) ───▶ postgres: cursor and data in one transaction
//!                     /v1/events, /v1/digests
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`events`] | what a sink takes: messages of the stream, each with the position before it and after it |
//! | [`postgres`] | the cursor in the caller's transaction, a ready-made schema, and what runs it |
//!
//! Connections, resumption and the replay law are those of `tidewatch-client`.
//!
//! # Restart safety
//!
//! The position is kept together with what was made of the events, in the same transaction. Whatever ends a sink, or the
//! server, it goes on from there.
//!
//! # Resets
//!
//! A server that no event leads on from a position says `reset`. A sink does not pass over that in silence: it refuses
//! to go on, unless it was allowed to begin again, and then its log says so.

pub mod events;
pub mod postgres;

//! Sinks: a served Tidewatch into a Postgres database, and to webhooks.
//!
//! # Overview
//!
//! ```text
//!                      events, with cursors                    ┌──▶ postgres: cursor and data in one transaction
//!  tidewatch --serve ─────────────────────▶ Events (a client) ─┤
//!                     /v1/events, /v1/digests                  └──▶ webhook: signed, in order, one at a time
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`events`] | what a sink takes: messages of the stream, each with the position before it and after it |
//! | [`postgres`] | the cursor in the caller's transaction, a ready-made schema, and what runs it |
//! | [`webhook`] | Standard Webhooks: signing, order, retries, dead letters |
//!
//! Connections, resumption and the replay law are those of `tidewatch-client`.
//!
//! # Restart safety
//!
//! A sink keeps its position together with what it made of the events: in the same transaction, or in a file that is
//! written after the acknowledgement. Whatever ends it, or the server, it goes on from there.
//!
//! # Resets
//!
//! A server that no event leads on from a position says `reset`. No sink passes over that in silence: a database
//! refuses to go on, unless it was allowed to begin again, and an endpoint is sent the reset as an event.

pub mod events;
pub mod postgres;
pub mod webhook;

//! The upstream actor: one push connection, kept open.
//!
//! # Overview
//!
//! Connects, takes pushes in, and connects again when that ends. A pushed certificate goes through the
//! verifier on arrival and counts at once, for it proves itself; nothing is concluded from what was not
//! pushed, and nothing else that is pushed is believed. A push that moves a tip rings the doorbell. So
//! does every new connection: the source then asks for the tip, and a quiet endpoint is caught up with.
//!
//! ```text
//!   wait (back-off, jitter) ──▶ connect ──▶ listen ──┐
//!        ▲           failed ──────┘                  │ lost, silent, or too many refused frames
//!        └───────────────────────────────────────────┘
//! ```
//!
//! The actor has no inbox: the handle stops it, and with it goes the connection.
//!
//! # Connections
//!
//! There is never more than one: a feed is dropped, and so closed, before the next one is opened. A frame
//! that is refused costs a count and leaves the connection as it is; `refused_frames_max` of them in a
//! row cost the connection. A connection that brings nothing new that verifies for `silence` is replaced,
//! whatever else it brings: answering pings is no sign of life.
//!
//! # Unknown epochs
//!
//! A certificate of an epoch that our table does not know is skipped and counted, and no blame on the
//! endpoint: it is not one of the refused frames in a row, and the connection is not silent as long as
//! requests bring nothing newer that verifies either. The first certificate after the table was filled
//! counts as any other.
//!
//! # Back-off
//!
//! The wait before attempt `n` lies between half and the whole of `backoff_base * 2^n`, at most
//! `backoff_cap`: followers that lost one endpoint at one moment come back spread over half of it. Only a
//! certificate that verifies starts the count anew. A handshake proves nothing: an endpoint that accepts
//! and hangs up is waited for longer each time.
//!
//! # Cost
//!
//! At most one certificate check per push, none for a push that is old news or known already.

mod actor;

#[cfg(test)]
mod tests;

pub use actor::Upstream;

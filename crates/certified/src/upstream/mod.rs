//! The upstream actor: one push connection, kept open.
//!
//! # Overview
//!
//! Connects, takes in what is pushed, and reconnects when the connection ends. A pushed certificate is
//! verified on arrival and counts at once, because it proves itself. Nothing is concluded from what was not
//! pushed. A push that moves a tip rings the doorbell. So does every new connection: the source then
//! requests the tip, so that an endpoint which is quiet is caught up with too.
//!
//! ```text
//!   wait (back-off, jitter) ──▶ connect ──▶ listen ──┐
//!        ▲           failed ──────┘                  │ lost, silent, or too many refused frames
//!        └───────────────────────────────────────────┘
//!   Mailbox::reconnect ──▶ gives up where it is, and connects without a wait
//!   Mailbox::stop, runtime stop ──▶ gives up where it is, and ends
//! ```
//!
//! # Shutdown
//!
//! Stopped by its mailbox or by the runtime, the actor gives up the wait, the attempt or the connection at
//! hand, marks the connection as closed, and ends without a fault: nothing that an endpoint does ends it. It
//! keeps nothing that a stop could lose. An upstream whose mailboxes were all dropped goes on.
//!
//! # Connections
//!
//! There is never more than one: a feed is dropped, and so closed, before the next one is opened. A
//! refused frame is counted and leaves the connection open; `refused_frames_max` of them in a row close it.
//! A connection that brings nothing new that verifies for `silence` is replaced, whatever else it brings:
//! answers to pings are no sign of life, nor is a certificate that was pushed before.
//!
//! # Unknown epochs
//!
//! A certificate of an epoch that our table does not know is skipped and counted, and the endpoint is not
//! blamed: the certificate is not one of the refused frames in a row, and the connection does not count as
//! silent as long as requests bring nothing newer that verifies either. Once the table knows the epoch, the
//! next certificate counts as any other.
//!
//! # Back-off
//!
//! The wait before attempt `n` lies between half and the whole of `backoff_base * 2^n`, at most
//! `backoff_cap`: followers that lost one endpoint at the same moment come back spread over half of it.
//! Only a certificate that moves a tip resets the count. A handshake proves nothing, and a certificate that
//! is known already can be repeated by anybody: an endpoint that accepts, says no more than that and hangs
//! up is retried less and less often.
//!
//! # Cost
//!
//! At most one certificate check per push, none for a push that is stale or known already.

mod actor;
mod config;
mod connection;
mod ingress;

#[cfg(test)]
mod tests;

pub use actor::Upstream;
pub(crate) use config::Config;
pub use ingress::Mailbox;

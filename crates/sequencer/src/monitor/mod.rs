//! Reads preblocks from a number on, and hands them to the coordinator in order.
//!
//! # Overview
//!
//! ```text
//!  Ordering ──stream──▶ number: late, next, future ──next──▶ verify ──▶ Coordinator: accepted, or why not
//!      ▲                                                                        │
//!      └──────────── reconnects from the number that is wanted ◀───── Wanted ───┘
//! ```
//!
//! # Situations
//!
//! | situation | what happens |
//! |---|---|
//! | nothing but signs of life | the connection is quiet, and is kept |
//! | not even those, for `silence` | it is half open: a new one |
//! | the stream ends, or cannot be opened | a new one after a pause with jitter, which doubles |
//! | a number below the wanted one | dropped, counted as `late`, or as `doubled` if it was the last one accepted |
//! | a number above it | there is a gap: dropped, counted as `future`, and read again from the wanted one |
//! | evidence that does not verify | dropped, counted as `invalid`; the next one may be right |
//! | the coordinator refuses it | counted there; the next one may be right |
//! | it is accepted | nothing is read until it is applied |
//! | the coordinator asks for its number again | a new connection from there |
//!
//! # Slow consumers
//!
//! One preblock is in hand at a time. A network that drops a slow reader ends the stream, and the new one begins at
//! the wanted number.

mod actor;
mod config;
mod metrics;

pub use actor::PreblockMonitor;
pub use config::Config;

//! A sequencer whose transactions stay encrypted until their order is fixed.
//!
//! # Overview
//!
//! ```text
//!            select, reserve              submit
//!  Pool ◀───────────────────── Coordinator ─────▶ Ordering: the network of key holders
//!   ▲ settle                    │  ▲   │                │
//!   └───────────────────────────┘  │   │ apply          │ preblocks from a number
//!  Publisher ◀── applied block ────┘   ▼                ▼
//!                                   Applier      PreblockMonitor ──▶ Coordinator
//! ```
//!
//! A proposal goes out, and a preblock comes in, perhaps much later, perhaps never. In between nothing may be lost
//! and nothing applied twice.
//!
//! | part | what |
//! |---|---|
//! | [`coordinator`] | owns the state, the timers and the one outstanding proposal |
//! | [`monitor`] | owns the connection that preblocks come over |
//! | [`Pool`], [`Applier`], [`Publisher`], [`Ordering`] | the ports |
//! | [`disk`] | what survives: a pool, a chain, what was published |
//! | [`Sequenced`] | the chain that comes out, as a source |
//! | `remote` | a network of key holders over HTTP, as the port; with the feature `http` |
//! | [`timelock`] | transactions that nobody reads before their order is fixed, and what shows that it was |

pub mod coordinator;
pub mod disk;
mod error;
pub mod monitor;
mod ports;
#[cfg(feature = "http")]
pub mod remote;
mod source;
pub mod timelock;
mod values;

pub use coordinator::Coordinator;
pub use error::Error;
pub use monitor::PreblockMonitor;
pub use ports::{
    Applier, Item, Locked, NotApplied, NotSubmitted, Ordering, Place, Pool, Preblocks, Publisher,
    Standing,
};
pub use source::Sequenced;
pub use values::{
    Block, Content, EVIDENCE_MAX, Identity, Opened, Preblock, Proposal, REASON_MAX, Sender,
    TRANSACTION_BYTES_MAX, TRANSACTION_BYTES_MIN, TRANSACTIONS_MAX, Transaction, shortened,
};

//! Elects one leader of those who publish for one chain, and tells the publisher of this process whether it leads.
//!
//! # Overview
//!
//! ```text
//!  lease at the cluster ◀─ claim, renew, give up ─ Elector ── Leadership ──▶ Publisher
//!                                                     ▲                         │
//!                                                     └──────── Standing ───────┘
//! ```
//!
//! The lease decides who tries, and nothing else: two leaders at once are slow, and harmless. What a deposed one still
//! writes is refused by the stream itself ([`publisher`](crate::publisher)). So no clock of a server, no answer and no
//! durability of a lease is relied on for what readers see.
//!
//! # Situations
//!
//! | situation | what happens |
//! |---|---|
//! | nobody holds the lease | claimed over what the last one left: the sequence of its marker, where there is one |
//! | somebody does | looked at every half a second. A look is a request that succeeds or fails; a watch can die without a word |
//! | it did not change for a whole time to live, as it was watched here | claimed over its revision: the cluster's clock may have been set back |
//! | the publisher is behind what the stream has | not claimed: somebody else is further on |
//! | a renewal is refused, or not answered | the lease is read. One's own, renewed by a request whose answer was lost, is renewed from there |
//! | the last confirmed renewal began [`give_up`](Timing::give_up) ago | the leadership is over here, before it can be over elsewhere |
//! | the publisher was deposed, or is behind | the lease is given up |
//! | stopped | the lease is given up, so that the next one need not wait |
//!
//! # Clocks
//!
//! All times are sleeps that begin before a request is made: a clock that is set moves none of them.

mod actor;
mod config;
mod metrics;
mod plan;

pub use actor::{Elector, Leadership, Standing};
pub use config::Config;
pub use plan::{Candidate, Found, Holder, Timing, Watched, found};

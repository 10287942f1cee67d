//! Events to webhooks, as [Standard Webhooks](https://www.standardwebhooks.com).
//!
//! # Overview
//!
//! | file | what |
//! |---|---|
//! | `secret` | secrets, and signatures by them |
//! | `payload` | what is sent of an event |
//! | `decide` | what follows from an answer: a pure decision |
//! | `kept` | position, what is being sent, and dead letters, on disk |
//! | `run` | a sink that runs, for one endpoint |
//!
//! One event is sent at a time, in order: the next one follows once the endpoint acknowledged it with a status of 2xx.
//! Everything else is tried again, with growing waits, for days; an endpoint that asks for a pause gets it. One that says
//! 410 is sent nothing any more. Redirects are not followed: they are failures.
//!
//! # What is sent
//!
//! ```text
//! POST … webhook-id: evt_…   webhook-timestamp: …   webhook-signature: v1,… v1,…
//! {"type":"tidewatch.advanced","timestamp":"2026-11-27T02:45:00Z","chain":"…","data":{…}}
//! ```
//!
//! `data` is the object of the stream; `type` is that of its `event`. A stream's control messages are not sent, but for
//! `lagged` and `reset`, without which an endpoint would not know that something is missing.
//!
//! # Restart safety
//!
//! An event is on disk, with its id, before it is sent the first time, and the position moves once it was acknowledged. A
//! process that is killed in between sends the same bytes under the same id again, whatever the chain did meanwhile: an
//! endpoint that drops ids which it knows has every event once. If it were read from the server again instead, another
//! server, or a reorg, could lead past what the endpoint has already.
//!
//! # Dead letters
//!
//! What is given up is written to `dead.jsonl`, with why, before the position goes on. It can be listed and sent again.

mod decide;
mod kept;
mod payload;
mod run;
mod secret;

pub use kept::{Dead, Kept};
pub use run::{Config, Endpoint, Error, Limits, Progress, run, send_again};
pub use secret::{Secrets, Unusable};

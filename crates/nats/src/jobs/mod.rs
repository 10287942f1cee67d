//! A prover's jobs on NATS JetStream: several schedulers and several workers share one queue.
//!
//! # Overview
//!
//! ```text
//!  scheduler ──▶ Queue ──▶ stream TIDEWATCH_JOBS_<program> ──▶ Worker ──▶ any Prover
//!                  ▲                    │ given up, or ended for good        │
//!                  │                    ▼                                    │
//!                  │       stream TIDEWATCH_DEAD_<program>                   │
//!                  │                    │ filed                              │
//!                  │                    ▼                                    │
//!                  └─── bucket TIDEWATCH_RESULTS_<program> ◀──────────────────┤
//!                       bucket TIDEWATCH_OBJECTS_<program> ◀──────────────────┘
//! ```
//!
//! [`Queue`] is a [`Prover`](tidewatch_prover::Prover) like a pool and a worker over HTTP: a scheduler knows no difference.
//! [`Worker`] has any of them behind it. `<program>` is the first eight bytes of the program's digest in hex.
//!
//! | file | what |
//! |---|---|
//! | `plan` | what follows from what was found and answered: pure |
//! | `values` | names, jobs, deliveries, results |
//! | [`settings`] | how streams and consumers have to be |
//! | `cluster`, `objects` | the requests |
//! | `queue` | the one who hands in |
//! | `worker`, `lane` | the one who takes; a lane has one job at a time |
//!
//! # A job
//!
//! Its handle is `HEIGHT-DIGEST-PROGRAM.GENERATION`, which is also its message's name. A job that was released and is
//! submitted again is of a new generation: a stream drops, without a word, what has a name that it remembers, and a late
//! result of the old one is not taken for the new one's. There is one message about a key at the most (the message
//! expects that there is none), so that submitting is idempotent, over restarts of the scheduler too. Inputs of more than
//! [`settings::INLINE_MAX`] bytes are an object.
//!
//! A worker is given a job for the consumer's `ack_wait`, and renews that each third of it while the prover behind works.
//! It stores the proof as an object of its own, then creates the result, of which the first counts, and then
//! acknowledges. One that dies in between leaves the job to the next, which finds the result, or proves it again. A job
//! that is released while it is worked on is given up at the next renewal.
//!
//! | how it ended | result | message | whoever polls is told |
//! |---|---|---|---|
//! | a proof | the object's name | acknowledged | the proof, not verified |
//! | not provable | the reason | ended for good | `Unprovable` |
//! | the prover's own deadline | that | acknowledged | `TimedOut` |
//! | the prover is in trouble | none | given back, for later | nothing new |
//! | delivered [`settings::DELIVERIES_MAX`] times | filed by whoever sees the dead letter | removed | `Unprovable`, with how often |
//! | forgotten by the cluster, or released | none | none | `Lost` |
//!
//! # Restart safety
//!
//! Nothing that servers promise to keep is relied on. What they forgot is `Lost`, and the scheduler submits it again;
//! proofs are verified by the scheduler as those of every prover.
//!
//! # Limits
//!
//! A full queue is `Full`. What could not be released while servers were away is released later; results and objects that
//! nobody releases end after a week. Workers take no inputs above
//! [`Config::inputs_max`](WorkerConfig::inputs_max), submitters no proof above theirs.

mod cluster;
mod lane;
mod metrics;
mod objects;
mod plan;
mod queue;
pub mod settings;
mod values;
mod worker;

pub use queue::Queue;
pub use values::{Delivery, FILERS, JobId, JobNames, Outcome, Record, Reference, WORKERS};
pub use worker::{Config as WorkerConfig, Worker};

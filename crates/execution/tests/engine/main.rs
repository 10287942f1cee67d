//! The executor and the view over a scripted client, with real sockets.
//!
//! | file | what |
//! |---|---|
//! | `client` | the client: a chain, the Engine API with its token, and a script of what it does |
//! | `chain` | blocks of every fork, with transactions |
//! | `executor` | the reference's 16 cases of an executor, one test each, by their number |
//! | `hostile` | clients that lie, are silent, or let nobody in |
//! | `view` | a driver over a node, with a client as its view: forks, reorgs, crashes, bodies that do not match |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod chain;
mod client;
mod executor;
mod hostile;
mod rig;
mod view;

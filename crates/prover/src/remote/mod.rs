//! A prover on another machine, over HTTP.
//!
//! # Overview
//!
//! [`serve`] offers any [`Prover`](crate::Prover) to others; [`Remote`] is one of those, as a prover. Jobs are named
//! by what they are about, so that submitting is idempotent, and a scheduler that was started again finds what it
//! submitted. [`Kept`] has the finished proofs of a prover on disk, so that they outlive its process too.
//!
//! # Protocol
//!
//! A handle is `HEIGHT-DIGEST-PROGRAM`: the block's height in decimal, its digest and the program's identity in
//! lower-case hex.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/offer` | 200, `{"program": HEX, "slots": N, "deadline_ms": N or null}` |
//! | `PUT /v1/jobs/HANDLE`, the body are the inputs | 202: the job is there, whatever became of it. 429: no free slot. 409: another program. 413: too large. 400: no handle |
//! | `GET /v1/jobs/HANDLE?wait_ms=N` | 200: the body is the proof. 202: it runs; answered after `wait_ms` at the latest. 404: not known. 422: not provable, the body says why. 504: given up at the prover's own deadline |
//! | `DELETE /v1/jobs/HANDLE` | 204: it may be stopped, and its proof forgotten. Also where it is not known |
//! | any | 401: another token. 408: its body took too long. 503: too many requests at once, or the prover behind it is not available |
//!
//! At the same port, over HTTP/2, the calls of [`Miden`]'s sequencers may be answered: their protocol is in `miden.rs`.
//!
//! # Limits
//!
//! Of the server: [`Limits`]: bytes of inputs, requests at once, and how long one may wait. Bodies are read up to
//! their limit and no further; a request that sends its body slowly ends with 408 after twice the time that one may
//! wait. `connections.rs` bounds connections. Of the client: bytes of an answer; the scheduler gives up calls at its deadlines, and verifies every proof.
//!
//! A [`Token`] says who may use the slots; without one, whoever reaches the address. It is shown with each request
//! (`Authorization: Bearer`) and crosses the network as it is, as inputs and proofs do: serve on loopback or on a
//! private network, or behind something that adds TLS. Proofs are public, and are verified by whoever asked for them.

mod client;
mod connections;
mod grpc;
mod kept;
mod miden;
mod server;
#[cfg(test)]
mod tests;
mod token;

pub use client::{BadAddress, Remote};
pub use kept::{Kept, Observe};
pub use miden::{Calls, Miden, Reads};
pub use server::{Jobs, Limits, Worker, serve};
pub use token::{NoToken, Token};

/// What `GET /v1/offer` answers.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Offered {
    program: String,
    slots: usize,
    deadline_ms: Option<u64>,
}

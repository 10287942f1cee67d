//! A network of key holders over HTTP.
//!
//! # Overview
//!
//! [`Remote`] is a network that runs elsewhere, as the port [`Ordering`](crate::Ordering). `tidewatch_devnet` has
//! one that runs inside the process, which serves the same interface. [`wire`] is how both write it.
//!
//! # Protocol
//!
//! A proposal is named by its identity, `NUMBER-PARENT-CONTENT-ATTEMPT`: number and attempt in decimal, the digests of
//! the parent and of the content in lower-case hex. Submitting is idempotent: it may be repeated for as long as the
//! answer is not known, in this attempt or in a later one.
//!
//! | request | answer |
//! |---|---|
//! | `PUT /v1/proposals/IDENTITY`, the body is the content | 202: it is durable, and was not known. 200: it was known, in whichever attempt. 409: the number has other content. 412: the number is not the next one. 413: too large. 422: the body is no content, or another one than the identity names. 400: no identity |
//! | `GET /v1/preblocks?from=N` | 200: the preblocks from number N on, one a line in base64, in order: those that there are, then those to come, without an end. An empty line each few seconds says that the server is there. 400: no number. 410: the history begins above N |
//! | `GET /v1/newest` | 200: `{"newest": N}`, or `null` before the first |
//! | `GET /v1/round` | 200: the seed of the newest round that the validators certified, `{"epoch": N, "view": N, "seed": HEX}`: what a sender seals above. 503: none yet |
//! | `GET /v1/health` | 200: it orders: `{"newest", "view", "pending", "holders", "quorum"}`. 503: too few key holders attest, or its disk failed |
//! | any | 404: no such route. 405: no such method there. 408: its body took too long. 503: too many requests or streams at once, or it is stopping |
//!
//! Every refusal has a body that says why, in one line of text, after a word for programs: `taken: ...`.
//!
//! # Limits
//!
//! Of the client: bytes of an answer and of a line, and the time that each call but the stream may take. A stream that
//! is silent is left to the monitor, which knows when it is half open. Nothing is believed: each preblock is verified
//! against the configured [`Keys`](crate::timelock::Keys), and so is the seed of a round.

mod client;
#[cfg(test)]
mod tests;
pub mod wire;

pub use client::{BadAddress, Limits, Remote};

//! `devnet:ordering`: a network of key holders, inside one process.
//!
//! # Overview
//!
//! ```text
//!  ┌ Devnet, in VRF mode ───────┐ seeds of rounds  ┌ Network ────────────────────────────┐
//!  │ validators certify rounds  │─────────────────▶│ orderer: one task                   │
//!  └────────────────────────────┘                  │  proposal ─▶ disk ─▶ acknowledged   │◀── PUT  sequencers
//!                                                  │  holders attest ─▶ disk             │
//!                                                  │  rounds open ─▶ preblock ─▶ disk    │──▶ stream
//!                                                  └─────────────────────────────────────┘
//! ```
//!
//! The committee that certifies the chain holds the keys here too: each member attests with its identity, and has its
//! share of the seeds. What an order is, what is encrypted, and what shows that both are right is in
//! [`tidewatch_sequencer::timelock`]; the interface is [`tidewatch_sequencer::remote`].
//!
//! # One number at a time
//!
//! | a proposal's number | answer |
//! |---|---|
//! | the one after the newest preblock; any, before the first | accepted, and durable |
//! | of a proposal that is accepted, or of a preblock: the same content and parent | known, in whichever attempt |
//! | likewise, other content or another parent | taken |
//! | any other | it is not the next one |
//!
//! # Opening
//!
//! The seed of a round comes out of a certificate of a block. A round may end without a block: its certificate stays
//! with the validators. A holder gives its share of the seed of a round once it has seen a certificate of that round
//! or of a later one, and never before; a threshold of shares is that very seed, because BLS signatures are unique.
//! So each round opens, also after a restart that lost its certificate, for as long as the validators go on.
//!
//! # Restart safety
//!
//! | step | order | a crash before it leaves |
//! |---|---|---|
//! | a proposal is accepted | its line, then the answer | a sequencer without an answer: it submits again |
//! | its order is attested | what each holder attests, then the signatures are used | a proposal that is attested as of a later round |
//! | it is opened | the preblock, then readers see it | an order that is fixed: it is opened again, to the same |
//!
//! Validators that start again report rounds that they certified before, the older ones first. What has been seen is on
//! disk, a few rounds ahead of it, and holders attest nothing before a round that may be the newest one is certified.
//! So the validators' directory belongs to the storage of the network: a chain that begins anew certifies the same
//! rounds with the same seeds, and is waited for until it is past them.
//!
//! # Slow readers
//!
//! Each stream has one line in hand, and reads the next from disk when that has left. A connection whose reader takes
//! nothing is cut by the kernel after [`Limits::stall`].
//!
//! # Limits
//!
//! Every preblock is kept, and a start reads all of them. As of the crate, there is neither secrecy nor fault
//! tolerance: the keys of all holders follow from a seed in the configuration.

mod config;
mod decide;
mod disk;
mod holder;
mod metrics;
mod network;
mod orderer;
mod routes;
mod server;
#[cfg(test)]
mod tests;

pub use config::{Config, Limits};
pub use network::Network;
pub use server::{Sockets, Trouble, serve};

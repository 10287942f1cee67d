//! A follower around commonware's marshal: for those who want its ordered delivery, with acknowledgements.
//!
//! # Overview
//!
//! Marshal stores finalized blocks, orders them, and delivers each once it is durable. [`FollowDriver`] feeds
//! one from an upstream and keeps it going over epochs, beside whatever executes the blocks.
//!
//! ```text
//!  CertifiedSource ── finality ──▶ FollowDriver ── finalizations, hints, floors ──▶ marshal ──▶ your reporter
//!    (upstream)                     │  ▲  │                                          │   ▲
//!                                   │  │  └── blocks that were lost ──▶ execution    │   │
//!                                   │  └──────────── updates, acknowledged ──────────┘   │
//!                                   └── boundaries ──▶ Schemes, Keeper        Resolver ──┘
//! ```
//!
//! Finality and updates come in by two reporters: [`Mailbox::finality`] for
//! [`CertifiedSource::report_to`](crate::CertifiedSource::report_to), and [`Mailbox::updates`] for the marshal,
//! beside your own (commonware's `Reporters`). The marshal counts a block as delivered once both acknowledged
//! it. What it asks for is served by the [`resolver`].
//!
//! # Wiring
//!
//! ```text
//! schemes            Schemes::new, Keeper::open, Schemes::fresh: what is known, and not for too long
//! source, upstream   open(.., epochs: schemes)
//! marshal            Actor::init(.., provider: schemes, start: Genesis)
//! driver, mailbox    FollowDriver::new(.., marshal, schemes, execution, source)
//! resolver           Resolver::new(.., source.shared_transport(), execution, schemes, the marshal's handler)
//!
//! source.report_to(mailbox.finality())
//! marshal.start_unbuffered(Reporters::from((mailbox.updates(..), yours)), (receiver, resolver))
//! keeper, resolver, upstream and driver are started, and supervised; the marshal ends with the driver
//! ```
//!
//! `tests/real/marshal.rs` of the repository does it for an alto network.
//!
//! # A start
//!
//! Four things must agree that may not after a crash: the execution layer, the marshal, the table of epochs, and
//! the chain. Before the first message is taken:
//!
//! 1. What the execution layer says of its own history is compared with the newest boundary that it has: as our
//!    table knows it, or the marshal has its finalization, or the upstream proves it. It is not believed.
//! 2. If the epoch that comes next is not known, its boundary is taken from who has it, the marshal or the
//!    execution layer, and learned. Ours is durable before the marshal counts it as delivered, so this is for a
//!    table that was lost.
//! 3. Where the execution layer is ahead by a boundary, the marshal's floor is set to it: the baseline.
//! 4. Where the marshal is ahead, the blocks that it delivered and the execution layer lost are delivered to
//!    it again, in order.
//!
//! | | marshal has delivered all that is durable in the execution layer | has not |
//! |---|---|---|
//! | all that marshal delivered is durable there | nothing | the baseline, if a boundary lies between |
//! | it is not | delivered again | (cannot be: one of two heights is the lower one) |
//!
//! A fault of the execution layer, or of the chain, ends the start; an upstream that cannot be reached is asked
//! again, at growing intervals.
//!
//! # Epochs
//!
//! A boundary is learned, and on disk, before it is acknowledged: after a crash the marshal delivers it again,
//! or its scheme is known. Other blocks are acknowledged at once.
//!
//! The marshal is given finalizations of the epoch that it delivers, the newest by round. One of a later epoch is
//! held, verified or not, and answered by a hint at the last height of this epoch, once: the marshal fetches
//! that boundary, verifies it, and delivers up to it; then comes the next. So nobody has to know a key of an
//! epoch far ahead, and the marshal never keeps files for epochs in between that it has nothing of.
//!
//! With [`Config::skip`] the floor follows the hint: as soon as the marshal has the boundary's finalization, its
//! floor is set so that the boundary comes next. The blocks below are not delivered then. That is for an
//! execution layer that gets its blocks elsewhere, as Ethereum clients do; without it every block is delivered.
//!
//! # Messages
//!
//! | message | when the mailbox is full |
//! |---|---|
//! | a block that the marshal delivers | it waits: dropping it would end the marshal. As many can wait as the marshal allows without an acknowledgement |
//! | a tip of the marshal | the newest by round |
//! | a finalization | the newest by round |
//! | a claim of an unknown epoch | the newest by round |
//!
//! Rounds, not heights, say what is newer: a round is certified with the block, and every height has one.
//!
//! # Faults
//!
//! What the upstream does ends nothing. A boundary that contradicts the one that is known, an execution layer of
//! another chain, and a disk that fails end the driver, with the acknowledgement at hand dropped: the marshal
//! ends with it, and nothing is delivered that was not.
//!
//! # Cost
//!
//! No certificate is checked here, and nothing is decoded: finalizations come typed from the verifier, and the
//! block goes to the marshal with its finalization, so that it is not fetched again. A start checks at most one
//! certificate, beside those of a walk.

mod actor;
mod begin;
mod config;
mod decide;
mod ingress;
mod marshal;
mod metrics;
mod ports;
pub mod resolver;

#[cfg(test)]
mod tests;

pub use actor::FollowDriver;
pub use config::{Config, Parts};
pub use ingress::{Mailbox, Reports, Updates};
pub use marshal::MarshalMailbox;
pub use ports::{Boundaries, ExecutionLayer, Marshal};
pub use resolver::Resolver;

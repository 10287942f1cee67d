//! What a validator signed that it must not have signed, as files that anybody can check.
//!
//! # Overview
//!
//! A validator contradicts itself if it signs two messages of one view that exclude each other: two
//! notarizations or two finalizations of different proposals, or a nullification and a finalization. Commonware's
//! Simplex reports that as one activity. [`Evidence`] is that activity together with the committee it is to be
//! judged by, so that it can be checked without the chain, the network or the process that saw it:
//!
//! ```text
//!  Activity ─── Evidence::of ──▶ Evidence ─── encode ──▶ file ─── decode ──▶ check(Trusted) ──▶ Finding
//! ```
//!
//! # What a finding says
//!
//! A [`Finding`] says that both signatures verify under the key that the committee *in the file* has for the
//! signer. Whoever made the file chose that committee: without [`Trusted::committee`] a finding says nothing
//! about a network. [`Committee::fingerprint`] is what has to be pinned. A group's public key
//! ([`Trusted::identity`]) is not enough: it is only the constant term of the polynomial that the members' keys
//! lie on, and polynomials with the same constant term, under which anybody knows the share of a member, are
//! easily made. It is checked, because a file that names another network should be refused early.
//!
//! # Schemes whose signatures are not attributable
//!
//! With threshold signatures, a quorum of partial signatures over one message determines those of all others over
//! the same message. Whoever has a quorum's votes for a proposal can compute the vote that a member did *not* give,
//! and put it beside one that it gave. So under [`SchemeKind::Standard`] and [`SchemeKind::Vrf`] a finding
//! convinces only those who trust whoever recorded the file: that validator received both votes over connections
//! that the member authenticated. [`Finding::attributable`] says which of the two it is. Under
//! [`SchemeKind::Ed25519`] a finding convinces everybody.
//!
//! # File
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `TWEVID` and the version, two ASCII digits |
//! | 4 | length of the body, big endian, at most [`BODY_MAX`] |
//! | length | the body: committee, offence, both messages as consensus encodes them |
//! | 32 | SHA-256 of everything before |
//!
//! The hash is there for damage, not for trust: it tells a damaged file from a false one.
//!
//! # Limits
//!
//! A file is at most [`FILE_MAX`] bytes, a committee at most [`MEMBERS_MAX`] members. Nothing is computed over
//! anything larger, and nothing is allocated for a length that the bytes do not have.

mod check;
mod committee;
mod error;
mod file;
#[cfg(test)]
mod tests;

pub use check::{Finding, Message, Trusted};
pub use committee::{Committee, MEMBERS_MAX, NAMESPACE_MAX, SchemeKind};
pub use error::Refusal;
pub use file::{BODY_MAX, Evidence, FILE_MAX, Offence};

//! The published cases of proposal coordinators, by their numbers (`PC`), in the deterministic runtime, with a
//! scripted network. `docs/sequencing-cases.md` lists them, and the hazards (`B`) that they come from.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails with what went wrong")]

mod crashes;
mod network;
mod protocol;
mod rig;
mod source;
mod stops;

//! What the crate's doc describes: one module for each thing that followers are put in front of.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "the clients are processes, which keep real time")]

mod anvil;
mod conformance;
mod consensus;
mod devnet;
mod marshal;
mod miden;
mod readymade;
mod restart;
mod served;

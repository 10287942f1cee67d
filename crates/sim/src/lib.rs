//! What tests of a follower are made of.
//!
//! [`scripted`] is a chain, a source and a view that do exactly what a test tells them to, and write down
//! what they were asked.

pub mod scripted;

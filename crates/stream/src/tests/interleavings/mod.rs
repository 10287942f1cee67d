//! Every interleaving of a small world, up to four blocks: none is sampled.
//!
//! # Overview
//!
//! | module | what is interleaved |
//! |---|---|
//! | [`passes`] | passes, a source that moves and fails between two calls of theirs, commits that fail, and a process that dies |
//! | [`handover`] | a delivery, a writer that adds events between two steps of it, a consumer that accepts, takes in, fails and panics, a log that fails, and a process that dies before and after each of them |
//!
//! A *point* is a moment at which the world can act. At each point nothing happens, or one *act* of a menu.
//! [`choices`] takes every path through these menus, so that a test is every path of its world.
//!
//! So that this ends, a path has a [`Budget`](choices::Budget): nothing happens after so many points, and
//! no more than so many acts on the way. Some tests have a long menu and allow two or three acts anywhere
//! among the points of a path; others have a short menu and allow an act at every one of them.
//!
//! # Counts
//!
//! Each test states how many paths there are, and what happened on them: a test that goes fewer paths
//! than it says, or on which nothing happens, fails. A change of what a pass or a delivery asks for
//! changes the numbers, and has to explain why.
//!
//! # A path that fails
//!
//! It prints its picks, and what happened in words. `Choices::along` goes the same way again.

pub(super) mod choices;
mod handover;
mod passes;

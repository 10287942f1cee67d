//! The pass, case by case.

mod blocks;
pub(crate) mod chain;
pub(crate) mod follower;
mod gaps;
mod random_worlds;
mod situations;
mod small_worlds;
pub(crate) mod source;
mod tips_only;
pub(crate) mod view;
pub(crate) mod words;

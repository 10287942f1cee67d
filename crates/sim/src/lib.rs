//! The deterministic simulator.
pub mod scripted;

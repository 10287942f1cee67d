//! The source over recorded blocks of mainnet, and over a network whose committees are known here: in the deterministic
//! runtime, and over real sockets.

mod chain;
mod follow;
mod hostile;
mod node;
mod recorded;
mod spoken;
mod written;

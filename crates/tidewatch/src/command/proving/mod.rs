//! Proving: `tidewatch prove`, `prover-worker` and `prover`.
//!
//! | file | what |
//! |---|---|
//! | `args` | their options |
//! | `statement` | what is proven, where this build has it (feature `prove`) |
//! | `prover` | the scheduler beside a follower |
//! | `progress` | how far it is, for whoever watches |
//! | `control` | the socket that operators ask at |
//! | `desk` | the answers, also of a directory in which nobody proves |
//! | `miden` | what Miden's sequencers are answered |
//! | `operate` | `tidewatch prover`, which asks |
//! | `worker` | `tidewatch prover-worker` |

pub(super) mod args;
mod control;
mod desk;
mod miden;
pub(super) mod operate;
mod progress;
mod prover;
mod statement;
pub(super) mod worker;

pub(super) use prover::Wanted;

//! `tidewatch sequence`: a sequencer on the network of key holders that runs inside of this process.
//!
//! | file | what |
//! |---|---|
//! | `args` | options |
//! | `intake` | takes encrypted transactions over HTTP |
//! | `run` | everything that runs, from options to exit code |
//! | `submit` | `tidewatch sequence submit`: encrypts one transaction and sends it |

pub(super) mod args;
mod intake;
mod run;
mod submit;

use crate::Outcome;
use args::{Asked, Sequence};

/// Does what was asked for.
pub(super) fn run(options: Sequence) -> Outcome<()> {
    match options.asked {
        None => run::run(&options.running),
        Some(Asked::Submit(submit)) => submit::run(submit),
    }
}

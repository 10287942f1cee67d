//! `tidewatch sequence`: a sequencer, on the network of key holders that runs inside of this process or elsewhere.
//!
//! | file | what |
//! |---|---|
//! | `args` | options |
//! | `followed` | the chain that comes out, followed and served |
//! | `intake` | takes encrypted transactions over HTTP |
//! | `keys` | what a network is believed by |
//! | `network` | `tidewatch sequence network`: the key holders by themselves |
//! | `run` | everything that runs, from options to exit code |
//! | `submit` | `tidewatch sequence submit`: encrypts one transaction and sends it |

pub(super) mod args;
mod followed;
mod intake;
mod keys;
mod network;
mod run;
mod submit;

use crate::Outcome;
use args::{Asked, Sequence};

/// Does what was asked for.
pub(super) fn run(options: Sequence) -> Outcome<()> {
    match options.asked {
        None => run::run(&options.running),
        Some(Asked::Submit(submit)) => submit::run(submit),
        Some(Asked::Network(network)) => network::run(&network),
    }
}

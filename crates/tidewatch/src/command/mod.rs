//! The command: what was asked for, checked; then a follower, until it is told to end.
//!
//! | file | what |
//! |---|---|
//! | `anchor` | `tidewatch anchor`: where a chain of epochs is begun from |
//! | `args` | options, from the command line and from a file |
//! | `control` | how a command asks the process that has a data directory |
//! | `data_dir` | the data directory, locked for one process |
//! | `embedded` | the devnet, where this build has it |
//! | `evidence` | `tidewatch verify-evidence`: whether a validator contradicted itself |
//! | `execution` | an execution client that follows too |
//! | `follow` | `tidewatch follow`, from options to exit code |
//! | `logs`, `metrics` | what operators see besides the output |
//! | `monitoring` | `tidewatch monitoring`: a dashboard, and alert rules |
//! | `nats` | publishing to NATS what is followed |
//! | `port` | a port that answers over HTTP, within limits |
//! | `sequence` | `tidewatch sequence`, where this build has the devnet |
//! | `serve` | serving over HTTP what is followed |
//! | `sink` | `tidewatch sink`: another machine's stream into a database, and to webhooks |
//! | `problem` | why it ends without success, and what to do |
//! | `proving` | `tidewatch prove`, `prover-worker` and `prover` |
//! | `sentinel` | `tidewatch sentinel`: who did their part |
//! | `signals` | what asks it to end |
//! | `tail` | `tidewatch tail`: what followers published to NATS |
//! | `target` | what the options ask to follow, from the registry of `tidewatch-sources` |
//! | `watch` | `tidewatch watch`: another machine's stream |

mod anchor;
mod args;
mod control;
mod data_dir;
mod embedded;
mod evidence;
mod execution;
mod follow;
mod logs;
mod metrics;
mod monitoring;
mod nats;
mod port;
mod problem;
mod proving;
mod sentinel;
#[cfg(feature = "devnet")]
mod sequence;
mod serve;
mod signals;
mod sink;
mod tail;
mod target;
mod watch;

pub(crate) use args::Cli;
pub(crate) use problem::Problem;

use crate::Outcome;
use args::Command;

/// Does what was asked for.
pub(crate) fn run(cli: Cli) -> Outcome<()> {
    match cli.command {
        None => follow::run(args::Follow::default(), None),
        Some(Command::Follow(options)) => follow::run(options.resolve()?, None),
        Some(Command::Anchor(anchor)) => anchor::run(anchor),
        Some(Command::Prove(options)) => {
            let proving::args::Prove { follow, proving } = options.resolve()?;
            follow::run(follow, Some(proving))
        }
        Some(Command::ProverWorker(options)) => proving::worker::run(options),
        Some(Command::Prover(asked)) => proving::operate::run(asked),
        Some(Command::Sentinel(asked)) => sentinel::run(asked),
        #[cfg(feature = "devnet")]
        Some(Command::Sequence(options)) => sequence::run(*options),
        Some(Command::Monitoring(asked)) => monitoring::run(asked),
        Some(Command::VerifyEvidence(options)) => evidence::run(&options),
        Some(Command::Sink(asked)) => sink::run(asked),
        Some(Command::Watch(options)) => watch::run(options),
        Some(Command::Tail(options)) => tail::run(options),
    }
}

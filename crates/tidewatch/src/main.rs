//! The `tidewatch` command: follows the tip of a chain and says how final it is.

mod command;
mod output;

use clap::Parser as _;
use command::{Cli, Problem};
use std::process::ExitCode;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match command::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            output::report(&problem);
            problem.exit_code()
        }
    }
}

/// What the command's parts use of each other.
type Outcome<T> = Result<T, Problem>;

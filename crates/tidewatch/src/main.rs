//! The `tidewatch` command: follows the tip of a chain and says how final it is.

mod command;
mod output;

use command::{Cli, Problem};
use std::process::ExitCode;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::typed().and_then(command::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            output::report(&problem);
            problem.exit_code()
        }
    }
}

/// What the command's parts use of each other.
type Outcome<T> = Result<T, Problem>;

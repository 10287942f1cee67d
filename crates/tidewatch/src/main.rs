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
            ExitCode::from(problem.code())
        }
    }
}

/// Ends the process where the runtime would wait for a proof that is being made, with which nothing is lost.
fn leave(outcome: Outcome<()>) -> ! {
    let code = outcome.map_or_else(
        |problem| {
            output::report(&problem);
            problem.code()
        },
        |()| 0,
    );
    std::process::exit(code.into())
}

/// What the command's parts use of each other.
type Outcome<T> = Result<T, Problem>;

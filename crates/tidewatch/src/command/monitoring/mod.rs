//! `tidewatch monitoring`: a dashboard and alert rules for what `--metrics` serves.

mod alerts;
pub(crate) mod args;
mod dashboard;
mod table;

use super::Problem;
use crate::Outcome;
use args::Monitoring;
use std::io::Write as _;

/// Prints what was asked for.
pub(crate) fn run(asked: Monitoring) -> Outcome<()> {
    let text = match asked {
        Monitoring::Dashboard => format!("{:#}\n", dashboard::dashboard()),
        Monitoring::Alerts => alerts::rules(),
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Problem::failure(format!("cannot print: {error}")))
}

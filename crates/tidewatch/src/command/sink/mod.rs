//! `tidewatch sink`: another Tidewatch's stream into a database, and to webhooks.
//!
//! | file | what |
//! |---|---|
//! | `args` | options |
//! | `postgres` | `tidewatch sink postgres` |
//! | `webhook` | `tidewatch sink webhook`, and its dead letters: `tidewatch sink dead` |

pub(super) mod args;
mod postgres;
mod webhook;

use super::{Problem, args::Format, metrics, signals::Stop};
use crate::{Outcome, output::Printer};
use args::{Sink, Stream};
use commonware_macros::select;
use commonware_runtime::tokio::Context;
use std::path::Path;
use tidewatch_client::Error;

/// Does what was asked for.
pub(super) fn run(asked: Sink) -> Outcome<()> {
    match asked {
        Sink::Postgres(options) => postgres::run(&options),
        Sink::Webhook(options) => webhook::run(&options),
        Sink::Dead(options) => webhook::dead(&options),
    }
}

/// Runs `sink` until it ends or is asked to, and serves metrics meanwhile where `from` asks for them.
async fn until_stopped(
    context: &Context,
    from: &Stream,
    printer: &Printer,
    sink: impl Future<Output = Outcome<()>>,
) -> Outcome<()> {
    let mut stop = Stop::new()?;
    if let Some(address) = from.metrics {
        let address = metrics::serve(context, address).await?;
        if from.format == Format::Human {
            printer.hint(format!("metrics at http://{address}/metrics\n"));
        }
    }
    select! {
        () = stop.asked() => Ok(()),
        ended = sink => ended,
    }
}

/// The token of the server, if it has one.
fn token(from: &Stream) -> Outcome<Option<String>> {
    from.token_file.as_deref().map(|path| secret("--token-file", path)).transpose()
}

/// The secret that a file holds.
fn secret(option: &str, path: &Path) -> Outcome<String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| {
        Problem::usage(format!("{option}: cannot read {}: {error}", path.display()))
    })?;
    match text.trim() {
        "" => Err(Problem::usage(format!("{option}: {} is empty", path.display()))),
        secret => Ok(secret.into()),
    }
}

/// Why a stream is not gone on with.
fn stream(error: &Error) -> Problem {
    match error {
        Error::Address(_) => Problem::usage(format!("--from: {error}"))
            .hint("it is what the other side was started with after --serve, as http://HOST:PORT"),
        Error::Refused { status: 401, .. } => Problem::usage(error.to_string())
            .hint("the server has a token: name the file that holds it with --token-file"),
        Error::Refused { .. } => Problem::usage(error.to_string()),
        Error::LawBroken(_) | Error::Client(_) | Error::Unanswered(_) => {
            Problem::failure(error.to_string())
        }
    }
}

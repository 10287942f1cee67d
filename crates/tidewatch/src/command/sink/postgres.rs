//! `tidewatch sink postgres`.

use super::{
    args::{Begin, OnReset, Postgres},
    secret, stream, token, until_stopped,
};
use crate::{
    Outcome,
    command::{Problem, args::Format, logs, metrics},
    output::Printer,
};
use commonware_runtime::{Runner as _, Supervisor as _};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _};
use tidewatch_client::{State, Tier};
use tidewatch_sinks::postgres::{self, Address, Config, Error, Progress};

/// Takes events in until it is stopped, or until there is no use in going on.
pub(super) fn run(options: &Postgres) -> Outcome<()> {
    logs::start();
    let password = options.password_file.as_deref();
    let password = password.map(|path| secret("--password-file", path)).transpose()?;
    let address = Address::new(&options.url, password.as_deref());
    let address = address.map_err(|error| problem(&error))?;
    let token = token(&options.stream)?;
    let (database, schema) = (address.shown(), options.schema.clone());
    let config = Config {
        address,
        schema: options.schema.clone(),
        from: options.stream.from.clone(),
        token,
        earliest: options.stream.begin == Begin::Earliest,
        on_reset: match options.on_reset {
            OnReset::Stop => postgres::OnReset::Stop,
            OnReset::Begin => postgres::OnReset::Begin,
        },
    };
    let printer = Printer::stdout()?;
    let lines = printer.clone();
    let format = options.stream.format;
    let place = format!("{database}, schema {schema}");
    let watch = move |progress: Progress<'_>| {
        let line = match format {
            Format::Human => human(&progress, &place),
            Format::Json => json(&progress).to_string(),
        };
        lines.hint(format!("{line}\n"));
    };
    let runtime = commonware_runtime::tokio::Config::new().with_worker_threads(1);
    commonware_runtime::tokio::Runner::new(runtime).start(|context| async move {
        let context = metrics::named(&context);
        let run = async {
            let ended = postgres::run(context.child("sink_postgres"), config, watch).await;
            ended.map_err(|error| problem(&error))
        };
        until_stopped(&context, &options.stream, &printer, run).await
    })
}

fn problem(error: &Error) -> Problem {
    let usage = || Problem::usage(error.to_string());
    match error {
        Error::Config(_) => usage().hint(
            "write postgres://USER@HOST:PORT/DATABASE; a password stands in the file of --password-file",
        ),
        Error::Held { .. } => {
            usage().hint("stop the other sink, or name a schema of its own for this one with --schema")
        }
        Error::Newer { .. } => usage().hint("take the tidewatch that wrote it, or a newer one"),
        Error::OtherChain { .. } => {
            usage().hint("name the server of that chain with --from, or another schema with --schema")
        }
        Error::Reset { .. } => usage().hint(
            "--on-reset begin empties the blocks and begins again; what came in between stays unknown to the tables",
        ),
        Error::Stream(error) => stream(error),
        Error::Database(_) if error.is_untrusted() => usage().hint(
            "name it as its certificate does; SSL_CERT_FILE=FILE trusts the authorities in FILE instead of this machine's",
        ),
        Error::Database(said) => {
            let code = said.code().map_or("", |code| code.code());
            match code.get(..2) {
                Some("28") => {
                    usage().hint("check the user of the address, and the file of --password-file")
                }
                Some("3D") => usage().hint("make the database first: createdb NAME"),
                Some("42") if code == "42501" => {
                    usage().hint("let the user make a schema: grant create on database NAME to USER")
                }
                Some("42") => usage().hint(
                    "the schema is not as this program makes it: name another one with --schema",
                ),
                _ => Problem::failure(error.to_string()),
            }
        }
        _ => Problem::failure(error.to_string())
            .hint("nothing was committed: the tables are whole, as of the event before"),
    }
}

/// A line for people.
fn human(progress: &Progress<'_>, place: &str) -> String {
    match progress {
        Progress::Connected { position } => {
            format!("into {place}, from event {} on", position + 1)
        }
        Progress::Committed { position, events, state } => {
            let mut line = format!("event {position}");
            for (tier, height) in tips(state) {
                let _ = write!(line, " | {} {height}", tier.as_str()); // A String takes everything.
            }
            let undone = events.get("pruned").map(|count| format!(" | {count} undone"));
            line + &undone.unwrap_or_default()
        }
        Progress::ServerLost(why) => format!("the server is gone ({why}), and is asked again"),
        Progress::Failed { error, wait } => {
            format!("{error}; again in {:.1} s", wait.as_secs_f64())
        }
    }
}

/// The same for programs.
fn json(progress: &Progress<'_>) -> Value {
    match progress {
        Progress::Connected { position } => json!({ "event": "connected", "position": position }),
        Progress::Committed { position, events, state } => json!({
            "event": "committed",
            "position": position,
            "events": events,
            "block": state.block.as_ref().map(|block| block.height),
            "tips": tips(state).map(|(tier, at)| (tier.as_str(), at)).collect::<BTreeMap<_, _>>(),
        }),
        Progress::ServerLost(why) => json!({ "event": "server_lost", "detail": why }),
        Progress::Failed { error, wait } => json!({
            "event": "failed", "kind": error.kind(), "detail": error.to_string(),
            "retry_ms": u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}

fn tips(state: &State) -> impl Iterator<Item = (Tier, u64)> {
    Tier::ALL.into_iter().filter_map(|tier| Some((tier, state.tips.get(tier)?.block.height)))
}

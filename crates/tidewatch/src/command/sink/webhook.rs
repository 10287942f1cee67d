//! `tidewatch sink webhook` and `tidewatch sink dead`.

use super::{
    args::{Begin, Dead as DeadOptions, Webhook},
    secret, stream, token, until_stopped,
};
use crate::{
    Outcome,
    command::{Problem, args::Format, data_dir::DataDir, logs, metrics, signals::Stop},
    output::Printer,
};
use commonware_macros::select;
use commonware_runtime::{Runner as _, Supervisor as _};
use serde_json::{Value, json};
use std::path::Path;
use tidewatch_sinks::webhook::{
    self, Config, Dead, Endpoint, Error, Kept, Limits, Progress, Secrets,
};

/// Sends events until it is stopped, or until there is no use in going on.
pub(super) fn run(options: &Webhook) -> Outcome<()> {
    logs::start();
    let limits =
        Limits { give_up: options.give_up.0, attempts: options.attempts, ..Limits::default() };
    let endpoint = endpoint(&options.url, &options.secret_file, limits)?;
    let token = token(&options.stream)?;
    let data = DataDir::open(&options.data_dir)?;
    let mut kept = open(data.path())?;
    let printer = Printer::stdout()?;
    let format = options.stream.format;
    if format == Format::Human {
        printer.hint(format!("to {}, from where {} is\n", endpoint.shown(), data.path().display()));
    }
    let config = Config {
        endpoint,
        from: options.stream.from.clone(),
        token,
        earliest: options.stream.begin == Begin::Earliest,
        finalized: options.finalized,
        enable: options.enable,
    };
    let lines = printer.clone();
    let watch = move |progress: Progress<'_>| lines.hint(format!("{}\n", line(&progress, format)));
    let ended =
        commonware_runtime::tokio::Runner::new(data.runtime()).start(|context| async move {
            let context = metrics::named(&context);
            let run = async {
                let run = webhook::run(context.child("sink_webhook"), config, &mut kept, watch);
                run.await.map_err(|error| problem(&error, &options.data_dir))
            };
            until_stopped(&context, &options.stream, &printer, run).await
        });
    drop(data);
    ended
}

/// Lists dead letters, or sends them again.
pub(super) fn dead(options: &DeadOptions) -> Outcome<()> {
    logs::start();
    let directory = &options.data_dir;
    if !directory.is_dir() {
        return Err(Problem::usage(format!("there is no directory {}", directory.display()))
            .hint("name that of a `tidewatch sink webhook` with --data-dir"));
    }
    let printer = Printer::stdout()?;
    let format = options.format;
    let (Some(url), Some(file)) = (&options.again, &options.secret_file) else {
        let dead = open(directory)?.dead();
        let dead = dead.map_err(|error| Problem::disk("read", directory, &error))?;
        let runtime = commonware_runtime::tokio::Config::new().with_worker_threads(1);
        return commonware_runtime::tokio::Runner::new(runtime).start(|_| async move {
            for dead in &dead {
                // A reader who left is no failure.
                if printer.print(format!("{}\n", letter(dead, format))).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
    };
    let endpoint = endpoint(url, file, Limits::default())?;
    let data = DataDir::open(directory)?;
    let kept = open(data.path())?;
    commonware_runtime::tokio::Runner::new(data.runtime()).start(|context| async move {
        let mut stop = Stop::new()?;
        let lines = printer.clone();
        let watch = move |progress: Progress<'_>| {
            lines.hint(format!("{}\n", line(&progress, format)));
        };
        select! {
            () = stop.asked() => Ok(()),
            sent = webhook::send_again(context.child("sink_webhook"), &endpoint, &kept, watch) => {
                let sent = sent.map_err(|error| problem(&error, directory))?;
                if format == Format::Human {
                    let _ = printer.print(format!("{sent} sent again\n")).await;
                }
                Ok(())
            },
        }
    })
}

fn endpoint(url: &str, file: &Path, limits: Limits) -> Outcome<Endpoint> {
    let secrets = Secrets::parse(&secret("--secret-file", file)?).map_err(|error| {
        Problem::usage(format!("--secret-file: {error}"))
            .hint("(printf whsec_; openssl rand -base64 32) > FILE makes one")
    })?;
    Endpoint::new(url, secrets, limits).map_err(|error| problem(&error, Path::new("")))
}

fn open(directory: &Path) -> Outcome<Kept> {
    Kept::open(directory).map_err(|error| Problem::disk("read", directory, &error))
}

fn problem(error: &Error, directory: &Path) -> Problem {
    let usage = || Problem::usage(error.to_string());
    match error {
        Error::Address => usage().hint("write https://HOST/PATH"),
        Error::Disk(error) => Problem::disk("write", directory, error),
        Error::Disabled => {
            usage().hint("--enable sends to it again, from the event that it refused on")
        }
        Error::OtherChain { .. } => usage().hint(
            "name the server of that chain with --from, or a directory of its own with --data-dir",
        ),
        Error::Stream(error) => stream(error),
        _ => Problem::failure(error.to_string()),
    }
}

/// A line of what happened.
fn line(progress: &Progress<'_>, format: Format) -> String {
    let human = format == Format::Human;
    match progress {
        Progress::Delivered { id, kind, attempts } if human => match attempts {
            1 => format!("{kind} {id}"),
            _ => format!("{kind} {id}, at attempt {attempts}"),
        },
        Progress::Waiting { id, reason, wait } if human => {
            format!("{id} is not acknowledged ({reason}); again in {:.1} s", wait.as_secs_f64())
        }
        Progress::Dead(dead) if human => format!("given up: {}", letter(dead, format)),
        Progress::ServerLost(why) if human => {
            format!("the server is gone ({why}), and is asked again")
        }
        Progress::Delivered { id, kind, attempts } => {
            json!({ "event": "delivered", "id": id, "kind": kind, "attempts": attempts })
                .to_string()
        }
        Progress::Waiting { id, reason, wait } => json!({
            "event": "waiting", "id": id, "detail": reason,
            "retry_ms": u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        })
        .to_string(),
        Progress::Dead(dead) => letter(dead, format),
        Progress::ServerLost(why) => json!({ "event": "server_lost", "detail": why }).to_string(),
    }
}

/// A line of a dead letter.
fn letter(dead: &Dead, format: Format) -> String {
    let Dead { id, kind, at_ms, attempts, reason, body } = dead;
    match format {
        Format::Human => format!("{kind} {id}, after {attempts} attempts: {reason}"),
        Format::Json => {
            let body: Value = serde_json::from_str(body).unwrap_or_else(|_| body.as_str().into());
            json!({
                "event": "dead", "id": id, "kind": kind, "at_ms": at_ms, "attempts": attempts, "detail": reason,
                "body": body,
            })
            .to_string()
        }
    }
}

//! `tidewatch watch`: another machine's stream in this terminal.

use super::{
    Problem,
    args::{Format, Watch},
    logs,
    signals::Stop,
};
use crate::{
    Outcome,
    output::{Printer, Watched},
};
use commonware_macros::select;
use commonware_runtime::Runner as _;
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};
use tidewatch_client::{Error, Follow, Message, Options};

/// Watches until it is stopped, or until nobody reads any more.
pub(super) fn run(asked: Watch) -> Outcome<()> {
    logs::start();
    let token = asked.token.as_deref().map(read).transpose()?;
    let kept = asked.cursor_file.as_deref().map(kept).transpose()?.flatten();
    let options = Options {
        cursor: asked.cursor.or(kept),
        earliest: asked.earliest,
        query: asked.tiers.map(|tiers| ("tiers".into(), tiers)).into_iter().collect(),
        token,
        ..Options::default()
    };
    let follow = Follow::new(&asked.url, options).map_err(|error| problem(&error))?;
    let printer = Printer::stdout()?;
    let people = (asked.format == Format::Human).then(|| Watched::new(printer.clone(), &asked.url));
    let watching = Watching { follow, printer, people, cursor_file: asked.cursor_file };
    let runtime = commonware_runtime::tokio::Config::new().with_worker_threads(1);
    commonware_runtime::tokio::Runner::new(runtime).start(|_| async move {
        let mut stop = Stop::new()?;
        select! {
            () = stop.asked() => Ok(()),
            ended = watching.run() => ended,
        }
    })
}

struct Watching {
    follow: Follow,
    printer: Printer,
    /// `None` where a program reads.
    people: Option<Watched>,
    cursor_file: Option<PathBuf>,
}

impl Watching {
    async fn run(mut self) -> Outcome<()> {
        loop {
            let message = self.follow.next().await.map_err(|error| problem(&error))?;
            match &mut self.people {
                Some(people) => people.take(&message, self.follow.state()),
                None if matches!(message, Message::Lost { .. }) => {}
                None => {
                    // A reader who left is no failure.
                    if self.printer.print(format!("{}\n", self.follow.line())).await.is_err() {
                        return Ok(());
                    }
                }
            }
            if let Message::Lost { why, .. } = &message {
                tracing::warn!(why, "the server is gone");
            }
            if let (Some(path), Some(cursor)) = (&self.cursor_file, self.follow.cursor()) {
                keep(path, cursor)?;
            }
        }
    }
}

fn problem(error: &Error) -> Problem {
    match error {
        Error::Address(_) => Problem::usage(error.to_string())
            .hint("it is what the other side was started with after --serve, as http://HOST:PORT"),
        Error::Refused { status: 401, .. } => Problem::usage(error.to_string())
            .hint("the server has a token: name the file that holds it with --token"),
        Error::Refused { .. } => Problem::usage(error.to_string()),
        Error::LawBroken(_) | Error::Client(_) | Error::Unanswered(_) => {
            Problem::failure(error.to_string())
        }
    }
}

fn read(path: &Path) -> Outcome<String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Problem::disk("read", path, &error))?;
    Ok(text.trim().into())
}

/// The cursor in `path`, if it is there.
fn kept(path: &Path) -> Outcome<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|cursor| !cursor.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::disk("read", path, &error)),
    }
}

/// Replaces what is in `path`: a reader, or a start after a crash, sees one cursor or the other.
fn keep(path: &Path, cursor: &str) -> Outcome<()> {
    let failed = |error| Problem::disk("write", path, &error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    std::io::Write::write_all(&mut file, cursor.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|error| Problem::disk("write", path, &error.error))?;
    Ok(())
}

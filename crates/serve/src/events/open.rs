//! Where a stream begins.

use super::ask::From;
use crate::{
    problem::{Code, Problem},
    served::Served,
};
use tidewatch_core::{
    Cursor, Event, Fault, Record, Resume, ResumeError, Watermarks,
    json::{Reset, Resumes},
};

/// A place in the history, and what leads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) how: Resumes,
    /// Where the consumer stands.
    pub(crate) cursor: Cursor,
    pub(crate) watermarks: Watermarks,
    /// Events that are in no log, which come first.
    pub(crate) bridge: Vec<Record>,
    /// The first event of the log after them.
    pub(crate) next: u64,
    /// Events that there are at least: the pulse may not have seen the newest of them.
    pub(crate) end: u64,
}

impl Opened {
    pub(super) fn at(how: Resumes, cursor: Cursor, watermarks: Watermarks, next: u64) -> Self {
        Self { how, cursor, watermarks, bridge: Vec::new(), next, end: next }
    }
}

/// Why no event leads on from a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ResumeError,
    /// Where to start again, and where the history stands there.
    pub(crate) restart: (Cursor, Watermarks),
}

impl Refusal {
    pub(crate) fn problem(&self) -> Problem {
        Problem::from(self.error.clone()).restart(&self.restart.0)
    }

    pub(crate) const fn code(&self) -> Code {
        match self.error {
            ResumeError::Malformed(_) => Code::MalformedCursor,
            ResumeError::WrongChain { .. } => Code::WrongChain,
            ResumeError::Ahead { .. } => Code::Ahead,
            ResumeError::TooOld { .. } => Code::TooOld,
            ResumeError::Fault(_) => Code::Failed,
        }
    }

    /// The line that says so in a stream.
    pub(crate) fn reset<'a>(&self, detail: &'a str) -> Reset<'a> {
        Reset::new(self.code().as_str(), detail, &self.restart.0, &self.restart.1)
    }

    /// The place that it names.
    pub(crate) fn restarted(&self) -> Opened {
        let (cursor, watermarks) = self.restart.clone();
        let next = cursor.handled();
        Opened::at(Resumes::Reset, cursor, watermarks, next)
    }
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Opened(Box<Opened>),
    /// The cursor is ahead: it may be asked for again.
    Ahead(Box<(Cursor, ResumeError)>),
    Refused(Box<Refusal>),
}

/// Finds `from` in what is served.
///
/// # Errors
///
/// The history could not be read.
pub(crate) async fn open(served: &impl Served, from: &From) -> Result<Outcome, Fault> {
    let mut outcome = find(served, from).await?;
    if let Outcome::Opened(opened) = &mut outcome {
        opened.end = served.newest().await?.0.handled();
    }
    Ok(outcome)
}

async fn find(served: &impl Served, from: &From) -> Result<Outcome, Fault> {
    match from {
        From::Tip => {
            let (cursor, watermarks) = served.newest().await?;
            let next = cursor.handled();
            Ok(Outcome::Opened(Box::new(Opened::at(Resumes::Start, cursor, watermarks, next))))
        }
        From::Earliest => earliest(served).await.map(|opened| Outcome::Opened(Box::new(opened))),
        From::Cursor(text) => match text.parse::<Cursor>() {
            Ok(cursor) => {
                let resumed = served.resume(&cursor).await;
                decide(served, cursor, resumed).await
            }
            Err(malformed) => {
                Ok(Outcome::Refused(Box::new(refused(served, malformed.into()).await?)))
            }
        },
    }
}

/// The oldest position that can be gone on from.
async fn earliest(served: &impl Served) -> Result<Opened, Fault> {
    let start = Cursor::start(&served.chain_info().id);
    let none = Watermarks::none();
    match served.resume(&start).await {
        Ok(Resume::Exact { next }) => Ok(Opened::at(Resumes::Start, start, none, next)),
        Ok(Resume::Forked { bridge, next, .. }) => {
            Ok(Opened { bridge, ..Opened::at(Resumes::Start, start, none, next) })
        }
        Err(ResumeError::TooOld { restart }) => {
            let (watermarks, next) = (restart.watermarks(), restart.handled());
            Ok(Opened::at(Resumes::Start, *restart, watermarks, next))
        }
        // There is nothing yet.
        Err(_) => {
            let (cursor, watermarks) = served.newest().await?;
            let next = cursor.handled();
            Ok(Opened::at(Resumes::Start, cursor, watermarks, next))
        }
    }
}

async fn decide(
    served: &impl Served,
    cursor: Cursor,
    resumed: Result<Resume, ResumeError>,
) -> Result<Outcome, Fault> {
    let (how, bridge, next) = match resumed {
        Ok(Resume::Exact { next }) => (Resumes::Exact, Vec::new(), next),
        Ok(Resume::Forked { ancestor, bridge, next }) => {
            let depth = bridge.iter().find_map(|record| match record.event {
                Event::Pruned { depth, .. } => Some(depth),
                _ => None,
            });
            let how = Resumes::Forked { ancestor: ancestor.into(), depth: depth.unwrap_or(0) };
            (how, bridge, next)
        }
        Err(ResumeError::Fault(fault)) => return Err(fault),
        Err(error @ ResumeError::Ahead { .. }) => {
            return Ok(Outcome::Ahead(Box::new((cursor, error))));
        }
        Err(error) => return Ok(Outcome::Refused(Box::new(refused(served, error).await?))),
    };
    let watermarks = cursor.watermarks();
    let opened = Opened { bridge, ..Opened::at(how, cursor, watermarks, next) };
    Ok(Outcome::Opened(Box::new(opened)))
}

/// Who cannot go on starts again with the oldest event that is kept, so that nothing that is kept is missed.
pub(super) async fn refused(served: &impl Served, error: ResumeError) -> Result<Refusal, Fault> {
    let restart = match &error {
        ResumeError::TooOld { restart } => (Cursor::clone(restart), restart.watermarks()),
        _ => {
            let earliest = earliest(served).await?;
            (earliest.cursor, earliest.watermarks)
        }
    };
    Ok(Refusal { error, restart })
}

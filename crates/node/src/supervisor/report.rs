//! What became of the members.

use super::member::{Id, Role};
use std::{fmt, time::Duration};
use tidewatch_core::Fault;

/// A member that ended, although nobody asked it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub id: Id,
    /// Its name.
    pub actor: String,
    /// What its end means.
    pub role: Role,
    /// Why, if it did not end by itself.
    pub result: Result<(), Fault>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(()) => write!(f, "{} ended by itself", self.actor),
            Err(fault) => write!(f, "{} ended: {fault}", self.actor),
        }
    }
}

/// Members did not end in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("still running after {after:?}: {}", .actors.join(", "))]
pub struct StillRunning {
    /// Their names, in the order in which they were started.
    pub actors: Vec<String>,
    /// The limit that they had.
    pub after: Duration,
}

/// What a supervisor knows of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The critical member that ended first: why the node ends. Nothing while it runs, and after a stop.
    pub cause: Option<Ended>,
    /// What ended with a fault after the cause, or while everything was stopped, in that order.
    pub later: Vec<Ended>,
    /// Optional members that ended while the node went on, the newest last.
    pub rested: Vec<Ended>,
    /// Members that are there: running, or waiting to be started again.
    pub members: Vec<(Id, String)>,
    /// How often members were started again.
    pub restarts: u64,
    /// Whether all of it is over.
    pub over: bool,
    /// Members that did not end in time, and were aborted.
    pub still_running: Option<StillRunning>,
}

impl Report {
    /// The end of the optional member called `actor`, the newest one if there are several.
    pub fn rested(&self, actor: &str) -> Option<&Ended> {
        self.rested.iter().rev().find(|ended| ended.actor == actor)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => cause.fmt(f)?,
            None if self.over => f.write_str("stopped")?,
            None => write!(f, "{} members", self.members.len())?,
        }
        self.later.iter().try_for_each(|ended| write!(f, "; then {ended}"))?;
        self.still_running.iter().try_for_each(|late| write!(f, "; {late}"))
    }
}

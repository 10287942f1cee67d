//! What a supervisor takes care of.

use std::{fmt, num::NonZeroU32, time::Duration};
use tidewatch_core::Running;

/// Names one member for as long as its supervisor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub(super) u64);

/// What the end of a member means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Without it the node is of no use: its end ends the node.
    Critical,
    /// The others go on without it.
    Optional,
}

/// How often a member that a factory makes is started again.
#[derive(Clone, Copy, Debug)]
pub struct Restarts {
    /// So many times within `window`; after that its end is final.
    pub max: NonZeroU32,
    /// The time in which restarts are counted.
    pub window: Duration,
    /// The first wait before a restart; it doubles while restarts follow each other within `window`.
    pub backoff: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
}

impl Default for Restarts {
    /// Ten times in ten minutes, from half a second to 30 s apart.
    fn default() -> Self {
        Self {
            max: NonZeroU32::MIN.saturating_add(9),
            window: Duration::from_secs(600),
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
        }
    }
}

pub(super) type Factory = Box<dyn FnMut() -> Running + Send>;

pub(super) enum Start {
    Runs(Running),
    Makes(Factory, Restarts),
}

/// An actor, or a factory of one, and what its end means. One that no supervisor took over is aborted when
/// it is dropped.
pub struct Member {
    pub(super) role: Role,
    start: Option<Start>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Member {
    /// An actor that already runs, and is not started again.
    pub const fn new(role: Role, running: Running) -> Self {
        Self { role, start: Some(Start::Runs(running)) }
    }

    /// One without which the node is of no use.
    pub const fn critical(running: Running) -> Self {
        Self::new(Role::Critical, running)
    }

    /// One without which the others go on.
    pub const fn optional(running: Running) -> Self {
        Self::new(Role::Optional, running)
    }

    /// An actor that `make` starts: at once, and again after faults that may pass.
    pub fn restarting(
        role: Role,
        restarts: Restarts,
        make: impl FnMut() -> Running + Send + 'static,
    ) -> Self {
        Self { role, start: Some(Start::Makes(Box::new(make), restarts)) }
    }

    pub(super) const fn take(&mut self) -> Option<Start> {
        self.start.take()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(Start::Runs(running)) = &self.start {
            running.abort();
        }
    }
}

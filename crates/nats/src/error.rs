//! Why events are not published.

use crate::{Foreign, client::api, settings::Difference};
use tidewatch_core::{Conflict, Cursor, FaultKind, Reason, ResumeError};

fn listed(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Everything that this crate fails with, with the values that disagree. Inside a
/// [`Fault`](tidewatch_core::Fault), [`Fault::reason`](tidewatch_core::Fault::reason) gives it back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{0:?} is no address of a NATS server")]
    Address(String),
    /// The credentials cannot be read.
    #[error("the credentials in {path} cannot be read: {why}")]
    Credentials {
        /// The file.
        path: String,
        /// What the system or the parser says.
        why: String,
    },
    /// No server, or it refused.
    #[error("no server of NATS took the connection: {0}")]
    Connect(String),
    /// A server that does not do what is relied on.
    #[error("the server is NATS {found}, and {floor} is the oldest that is used: {why}")]
    TooOld {
        /// Its version.
        found: String,
        /// The oldest version.
        floor: &'static str,
        /// What an older one lacks.
        why: &'static str,
    },
    /// Its JetStream does not do what is relied on.
    #[error("the cluster's JetStream has API level {found}, and {wanted} is needed")]
    Level {
        /// Its level; 0 where it does not know the word.
        found: u64,
        /// The one that is needed.
        wanted: u64,
    },
    /// JetStream is not there.
    #[error("the server has no JetStream: {0}")]
    NoJetStream(String),
    /// A stream is not as it has to be.
    #[error("the stream {stream} is not as it has to be: {}", listed(.differences))]
    Settings {
        /// Its name.
        stream: String,
        /// Each setting that is another one.
        differences: Vec<Difference>,
    },
    /// A consumer is not as it has to be.
    #[error("the consumer {consumer} of the stream {stream} is not as it has to be: {}", listed(.differences))]
    Consumer {
        /// The stream.
        stream: String,
        /// Its name.
        consumer: String,
        /// Each setting that is another one.
        differences: Vec<Difference>,
    },
    /// JetStream refused a request.
    #[error("JetStream refused {what}: {description} ({code})")]
    Refused {
        /// What was asked for.
        what: String,
        /// The code of JetStream's API.
        code: u64,
        /// What it says.
        description: String,
    },
    /// An answer that is none.
    #[error("the answer to {what} cannot be read: {why}")]
    Answer {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answered.
    #[error("no answer to {what}: {why}")]
    NoAnswer {
        /// What was asked for.
        what: String,
        /// What the client says.
        why: String,
    },
    /// Something else writes to the stream.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// The name of a consumer is none.
    #[error("a consumer's name has 1 to {max} bytes")]
    ConsumerName {
        /// The most that there may be.
        max: usize,
    },
    /// No consumer more can have a position.
    #[error("{max} consumers have a position already: forget one")]
    TooManyConsumers {
        /// The most that there may be.
        max: usize,
    },
    /// A newer consumer of that name moves the position.
    #[error("another consumer of the name {0:?} has begun since: only one moves its position")]
    Taken(String),
    /// A feed is at its end.
    #[error("the feed of {stream} is lost: {why}")]
    FeedLost {
        /// The stream.
        stream: String,
        /// What was seen.
        why: String,
    },
    /// What comes after a reader's place is kept no more.
    #[error("message {wanted} is no longer kept, the oldest is {oldest}: start again from there")]
    Trimmed {
        /// The message that was wanted; 0 where the place in the stream was not known.
        wanted: u64,
        /// The oldest that is kept.
        oldest: u64,
        /// Its position: the point to start again from.
        restart: Option<Box<Cursor>>,
    },
    /// The stream contradicts what a reader has as final.
    #[error("the stream has {} as final, this reader has {}", .0.theirs, .0.ours)]
    Conflict(Conflict),
    /// The stream is of another chain.
    #[error("the stream's last position cannot be gone on from: {0}")]
    Position(ResumeError),
}

impl Error {
    /// Whether what was asked of is a stream that is not there.
    pub const fn is_no_stream(&self) -> bool {
        matches!(self, Self::Refused { code: api::NO_STREAM, .. })
    }
}

impl Reason for Error {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Address(_)
            | Self::Credentials { .. }
            | Self::TooOld { .. }
            | Self::Level { .. }
            | Self::Settings { .. }
            | Self::Consumer { .. }
            | Self::ConsumerName { .. }
            | Self::TooManyConsumers { .. }
            | Self::Taken(_)
            | Self::Foreign(_) => FaultKind::InvalidConfig,
            Self::NoJetStream(_) => FaultKind::Unavailable,
            Self::Trimmed { .. } => FaultKind::TooOld,
            Self::Conflict(_) => FaultKind::FinalityConflict,
            Self::Position(_) => FaultKind::WrongChain,
            Self::Connect(_) | Self::FeedLost { .. } => FaultKind::Unreachable,
            Self::NoAnswer { .. } => FaultKind::Timeout,
            Self::Refused { .. } => FaultKind::Unavailable,
            Self::Answer { .. } => FaultKind::Malformed,
        }
    }

    fn conflict(&self) -> Option<Conflict> {
        match self {
            Self::Conflict(conflict) => Some(*conflict),
            _ => None,
        }
    }
}

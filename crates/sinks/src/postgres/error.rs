//! Why events do not get into a database.

use tokio_postgres::error::SqlState;

/// Why events do not get into a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of the database, or the name of a schema or a consumer, cannot be used.
    #[error("{0}")]
    Config(String),
    /// Another session has the lock of the consumer.
    #[error("another sink writes as {consumer:?}: {holder}")]
    Held {
        /// The consumer.
        consumer: String,
        /// What the database knows of it.
        holder: String,
    },
    /// The schema was made by a newer version.
    #[error("schema {schema:?} has version {found}, and this program knows {known}")]
    Newer {
        /// The schema.
        schema: String,
        /// The version of its tables.
        found: i32,
        /// The newest version that is known here.
        known: i32,
    },
    /// The rows are of another chain than the stream.
    #[error("the rows of {consumer:?} are of {stored}, and the server follows {served}")]
    OtherChain {
        /// The consumer.
        consumer: String,
        /// The chain in the database, with its first block.
        stored: String,
        /// The chain that is served, with its first block.
        served: String,
    },
    /// The event does not follow on what the consumer's row holds: somebody else moved it.
    #[error("the position of {consumer:?} was moved by somebody else: it holds event {position}")]
    NotNext {
        /// The consumer.
        consumer: String,
        /// Events that were taken in.
        position: i64,
    },
    /// Rows and stream contradict each other.
    #[error("the rows are not where the stream goes on: {0}")]
    Diverged(String),
    /// No event leads on from the cursor.
    #[error("no event leads on from where the rows are, {code}: {detail}")]
    Reset {
        /// Why, in a word of the server's contract.
        code: String,
        /// Why, for people.
        detail: String,
    },
    /// The server says what cannot be stored.
    #[error("the server says what cannot be stored: {0}")]
    Unstorable(String),
    /// The connection to the database is lost, and with it the lock.
    #[error("the connection to the database is lost, and the lock of the consumer with it")]
    Lost,
    /// Something took longer than it may.
    #[error("{0} took too long")]
    Slow(&'static str),
    /// The stream.
    #[error(transparent)]
    Stream(#[from] tidewatch_client::Error),
    /// The database, or the way to it.
    #[error("the database: {}", words(.0))]
    Database(#[from] tokio_postgres::Error),
}

/// What the database says, without what it adds for developers of itself.
fn words(error: &tokio_postgres::Error) -> String {
    let mut words = match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => error.to_string(),
    };
    let mut cause = std::error::Error::source(error).filter(|_| error.as_db_error().is_none());
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.ends_with(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

impl Error {
    /// Whether another try, with a new connection, may succeed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Lost | Self::Slow(_) | Self::Stream(tidewatch_client::Error::Unanswered(_)) => {
                true
            }
            Self::Database(error) => match error.code() {
                Some(code) => passes(code),
                // Without words from the database it is the connection that failed; or an answer that cannot be
                // read, which another version of the server gives, or none of Postgres.
                None => error.is_closed() || lost(error),
            },
            _ => false,
        }
    }

    /// Whether the database's certificate is not one that is trusted for its name.
    pub fn is_untrusted(&self) -> bool {
        matches!(self, Self::Database(error) if unproven(error))
    }

    /// The kind, as metrics count it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Held { .. } => "held",
            Self::Newer { .. } => "newer",
            Self::OtherChain { .. } => "other_chain",
            Self::NotNext { .. } => "not_next",
            Self::Diverged(_) => "diverged",
            Self::Reset { .. } => "reset",
            Self::Unstorable(_) => "unstorable",
            Self::Lost => "lost",
            Self::Slow(_) => "slow",
            Self::Stream(_) => "stream",
            Self::Database(_) => "database",
        }
    }
}

/// Whether the input or output failed, below what tokio-postgres says.
fn lost(error: &tokio_postgres::Error) -> bool {
    match below(error) {
        Some(_) => !unproven(error),
        // What ran out of time before it was connected has no cause.
        None => error.to_string().contains("timed out"),
    }
}

/// Whether the database did not prove that it is who it is called.
fn unproven(error: &tokio_postgres::Error) -> bool {
    let tls = below(error).and_then(|error| error.get_ref()?.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

/// How input or output failed.
fn below(error: &tokio_postgres::Error) -> Option<&std::io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// Whether a refusal of the database passes by itself.
fn passes(code: &SqlState) -> bool {
    const ALONE: [SqlState; 8] = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    // Connections; what there is too little of; the system.
    const CLASSES: [&str; 3] = ["08", "53", "58"];
    ALONE.contains(code) || CLASSES.iter().any(|class| code.code().starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_or_busy_is_tried_again_and_a_refusal_is_not() {
        for (code, again) in [
            ("57P01", true),  // shut down by its administrator
            ("57P02", true),  // a crash of another session
            ("57P03", true),  // it starts
            ("57014", true),  // a statement that took too long
            ("08006", true),  // the connection
            ("53300", true),  // too many connections
            ("53100", true),  // the disk is full
            ("58030", true),  // the disk
            ("40001", true),  // serialization
            ("40P01", true),  // a deadlock
            ("55P03", true),  // a lock
            ("25006", true),  // a standby that is to be promoted
            ("28P01", false), // the password
            ("3D000", false), // no such database
            ("42501", false), // no right
            ("42P07", false), // a table of somebody else
            ("23505", false), // a row that is there
            ("22P02", false), // a value
        ] {
            assert_eq!(passes(&SqlState::from_code(code)), again, "{code}");
        }
    }
}

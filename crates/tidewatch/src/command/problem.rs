//! Why the command ends without success, in words that say what to do.

use std::{fmt, process::ExitCode};
use tidewatch_core::{Fault, Severity};

/// A message for whoever typed the command, and how the process ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    code: u8,
}

impl Problem {
    /// Something that was typed cannot work.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 2 }
    }

    /// Something went wrong on the way.
    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1 }
    }

    /// No upstream could be asked: `server` is what should have answered.
    pub(crate) fn unreachable(refused: impl fmt::Display, server: &str) -> Self {
        let refused = refused.to_string();
        let trust = match refused.contains("https://") || refused.contains("wss://") {
            true => {
                "; who signed its certificate has to be trusted by this machine, or to stand in the \
                 file that SSL_CERT_FILE names"
            }
            false => "",
        };
        Self::failure(format!("cannot reach the source: {refused}"))
            .hint(format!("start the {server}, or check the address that it listens on{trust}"))
    }

    /// A server answered, and not so that it can be followed.
    pub(crate) fn unusable(refused: impl fmt::Display, server: &str) -> Self {
        Self::failure(format!("cannot follow the source: {refused}"))
            .hint(format!("check the address: no {server} of a chain that can be followed answers"))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let problem = Self::failure(fault.to_string());
        match fault.severity() {
            Severity::Config => Self { code: 2, ..problem },
            Severity::Corrupt => problem
                .hint("move the data directory aside and follow from genesis again, or restore it"),
            _ => problem,
        }
    }
}

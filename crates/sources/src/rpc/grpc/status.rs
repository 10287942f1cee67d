//! How a call of gRPC ended.

use crate::{rpc::RpcError, words::excerpt};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $number:literal, $name:literal;)+) => {
        /// The codes of gRPC.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($(#[$doc])* $code = $number,)+
        }

        impl Code {
            /// The code of this number; [`Code::Unknown`] for one that has no meaning.
            const fn of(number: u16) -> Self {
                match number { $($number => Self::$code,)+ _ => Self::Unknown }
            }

            /// Its name in gRPC's documents.
            const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)+ }
            }
        }
    };
}

codes! {
    Ok = 0, "OK";
    Cancelled = 1, "CANCELLED";
    Unknown = 2, "UNKNOWN";
    InvalidArgument = 3, "INVALID_ARGUMENT";
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED";
    NotFound = 5, "NOT_FOUND";
    AlreadyExists = 6, "ALREADY_EXISTS";
    PermissionDenied = 7, "PERMISSION_DENIED";
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED";
    FailedPrecondition = 9, "FAILED_PRECONDITION";
    Aborted = 10, "ABORTED";
    OutOfRange = 11, "OUT_OF_RANGE";
    Unimplemented = 12, "UNIMPLEMENTED";
    Internal = 13, "INTERNAL";
    Unavailable = 14, "UNAVAILABLE";
    DataLoss = 15, "DATA_LOSS";
    Unauthenticated = 16, "UNAUTHENTICATED";
}

/// How a call ended, and what was said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: Code,
    /// Cut to a bound and printable.
    pub(crate) message: String,
}

impl Status {
    /// Reads `grpc-status` and `grpc-message`; `None` where the former is no number.
    pub(super) fn read(code: &[u8], message: &[u8]) -> Option<Self> {
        let number = std::str::from_utf8(code).ok()?.parse().ok()?;
        Some(Self { code: Code::of(number), message: excerpt(&decoded(message)) })
    }

    /// The error that the call is answered with.
    pub(super) fn error(&self) -> RpcError {
        RpcError { code: self.code as i32, message: self.to_string() }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// A message as it was meant: some bytes are written as `%` and two digits.
fn decoded(message: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(message.len()), message);
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

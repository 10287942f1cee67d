//! Refusals over HTTP, as RFC 9457 has them. Clients match on `code`.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tidewatch_core::{BlockRef, Cursor, Fault, ResumeError, json::Block};

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal, $status:ident, $title:literal;)+) => {
        /// Why something is refused, in a word that is a public contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($(#[$doc])* $code,)+
        }

        impl Code {
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $name,)+ }
            }

            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status,)+ }
            }

            const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)+ }
            }
        }
    };
}

codes! {
    MalformedCursor = "malformed_cursor", BAD_REQUEST, "Not a cursor";
    WrongChain = "wrong_chain", CONFLICT, "A cursor of another chain";
    Ahead = "ahead", SERVICE_UNAVAILABLE, "The cursor is ahead of this server";
    TooOld = "too_old", GONE, "The events after the cursor are gone";
    InvalidParameter = "invalid_parameter", BAD_REQUEST, "A parameter cannot be read";
    NotAcceptable = "not_acceptable", NOT_ACCEPTABLE, "There is no such representation";
    NotFound = "not_found", NOT_FOUND, "There is no such thing";
    OffChain = "off_chain", CONFLICT, "The block is not on this chain";
    Trimmed = "trimmed", GONE, "The block is no longer held";
    AboveTip = "above_tip", NOT_FOUND, "The block was not delivered yet";
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED, "This takes a WebSocket";
    TimedOut = "timed_out", REQUEST_TIMEOUT, "The request did not come in time";
    Oversized = "oversized", PAYLOAD_TOO_LARGE, "The request is too long";
    TooMany = "too_many_streams", TOO_MANY_REQUESTS, "Too many streams of one client";
    Full = "full", SERVICE_UNAVAILABLE, "Too many streams at once";
    ForeignHost = "foreign_host", MISDIRECTED_REQUEST, "The server does not have this name";
    ForeignOrigin = "foreign_origin", FORBIDDEN, "Pages of other origins may not ask";
    Unauthorized = "unauthorized", UNAUTHORIZED, "The token is missing or wrong";
    NoToken = "no_token", FORBIDDEN, "The server has no token that would allow it";
    Refused = "refused", UNPROCESSABLE_ENTITY, "It cannot be taken in";
    Failed = "failed", INTERNAL_SERVER_ERROR, "The history could not be read";
}

/// A refusal.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    r#type: &'static str,
    title: &'static str,
    #[serde(serialize_with = "word")]
    pub(crate) code: Code,
    status: u16,
    /// Why, for people.
    pub(crate) detail: String,
    /// The position to start again from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restart: Option<String>,
    /// Where this server stands, or what it has there instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ours: Option<Block>,
    #[serde(skip)]
    retry: bool,
}

fn word<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: code.title(),
            code,
            status: code.status().as_u16(),
            detail: detail.into(),
            restart: None,
            ours: None,
            retry: matches!(code, Code::Ahead | Code::TooMany | Code::Full),
        }
    }

    /// Where to start again.
    pub(crate) fn restart(mut self, cursor: &Cursor) -> Self {
        self.restart = Some(cursor.to_string());
        self
    }

    pub(crate) fn ours(mut self, ours: Option<BlockRef>) -> Self {
        self.ours = ours.map(Into::into);
        self
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        tracing::warn!(%fault, "a request failed");
        Self::new(Code::Failed, fault.to_string())
    }
}

impl From<ResumeError> for Problem {
    fn from(error: ResumeError) -> Self {
        let detail = error.to_string();
        match error {
            ResumeError::Malformed(_) => Self::new(Code::MalformedCursor, detail),
            ResumeError::WrongChain { .. } => Self::new(Code::WrongChain, detail),
            ResumeError::Ahead { ours, .. } => Self::new(Code::Ahead, detail).ours(ours),
            ResumeError::TooOld { restart } => Self::new(Code::TooOld, detail).restart(&restart),
            ResumeError::Fault(fault) => fault.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if self.retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.code == Code::UpgradeRequired {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

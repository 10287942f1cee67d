//! Server configuration.

use commonware_utils::NZUsize;
use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

/// What a server grants, and to whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whoever asks has to show it. Without one, everybody who reaches the port may read, and nobody may write.
    pub token: Option<Token>,
    /// Serves other machines without a token. Otherwise an address that is not a loopback needs one.
    pub open: bool,
    /// Names that this server is asked by, besides those of the loopback and its own address: a request with
    /// another `Host` comes from a page that has its own name point here.
    pub hosts: Vec<String>,
    /// Origins whose pages may read the answers, such as `https://dash.example`. None by default.
    pub origins: Vec<String>,
    /// Streams at once.
    pub streams_max: NonZeroUsize,
    /// Streams at once of one client address.
    pub streams_per_client_max: NonZeroUsize,
    /// New streams of one client address in a second.
    pub opens_per_second: NonZeroUsize,
    /// New streams of one client address at once.
    pub opens_burst: NonZeroUsize,
    /// Longest time between two lines of a stream.
    pub heartbeat: Duration,
    /// Time for the head of a request, and for its body.
    pub ask: Duration,
    /// Time in which a client has to take what was sent: its connection is cut after it.
    pub stall: Duration,
    /// A reader of the newest whose next event is older is notified of what it does not get.
    pub lagged: Duration,
    /// How long a stream waits for this server to catch up with a cursor.
    pub ahead: Duration,
    /// How long a request does.
    pub ahead_request: Duration,
    /// Time for connections to end at a stop.
    pub stop: Duration,
    /// Not live once an actor has made no progress for so long.
    pub live: Duration,
    /// Not ready with more blocks to go.
    pub ready_max_lag: u64,
    /// Not ready with a tip that is older by its own time.
    pub ready_max_age: Duration,
}

impl Default for Config {
    /// No token; 1,024 streams, 32 of one client, 20 new ones a second and 40 at once; a line every 15 s; 10 s to
    /// ask and 30 s to take; a minute behind is lagged; 30 s and 5 s for a cursor that is ahead; 0.9 s to stop; live with
    /// progress within a minute, ready at most 16 blocks
    /// and a minute behind.
    fn default() -> Self {
        Self {
            token: None,
            open: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            streams_max: NZUsize!(1_024),
            streams_per_client_max: NZUsize!(32),
            opens_per_second: NZUsize!(20),
            opens_burst: NZUsize!(40),
            heartbeat: Duration::from_secs(15),
            ask: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            lagged: Duration::from_secs(60),
            ahead: Duration::from_secs(30),
            ahead_request: Duration::from_secs(5),
            stop: Duration::from_millis(900),
            live: Duration::from_secs(60),
            ready_max_lag: 16,
            ready_max_age: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// `text` as a browser sends it in `Origin`; `None` if none would, so that it could never match.
    pub fn origin(text: &str) -> Option<String> {
        let url = url::Url::parse(text).ok()?;
        let sent = url.origin().ascii_serialization();
        let same = sent == text.trim_end_matches('/');
        (matches!(url.scheme(), "http" | "https") && same).then_some(sent)
    }
}

/// What a client has to show. It is never printed.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Shortest token, in characters.
const TOKEN_MIN: usize = 16;

/// A token cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too short to be a secret.
    #[error("a token has at least {TOKEN_MIN} characters, this one has {0}")]
    Short(usize),
    /// No header can carry it.
    #[error("a token has no other characters than visible ones of ASCII")]
    Characters,
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
}

impl Token {
    /// The token `text`, without the white space around it.
    ///
    /// # Errors
    ///
    /// It is short, or cannot be sent.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        if text.len() < TOKEN_MIN {
            return Err(TokenError::Short(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// The token in a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no token.
    pub fn read(path: &std::path::Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| TokenError::File { path: path.into(), error: error.to_string() })?;
        Self::new(&text)
    }

    /// The token, for who has shown it.
    pub(crate) fn shown(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is the token. Takes as long for a wrong one as for the right one of its length.
    pub(crate) fn is(&self, shown: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), shown.as_bytes()).into()
    }
}

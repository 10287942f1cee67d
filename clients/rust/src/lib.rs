//! Follows a Tidewatch server's events, over restarts of either side.
//!
//! ```no_run
//! use tidewatch_client::{Follow, Message, Options};
//!
//! # async fn example(saved: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut follow = Follow::new("http://127.0.0.1:8080", Options { cursor: saved, ..Options::default() })?;
//! loop {
//!     match follow.next().await? {
//!         Message::Pruned(pruned) => println!("drop everything above {}", pruned.to.height),
//!         Message::Advanced(moved) => println!("{:?} is {}", moved.tier, moved.block.height),
//!         // What was known before counts no more.
//!         Message::Reset(reset) => println!("begin again from {:?}", reset.block),
//!         _ => {}
//!     }
//!     // Once a message is handled, this is where to go on: keep it with what was made of the message.
//!     let _cursor = follow.cursor();
//! }
//! # }
//! ```

mod fold;
mod message;
#[cfg(test)]
mod tests;

pub use fold::{LawBroken, State};
pub use message::{
    Block, Blocks, Bookmark, Checkpoint, Goodbye, Hello, Lagged, Message, Moved, Pruned, Reset,
    Resume, Skipped, Tier, Tip, Tips,
};

use fold::Fold;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Longest event, in bytes.
const LONGEST: usize = 1 << 20;
/// Longest answer to a question beside the stream, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;
/// Heights that one question may name.
const HEIGHTS_MAX: usize = 64;

/// What to follow, and from where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cursor to go on from.
    pub cursor: Option<String>,
    /// Without a cursor: from the oldest event that the server keeps, instead of from its tip.
    pub earliest: bool,
    /// Further parameters of `/v1/events`, such as `mode`, `tiers` and `kinds`.
    pub query: Vec<(String, String)>,
    /// The server's token, if it has one.
    pub token: Option<String>,
    /// Silence after which a connection counts as lost.
    pub silent: Duration,
}

impl Default for Options {
    /// From the server's tip; 45 s of silence, three times a server's heartbeat.
    fn default() -> Self {
        let silent = Duration::from_secs(45);
        Self { cursor: None, earliest: false, query: Vec::new(), token: None, silent }
    }
}

/// Why following ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{0:?} is no address of a server")]
    Address(String),
    /// The server refuses for good: match on `code`.
    #[error("the server refuses, {code}: {detail}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// Why, in a word of its contract.
        code: String,
        /// Why, for people.
        detail: String,
    },
    /// A question beside the stream has no answer that can be used: ask again later.
    #[error("the server does not answer: {0}")]
    Unanswered(String),
    /// Events do not lead where the server says that they do.
    #[error(transparent)]
    LawBroken(#[from] LawBroken),
    /// There is no HTTP client.
    #[error(transparent)]
    Client(reqwest::Error),
}

/// Why a connection ended.
enum Ended {
    For(Error),
    Lost(String, Duration),
}

impl From<reqwest::Error> for Ended {
    fn from(error: reqwest::Error) -> Self {
        // Its address has a cursor of hundreds of characters in it.
        Self::Lost(error.without_url().to_string(), Duration::ZERO)
    }
}

/// A stream of events: [`next`](Self::next).
#[derive(Debug)]
pub struct Follow {
    http: reqwest::Client,
    url: Url,
    options: Options,
    fold: Fold,
    answer: Option<Response>,
    buffer: Vec<u8>,
    line: String,
    failed: u32,
    wake: Option<Instant>,
}

impl Follow {
    /// Follows the server at `url`. Nothing is connected before [`next`](Self::next).
    ///
    /// # Errors
    ///
    /// The address is none, or there is no HTTP client.
    pub fn new(url: &str, options: Options) -> Result<Self, Error> {
        let address = || Error::Address(url.into());
        let mut base: Url = url.parse().map_err(|_| address())?;
        base.path_segments_mut().map_err(|()| address())?.pop_if_empty().extend(["v1", "events"]);
        let http = reqwest::Client::builder().connect_timeout(options.silent).build();
        let http = http.map_err(Error::Client)?;
        let whole = !options.query.iter().any(|(name, _)| name == "tiers" || name == "kinds");
        let (fold, buffer, line) = (Fold::new(whole), Vec::new(), String::new());
        Ok(Self {
            http,
            url: base,
            options,
            fold,
            answer: None,
            buffer,
            line,
            failed: 0,
            wake: None,
        })
    }

    /// The position after the last message.
    pub fn cursor(&self) -> Option<&str> {
        self.options.cursor.as_deref()
    }

    /// The last message as it came, a JSON object; not of [`Message::Lost`].
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Where the events led.
    pub const fn state(&self) -> &State {
        &self.fold.state
    }

    /// The next message. Whoever asks for it has handled the one before. Connects again by itself, and says so
    /// with [`Message::Lost`].
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any await and called again: nothing is lost.
    ///
    /// # Errors
    ///
    /// There is no use in going on: see [`Error`].
    pub async fn next(&mut self) -> Result<Message, Error> {
        if let Some(wake) = self.wake {
            sleep_until(wake).await;
            self.wake = None;
        }
        let message = match self.receive().await {
            Ok(message) => message,
            Err(Ended::For(error)) => return Err(error),
            Err(Ended::Lost(why, retry)) => return Ok(self.lost(why, retry)),
        };
        self.fold.apply(&message)?;
        if let Some(cursor) = message.cursor() {
            self.options.cursor = Some(cursor.into());
        }
        if let Message::Goodbye(goodbye) = &message {
            self.lost(String::new(), Duration::from_millis(goodbye.retry_ms));
        }
        Ok(message)
    }

    fn lost(&mut self, why: String, retry: Duration) -> Message {
        self.answer = None;
        let half = LONGEST_WAIT.min(FIRST_WAIT * 2u32.pow(self.failed.min(8))) / 2;
        self.failed += 1;
        let random = RandomState::new().hash_one(()) as u32;
        let wait = retry.max(half) + half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.wake = Some(Instant::now() + wait);
        Message::Lost { why, wait }
    }

    async fn receive(&mut self) -> Result<Message, Ended> {
        let silent = self.options.silent;
        let silence = |_| Ended::Lost(format!("nothing came for {silent:?}"), Duration::ZERO);
        loop {
            while let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let data =
                    frame.split(|byte| *byte == b'\n').find_map(|l| l.strip_prefix(b"data: "));
                let Some(data) = data else { continue };
                self.line = String::from_utf8_lossy(data).into_owned();
                let message = serde_json::from_str(&self.line);
                return message.map_err(|error| Ended::Lost(error.to_string(), Duration::ZERO));
            }
            let Some(answer) = &mut self.answer else {
                self.buffer.clear();
                self.answer = Some(timeout(silent, self.connect()).await.map_err(silence)??);
                continue;
            };
            match timeout(silent, answer.chunk()).await.map_err(silence)?? {
                Some(_) if self.buffer.len() > LONGEST => {
                    return Err(Ended::Lost("an event has no end".into(), Duration::ZERO));
                }
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Err(Ended::Lost("the connection ended".into(), Duration::ZERO)),
            }
            self.failed = 0;
        }
    }

    /// Digests of the blocks at `heights` of the chain that goes through `tip`, in their order: `None` where the
    /// server does not hold the block. `None` instead of all of them once its chain does not go through `tip`: a
    /// prune below it has come, or comes.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any await.
    ///
    /// # Errors
    ///
    /// The server refuses for good, or [`Error::Unanswered`].
    pub async fn digests(
        &self,
        tip: &Block,
        heights: &[u64],
    ) -> Result<Option<Vec<Option<String>>>, Error> {
        let mut digests = Vec::with_capacity(heights.len());
        for heights in heights.chunks(HEIGHTS_MAX) {
            let asked = timeout(self.options.silent, self.ask(tip, heights)).await;
            let asked = asked.map_err(|_| Error::Unanswered("it is silent".into()))??;
            let Some(found) = asked else { return Ok(None) };
            digests.extend(found);
        }
        Ok(Some(digests))
    }

    async fn ask(
        &self,
        tip: &Block,
        heights: &[u64],
    ) -> Result<Option<Vec<Option<String>>>, Error> {
        let wrong = |what: String| Error::Unanswered(what);
        let mut url = self.url.join("digests").map_err(|error| wrong(error.to_string()))?;
        let named: Vec<_> = heights.iter().map(u64::to_string).collect();
        url.query_pairs_mut()
            .append_pair("tip", &format!("{}:{}", tip.height, tip.digest))
            .append_pair("heights", &named.join(","));
        let lost = |error: reqwest::Error| wrong(error.without_url().to_string());
        let answer = self.authorized(self.http.get(url)).send().await.map_err(lost)?;
        let status = answer.status();
        if status.is_success() {
            let text = bounded(answer).await.map_err(wrong)?;
            let found: Vec<_> =
                serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
            let fits = found.len() == heights.len();
            return if fits { Ok(Some(found)) } else { Err(wrong("not as many as asked".into())) };
        }
        match refused(answer).await {
            Error::Refused { code, .. } if code == "off_chain" => Ok(None),
            Error::Refused { code, detail, .. } if may_pass(status) => {
                Err(wrong(format!("{code}: {detail}")))
            }
            error => Err(error),
        }
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.options.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn connect(&self) -> Result<Response, Ended> {
        let from = if self.options.earliest { "earliest" } else { "tip" };
        let begin = self.cursor().map_or(("from", from), |cursor| ("cursor", cursor));
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs([begin]).extend_pairs(&self.options.query);
        let request = self.http.get(url).header(header::ACCEPT, "text/event-stream");
        let answer = self.authorized(request).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let retry =
            answer.headers().get(header::RETRY_AFTER).and_then(|s| s.to_str().ok()?.parse().ok());
        match refused(answer).await {
            Error::Refused { code, detail, .. } if may_pass(status) => {
                let retry = Duration::from_secs(retry.unwrap_or(1));
                Err(Ended::Lost(format!("{code}: {detail}"), retry))
            }
            error => Err(Ended::For(error)),
        }
    }
}

/// Whether another try may be answered.
fn may_pass(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// The refusal that an answer is.
async fn refused(answer: Response) -> Error {
    let status = answer.status().as_u16();
    let text = bounded(answer).await.unwrap_or_default(); // The status says enough.
    let problem: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let word = |name: &str| problem[name].as_str().unwrap_or("unknown").to_owned();
    Error::Refused { status, code: word("code"), detail: word("detail") }
}

/// The body of an answer, if it is not too long.
async fn bounded(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
        text.extend_from_slice(&chunk);
        if text.len() > LONGEST_ANSWER {
            return Err("an answer has no end".into());
        }
    }
    Ok(text)
}

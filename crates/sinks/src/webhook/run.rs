//! A sink that runs, for one endpoint.

use super::{
    Dead, Kept, Secrets,
    decide::{Answer, Next, next, pause},
    kept::Pending,
    payload::payload,
};
use crate::events::{Chain, Event, Events, Step};
use commonware_runtime::{
    Clock as _,
    telemetry::metrics::{Counter, MetricsExt as _},
    tokio::Context,
};
use reqwest::{Client, Url, header, redirect::Policy};
use std::{
    fmt, io,
    num::NonZeroU64,
    time::{Duration, SystemTime},
};
use tidewatch_client::{Message, Options};
use tidewatch_core::Backoff;

/// Waits after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// What an endpoint is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time of one attempt.
    pub attempt: Duration,
    /// Time after which an event is given up.
    pub give_up: Duration,
    /// Attempts of one process after which an event is given up.
    pub attempts: Option<NonZeroU64>,
}

impl Default for Limits {
    /// 15 s; three days, and as many attempts as they have room for.
    fn default() -> Self {
        let (attempt, give_up) = (Duration::from_secs(15), Duration::from_secs(3 * 86_400));
        Self { attempt, give_up, attempts: None }
    }
}

/// Where events are sent. It shows its host alone: what is secret may be anywhere else.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    secrets: Secrets,
    http: Client,
    limits: Limits,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.shown()).finish()
    }
}

impl Endpoint {
    /// The endpoint at `url`. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// It is no address of HTTP, or there is no HTTP client.
    pub fn new(url: &str, secrets: Secrets, limits: Limits) -> Result<Self, Error> {
        let url: Url = url.parse().map_err(|_| Error::Address)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(Error::Address);
        }
        let http = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(limits.attempt)
            .timeout(limits.attempt)
            .user_agent(concat!("tidewatch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::Client)?;
        Ok(Self { url, secrets, http, limits })
    }

    /// Its scheme, host and port.
    pub fn shown(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    async fn attempt(&self, context: &Context, id: &str, body: &str) -> Answer {
        let now = since_epoch(context.current()).as_secs();
        let signature = self.secrets.sign(id, now, body);
        let request = self
            .http
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(body.to_owned());
        match request.send().await {
            // Nothing is read of what it says besides.
            Ok(answer) => {
                let pause = answer.headers().get(header::RETRY_AFTER);
                let pause = pause.and_then(|value| pause_of(value, context.current()));
                Answer::Status(answer.status().as_u16(), pause)
            }
            Err(error) => Answer::None(words(&error.without_url())),
        }
    }
}

fn pause_of(value: &header::HeaderValue, now: SystemTime) -> Option<Duration> {
    pause(value.to_str().ok()?, now)
}

/// What went wrong, with its causes.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer in time".into();
    }
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to.
    pub endpoint: Endpoint,
    /// The server, such as `http://127.0.0.1:9200`.
    pub from: String,
    /// Its token, if it has one.
    pub token: Option<String>,
    /// Without a position: whether to begin with the oldest event that the server keeps, or at its tip.
    pub earliest: bool,
    /// Only that blocks became final.
    pub finalized: bool,
    /// Send to an endpoint that said 410 before.
    pub enable: bool,
}

/// Why nothing is sent any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The endpoint's address is none.
    #[error("the endpoint is no http:// or https:// address")]
    Address,
    /// There is no HTTP client.
    #[error("there is no HTTP client: {0}")]
    Client(reqwest::Error),
    /// The directory.
    #[error("the data directory: {0}")]
    Disk(#[from] io::Error),
    /// The endpoint said 410: it wants nothing any more.
    #[error("the endpoint is gone: it said 410, and is sent nothing any more")]
    Disabled,
    /// The position is of another chain than the server.
    #[error("the position is of {stored}, and the server follows {served}")]
    OtherChain {
        /// Of the position.
        stored: String,
        /// Of the server.
        served: String,
    },
    /// A dead letter was sent again, and not acknowledged.
    #[error("{id} is not acknowledged: {reason}")]
    StillDead {
        /// The event.
        id: String,
        /// Why.
        reason: String,
    },
    /// The stream.
    #[error(transparent)]
    Stream(#[from] tidewatch_client::Error),
}

/// What happened, for whoever watches.
#[derive(Debug)]
pub enum Progress<'a> {
    /// An event was acknowledged.
    Delivered {
        /// Its id.
        id: &'a str,
        /// Its kind.
        kind: &'a str,
        /// Attempts that it took.
        attempts: u64,
    },
    /// An attempt failed.
    Waiting {
        /// The event's id.
        id: &'a str,
        /// Why.
        reason: &'a str,
        /// When it is tried again.
        wait: Duration,
    },
    /// An event was given up.
    Dead(&'a Dead),
    /// The server is gone, and asked again.
    ServerLost(&'a str),
}

/// Counts.
struct Metrics {
    delivered: Counter,
    failed: Counter,
    dead: Counter,
}

/// Sends events until there is no use in going on.
///
/// # Cancel safety
///
/// It may be dropped at any await: what was not acknowledged is sent again by the next one.
///
/// # Errors
///
/// See [`Error`]. An endpoint or a server that does not answer is none.
pub async fn run(
    context: Context,
    config: Config,
    kept: &mut Kept,
    watch: impl FnMut(Progress<'_>) + Send,
) -> Result<(), Error> {
    let metrics = Metrics {
        delivered: context.counter("delivered", "Events that were acknowledged"),
        failed: context.counter("failed", "Attempts that failed"),
        dead: context.counter("dead", "Events that were given up"),
    };
    Sender { context, config, kept, watch, metrics }.run().await
}

struct Sender<'a, W> {
    context: Context,
    config: Config,
    kept: &'a mut Kept,
    watch: W,
    metrics: Metrics,
}

impl<W: FnMut(Progress<'_>) + Send> Sender<'_, W> {
    async fn run(mut self) -> Result<(), Error> {
        if self.kept.position.disabled && !self.config.enable {
            return Err(Error::Disabled);
        }
        self.deliver().await?;
        let filter = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let query = match self.config.finalized {
            true => [("tiers", "finalized"), ("kinds", "advanced")].map(filter).into(),
            false => Vec::new(),
        };
        let options = Options {
            cursor: self.kept.position.cursor.clone(),
            earliest: self.config.earliest,
            query,
            token: self.config.token.clone(),
            ..Options::default()
        };
        let mut events = Events::new(&self.config.from, options)?;
        loop {
            match events.next().await? {
                Step::Lost(why) => (self.watch)(Progress::ServerLost(&why)),
                Step::Event(event) => self.take(&event).await?,
            }
        }
    }

    async fn take(&mut self, event: &Event) -> Result<(), Error> {
        self.is_of(&event.chain)?;
        let position = &mut self.kept.position;
        if matches!(&event.message, Message::Reset(reset) if reset.code == "wrong_chain") {
            let stored = position.cursor.clone().unwrap_or_default();
            return Err(Error::OtherChain { stored, served: event.chain.name.clone() });
        }
        // A stream that begins tells nobody anything.
        let Some(kind) = event.kind().filter(|kind| *kind != "start") else {
            if position.cursor.as_ref() != Some(&event.cursor) {
                position.cursor = Some(event.cursor.clone());
                self.kept.save()?;
            }
            return Ok(());
        };
        let now = since_epoch(self.context.current());
        let sent = payload(event, kind, now);
        position.pending = Some(Pending {
            id: sent.id,
            kind: kind.into(),
            body: sent.body,
            cursor: event.cursor.clone(),
            first_ms: millis(now),
        });
        self.kept.save()?;
        self.deliver().await
    }

    fn is_of(&mut self, chain: &Chain) -> Result<(), Error> {
        let served = (chain.name.clone(), chain.genesis.digest.clone());
        match &self.kept.position.chain {
            None => self.kept.position.chain = Some(served),
            Some(stored) if *stored != served => {
                let named =
                    |(name, genesis): &(String, String)| format!("{name} from {genesis} on");
                return Err(Error::OtherChain { stored: named(stored), served: named(&served) });
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Sends what is pending until that was acknowledged or given up.
    async fn deliver(&mut self) -> Result<(), Error> {
        let Some(pending) = self.kept.position.pending.clone() else { return Ok(()) };
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let (id, mut attempts) = (pending.id.as_str(), 0);
        loop {
            attempts += 1;
            let answer = self.config.endpoint.attempt(&self.context, id, &pending.body).await;
            let now = millis(since_epoch(self.context.current()));
            let since = Duration::from_millis(now.saturating_sub(pending.first_ms));
            let wait = backoff.fail(&mut self.context);
            match next(answer, attempts, since, wait, &self.config.endpoint.limits) {
                Next::Acknowledged => {
                    self.metrics.delivered.inc();
                    (self.watch)(Progress::Delivered { id, kind: &pending.kind, attempts });
                    self.kept.position.disabled = false;
                    break;
                }
                Next::Disabled => {
                    self.kept.position.disabled = true;
                    self.kept.save()?;
                    return Err(Error::Disabled);
                }
                Next::Again { wait, reason } => {
                    self.metrics.failed.inc();
                    (self.watch)(Progress::Waiting { id, reason: &reason, wait });
                    self.context.sleep(wait).await;
                }
                Next::Dead(reason) => {
                    let Pending { id, kind, body, .. } = pending.clone();
                    let dead = Dead { id, kind, at_ms: now, attempts, reason, body };
                    self.kept.bury(dead.clone())?;
                    self.metrics.failed.inc();
                    self.metrics.dead.inc();
                    (self.watch)(Progress::Dead(&dead));
                    break;
                }
            }
        }
        self.kept.position.cursor = Some(pending.cursor);
        self.kept.position.pending = None;
        Ok(self.kept.save()?)
    }
}

/// Sends the dead letters once more, the oldest first, until one is not acknowledged. Gives how many were.
///
/// # Cancel safety
///
/// It may be dropped at any await: one whose acknowledgement was not noted is sent again the next time.
///
/// # Errors
///
/// One is not acknowledged, or the disk fails.
pub async fn send_again(
    context: Context,
    endpoint: &Endpoint,
    kept: &Kept,
    mut watch: impl FnMut(Progress<'_>) + Send,
) -> Result<usize, Error> {
    let dead = kept.dead()?;
    for Dead { id, kind, body, .. } in &dead {
        let reason = match endpoint.attempt(&context, id, body).await {
            Answer::Status(200..=299, _) => {
                kept.sent_again(id)?;
                watch(Progress::Delivered { id, kind, attempts: 1 });
                continue;
            }
            Answer::Status(status, _) => format!("status {status}"),
            Answer::None(why) => why,
        };
        return Err(Error::StillDead { id: id.clone(), reason });
    }
    Ok(dead.len())
}

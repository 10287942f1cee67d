//! One consensus client, over HTTP.

use super::{
    Opinion,
    error::BeaconError,
    events::{Heard, Parser},
    wire::{BLOCKS, CHECKPOINTS, EVENTS, TOPICS, read_block, read_checkpoints},
};
use crate::{
    error::fault,
    rate::Meter,
    rpc::{Config, Endpoint, FOR_EVER, Metrics, NodeError, admitted, get, jitter},
    tls,
};
use alloy_primitives::B256;
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use http::{
    HeaderMap,
    header::{ACCEPT, AUTHORIZATION, HeaderValue},
};
use reqwest::{Client as Http, RequestBuilder, Response};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tidewatch_core::{Asked, Backoff, BlockRef, Fault, within};
use url::Url;

/// How long an opinion may take, all of its requests together: a pass waits for it.
const OPINION: Duration = Duration::from_secs(5);

/// How long an event stream may be silent: five slots of Ethereum's.
const SILENT: Duration = Duration::from_secs(60);

/// Execution blocks that are remembered, by the root of the beacon block around them. A step of finality needs
/// two of them.
const KNOWN_MAX: usize = 8;

/// An event stream that is open.
pub(super) struct Stream {
    response: Response,
    parser: Parser,
    /// When something came over it last.
    heard: SystemTime,
}

/// What pushes were good for.
struct Pushes {
    backoff: Backoff,
    /// Something was pushed since the execution node's highest block moved.
    news: bool,
}

/// A consensus client.
pub(super) struct Client<E> {
    name: String,
    context: Arc<E>,
    url: Url,
    http: Http,
    headers: HeaderMap,
    meter: Meter<E>,
    metrics: Metrics,
    connect: Duration,
    answer_max: usize,
    known: Mutex<VecDeque<(B256, Option<BlockRef>)>>,
    pushes: Mutex<Pushes>,
    /// Its checkpoints may have moved.
    finalized: AtomicBool,
}

impl<E: Clock> Client<E> {
    /// Sets up for `endpoint`. Does not connect yet.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`: no TLS can be set up, or no client for such an address.
    pub(super) fn new(
        context: Arc<E>,
        endpoint: &Endpoint,
        metrics: Metrics,
        config: &Config,
    ) -> Result<Self, Fault> {
        let name = endpoint.to_string();
        let tls = endpoint.is_secure().then(tls::config).transpose();
        let tls = tls.map_err(|error| fault(&name, NodeError::Tls(error)))?;
        let http = tls::client(config.request_timeout, config.lanes.get(), tls)
            .map_err(|_| fault(&name, NodeError::Address))?;
        let authorization = endpoint.authorization().map(|value| (AUTHORIZATION, value));
        let meter = Meter::new(context.clone(), config.limit(endpoint.rate()));
        let backoff = Backoff::new(config.backoff_base, config.backoff_cap);
        Ok(Self {
            name,
            context,
            url: endpoint.bare(),
            http,
            headers: authorization.into_iter().collect(),
            meter,
            metrics,
            connect: config.request_timeout,
            answer_max: config.answer_max,
            known: Mutex::default(),
            pushes: Mutex::new(Pushes { backoff, news: false }),
            finalized: AtomicBool::new(false),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The execution blocks of its justified and of its finalized checkpoint. Blocks that it named lately are
    /// not asked for again.
    ///
    /// # Errors
    ///
    /// Why there is no opinion, counted. `Timeout` after [`OPINION`].
    pub(super) async fn opinion(&self) -> Result<Opinion, Fault> {
        let asked = Asked::new(&*self.context, self.metrics.monitor(), &self.name);
        let opinion = within(&*self.context, OPINION, async {
            let checkpoints = self.get(CHECKPOINTS, self.answer_max).await?;
            let mut opinion = [None; 2];
            let roots = read_checkpoints(&self.name, &checkpoints)?;
            for (block, root) in opinion.iter_mut().zip(roots) {
                if let Some(root) = root {
                    *block = self.block(root).await?;
                }
            }
            Ok(opinion)
        });
        let late = || Err(fault(&self.name, NodeError::NoAnswer { limit: OPINION }));
        let opinion = opinion.await.unwrap_or_else(late);
        asked.over(opinion.as_ref().err().map(|fault| fault.kind));
        opinion.map_err(|fault| self.metrics.refused(fault))
    }

    async fn block(&self, root: B256) -> Result<Option<BlockRef>, Fault> {
        let known = self.known.lock().iter().find(|(known, _)| *known == root).copied();
        if let Some((_, block)) = known {
            return Ok(block);
        }
        let block = self.get(&format!("{BLOCKS}{root}"), self.answer_max).await?;
        let block = read_block(&self.name, &block)?;
        let mut known = self.known.lock();
        if known.len() == KNOWN_MAX {
            known.pop_front();
        }
        known.push_back((root, block));
        Ok(block)
    }

    async fn get(&self, path: &str, max: usize) -> Result<Vec<u8>, Fault> {
        self.meter.pay().await;
        self.metrics.requested(1);
        let request = self.request(path, None, "application/json");
        get(request, max).await.map_err(|error| fault(&self.name, error))
    }

    fn request(&self, path: &str, query: Option<&str>, accept: &'static str) -> RequestBuilder {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        let query = [self.url.query(), query].into_iter().flatten().collect::<Vec<_>>();
        url.set_query(Some(query.join("&")).as_deref().filter(|query| !query.is_empty()));
        let request = self.http.get(url).headers(self.headers.clone());
        request.header(ACCEPT, HeaderValue::from_static(accept))
    }

    /// Opens the event stream.
    ///
    /// # Errors
    ///
    /// Why there is none, counted.
    pub(super) async fn listen(&self) -> Result<Stream, Fault> {
        self.meter.pay().await;
        self.metrics.requested(1);
        let asked = Asked::new(&*self.context, self.metrics.monitor(), &self.name);
        let request = self.request(EVENTS, Some(TOPICS), "text/event-stream").timeout(FOR_EVER);
        let opened = within(&*self.context, self.connect, admitted(request)).await;
        let opened = opened.unwrap_or(Err(NodeError::NoAnswer { limit: self.connect }));
        let opened = opened.map_err(|error| fault(&self.name, error));
        asked.over(opened.as_ref().err().map(|fault| fault.kind));
        let response = opened.map_err(|fault| self.metrics.refused(fault))?;
        Ok(Stream { response, parser: Parser::default(), heard: self.context.current() })
    }

    /// What comes next over `stream`; `None` if that is nothing for `wait`.
    ///
    /// # Errors
    ///
    /// Why nothing more comes, counted.
    pub(super) async fn next(
        &self,
        stream: &mut Stream,
        wait: Option<Duration>,
    ) -> Result<Option<Heard>, Fault> {
        let silent = self.context.current().duration_since(stream.heard).unwrap_or_default();
        let left = SILENT.saturating_sub(silent);
        let limit = wait.unwrap_or(left).min(left);
        let chunk = within(&*self.context, limit, stream.response.chunk()).await;
        let heard = match chunk {
            None if limit < left => Ok(None),
            None => Err(BeaconError::Silent { limit: SILENT }),
            Some(Ok(Some(chunk))) => {
                stream.heard = self.context.current();
                stream.parser.take(&chunk).map(Some)
            }
            // Whether it ended well means nothing: it is opened again.
            Some(Ok(None) | Err(_)) => Err(BeaconError::Ended),
        };
        heard.map_err(|error| self.metrics.refused(fault(&self.name, error)))
    }

    /// Takes in what was pushed.
    pub(super) fn pushed(&self, heard: Heard) {
        if heard.finalized {
            self.finalized.store(true, Ordering::Relaxed);
        }
        self.pushes.lock().news |= heard.head;
    }

    /// Whether a head was pushed since the execution node's highest block moved.
    pub(super) fn is_news(&self) -> bool {
        self.pushes.lock().news
    }

    /// Whether its checkpoints may have moved since this was asked last.
    pub(super) fn take_news(&self) -> bool {
        self.finalized.swap(false, Ordering::Relaxed)
    }

    /// The execution node's highest block moved: pushes may have been worth something.
    pub(super) fn moved(&self) {
        let mut pushes = self.pushes.lock();
        if std::mem::take(&mut pushes.news) {
            pushes.backoff.succeed();
        }
    }

    /// Waits before the event stream is opened again.
    pub(super) async fn rest(&self) {
        let wait = self.pushes.lock().backoff.fail(&mut jitter(self.context.current()));
        self.context.sleep(wait).await;
    }
}

//! Requests over a WebSocket, and the heads that a node pushes over it.

use super::{
    Answer, Call, Config, Endpoint, NodeError, Rpc, Toll, Unanswered,
    http::{Refusal, Refused, after, whole},
    jitter,
    socket::Socket,
};
use crate::{error::fault, tls};
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use futures::stream::unfold;
use http::header::AUTHORIZATION;
use std::{fmt, sync::Arc};
use tidewatch_core::{Backoff, Doorbell, Fault, within};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_tungstenite::{
    Connector, connect_async_tls_with_config,
    tungstenite::{self, client::IntoClientRequest as _, protocol::WebSocketConfig},
};
use tracing::debug;

/// A node that is asked over a WebSocket. It connects when it is asked, and again after the
/// connection was lost.
///
/// Each doorbell has a subscription of its own on that connection, made when it is listened to first: so
/// two listeners take no heads from each other.
///
/// # Back-off
///
/// A subscription that ends is made again after a wait that doubles. Only a new head of this node after
/// which a tip moved begins it anew: a node can take subscriptions, and repeat what everybody knows, for
/// nothing.
pub struct WsRpc<E>(Arc<Connection<E>>);

struct Connection<E> {
    name: String,
    context: Arc<E>,
    endpoint: Endpoint,
    config: Config,
    /// Asks for pushes.
    subscription: Call,
    connector: Connector,
    socket: AsyncMutex<Option<Socket>>,
    pushes: Mutex<Pushes>,
}

/// What the pushes of this node were good for.
struct Pushes {
    backoff: Backoff,
    /// The highest head that was pushed.
    highest: Option<u64>,
    /// A higher one was pushed since a tip moved.
    news: bool,
}

impl<E> fmt::Debug for WsRpc<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsRpc").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl<E: Clock> WsRpc<E> {
    /// Sets up for `endpoint`. Does not connect yet.
    ///
    /// # Errors
    ///
    /// `Setting`: no TLS can be set up.
    pub fn new(context: E, endpoint: &Endpoint, config: &Config) -> Result<Self, Fault> {
        Self::pushing(context, endpoint, config, Self::heads())
    }

    /// Asks for the heads of an execution node.
    pub(super) fn heads() -> Call {
        Call::new("eth_subscribe", vec!["newHeads".into()])
    }

    /// The same, whose pushes `subscription` asks for.
    pub(super) fn pushing(
        context: E,
        endpoint: &Endpoint,
        config: &Config,
        subscription: Call,
    ) -> Result<Self, Fault> {
        let name = endpoint.to_string();
        let tls = endpoint.is_secure().then(tls::config).transpose();
        let tls = tls.map_err(|error| fault(&name, NodeError::Tls(error)))?;
        let connector = tls.map_or(Connector::Plain, |tls| Connector::Rustls(Arc::new(tls)));
        let backoff = Backoff::new(config.backoff_base, config.backoff_cap);
        let pushes = Mutex::new(Pushes { backoff, highest: None, news: false });
        let (endpoint, config, context) = (endpoint.clone(), config.clone(), Arc::new(context));
        let socket = AsyncMutex::default();
        Ok(Self(Arc::new(Connection {
            name,
            context,
            endpoint,
            config,
            subscription,
            connector,
            socket,
            pushes,
        })))
    }
}

impl<E: Clock> Connection<E> {
    /// The open connection, or a new one.
    async fn socket(&self) -> Result<Socket, Refused> {
        let mut slot = self.socket.lock().await;
        if let Some(socket) = slot.as_ref().filter(|socket| socket.is_open()) {
            return Ok(socket.clone());
        }
        *slot = None;
        let limit = self.config.request_timeout;
        let connected = within(&*self.context, limit, self.connect()).await;
        let socket = connected.unwrap_or_else(|| Err(NodeError::NoAnswer { limit }.into()))?;
        *slot = Some(socket.clone());
        Ok(socket)
    }

    async fn connect(&self) -> Result<Socket, Refused> {
        let mut request = self
            .endpoint
            .bare()
            .as_str()
            .into_client_request()
            .map_err(|_| Refused::from(NodeError::Address))?;
        if let Some(authorization) = self.endpoint.authorization() {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let answer_max = self.config.answer_max;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(answer_max))
            .max_frame_size(Some(answer_max));
        let connector = Some(self.connector.clone());
        let connected = connect_async_tls_with_config(request, Some(limits), true, connector).await;
        let (stream, _) = connected.map_err(|error| refused(&error))?;
        let patience = self.config.request_timeout;
        Ok(Socket::open(self.context.clone(), stream, patience))
    }

    async fn subscribe(&self) -> Result<mpsc::Receiver<Option<u64>>, Refused> {
        let socket = self.socket().await?;
        let subscribed = socket.subscribe(self.subscription.clone());
        let limit = self.config.request_timeout;
        let subscribed = within(&*self.context, limit, subscribed).await;
        subscribed.unwrap_or_else(|| Err(NodeError::NoAnswer { limit }.into()))
    }

    /// Waits for the next head in `heads`, or for a subscription where there is none.
    async fn head(&self, heads: &mut Option<mpsc::Receiver<Option<u64>>>, toll: &Toll) {
        loop {
            if let Some(open) = heads.as_mut() {
                if let Some(height) = open.recv().await {
                    let mut pushes = self.pushes.lock();
                    if height > pushes.highest {
                        (pushes.highest, pushes.news) = (height, true);
                    }
                    return;
                }
                *heads = None;
                self.rest().await;
            }
            toll().await;
            match self.subscribe().await {
                Ok(open) => {
                    *heads = Some(open);
                    return;
                }
                Err(refused) => {
                    debug!(node = self.name, error = %refused.error, "no pushes");
                    self.rest().await;
                }
            }
        }
    }

    async fn rest(&self) {
        let wait = self.pushes.lock().backoff.fail(&mut jitter(self.context.current()));
        self.context.sleep(wait).await;
    }
}

/// Why there is no connection.
fn refused(error: &tungstenite::Error) -> Refused {
    match error {
        tungstenite::Error::Http(answer) => {
            let status = answer.status();
            let error = NodeError::NoWebSocket { status: status.to_string() };
            let what = match (status, after(answer.headers())) {
                (http::StatusCode::TOO_MANY_REQUESTS, after) => Refusal::Busy(after),
                (http::StatusCode::SERVICE_UNAVAILABLE, Some(after)) => Refusal::Busy(Some(after)),
                _ => Refusal::Plain,
            };
            Refused { error, what }
        }
        error => NodeError::Unreachable(crate::words::causes(error)).into(),
    }
}

impl<E: Clock> Rpc for WsRpc<E> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn rate(&self) -> super::Rate {
        self.0.endpoint.rate()
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let max = self.0.config.longest(calls);
        let answers = async { self.0.socket().await?.ask(calls, max).await };
        let answers = answers.await.map_err(|refused| refused.named(&self.0.name))?;
        whole(&self.0.name, answers)
    }

    /// Rings for every head that is pushed, and once after each time that it had to subscribe again:
    /// what was pushed in between was not heard.
    fn doorbell(&self, toll: Toll) -> Doorbell {
        let connection = self.0.clone();
        Doorbell::new(unfold((connection, None, toll), |(connection, mut heads, toll)| async {
            connection.head(&mut heads, &toll).await;
            Some(((), (connection, heads, toll)))
        }))
    }

    fn pushed(&self) -> Option<u64> {
        self.0.pushes.lock().highest
    }

    fn moved(&self) {
        let mut pushes = self.0.pushes.lock();
        if std::mem::take(&mut pushes.news) {
            pushes.backoff.succeed();
        }
    }
}

//! Requests over a WebSocket, and the heads that a node pushes over it.

use super::{
    Answer, Call, Config, Endpoint, NodeError, Rpc, Unanswered,
    http::{ask, refused},
};
use crate::{error::fault, tls};
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use futures::stream::unfold;
use jsonrpsee::{
    core::client::{Error, Subscription, SubscriptionClientT as _},
    rpc_params,
    ws_client::{PingConfig, WsClient, WsClientBuilder},
};
use rand::{SeedableRng as _, rngs::SmallRng};
use serde_json::value::RawValue;
use std::{fmt, sync::Arc, time::Duration};
use tidewatch_core::{Backoff, Doorbell, Fault};
use tokio::sync::Mutex as AsyncMutex;
use tracing::debug;

/// How often a quiet connection is pinged.
const PING: Duration = Duration::from_secs(10);

/// A peer that is gone is noticed after this long without a sign of life.
const INACTIVE: Duration = Duration::from_secs(30);

/// Heads that wait to be heard. Of several, one ring is as good as many.
const HEADS_MAX: usize = 16;

/// A node that is asked over a WebSocket. It connects when it is asked, and again after the
/// connection was lost.
///
/// Each doorbell has a subscription of its own on that connection, made when it is listened to first: so
/// two listeners take no heads from each other.
pub struct WsRpc<E>(Arc<Connection<E>>);

struct Connection<E> {
    name: String,
    context: E,
    endpoint: Endpoint,
    config: Config,
    tls: Option<rustls::ClientConfig>,
    client: AsyncMutex<Option<Arc<WsClient>>>,
    backoff: Mutex<Backoff>,
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
        let name = endpoint.to_string();
        let tls = endpoint.is_secure().then(tls::config).transpose();
        let tls = tls.map_err(|error| fault(&name, NodeError::Tls(error)))?;
        let backoff = Mutex::new(Backoff::new(config.backoff_base, config.backoff_cap));
        let (endpoint, config, client) = (endpoint.clone(), config.clone(), Default::default());
        Ok(Self(Arc::new(Connection { name, context, endpoint, config, tls, client, backoff })))
    }
}

impl<E: Clock> Connection<E> {
    /// The open connection, or a new one.
    async fn client(&self) -> Result<Arc<WsClient>, Fault> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| client.is_connected()) {
            return Ok(client.clone());
        }
        *slot = None;
        let limits = &self.config;
        let mut builder = WsClientBuilder::default()
            .request_timeout(limits.request_timeout)
            .connection_timeout(limits.request_timeout)
            .max_response_size(limits.answer_max)
            // Attempts, not redirections: with none it would never connect.
            .max_redirections(1)
            .max_buffer_capacity_per_subscription(HEADS_MAX)
            .enable_ws_ping(PingConfig::new().ping_interval(PING).inactive_limit(INACTIVE));
        if let Some(tls) = &self.tls {
            builder = builder.with_custom_cert_store(tls.clone());
        }
        let client = builder.build(self.endpoint.url()).await;
        let client = client.map_err(|error| {
            fault(&self.name, NodeError::Unreachable(refused(&error).0.to_string()))
        })?;
        let client = Arc::new(client);
        *slot = Some(client.clone());
        Ok(client)
    }

    async fn subscribe(&self) -> Result<Subscription<Box<RawValue>>, Fault> {
        let client = self.client().await?;
        let subscribed =
            client.subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe");
        subscribed.await.map_err(|error: Error| fault(&self.name, refused(&error).0))
    }

    /// Waits for the next head in `heads`, or for a subscription where there is none.
    async fn head(&self, heads: &mut Option<Subscription<Box<RawValue>>>) {
        loop {
            if let Some(subscription) = heads.as_mut() {
                match subscription.next().await {
                    Some(Ok(_)) => return,
                    Some(Err(error)) => debug!(node = self.name, %error, "a head that is not JSON"),
                    None => *heads = None,
                }
                continue;
            }
            match self.subscribe().await {
                Ok(subscription) => {
                    self.backoff.lock().succeed();
                    *heads = Some(subscription);
                    return;
                }
                Err(fault) => {
                    debug!(%fault, "no pushes");
                    self.rest().await;
                }
            }
        }
    }

    async fn rest(&self) {
        // Seeded by the clock: what matters is that two followers do not come back together.
        let now = self.context.current().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut rng = SmallRng::seed_from_u64(u64::from(now.subsec_nanos()));
        let wait = self.backoff.lock().fail(&mut rng);
        self.context.sleep(wait).await;
    }
}

impl<E: Clock> Rpc for WsRpc<E> {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let client = self.0.client().await.map_err(Unanswered::Fault)?;
        ask(&self.0.name, &*client, calls).await
    }

    /// Rings for every head that is pushed, and once after each time that it had to subscribe again:
    /// what was pushed in between was not heard.
    fn doorbell(&self) -> Doorbell {
        Doorbell::new(unfold((self.0.clone(), None), |(connection, mut heads)| async move {
            connection.head(&mut heads).await;
            Some(((), (connection, heads)))
        }))
    }
}

//! A node, over whatever its address says.

use super::{Answer, Call, Config, Endpoint, HttpRpc, Rate, Rpc, Toll, Unanswered, WsRpc};
use commonware_runtime::Clock;
use std::fmt;
use tidewatch_core::{Doorbell, Fault};

/// A node that answers JSON-RPC, over HTTP or over a WebSocket.
pub enum Node<E> {
    /// Over HTTP: without pushes.
    Http(Box<HttpRpc>),
    /// Over a WebSocket: with pushes.
    Ws(Box<WsRpc<E>>),
}

impl<E> fmt::Debug for Node<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(node) => node.fmt(f),
            Self::Ws(node) => node.fmt(f),
        }
    }
}

impl<E: Clock> Node<E> {
    /// Sets up for `endpoint`. Does not connect yet.
    ///
    /// # Errors
    ///
    /// `Setting`: no client can be made for such an address, or no TLS can be set up.
    pub fn new(context: E, endpoint: &Endpoint, config: &Config) -> Result<Self, Fault> {
        Self::pushing(context, endpoint, config, WsRpc::<E>::heads())
    }

    /// The same, whose pushes `subscription` asks for.
    pub(crate) fn pushing(
        context: E,
        endpoint: &Endpoint,
        config: &Config,
        subscription: Call,
    ) -> Result<Self, Fault> {
        Ok(if endpoint.is_websocket() {
            Self::Ws(Box::new(WsRpc::pushing(context, endpoint, config, subscription)?))
        } else {
            Self::Http(Box::new(HttpRpc::new(endpoint, config)?))
        })
    }
}

impl<E: Clock> Rpc for Node<E> {
    fn name(&self) -> &str {
        match self {
            Self::Http(node) => node.name(),
            Self::Ws(node) => node.name(),
        }
    }

    fn rate(&self) -> Rate {
        match self {
            Self::Http(node) => node.rate(),
            Self::Ws(node) => node.rate(),
        }
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        match self {
            Self::Http(node) => node.send(calls).await,
            Self::Ws(node) => node.send(calls).await,
        }
    }

    fn doorbell(&self, toll: Toll) -> Doorbell {
        match self {
            Self::Http(node) => node.doorbell(toll),
            Self::Ws(node) => node.doorbell(toll),
        }
    }

    fn pushed(&self) -> Option<u64> {
        match self {
            Self::Http(node) => node.pushed(),
            Self::Ws(node) => node.pushed(),
        }
    }

    fn moved(&self) {
        match self {
            Self::Http(node) => node.moved(),
            Self::Ws(node) => node.moved(),
        }
    }
}

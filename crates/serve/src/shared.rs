//! What all requests share.

use crate::{Config, Observer, gate::Gate, liveness::Liveness, metrics::Metrics, tail::Tail};
use std::{net::SocketAddr, sync::Arc};
use tidewatch_core::{ChainInfo, Heads, Ladder};
use tokio::sync::Semaphore;

#[derive(Debug)]
pub(crate) struct Shared<L> {
    pub(crate) served: L,
    pub(crate) chain_info: ChainInfo,
    pub(crate) ladder: Ladder,
    pub(crate) heads: Heads,
    pub(crate) observer: Observer,
    pub(crate) tail: Tail,
    pub(crate) liveness: Liveness,
    pub(crate) gate: Arc<Gate>,
    /// Places for connections.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) config: Config,
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// What is followed, without credentials.
    pub(crate) source: String,
}

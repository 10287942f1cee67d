//! A follower of an Ethereum node, as the command composes it.

use crate::{
    Anvil, Recorder, Running,
    node::{PARTITION, Tuning},
};
use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{sync::Arc, time::Duration};
use tidewatch_sources::{
    ethereum::{self, Address, EthereumSource},
    rpc::{Config, Node, Work},
};
use tidewatch_stream::driver::Config as Driver;

/// A running follower of an Ethereum node.
pub type EthereumNode = Running<EthereumSource<Context, Node<Context>>>;

/// What is followed, and how.
#[derive(Clone, Debug)]
pub struct EthereumSettings {
    /// The upstream.
    pub address: Address,
    /// Settings of the driver.
    pub driver: Driver,
    /// Settings of the source.
    pub rpc: Config,
}

impl EthereumSettings {
    /// Follows `address`.
    pub fn at(address: &str) -> Self {
        let Tuning { driver, rpc } = Tuning::default();
        Self { address: address.parse().expect("an address"), driver, rpc }
    }

    /// Polls over HTTP.
    pub fn http(anvil: &Anvil) -> Self {
        Self::at(&format!("eth+http://{}", anvil.address()))
    }

    /// Listens over a WebSocket.
    pub fn ws(anvil: &Anvil) -> Self {
        Self::at(&format!("eth+ws://{}", anvil.address()))
    }

    /// Makes a pass at the start, when it is asked to, and when the doorbell rings: no poll comes.
    #[must_use]
    pub const fn unpolled(mut self) -> Self {
        self.driver.poll = Duration::from_secs(3_600);
        self
    }

    /// The source alone.
    pub fn open(
        &self,
        context: &Context,
        recorder: Arc<Recorder>,
    ) -> EthereumSource<Context, Node<Context>> {
        let addresses = std::slice::from_ref(&self.address);
        let opened = ethereum::open(context.child("source"), addresses, recorder, &self.rpc);
        opened.expect("the source opens")
    }
}

impl EthereumNode {
    /// Opens source and store in the storage of `context`, and follows.
    pub async fn start(context: &Context, settings: &EthereumSettings) -> Self {
        let recorder = Arc::new(Recorder::default());
        let source = settings.open(context, recorder.clone());
        let driver = settings.driver.clone();
        Self::follow(context, source, (), recorder, (driver, PARTITION)).await
    }

    /// What the source did.
    pub fn work(&self) -> Work {
        self.source.inner().work()
    }
}

//! What runs a test over servers, and opens what is on them as soon as they are ready.

use crate::server::{NEWEST, Pinned, Server, installed};
use async_nats::Client;
use commonware_runtime::{
    Clock as _, Runner as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use std::{future::Future, time::Duration};
use tidewatch_core::ChainId;
use tidewatch_nats::{
    client::{JetStream, Options, connect},
    service,
};

pub(crate) const TICK: Duration = Duration::from_millis(50);

/// Runs `test`, which has to end within `limit`.
pub(crate) fn run<F: Future<Output = ()>>(limit: Duration, test: impl FnOnce(Context) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let config =
        RuntimeConfig::default().with_storage_directory(directory.path()).with_worker_threads(2);
    Runner::new(config).start(|context| async move {
        tokio::time::timeout(limit, Box::pin(test(context))).await.expect("the test ends in time");
    });
}

/// Runs `test` over one server; where there is none, says that it is skipped.
pub(crate) fn alone(limit: Duration, pinned: Pinned, test: impl AsyncFnOnce(Context, Vec<Server>)) {
    let Some(executable) = installed(pinned) else { return };
    run(limit, |context| test(context, vec![Server::start(&executable)]));
}

/// Runs `test` over three servers of one cluster.
pub(crate) fn three(limit: Duration, test: impl AsyncFnOnce(Context, Vec<Server>)) {
    let Some(executable) = installed(NEWEST) else { return };
    run(limit, |context| test(context, Server::cluster(&executable)));
}

pub(crate) fn options(servers: &[Server]) -> Options {
    let urls: Vec<_> = servers.iter().map(Server::url).collect();
    Options::read(&urls, None).unwrap()
}

/// A connection, as soon as a server takes it.
pub(crate) async fn connected(context: &Context, servers: &[Server]) -> Client {
    loop {
        match connect(&options(servers)).await {
            Ok(client) => return client,
            Err(_) => context.sleep(TICK).await,
        }
    }
}

/// How stream and bucket of `chain` are opened.
pub(crate) fn service(servers: &[Server], chain: ChainId, copies: u32) -> service::Config {
    service::Config { options: options(servers), chain, replicas: Some(copies) }
}

/// Opens them, as soon as the servers are ready.
pub(crate) async fn opened(context: &Context, config: &service::Config) -> JetStream {
    loop {
        match config.open(context).await {
            Ok(opened) => return opened,
            Err(fault) if fault.severity().is_fatal() => panic!("{fault}"),
            Err(_) => context.sleep(TICK).await,
        }
    }
}

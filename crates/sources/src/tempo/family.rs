//! Tempo in the registry.

use super::{
    Config, Endpoint, Genesis, TempoBlock, TempoError, TempoTransport, address::PREFIX, node, open,
    schemes,
};
use crate::{
    error::fault,
    pinned::Pin,
    registry::{Family, Opened, Opening, Refused, Settings, Start, Target, all},
    rpc::{Rpc, Work},
};
use commonware_runtime::{Clock, Supervisor as _, tokio::Context};
use commonware_utils::NZU64;
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::{num::NonZeroU64, sync::Arc};
use tidewatch_certified::epochs::{
    keeper::{self, Keeper},
    pin,
};
use tidewatch_core::{AnySource, BlockDecoder, Fault, Monitor, Running};

/// Networks of Tempo that are followed by their nodes.
pub(crate) const FAMILY: Family = Family {
    prefix: PREFIX,
    forms: &["tempo+http://HOST:PORT?network=mainnet|testnet", "tempo+ws://HOST:PORT?genesis=FILE"],
    chain: "a Tempo network, by a node",
    parameters: "`?network=mainnet|testnet`, or `?genesis=FILE` with the network's genesis file: the trust root",
    asks: "a node of Tempo (`consensus_*` and `eth_*`), of mainnet, testnet or the network of a genesis file",
    tiers: "finalized, and proposed with it, by certificates, over changes of the key; over a WebSocket \
            `consensus_subscribe` wakes it",
    verified: "what is final, by certificates under the keys that genesis and each epoch's last block name; each header, by its hash",
    word: "that nothing newer is withheld",
    tried: "recorded: two blocks of mainnet with their certificates, its first block and genesis; scripted nodes whose committees change their key; no running node yet",
    parse,
};

/// The storage partition of a follower's boundaries, in its data directory: that of every chain which has some.
const EPOCHS: &str = "tidewatch-epochs";

/// Blocks that may lie between an anchor and the last end of an epoch below it. Each is a request.
const STEPS_MAX: NonZeroU64 = NZU64!(4_096);

fn parse(addresses: &[&str], identity: Option<&str>) -> Result<Target, Refused> {
    let endpoints = all(addresses, str::parse::<Endpoint>)?;
    let genesis = endpoints.first().ok_or(Refused::Nothing)?.genesis().clone();
    if endpoints.iter().any(|endpoint| *endpoint.genesis() != genesis) {
        return Err(Refused::Mixed("the sources are of different networks"));
    }
    if identity.is_some() {
        return Err(Refused::UnusedIdentity);
    }
    let names: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    let name = names.join(", ");
    let opened = name.clone();
    let open = move |context, monitor, settings| -> Opening {
        Box::pin(begin(context, endpoints, genesis, opened, monitor, settings))
    };
    Ok(Target { name, epochs: true, open: Box::new(open) })
}

/// Opens the source, with what is known of its epochs on disk.
async fn begin(
    context: Context,
    endpoints: Vec<Endpoint>,
    genesis: Genesis,
    name: String,
    monitor: Arc<dyn Monitor>,
    settings: Settings,
) -> Result<Opened, Fault> {
    let network = genesis.network()?;
    let mut config = Config::default();
    config.certified.boundary_certificates |= settings.serves;
    let kept = keeper::Config { chain: network.id(), partition: EPOCHS.into() };
    if let Some(pinned) = settings.anchor {
        let known = schemes(&network);
        // It writes nothing, and has ended before the one that does is opened.
        drop(Keeper::open(context.child("known"), kept.clone(), &known).await?);
        let pin = Pin::<TempoBlock> {
            pinned,
            length: network.epoch_length(),
            period: settings.trust_period,
            kept: &kept,
            codec: (),
            limits: pin::Limits {
                request_timeout: config.certified.request_timeout,
                steps_max: STEPS_MAX,
            },
        };
        let transports = endpoints.iter().map(|endpoint| {
            let rpc = node(context.child("node"), endpoint, &config.rpc)?;
            let (context, monitor) = (context.child("pin"), monitor.clone());
            TempoTransport::new(context, rpc, false, &network, monitor, &config.rpc)
        });
        let none = fault(PREFIX, TempoError::NoEndpoint);
        pin.begin(&context, transports, &known, none).await?;
    }
    let schemes = schemes(&network);
    let keeper = Keeper::open(context.child("epochs"), kept, &schemes).await?;
    let fresh = schemes.fresh(context.current(), settings.trust_period);
    fresh.map_err(|error| Fault::new(&*name, error))?;
    let pushes = endpoints.iter().any(|endpoint| endpoint.node().is_websocket());
    let (source, upstream) = open(context, &endpoints, &network, schemes, monitor, &config)?;
    let source = Arc::new(source);
    let mut actors: Vec<Start> = vec![Box::new(|| Running::start(keeper))];
    // Who pushes nothing is polled.
    if pushes {
        actors.push(Box::new(|| Running::start(upstream)));
    }
    let (asked, worked) = (source.clone(), source.clone());
    Ok(Opened {
        typed: source.clone(),
        source: AnySource::new(source),
        name,
        decoder: BlockDecoder::new::<TempoBlock>(()),
        actors,
        work: Box::new(move || {
            let work = worked.transport().endpoints().iter().map(TempoTransport::work);
            let requests: u64 = work.map(|Work { requests, .. }| requests).sum();
            format!("{requests} requests")
        }),
        server: "node",
        has_identity: false,
        probe: Some(Box::new(move || {
            let source = asked.clone();
            Box::pin(async move { probe(source.transport().endpoints()).await })
        })),
    })
}

/// Probes all nodes at once; the first that answers suffices.
async fn probe<E: Clock, R: Rpc>(nodes: &[TempoTransport<E, R>]) -> Result<(), Vec<Fault>> {
    let mut answers: FuturesUnordered<_> = nodes.iter().map(TempoTransport::probe).collect();
    let mut refused = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(()) => return Ok(()),
            Err(fault) => refused.push(fault),
        }
    }
    Err(refused)
}

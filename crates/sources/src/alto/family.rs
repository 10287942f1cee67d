//! Alto in the registry.

use super::{
    AltoBlock, AltoError, CertificateMode, Config, Endpoint, HttpTransport, OpenedUnder, Scheme,
    StandardScheme, VrfScheme, chain_id, open, open_under, public_key, schemes,
};
use crate::{
    error::fault,
    pinned::Pin,
    registry::{Family, Opened, Opening, Refused, Settings, Start, Target, all, required},
};
use commonware_runtime::{Clock, Supervisor as _, tokio::Context};
use commonware_utils::NZU64;
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::{num::NonZeroU64, sync::Arc, time::Duration};
use tidewatch_certified::{
    Epochs, Transport as _, Watched,
    epochs::{
        keeper::{self, Keeper},
        pin,
    },
};
use tidewatch_core::{AnySource, BlockDecoder, Fault, Monitor, Running, within};

/// Chains that are followed by alto indexers.
pub(crate) const FAMILY: Family = Family {
    prefix: "alto",
    forms: &["alto+http://HOST:PORT?mode=standard|vrf"],
    chain: "an alto network, by its indexer",
    parameters: "`&epoch_length=N`: the validators reshare their key every N blocks",
    asks: "an alto indexer",
    tiers: "finalized and proposed, by certificates",
    verified: "every tier, by threshold certificates under `--identity`",
    word: "that nothing newer is withheld",
    tried: "real: alto's validators, indexer and follower 2026.9.1 (`scripts/alto-programs`), the embedded networks; scripted indexers",
    parse,
};

/// The storage partition of a follower's boundaries, in its data directory.
pub const EPOCHS: &str = "tidewatch-epochs";

/// How long an endpoint may take to say that it is there.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// Blocks that may lie between an anchor and the last end of an epoch below it. Each is a request.
const STEPS_MAX: NonZeroU64 = NZU64!(4_096);

fn parse(addresses: &[&str], identity: Option<&str>) -> Result<Target, Refused> {
    let endpoints = all(addresses, str::parse::<Endpoint>)?;
    let mode = endpoints.first().ok_or(Refused::Nothing)?.mode();
    if endpoints.iter().any(|endpoint| endpoint.mode() != mode) {
        return Err(Refused::Mixed("the sources are of different certificate modes"));
    }
    let length = endpoints.first().and_then(Endpoint::epoch_length);
    if endpoints.iter().any(|endpoint| endpoint.epoch_length() != length) {
        return Err(Refused::Mixed("the sources have epochs of different length"));
    }
    let identity = required(identity)?;
    public_key(&identity).map_err(|fault| Refused::Identity(fault.detail))?;
    let names: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    let name = format!("{} ({} certificates)", names.join(", "), mode.as_str());
    let opened = name.clone();
    let config = Config::default();
    let network = Network { endpoints, identity, length, name: opened, config };
    let open = move |context, monitor, settings| -> Opening {
        Box::pin(network.open_as(mode, context, monitor, settings))
    };
    Ok(Target { name, epochs: length.is_some(), open: Box::new(open) })
}

/// What is known of a network before it is opened.
pub(crate) struct Network {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) identity: Vec<u8>,
    /// Blocks of an epoch, where validators change.
    pub(crate) length: Option<NonZeroU64>,
    pub(crate) name: String,
    pub(crate) config: Config,
}

impl Network {
    /// Opens it, certified in `mode`.
    pub(crate) async fn open_as(
        self,
        mode: CertificateMode,
        context: Context,
        monitor: Arc<dyn Monitor>,
        settings: Settings,
    ) -> Result<Opened, Fault> {
        match mode {
            CertificateMode::Standard => {
                self.open::<StandardScheme>(context, monitor, settings).await
            }
            CertificateMode::Vrf => self.open::<VrfScheme>(context, monitor, settings).await,
        }
    }

    async fn open<S: Scheme>(
        self,
        context: Context,
        monitor: Arc<dyn Monitor>,
        settings: Settings,
    ) -> Result<Opened, Fault> {
        let Self { endpoints, identity, length, name, mut config } = self;
        config.certified.boundary_certificates |= settings.serves;
        let Some(length) = length else {
            let probe = context.child("probe");
            let opened = open::<_, S>(context, &endpoints, &identity, monitor, config)?;
            return Ok(erased(probe, opened, name, Vec::new()));
        };
        let chain = chain_id(&identity, S::MODE);
        let kept = keeper::Config { chain: chain.clone(), partition: EPOCHS.into() };
        if let Some(pinned) = settings.anchor {
            let known = schemes::<S>(&identity, length, &config)?;
            // It writes nothing, and has ended before the one that does is opened.
            drop(Keeper::open(context.child("known"), kept.clone(), &known).await?);
            let pin = Pin::<AltoBlock> {
                pinned,
                length,
                period: settings.trust_period,
                kept: &kept,
                codec: AltoBlock::codec(config.block_size_max),
                limits: pin::Limits {
                    request_timeout: config.certified.request_timeout,
                    steps_max: STEPS_MAX,
                },
            };
            let transports = endpoints.iter().map(|at| HttpTransport::new(at, &config));
            let none = fault("alto", AltoError::NoEndpoint);
            pin.begin(&context, transports, &known, none).await?;
        }
        let schemes = schemes::<S>(&identity, length, &config)?;
        let keeper = Keeper::open(context.child("epochs"), kept, &schemes).await?;
        let fresh = schemes.fresh(context.current(), settings.trust_period);
        fresh.map_err(|error| Fault::new(&*name, error))?;
        let probe = context.child("probe");
        let opened = open_under(context, &endpoints, chain, schemes, monitor, config)?;
        Ok(erased(probe, opened, name, vec![Box::new(|| Running::start(keeper))]))
    }
}

/// The source with its types erased. Of its actors, `before` are started before the upstream.
fn erased<X: Epochs>(
    clock: Context,
    (source, upstream): OpenedUnder<Context, X>,
    name: String,
    before: Vec<Start>,
) -> Opened {
    let config = Config::default();
    let decoder = BlockDecoder::new::<AltoBlock>(AltoBlock::codec(config.block_size_max));
    let clock = Arc::new(clock);
    let source = Arc::new(source);
    let mut actors = before;
    actors.push(Box::new(|| Running::start(upstream)));
    let (asked, worked, typed) = (source.clone(), source.clone(), source.clone());
    Opened {
        typed,
        source: AnySource::new(source),
        name,
        decoder,
        actors,
        work: Box::new(move || format!("{} certificates checked", worked.work().checks_total())),
        server: "indexer",
        has_identity: true,
        probe: Some(Box::new(move || {
            let (clock, source) = (clock.clone(), asked.clone());
            Box::pin(async move { probe(&*clock, source.transport().endpoints()).await })
        })),
    }
}

/// Probes all endpoints at once; the first that answers suffices.
async fn probe<E: Clock>(
    clock: &E,
    endpoints: &[Watched<E, HttpTransport>],
) -> Result<(), Vec<Fault>> {
    let mut answers: FuturesUnordered<_> =
        endpoints.iter().map(|endpoint| probe_one(clock, endpoint.endpoint())).collect();
    let mut refused = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(()) => return Ok(()),
            Err(fault) => refused.push(fault),
        }
    }
    Err(refused)
}

async fn probe_one(clock: &impl Clock, endpoint: &HttpTransport) -> Result<(), Fault> {
    within(clock, PROBE_LIMIT, endpoint.probe())
        .await
        .unwrap_or_else(|| Err(fault(endpoint.name(), AltoError::NoAnswer { limit: PROBE_LIMIT })))
}

#[cfg(test)]
mod tests {
    use crate::registry;

    #[test]
    fn the_address_is_checked_before_the_identity() {
        let http = "alto+http://127.0.0.1:1?mode=standard";
        let vrf = "alto+http://127.0.0.1:2?mode=vrf";
        let table: [(&[&str], Option<&str>, &str); 6] = [
            (&["alto+http://host:1"], Some("00"), "certificate mode is missing"),
            (&["alto+http://host:1?mode=fast"], None, "standard or vrf"),
            (&[http, vrf], None, "different certificate modes"),
            (&[http], None, "identity is missing"),
            (&[http], Some("zz"), "not hex"),
            (&[http], Some("00ff"), "not a group public key"),
        ];
        for (addresses, identity, words) in table {
            let refused = registry::parse(addresses, identity).unwrap_err().to_string();
            assert!(refused.contains(words), "{addresses:?}: {refused}");
        }
    }
}

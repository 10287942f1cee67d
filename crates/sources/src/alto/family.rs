//! Alto in the registry.

use super::{
    AltoBlock, AltoError, CertificateMode, Config, Endpoint, HttpTransport, Scheme, StandardScheme,
    VrfScheme, open, public_key,
};
use crate::{
    error::fault,
    registry::{Family, Opened, Refused, Target, all, required},
};
use commonware_runtime::{Clock, Supervisor as _, tokio::Context};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::{sync::Arc, time::Duration};
use tidewatch_certified::Transport as _;
use tidewatch_core::{AnySource, BlockDecoder, Fault, Monitor, Running, within};

/// Chains that are followed by alto indexers.
pub(crate) const FAMILY: Family = Family {
    prefix: "alto",
    forms: &["alto+http://HOST:PORT?mode=standard|vrf"],
    chain: "an alto network, by its indexer",
    parameters: "",
    asks: "an alto indexer",
    tiers: "finalized and proposed, by certificates",
    parse,
};

/// How long an endpoint may take to say that it is there.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

fn parse(addresses: &[&str], identity: Option<&str>) -> Result<Target, Refused> {
    let endpoints = all(addresses, str::parse::<Endpoint>)?;
    let mode = endpoints.first().ok_or(Refused::Nothing)?.mode();
    if endpoints.iter().any(|endpoint| endpoint.mode() != mode) {
        return Err(Refused::Mixed("the sources are of different certificate modes"));
    }
    let identity = required(identity)?;
    public_key(&identity).map_err(|fault| Refused::Identity(fault.detail))?;
    let names: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    let name = format!("{} ({} certificates)", names.join(", "), mode.as_str());
    let opened = name.clone();
    let open = move |context, monitor| match mode {
        CertificateMode::Standard => {
            erased::<StandardScheme>(context, &endpoints, &identity, monitor, opened)
        }
        CertificateMode::Vrf => {
            erased::<VrfScheme>(context, &endpoints, &identity, monitor, opened)
        }
    };
    Ok(Target { name, open: Box::new(open) })
}

fn erased<S: Scheme>(
    context: Context,
    endpoints: &[Endpoint],
    identity: &[u8],
    monitor: Arc<dyn Monitor>,
    name: String,
) -> Result<Opened, Fault> {
    let config = Config::default();
    let decoder = BlockDecoder::new::<AltoBlock>(AltoBlock::codec(config.block_size_max));
    let clock = Arc::new(context.child("probe"));
    let (source, upstream) = open::<_, S>(context, endpoints, identity, monitor, config)?;
    let source = Arc::new(source);
    let (asked, worked) = (source.clone(), source.clone());
    Ok(Opened {
        source: AnySource::new(source),
        name,
        decoder,
        upstream: Some(Box::new(|| Running::start(upstream))),
        work: Box::new(move || format!("{} certificates checked", worked.work().checks_total())),
        server: "indexer",
        has_identity: true,
        probe: Some(Box::new(move || {
            let (clock, source) = (clock.clone(), asked.clone());
            Box::pin(async move { probe(&*clock, source.transport().endpoints()).await })
        })),
    })
}

/// Probes all endpoints at once; the first that answers suffices.
async fn probe(clock: &impl Clock, endpoints: &[HttpTransport]) -> Result<(), Vec<Fault>> {
    let mut answers: FuturesUnordered<_> =
        endpoints.iter().map(|endpoint| probe_one(clock, endpoint)).collect();
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

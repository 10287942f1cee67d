//! Another Tidewatch in the registry.

use super::{
    TideError, TideSource,
    source::{STATUS, Status, ask},
};
use crate::{
    alto::{
        AltoError, CertificateMode, Config, Endpoint, EndpointError, HttpTransport, Network,
        chain_id, public_key,
    },
    aztec::AztecBlock,
    error::fault,
    ethereum::EthBlock,
    miden::MidenBlock,
    registry::{Family, Opened, Opening, Refused, Target, all, required},
};
use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{sync::Arc, time::Duration};
use tidewatch_certified::Transport as _;
use tidewatch_core::{AnySource, BlockDecoder, Fault, Ladder, Source as _, within};

/// Chains that are followed by another Tidewatch.
pub(crate) const FAMILY: Family = Family {
    prefix: "tide",
    forms: &["tide+http://HOST:PORT"],
    chain: "any chain, by another Tidewatch that serves it (`--serve`)",
    parameters: "`?epoch_length=N`: the validators of a certified chain reshare their key every N blocks",
    asks: "another Tidewatch (`--serve`); the password of the address is sent as its token",
    tiers: "of a certified chain by certificates, verified here under `--identity`; of another one the \
            upstream's word",
    verified: "what the chain's own source verifies: of a certified chain everything",
    word: "of another chain the tiers, by the upstream's word",
    tried: "real: processes of this program, three deep; middle ones that alter, withhold, or sign a branch",
    parse,
};

/// Families whose chains have no certificates.
const ROLLUPS: [&str; 3] = ["eth", "op", "etherlink"];

fn address(text: &str) -> Result<Endpoint, String> {
    Endpoint::of_tide(text).map_err(|error| match error {
        EndpointError::Scheme => "not the address of a Tidewatch: write tide+http://HOST:PORT \
                                  (or tide+https://)"
            .into(),
        EndpointError::Url(error) => format!("not a URL ({error}): write tide+http://HOST:PORT"),
        EndpointError::Parameter => {
            "unexpected parameter: the only ones are epoch_length and rate, each once".into()
        }
        other => other.to_string(),
    })
}

fn parse(addresses: &[&str], identity: Option<&str>) -> Result<Target, Refused> {
    let endpoints = all(addresses, address)?;
    let length = endpoints.first().and_then(Endpoint::epoch_length);
    if endpoints.iter().any(|endpoint| endpoint.epoch_length() != length) {
        return Err(Refused::Mixed("the sources have epochs of different length"));
    }
    let names: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    let name = names.join(", ");
    let Some(identity) = identity else {
        if endpoints.len() > 1 {
            return Err(Refused::Mixed(
                "without certificates one upstream's word cannot be held against another's: name one",
            ));
        }
        let open = move |context, _, _| -> Opening { Box::pin(by_word(context, endpoints)) };
        return Ok(Target { name, epochs: false, open: Box::new(open) });
    };
    let identity = required(Some(identity))?;
    public_key(&identity).map_err(|fault| Refused::Identity(fault.detail))?;
    let shown = name.clone();
    let open = move |context: Context, monitor, settings| -> Opening {
        Box::pin(async move {
            let (_, status) = reached(&context, &endpoints).await?;
            let modes = [CertificateMode::Standard, CertificateMode::Vrf];
            let mode =
                modes.into_iter().find(|mode| chain_id(&identity, *mode).as_str() == status.chain);
            let other = TideError::OtherChain { theirs: shown_chain(&status) };
            let mode = mode.ok_or_else(|| fault(&*shown, other))?;
            let endpoints = endpoints.into_iter().map(|endpoint| endpoint.of_mode(mode)).collect();
            let name = format!("{shown} ({} certificates)", mode.as_str());
            let config = sparse();
            let network = Network { endpoints, identity, length, name, config };
            network.open_as(mode, context, monitor, settings).await
        })
    };
    Ok(Target { name, epochs: length.is_some(), open: Box::new(open) })
}

/// Limits for an upstream that has certificates of the tips that it stood at, and one for each range of the history
/// that it took in: it is asked where they are.
fn sparse() -> Config {
    let mut config = Config::default();
    config.certified.finds_certificates = true;
    config.certified.gap_max = config.certified.blocks_max;
    config.certified.range_time_max = Duration::from_secs(20);
    config
}

fn shown_chain(status: &Status) -> String {
    crate::words::excerpt(status.chain.as_bytes())
}

/// The first of `endpoints` that answers, and what it says of itself.
async fn reached(
    context: &Context,
    endpoints: &[Endpoint],
) -> Result<(HttpTransport, Status), Fault> {
    let config = Config::default();
    let mut refused = fault("tide", AltoError::NoEndpoint);
    for endpoint in endpoints {
        let transport = HttpTransport::new(endpoint, &config)?;
        let limit = config.certified.request_timeout;
        let asked = within(context, limit, ask::<Status>(&transport, STATUS, "")).await;
        let about = transport.name().to_owned();
        refused = match asked {
            Some(Ok(Some(status))) => return Ok((transport, status)),
            Some(Ok(None)) => fault(about, TideError::NotTidewatch { path: STATUS }),
            Some(Err(fault)) => fault,
            None => fault(about, AltoError::NoAnswer { limit }),
        };
    }
    Err(refused)
}

/// Decodes the blocks of `chain`, with the checks of its family.
fn decoder(chain: &str) -> Option<BlockDecoder> {
    let family = chain.split_once(':').map(|(family, _)| family)?;
    match family {
        "aztec" => Some(BlockDecoder::new::<AztecBlock>(())),
        "miden" => Some(BlockDecoder::new::<MidenBlock>(())),
        "sequenced" => Some(BlockDecoder::new::<tidewatch_sequencer::Block>(())),
        family if ROLLUPS.contains(&family) => Some(BlockDecoder::new::<EthBlock>(())),
        _ => None,
    }
}

async fn by_word(context: Context, endpoints: Vec<Endpoint>) -> Result<Opened, Fault> {
    let (transport, status) = reached(&context, &endpoints).await?;
    let about = transport.name().to_owned();
    let chain = shown_chain(&status);
    // Of a Miden chain what is final is what the upstream's user takes for it, before it is proven or after.
    let certified = status.ladder() == Some(Ladder::Certified) && !chain.starts_with("miden:");
    if chain.starts_with("alto:") {
        return Err(fault(about, TideError::NoIdentity { chain }));
    }
    if certified {
        return Err(fault(about, TideError::NoCertificates { chain }));
    }
    let decoder = decoder(&status.chain);
    let decoder = decoder.ok_or_else(|| fault(about, TideError::UnknownChain { chain }))?;
    let transport = match endpoints.first() {
        Some(endpoint) => transport.metered(Arc::new(context.child("rate")), endpoint),
        None => transport,
    };
    let source =
        Arc::new(TideSource::new(context.child("bell"), transport, &status, decoder.clone())?);
    Ok(Opened {
        name: source.name().to_owned(),
        source: AnySource::new(source.clone()),
        typed: source.clone(),
        decoder,
        actors: Vec::new(),
        work: Box::new(move || format!("{} requests", source.requests())),
        server: "Tidewatch",
        has_identity: false,
        probe: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::FAMILIES;

    #[test]
    fn every_family_without_certificates_can_be_followed_from_another_tidewatch() {
        for family in FAMILIES {
            let certified = matches!(family.prefix, "alto" | "tempo" | "tide");
            let chain = format!("{}:1", family.prefix);
            assert_eq!(decoder(&chain).is_none(), certified, "{chain}");
        }
    }
}

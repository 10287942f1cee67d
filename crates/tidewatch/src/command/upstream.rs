//! Addresses, and what is behind them.

use super::{Problem, args::Follow};
use crate::Outcome;
use commonware_formatting::from_hex;
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::{fmt, time::Duration};
use tidewatch_certified::Transport as _;
use tidewatch_core::{Fault, FaultKind};
use tidewatch_devnet::Devnet;
use tidewatch_sources::{
    alto::{self, CertificateMode, Endpoint, HttpTransport},
    aztec, ethereum, optimism, rpc,
};

/// The scheme of the embedded network.
const DEVNET: &str = "devnet:";

/// What an address may begin with.
const FAMILIES: &str = "devnet:, alto+http://HOST:PORT?mode=standard (or vrf), eth+http://HOST:PORT, \
                        eth+ws://HOST:PORT, op+http://HOST:PORT?el=http://HOST:PORT or \
                        aztec+http://HOST:PORT; with TLS it is https or wss";

/// What the options ask to follow.
#[derive(Debug)]
pub(super) enum Target {
    Devnet { mode: CertificateMode },
    Remote(Remote),
}

/// Endpoints of one chain, by the family of their addresses.
#[derive(Debug)]
pub(super) enum Remote {
    Alto(Upstreams),
    Ethereum(Vec<rpc::Endpoint>),
    Optimism(Vec<optimism::Address>),
    Aztec(Vec<rpc::Endpoint>),
}

impl Target {
    pub(super) fn parse(options: &Follow) -> Outcome<Self> {
        let sources: Vec<&str> = options.source.iter().map(String::as_str).collect();
        match sources[..] {
            [] => Ok(Self::Devnet { mode: CertificateMode::Standard }),
            [source] if source.starts_with(DEVNET) => Self::devnet(source, options),
            [first, ..] => Remote::parse(first, &sources, options).map(Self::Remote),
        }
    }

    fn devnet(source: &str, options: &Follow) -> Outcome<Self> {
        if options.identity.is_some() {
            return Err(Problem::usage("the devnet makes its own identity")
                .hint("leave --identity out, or name a network with --source"));
        }
        let mode = match source.strip_prefix(DEVNET) {
            Some("" | "?mode=standard") => CertificateMode::Standard,
            Some("?mode=vrf") => CertificateMode::Vrf,
            _ => {
                return Err(Problem::usage(format!("there is no such devnet: {source}"))
                    .hint("write devnet: or devnet:?mode=vrf"));
            }
        };
        Ok(Self::Devnet { mode })
    }
}

impl Remote {
    /// Endpoints of the family that the `first` one is of.
    fn parse(first: &str, sources: &[&str], options: &Follow) -> Outcome<Self> {
        let family = first.split_once('+').map_or("", |(family, _)| family);
        if family == "alto" {
            return Upstreams::parse(sources, options.identity.as_deref()).map(Self::Alto);
        }
        let target = match family {
            "eth" => Self::Ethereum(all(sources, ethereum::endpoint)?),
            "op" => Self::Optimism(all(sources, str::parse)?),
            "aztec" => Self::Aztec(all(sources, aztec::endpoint)?),
            // What was typed may hold a password, wherever it stands.
            _ => {
                return Err(Problem::usage("--source: there is no such kind of address")
                    .hint(format!("write {FAMILIES}")));
            }
        };
        if options.identity.is_some() {
            return Err(Problem::usage("--identity means nothing for this kind of source")
                .hint("leave it out: the node's word is taken for what no certificate proves"));
        }
        Ok(target)
    }
}

/// All addresses, read by `parse`.
fn all<T, E: fmt::Display>(
    sources: &[&str],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Outcome<Vec<T>> {
    let parse = |source: &&str| {
        parse(source).map_err(|error| {
            Problem::usage(format!("--source: {error}"))
                .hint("several --source are several endpoints of one chain")
        })
    };
    sources.iter().map(parse).collect()
}

/// One or several upstreams of one alto network.
#[derive(Clone, Debug)]
pub(super) struct Upstreams {
    endpoints: Vec<Endpoint>,
    mode: CertificateMode,
    identity: Vec<u8>,
}

impl Upstreams {
    fn parse(sources: &[&str], identity: Option<&str>) -> Outcome<Self> {
        let endpoints = sources
            .iter()
            .map(|source| {
                source.parse::<Endpoint>().map_err(|error| {
                    Problem::usage(format!("--source: {error}"))
                        .hint("the embedded network is devnet:")
                })
            })
            .collect::<Outcome<Vec<_>>>()?;
        let Some(mode) = endpoints.first().map(Endpoint::mode) else {
            return Err(Problem::usage("there is nothing to follow"));
        };
        if endpoints.iter().any(|endpoint| endpoint.mode() != mode) {
            return Err(Problem::usage("the sources are of different certificate modes")
                .hint("several --source are several upstreams of one network"));
        }
        let identity = identity.ok_or_else(|| {
            Problem::usage("the network's identity is missing")
                .hint("give its public key with --identity: `deploy` printed it for the validators")
        })?;
        let identity = from_hex(identity).ok_or_else(|| {
            Problem::usage("the identity is not hex")
                .hint("give the network's public key with --identity, in hex")
        })?;
        alto::public_key(&identity)
            .map_err(|fault| Problem::usage(format!("--identity: {}", fault.detail)))?;
        Ok(Self { endpoints, mode, identity })
    }

    /// The devnet as an upstream.
    pub(super) fn devnet(devnet: &Devnet) -> Outcome<Self> {
        let address = format!("alto+{}?mode={}", devnet.url(), devnet.mode().as_str());
        Self::parse(&[&address], Some(&devnet.identity()))
    }

    pub(super) const fn mode(&self) -> CertificateMode {
        self.mode
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub(super) fn identity(&self) -> &[u8] {
        &self.identity
    }
}

/// How long an endpoint may take to say that it is there.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// Asks all endpoints at once whether they are there; one that is suffices.
pub(super) async fn probe(clock: &impl Clock, endpoints: &[HttpTransport]) -> Outcome<()> {
    let mut answers: FuturesUnordered<_> =
        endpoints.iter().map(|endpoint| probe_one(clock, endpoint)).collect();
    let mut refused = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(()) => return Ok(()),
            Err(fault) => refused.push(fault.to_string()),
        }
    }
    Err(Problem::unreachable(refused.join("; "), "indexer"))
}

async fn probe_one(clock: &impl Clock, endpoint: &HttpTransport) -> Result<(), Fault> {
    select! {
        answer = endpoint.probe() => answer,
        () = clock.sleep(PROBE_LIMIT) => {
            let detail = format_args!("no answer within {PROBE_LIMIT:?}");
            Err(FaultKind::Timeout.fault(endpoint.name(), detail))
        },
    }
}

impl fmt::Display for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        write!(f, "{} ({} certificates)", names.join(", "), self.mode.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(sources: &[&str], identity: Option<&str>) -> Outcome<Target> {
        Target::parse(&Follow {
            source: sources.iter().map(ToString::to_string).collect(),
            identity: identity.map(Into::into),
            ..Follow::default()
        })
    }

    #[test]
    fn the_default_is_the_devnet() {
        for sources in [&[][..], &["devnet:"], &["devnet:?mode=standard"]] {
            let target = parse(sources, None).unwrap();
            assert!(matches!(target, Target::Devnet { mode: CertificateMode::Standard }));
        }
        let vrf = parse(&["devnet:?mode=vrf"], None).unwrap();
        assert!(matches!(vrf, Target::Devnet { mode: CertificateMode::Vrf }));
    }

    #[test]
    fn wrong_input_is_refused_with_what_to_do() {
        let http = "alto+http://127.0.0.1:1?mode=standard";
        let table: [(&[&str], Option<&str>, &str); 15] = [
            (&["ftp://host"], Some("00"), "eth+http://"),
            (&["host:8545"], None, "eth+http://"),
            (&["eth+ftp://host"], None, "write eth+http://HOST:PORT"),
            (&["eth+http://host", "op+http://host"], None, "several endpoints of one chain"),
            (&["eth+http://host"], Some("00"), "leave it out"),
            (&["op+http://host"], None, "?el=http://HOST:PORT"),
            (&["aztec+ws://host"], None, "aztec+https://HOST:PORT"),
            (&["alto+http://host:1"], Some("00"), "certificate mode is missing"),
            (&["alto+http://host:1?mode=fast"], Some("00"), "standard or vrf"),
            (&[http], None, "identity is missing"),
            (&[http], Some("zz"), "not hex"),
            (&[http], Some("00ff"), "not a group public key"),
            (
                &[http, "alto+http://127.0.0.1:2?mode=vrf"],
                Some("00"),
                "different certificate modes",
            ),
            (&["devnet:?mode=fast"], None, "no such devnet"),
            (&["devnet:"], Some("00"), "makes its own identity"),
        ];
        for (sources, identity, words) in table {
            let problem = parse(sources, identity).unwrap_err();
            let text = format!("{problem} {:?}", problem.hint);
            assert!(text.contains(words), "{sources:?}: {text}");
        }
    }
}

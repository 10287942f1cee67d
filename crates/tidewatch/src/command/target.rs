//! What the options ask to follow.

use super::{Problem, args::Follow};
use crate::Outcome;
use tidewatch_sources::{
    alto::CertificateMode,
    registry::{self, Refused},
};

/// The scheme of the embedded network, which is the command's own: all others are the registry's.
const DEVNET: &str = "devnet:";

/// What the options ask to follow.
#[derive(Debug)]
pub(super) enum Target {
    Devnet { mode: CertificateMode },
    Remote(registry::Target),
}

impl Target {
    pub(super) fn parse(options: &Follow) -> Outcome<Self> {
        let sources: Vec<&str> = options.source.iter().map(String::as_str).collect();
        match sources[..] {
            [] => Ok(Self::Devnet { mode: CertificateMode::Standard }),
            [source] if source.starts_with(DEVNET) => Self::devnet(source, options),
            [..] => {
                let target = registry::parse(&sources, options.identity.as_deref());
                target.map(Self::Remote).map_err(|refused| problem(&refused))
            }
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
                return Err(Problem::usage("there is no such devnet")
                    .hint("write devnet: or devnet:?mode=vrf"));
            }
        };
        Ok(Self::Devnet { mode })
    }
}

/// A refusal of the registry, in terms of the command's options.
fn problem(refused: &Refused) -> Problem {
    match refused {
        Refused::Nothing | Refused::Family => {
            let forms: Vec<_> = registry::forms().collect();
            Problem::usage(format!("--source: {refused}"))
                .hint(format!("write {DEVNET}, {}; with TLS it is https or wss", forms.join(", ")))
        }
        Refused::Address(_) => Problem::usage(format!("--source: {refused}"))
            .hint("several --source are several endpoints of one chain"),
        Refused::Mixed(_) => Problem::usage(refused.to_string())
            .hint("several --source are several upstreams of one network"),
        Refused::NoIdentity => Problem::usage(refused.to_string())
            .hint("give its public key with --identity: `deploy` printed it for the validators"),
        Refused::NotHex => Problem::usage(refused.to_string())
            .hint("give the network's public key with --identity, in hex"),
        Refused::Identity(_) => Problem::usage(format!("--identity: {refused}")),
        Refused::UnusedIdentity => {
            Problem::usage("--identity means nothing for this kind of source")
                .hint("leave it out: the node's word is taken for what no certificate proves")
        }
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

//! What the options ask to follow.

use super::{Problem, args::Follow};
use crate::Outcome;
use tidewatch_sources::{
    alto::CertificateMode,
    registry::{self, Refused},
};

/// The scheme of the embedded network, which is the command's own: all others are the registry's.
const DEVNET: &str = "devnet:";

/// An embedded network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) mode: CertificateMode,
    /// Whether its validators reshare their key and take turns.
    pub(super) epochs: bool,
    /// Whether its blocks are to be proven: then there is one every five seconds.
    pub(super) proven: bool,
}

/// What the options ask to follow.
#[derive(Debug)]
pub(super) enum Target {
    Devnet(Chosen),
    Remote(registry::Target),
}

impl Target {
    pub(super) fn parse(options: &Follow) -> Outcome<Self> {
        let sources: Vec<&str> = options.source.iter().map(String::as_str).collect();
        match sources[..] {
            [] => Self::devnet(DEVNET, options),
            [source] if source.starts_with(DEVNET) => Self::devnet(source, options),
            [..] => {
                let target = registry::parse(&sources, options.identity.as_deref());
                let target = target.map_err(|refused| problem(&refused))?;
                if options.anchor.is_some() && !target.has_epochs() {
                    return Err(Problem::usage(
                        "an anchor means nothing where validators do not change",
                    )
                    .hint("leave --anchor out, or write &epoch_length=N into the address"));
                }
                Ok(Self::Remote(target))
            }
        }
    }

    /// The same, to be proven.
    pub(super) fn proven(self) -> Self {
        match self {
            Self::Devnet(chosen) => Self::Devnet(Chosen { proven: true, ..chosen }),
            Self::Remote(target) => Self::Remote(target),
        }
    }

    fn devnet(source: &str, options: &Follow) -> Outcome<Self> {
        if options.identity.is_some() {
            return Err(Problem::usage("the devnet makes its own identity")
                .hint("leave --identity out, or name a network with --source"));
        }
        if options.anchor.is_some() {
            return Err(Problem::usage("the devnet is begun from its own identity")
                .hint("leave --anchor out, or name a network with --source"));
        }
        let name = source.strip_prefix(DEVNET).unwrap_or_default();
        let (epochs, mode) = match name.strip_prefix("epochs") {
            Some(mode) => (true, mode),
            None => (false, name),
        };
        let mode = match mode {
            "" | "?mode=standard" => CertificateMode::Standard,
            "?mode=vrf" => CertificateMode::Vrf,
            _ => {
                return Err(Problem::usage("there is no such devnet")
                    .hint("write devnet: or devnet:epochs, or with ?mode=vrf after it"));
            }
        };
        Ok(Self::Devnet(Chosen { mode, epochs, proven: false }))
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
        for (sources, epochs, mode) in [
            (&[][..], false, CertificateMode::Standard),
            (&["devnet:"], false, CertificateMode::Standard),
            (&["devnet:?mode=standard"], false, CertificateMode::Standard),
            (&["devnet:?mode=vrf"], false, CertificateMode::Vrf),
            (&["devnet:epochs"], true, CertificateMode::Standard),
            (&["devnet:epochs?mode=vrf"], true, CertificateMode::Vrf),
        ] {
            let Target::Devnet(chosen) = parse(sources, None).unwrap() else {
                panic!("{sources:?}")
            };
            assert_eq!(chosen, Chosen { mode, epochs, proven: false }, "{sources:?}");
        }
    }

    #[test]
    fn an_anchor_is_refused_where_it_means_nothing() {
        let identity = {
            let chain = tidewatch_devnet::readymade::Chain::sign(
                0,
                CertificateMode::Standard,
                tidewatch_devnet::readymade::ChainConfig::default(),
            );
            chain.unwrap().identity()
        };
        let alto = "alto+http://127.0.0.1:1?mode=standard";
        let epochs = format!("{alto}&epoch_length=20");
        let refused = |sources: &[&str], identity: Option<&str>| {
            let anchor = Some(format!("29:{}", "ab".repeat(32)).parse().unwrap());
            let source = sources.iter().map(ToString::to_string).collect();
            let identity = identity.map(Into::into);
            let problem =
                Target::parse(&Follow { source, identity, anchor, ..Follow::default() }).err()?;
            Some(format!("{problem} {:?}", problem.hint))
        };
        for (sources, identity, words) in [
            (&[][..], None, "from its own identity"),
            (&["devnet:epochs"], None, "from its own identity"),
            (&["eth+http://host"], None, "validators do not change"),
            (&[alto], Some(&*identity), "&epoch_length=N"),
        ] {
            let text = refused(sources, identity).expect("refused");
            assert!(text.contains(words), "{sources:?}: {text}");
        }
        assert_eq!(refused(&[&epochs], Some(&identity)), None);
    }

    #[test]
    fn wrong_input_is_refused_with_what_to_do() {
        let http = "alto+http://127.0.0.1:1?mode=standard";
        let table: [(&[&str], Option<&str>, &str); 17] = [
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
            (&["devnet:epoch"], None, "devnet:epochs"),
            (&["devnet:epochs"], Some("00"), "makes its own identity"),
            (&["devnet:"], Some("00"), "makes its own identity"),
        ];
        for (sources, identity, words) in table {
            let problem = parse(sources, identity).unwrap_err();
            let text = format!("{problem} {:?}", problem.hint);
            assert!(text.contains(words), "{sources:?}: {text}");
        }
    }
}

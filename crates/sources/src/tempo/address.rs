//! The address of a node of Tempo, with the network that it is of.

use super::{Name, Network, TempoError, network::GENESIS_MAX};
use crate::{
    error::fault,
    rpc::{self, EndpointError},
};
use std::{fmt, fs::File, io::Read as _, path::PathBuf, str::FromStr};
use tidewatch_core::Fault;

/// What these addresses begin with.
pub(super) const PREFIX: &str = "tempo";

const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];

/// What an address has to say of its network.
const EXPECTED: &str =
    "network=mainnet, network=testnet, or genesis=FILE with the network's genesis file";

/// Where the genesis of a network is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Genesis {
    /// It is known here.
    Named(Name),
    /// In a file.
    File(PathBuf),
}

impl Genesis {
    /// The network.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`: the file cannot be read, or is no genesis of Tempo.
    pub fn network(&self) -> Result<Network, Fault> {
        let path = match self {
            Self::Named(name) => return name.network(),
            Self::File(path) => path,
        };
        let about = format!("tempo, genesis {}", path.display());
        let unreadable = |why: String| fault(&*about, TempoError::GenesisFile(why));
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let mut text = String::new();
        let length = file
            .take(GENESIS_MAX)
            .read_to_string(&mut text)
            .map_err(|error| unreadable(error.to_string()))?;
        if length as u64 == GENESIS_MAX {
            return Err(unreadable(format!("it has {GENESIS_MAX} bytes or more")));
        }
        Network::from_genesis(&text)
    }
}

/// The address of a node: `tempo+http://HOST:PORT?network=mainnet`.
///
/// `Display` and `Debug` show family, scheme, host and port alone: user, password, path and query may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    node: rpc::Endpoint,
    genesis: Genesis,
}

impl Endpoint {
    /// The node.
    pub(super) const fn node(&self) -> &rpc::Endpoint {
        &self.node
    }

    /// The network that it is of.
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = EndpointError::Parameter { name: "network", expected: EXPECTED };
        let mut node = rpc::Endpoint::parse(PREFIX, &SCHEMES, text)?;
        let name = node.take("network", EXPECTED)?;
        let file = node.take("genesis", EXPECTED)?;
        let genesis = match (name, file) {
            (Some(name), None) => Genesis::Named(Name::parse(&name).ok_or(wrong)?),
            (None, Some(file)) if !file.is_empty() => Genesis::File(file.into()),
            _ => return Err(wrong),
        };
        Ok(Self { node, genesis })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_which_network_it_is_of() {
        let (named, file) = (Genesis::Named, |path: &str| Genesis::File(path.into()));
        let table = [
            ("tempo+http://127.0.0.1:1?network=mainnet", named(Name::Mainnet), false),
            ("tempo+wss://rpc.example/?network=testnet&key=4711", named(Name::Testnet), true),
            ("tempo+ws://alice:hunter2@host?genesis=a/genesis.json", file("a/genesis.json"), true),
            ("tempo+https://host?rate=7&genesis=%2Fetc%2Fg.json", file("/etc/g.json"), false),
        ];
        for (text, genesis, websocket) in table {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((&endpoint.genesis, endpoint.node.is_websocket()), (&genesis, websocket));
            assert!(!endpoint.node.url().query().unwrap_or_default().contains("network"));
            for secret in ["alice", "hunter2", "4711", "json"] {
                assert!(!format!("{endpoint} {endpoint:?}").contains(secret), "{text}");
            }
        }
    }

    #[test]
    fn an_address_without_a_network_is_refused_with_what_to_write() {
        let table = [
            ("tempo+http://host", "network=mainnet"),
            ("tempo+http://host?network=", "network=mainnet"),
            ("tempo+http://host?network=presto", "network=mainnet"),
            ("tempo+http://host?network=mainnet&network=mainnet", "network=mainnet"),
            ("tempo+http://host?network=mainnet&genesis=a", "genesis=FILE"),
            ("tempo+http://host?genesis=", "genesis=FILE"),
            ("tempo+ftp://host?network=mainnet", "tempo+ws://HOST:PORT"),
            ("http://host?network=mainnet", "tempo+http://HOST:PORT"),
        ];
        for (text, words) in table {
            let refused = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }

    #[test]
    fn a_file_that_is_no_genesis_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("genesis.json");
        let network = || Genesis::File(path.clone()).network();
        let absent = network().unwrap_err();
        assert!(absent.detail.contains("cannot be read"), "{absent}");
        let genesis = include_str!("networks/testnet.json");
        let table = [
            ("{}".to_owned(), "missing field"),
            ("<html>".to_owned(), "expected value"),
            (genesis.replace("21600", "1"), "2 blocks"),
            (genesis.replace("21600", "0"), "nonzero"),
            (genesis.replace("\"extraData\": \"0x00", "\"extraData\": \"0x"), "no committee"),
            (genesis.replace("\"extraData\": \"0x00", "\"extraData\": \"0x07"), "epoch 7"),
            (genesis.replace("stateRoot", "noRoot"), "alloc"),
            // Prague without Cancun, which no bytes decode to.
            (genesis.replace("cancunTime", "noTime"), "lacks a field"),
        ];
        for (text, words) in table {
            std::fs::write(&path, &text).unwrap();
            let refused = network().unwrap_err();
            assert_eq!(refused.kind, tidewatch_core::FaultKind::InvalidConfig);
            assert!(refused.detail.contains(words), "{words}: {refused}");
        }
        std::fs::write(&path, genesis).unwrap();
        assert_eq!(network().unwrap(), Name::Testnet.network().unwrap());
    }
}

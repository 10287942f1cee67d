//! The address of an execution node, and of the consensus client beside it.

use super::{PREFIX, SCHEMES};
use crate::rpc::{Endpoint, EndpointError};
use std::{fmt, str::FromStr};
use url::Url;

/// What the address of the consensus client looks like.
const BEACON: &str = "the URL of the consensus client, such as beacon=http://HOST:5052";

/// Why a text is not the address of an execution node. No message repeats what may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The address of the execution node itself is wrong.
    #[error("{0}")]
    Node(#[from] EndpointError),
    /// The consensus client's address is wrong.
    #[error("the address after beacon= is wrong: {0}")]
    Beacon(EndpointError),
}

/// The address of an execution node, and of the consensus client beside it where one is named
/// (`?beacon=http://HOST:PORT`).
///
/// `Display` and `Debug` show schemes, hosts and ports alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) node: Endpoint,
    pub(super) beacon: Option<Endpoint>,
}

impl From<Endpoint> for Address {
    fn from(node: Endpoint) -> Self {
        Self { node, beacon: None }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut node = Endpoint::parse(PREFIX, &SCHEMES, text)?;
        let beacon = node.take("beacon", BEACON)?.map(|beacon| client(&beacon)).transpose();
        Ok(Self { node, beacon: beacon.map_err(AddressError::Beacon)? })
    }
}

/// The address of a consensus client, which is asked over HTTP alone.
fn client(text: &str) -> Result<Endpoint, EndpointError> {
    let url = Url::parse(text).map_err(EndpointError::Url)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(EndpointError::Parameter { name: "beacon", expected: BEACON });
    }
    Endpoint::new("beacon", url)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.node)?;
        self.beacon.as_ref().map_or(Ok(()), |beacon| write!(f, " with {beacon}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_the_execution_node_and_the_consensus_client_if_there_is_one() {
        let table = [
            ("eth+http://127.0.0.1:8545", "eth+http://127.0.0.1:8545", "http://127.0.0.1:8545/"),
            (
                "eth+ws://el:8546?key=4711&beacon=http://cl:5052",
                "eth+ws://el:8546 with beacon+http://cl:5052",
                "ws://el:8546/?key=4711",
            ),
            (
                "eth+http://el?beacon=https://alice:hunter2@cl/key-4711",
                "eth+http://el with beacon+https://cl",
                "http://el/",
            ),
        ];
        for (text, shown, asked) in table {
            let address = text.parse::<Address>().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.node.url().as_str(), asked);
            for secret in ["alice", "hunter2", "4711"] {
                assert!(!format!("{address:?} {address}").contains(secret), "{text}");
            }
        }
    }

    #[test]
    fn wrong_addresses_are_refused_without_what_may_be_secret() {
        let table = [
            ("http://host", "not the address of such a node"),
            ("eth+http://a?beacon=", "after beacon= is wrong: not a URL"),
            ("eth+http://a?beacon=hunter2", "after beacon= is wrong: not a URL"),
            ("eth+http://a?beacon=ws://hunter2", "such as beacon=http://HOST:5052"),
            ("eth+http://a?beacon=http://b&beacon=http://c", "such as beacon=http://HOST:5052"),
            ("eth+http://a?beacon=http://b%23hunter2", "a part behind #"),
        ];
        for (text, words) in table {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}

//! The address of a rollup node, and of the execution node beside it.

use super::{
    PREFIX,
    heads::{Checkpointed, Heads, Proposed},
};
use crate::{
    ethereum,
    rpc::{Endpoint, EndpointError},
};
use std::{fmt, str::FromStr};
use url::Url;

/// What may follow the prefix. A rollup node pushes nothing.
const SCHEMES: [&str; 2] = ["http", "https"];

/// What the address of the execution node looks like.
const EL: &str = "the URL of the execution node, such as el=http://HOST:8545";

/// Why a text is not the address of a rollup node. No message repeats what may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The address of the rollup node itself is wrong.
    #[error("{0}")]
    Node(#[from] EndpointError),
    /// The execution node is not named.
    #[error("the execution node is missing: end the address with ?el=http://HOST:PORT")]
    NoExecution,
    /// The execution node's address is wrong.
    #[error("the address after el= is wrong: {0}")]
    Execution(EndpointError),
}

/// The address of a rollup node, of the execution node beside it, and which heads stand for which tier.
///
/// `Display` and `Debug` show schemes, hosts and ports alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    node: Endpoint,
    execution: Endpoint,
    heads: Heads,
}

impl Address {
    /// The rollup node.
    pub(super) const fn node(&self) -> &Endpoint {
        &self.node
    }

    /// The execution node.
    pub(super) const fn execution(&self) -> &Endpoint {
        &self.execution
    }

    /// Which head stands for which tier.
    pub const fn heads(&self) -> Heads {
        self.heads
    }
}

/// Takes a choice out of the address; the default where it says nothing.
fn choice<T: FromStr + Default>(
    node: &mut Endpoint,
    name: &'static str,
    expected: &'static str,
) -> Result<T, EndpointError> {
    let Some(value) = node.take(name, expected)? else { return Ok(T::default()) };
    value.parse().map_err(|_| EndpointError::Parameter { name, expected })
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut node = Endpoint::parse(PREFIX, &SCHEMES, text)?;
        let heads = Heads {
            proposed: choice(&mut node, "proposed", Proposed::CHOICE)?,
            checkpointed: choice(&mut node, "checkpointed", Checkpointed::CHOICE)?,
        };
        let execution = node.take("el", EL)?.ok_or(AddressError::NoExecution)?;
        let url = Url::parse(&execution);
        let url = url.map_err(|error| AddressError::Execution(EndpointError::Url(error)))?;
        if !ethereum::SCHEMES.contains(&url.scheme()) {
            let error = EndpointError::Parameter { name: "el", expected: EL };
            return Err(AddressError::Execution(error));
        }
        let execution = Endpoint::new(ethereum::PREFIX, url).map_err(AddressError::Execution)?;
        Ok(Self { node, execution, heads })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.node, self.execution)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self}, {:?})", self.heads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_both_nodes_and_the_heads() {
        let table = [
            (
                "op+http://a:7545?el=http://b:8545",
                "op+http://a:7545 with eth+http://b:8545",
                Heads::default(),
            ),
            (
                "op+https://alice:hunter2@a/4711?key=4711&el=wss://b/4711%3Fx=1%26y=2&proposed=unsafe",
                "op+https://a with eth+wss://b",
                Heads::default(),
            ),
            (
                "op+http://a?checkpointed=local-safe&proposed=cross-unsafe&el=http://b",
                "op+http://a with eth+http://b",
                Heads { proposed: Proposed::CrossUnsafe, checkpointed: Checkpointed::LocalSafe },
            ),
        ];
        for (text, shown, heads) in table {
            let address: Address = text.parse().expect(text);
            assert_eq!((address.to_string().as_str(), address.heads()), (shown, heads));
            for secret in ["alice", "hunter2", "4711"] {
                assert!(!format!("{address:?}").contains(secret), "{text}");
            }
        }
        let address: Address = table[1].0.parse().unwrap();
        assert_eq!(address.node.url().as_str(), "https://alice:hunter2@a/4711?key=4711");
        assert_eq!(address.execution.url().as_str(), "wss://b/4711?x=1&y=2");
    }

    #[test]
    fn wrong_addresses_are_refused_with_what_to_do() {
        let table = [
            ("op+ws://a?el=http://b", "write op+http://HOST:PORT or op+https://HOST:PORT"),
            ("op+http://a", "?el=http://HOST:PORT"),
            ("op+http://a?el=", "not a URL"),
            ("op+http://a?el=hunter2", "not a URL"),
            ("op+http://a?el=ftp://hunter2", "such as el=http://HOST:8545"),
            ("op+http://a?el=http://b&el=http://c", "such as el=http://HOST:8545"),
            ("op+http://a?el=http://b&proposed=hunter2", "unsafe (the default) or cross-unsafe"),
            ("op+http://a?el=http://b&checkpointed=safe&checkpointed=safe", "or local-safe"),
        ];
        for (text, words) in table {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}

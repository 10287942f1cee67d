//! The address of an Etherlink node, and where its levels of L1 begin.

use super::{PREFIX, levels::Level};
use crate::{
    ethereum::SCHEMES,
    rpc::{Endpoint, EndpointError},
};
use std::{fmt, str::FromStr};

/// What the level looks like.
const LEVEL: &str = "a level of L1 that the node knows, such as l1-level=8000000";

/// The address of a node, with a level of L1 that it knows where one was given.
///
/// `Display` and `Debug` show schemes, hosts and ports alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(super) node: Endpoint,
    pub(super) level: Option<Level>,
}

impl FromStr for Address {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let mut node = Endpoint::parse(PREFIX, &SCHEMES, text)?;
        let level = node.take("l1-level", LEVEL)?.map(|level| level.parse::<Level>());
        let level = level.transpose().ok().filter(|level| level.is_none_or(|level| level >= 0));
        let level = level.ok_or(EndpointError::Parameter { name: "l1-level", expected: LEVEL })?;
        Ok(Self { node, level })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_the_node_and_the_level() {
        let table = [
            ("etherlink+http://a:8545", None),
            ("etherlink+wss://a/key?l1-level=8000000", Some(8_000_000)),
            ("etherlink+https://a/?l1-level=0&key=x", Some(0)),
        ];
        for (text, level) in table {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.level, level, "{text}");
            assert!(!format!("{address:?} {address}").contains("key"), "{text}");
        }
        for text in ["l1-level=", "l1-level=-1", "l1-level=x", "l1-level=1&l1-level=1"] {
            let error = format!("etherlink+http://a?{text}").parse::<Address>().expect_err(text);
            assert!(error.to_string().contains("l1-level=8000000"), "{error}");
        }
    }
}

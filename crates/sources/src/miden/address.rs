//! The address of a node, and what its user takes for final.

use super::PREFIX;
use crate::rpc::{Endpoint, EndpointError};
use std::{fmt, str::FromStr};
use tidewatch_core::Ladder;

/// What may follow the prefix. Pushes are streams over HTTP.
const SCHEMES: [&str; 2] = ["http", "https"];

const CHOICE: &str = "finalized=committed or finalized=proven";

/// What is taken for final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finalized {
    /// Nothing: the tier stays unknown.
    #[default]
    Unknown,
    /// What the validator signed.
    Committed,
    /// What the node says is proven.
    Proven,
}

impl Finalized {
    /// The order in which the tiers stand then.
    pub const fn ladder(self) -> Ladder {
        match self {
            // Final before it is proven.
            Self::Committed => Ladder::Certified,
            Self::Unknown | Self::Proven => Ladder::Rollup,
        }
    }
}

/// The address of a Miden node.
///
/// `Display` and `Debug` show scheme, host and port alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    node: Endpoint,
    finalized: Finalized,
}

impl Address {
    /// The node.
    pub(super) const fn node(&self) -> &Endpoint {
        &self.node
    }

    /// What is taken for final.
    pub const fn finalized(&self) -> Finalized {
        self.finalized
    }
}

impl FromStr for Address {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let mut node = Endpoint::parse(PREFIX, &SCHEMES, text)?;
        let finalized = match node.take("finalized", CHOICE)?.as_deref() {
            None => Finalized::Unknown,
            Some("committed") => Finalized::Committed,
            Some("proven") => Finalized::Proven,
            Some(_) => {
                return Err(EndpointError::Parameter { name: "finalized", expected: CHOICE });
            }
        };
        Ok(Self { node, finalized })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self}, {:?})", self.finalized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_what_is_final_and_hides_its_secrets() {
        let table = [
            ("miden+http://a:57291", "miden+http://a:57291", Finalized::Unknown),
            (
                "miden+https://u:hunter2@a/4711?finalized=committed",
                "miden+https://a",
                Finalized::Committed,
            ),
            (
                "miden+http://a?rate=5&finalized=proven&key=4711",
                "miden+http://a",
                Finalized::Proven,
            ),
        ];
        for (text, shown, finalized) in table {
            let address: Address = text.parse().expect(text);
            assert_eq!((address.to_string().as_str(), address.finalized()), (shown, finalized));
            for secret in ["hunter2", "4711"] {
                assert!(!format!("{address:?}").contains(secret), "{text}");
            }
            assert!(!address.node.url().as_str().contains("finalized"), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_node_is_refused() {
        let parse = |text: &str| text.parse::<Address>();
        for text in ["http://a", "miden+ws://a", "eth+http://a", "miden+http://"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for value in ["", "finalized", "yes", "proven&finalized=proven"] {
            let error = parse(&format!("miden+http://a?finalized={value}")).unwrap_err();
            let parameter = EndpointError::Parameter { name: "finalized", expected: CHOICE };
            assert_eq!(error, parameter, "{value}");
        }
    }
}

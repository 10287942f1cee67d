//! Ethereum in the registry.

use super::{endpoint, open};
use crate::registry::{self, Family, Nodes};

/// Chains that are followed by execution nodes.
pub(crate) const FAMILY: Family = Family {
    prefix: super::PREFIX,
    forms: &["eth+http://HOST:PORT", "eth+ws://HOST:PORT"],
    chain: "an Ethereum chain, by an execution node",
    parameters: "",
    asks: "an execution node",
    tiers: "`latest` is proposed, `safe` checkpointed, `finalized` finalized; over a WebSocket new \
            heads wake it",
    parse: |addresses, identity| {
        let family = Nodes { parse: endpoint, open, work: |source| vec![source.work()] };
        registry::nodes(addresses, identity, &family)
    },
};

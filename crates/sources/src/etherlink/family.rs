//! Etherlink in the registry.

use super::{Address, open};
use crate::registry::{self, Family, Nodes};

/// Etherlink, followed by its own nodes.
pub(crate) const FAMILY: Family = Family {
    prefix: super::PREFIX,
    forms: &["etherlink+http://HOST:PORT", "etherlink+ws://HOST:PORT"],
    chain: "Etherlink, by one of its nodes",
    parameters: "`?l1-level=LEVEL`, any level of L1 that the node knows, brings the level with what is final, \
                 which a WebSocket brings by itself",
    asks: "an Etherlink node (octez-evm-node)",
    tiers: "`latest` is proposed, `finalized` finalized, with its level of L1 over a WebSocket, whose new heads \
            wake it, or from `?l1-level=LEVEL` on",
    verified: "each header, by its hash, which covers neither base fee nor mix hash",
    word: "which block is `latest` and `finalized`, and its level of L1",
    tried: "blocks that a second program hashed; scripted nodes; neither a node nor a recorded block was at hand",
    parse: |addresses, identity| {
        let parse = |address: &str| address.parse::<Address>();
        let family = Nodes { parse, open, work: |source| source.work().into() };
        registry::nodes(addresses, identity, &family)
    },
};

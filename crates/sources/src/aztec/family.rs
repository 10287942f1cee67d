//! Aztec in the registry.

use super::{endpoint, open};
use crate::registry::{self, Family, Nodes};

/// Chains that are followed by Aztec nodes.
pub(crate) const FAMILY: Family = Family {
    prefix: super::PREFIX,
    forms: &["aztec+http://HOST:PORT"],
    chain: "an Aztec chain, by a node",
    parameters: "",
    asks: "an Aztec node",
    tiers: "proposed, checkpointed, proven and finalized, with their checkpoints",
    verified: "each header, by its hash (Poseidon2); links by archive",
    word: "all four tiers and their checkpoints",
    tried: "real, by hand: `@aztec/aztec` 4.1.2 with its local network; recorded: that node's answers; scripted nodes",
    parse: |addresses, identity| {
        let family = Nodes { parse: endpoint, open, work: |source| vec![source.work()] };
        registry::nodes(addresses, identity, &family)
    },
};

//! Miden in the registry.

use super::{Address, open};
use crate::registry::{self, Family, Nodes};

/// Chains that are followed by Miden nodes.
pub(crate) const FAMILY: Family = Family {
    prefix: super::PREFIX,
    forms: &["miden+http://HOST:PORT"],
    chain: "a Miden chain, by a node",
    parameters: "`?finalized=committed` takes what the validator signed for final, `=proven` what is proven",
    asks: "a Miden node, by gRPC-web",
    tiers: "committed is proposed, by the signature of the validator that genesis names; proven is proven, by the \
            node's word; `?finalized=committed` or `=proven` says which of them is final, or none is",
    verified: "each header's commitment (Poseidon2), its link, and the signature of the validator that genesis names",
    word: "which block is proven: the proofs of today are stand-ins",
    tried: "recorded: answers of miden-node 0.15.2; scripted nodes; a network of miden-validator and miden-node 0.15.2 (`scripts/miden-network`)",
    parse: |addresses, identity| {
        let parse = |address: &str| address.parse::<Address>();
        let family = Nodes { parse, open, work: |source| vec![source.work()] };
        registry::nodes(addresses, identity, &family)
    },
};

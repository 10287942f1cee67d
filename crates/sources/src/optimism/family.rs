//! The OP Stack in the registry.

use super::{Address, open};
use crate::registry::{self, Family, Nodes};

/// Chains that are followed by rollup nodes and execution nodes.
pub(crate) const FAMILY: Family = Family {
    prefix: super::PREFIX,
    forms: &["op+http://HOST:PORT?el=http://HOST:PORT"],
    chain: "an OP Stack chain, by a rollup node and the execution node beside it",
    parameters: "`&checkpointed=local-safe` and `&proposed=cross-unsafe` choose other heads",
    asks: "a rollup node (`optimism_syncStatus`), and the execution node beside it for the blocks",
    tiers: "unsafe is proposed, safe checkpointed with its L1 origin, finalized finalized; \
            `&checkpointed=local-safe` and `&proposed=cross-unsafe` choose other heads",
    verified: "each header, by its hash; that both nodes have every tip",
    word: "which head is unsafe, safe and finalized, and the origin on L1",
    tried: "scripted nodes alone: no rollup node was at hand",
    parse: |addresses, identity| {
        let parse = |address: &str| address.parse::<Address>();
        let family = Nodes { parse, open, work: |source| source.work().into() };
        registry::nodes(addresses, identity, &family)
    },
};

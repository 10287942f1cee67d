//! Ethereum in the registry.

use super::{Address, EthereumSource, open};
use crate::registry::{self, Family, Nodes};

/// Chains that are followed by execution nodes.
pub(crate) const FAMILY: Family = Family {
    prefix: super::PREFIX,
    forms: &["eth+http://HOST:PORT", "eth+ws://HOST:PORT"],
    chain: "an Ethereum chain, by an execution node",
    parameters: "`?beacon=http://HOST:PORT` names the consensus client beside it",
    asks: "an execution node",
    tiers: "`latest` is proposed, `safe` checkpointed, `finalized` finalized; over a WebSocket new \
            heads wake it, and with `?beacon=http://HOST:PORT` those of its consensus client, which \
            is a second opinion on safe and finalized",
    verified: "each header, by its hash; that a range links to the tip",
    word: "which block is `latest`, `safe` and `finalized`; with `?beacon=` two clients' word",
    tried: "real: EthereumJS 0.10.5 under Lodestar 1.5.1, anvil 1.7.1; recorded: headers of many chains, as clients published them; scripted nodes",
    parse: |addresses, identity| {
        let parse = |address: &str| address.parse::<Address>();
        let work = |source: &EthereumSource<_, _>| vec![source.work(), source.beacon_work()];
        let family = Nodes { parse, open, work };
        registry::nodes(addresses, identity, &family)
    },
};

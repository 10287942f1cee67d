//! What is proposed next.

use super::config::Upgrade;
use crate::{Content, Proposal, Standing, Transaction};

/// What is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Build {
    /// This.
    Propose(Proposal),
    /// Nothing: no transaction waits, and no block is due.
    Early,
}

/// Builds the proposal over `head` at `now_ms`. `forced` makes an empty one where no transaction waits. Where the
/// kernel is upgraded, it is empty whatever waits, and does not need to be forced.
pub(super) fn build(
    upgrades: &[Upgrade],
    head: &Standing,
    transactions: Vec<Transaction>,
    forced: bool,
    now_ms: u64,
) -> Build {
    // A clock that was set back does not take the chain with it.
    let time_ms = now_ms.max(head.time_ms);
    let number = head.block.height.next();
    let is_upgrade = upgrades.iter().any(|upgrade| match *upgrade {
        Upgrade::Number(at) => at == number,
        Upgrade::Time(at) => head.time_ms < at && at <= time_ms,
    });
    let transactions = if is_upgrade { Vec::new() } else { transactions };
    if transactions.is_empty() && !forced && !is_upgrade {
        return Build::Early;
    }
    Build::Propose(Proposal::new(head.block, Content { time_ms, transactions }))
}

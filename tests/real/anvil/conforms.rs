//! The suite that a user's source goes through, over a real node.

use super::{epoch, with_anvil};
use commonware_runtime::Supervisor as _;
use std::sync::Arc;
use tidewatch_conformance::{Report, Stage, Verdict, source, source_checks as name};
use tidewatch_tests::{Anvil, EthereumSettings, anvil::Options};

/// A node whose chain a suite moves.
struct Moved {
    anvil: Anvil,
    options: Options,
    /// Whether the source listens.
    rings: bool,
}

impl Moved {
    /// Whether `safe` and `finalized` are ever above genesis here.
    const fn is_final(&self) -> bool {
        self.options.epoch < FAR
    }
}

/// An epoch that no chain of the suite comes to the end of: nothing but genesis is final.
const FAR: u64 = 1 << 20;

impl Stage for Moved {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        self.rings
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.anvil.mine(blocks).await;
        true
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        if self.is_final() && blocks < depth {
            // A chain that is shorter afterwards takes finality back with it: this node counts it from
            // the top.
            return false;
        }
        if depth == blocks {
            self.anvil.reorg(depth).await;
        } else {
            self.anvil.roll_back(depth).await;
            if blocks > 0 {
                self.anvil.mine(blocks).await;
            }
        }
        true
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        // What is final is so for what is above it.
        if self.is_final() {
            self.anvil.mine(blocks).await;
        }
        self.is_final()
    }
}

/// Examines the source over a node with `options`: every check holds but `unshown`, which have nothing to
/// be shown by.
fn conforms(options: Options, rings: bool, unshown: &'static [&'static str]) {
    with_anvil(options, async move |context, anvil| {
        // So that each block more makes one more final, where any is.
        anvil.mine(20).await;
        let settings =
            if rings { EthereumSettings::ws(&anvil) } else { EthereumSettings::http(&anvil) };
        let opened = Arc::new(settings.open(&context, Arc::default()));
        let mut stage = Moved { anvil, options, rings };
        let report: Report = source(context.child("suite"), opened, &mut stage).await;
        report.assert();
        // Whether a call waits at all, and so can be dropped while it does, is up to the machine: the
        // node is so near that an answer may be there at once.
        let other = report
            .checks()
            .iter()
            .filter(|check| check.verdict != Verdict::Held && check.name != name::DROPPED);
        let other: Vec<_> = other.map(|check| check.name).collect();
        assert_eq!(other, unshown, "{report}");
    });
}

#[test]
fn the_ethereum_source_holds_over_http_with_finality() {
    conforms(epoch(8), false, &[name::PROOF, name::DOORBELL, name::BELLS, name::SHORTER]);
}

#[test]
fn the_ethereum_source_holds_over_http_without_finality() {
    conforms(epoch(FAR), false, &[name::PROOF, name::DOORBELL, name::BELLS, name::FINALITY]);
}

#[test]
fn the_ethereum_source_holds_over_a_websocket() {
    conforms(epoch(FAR), true, &[name::PROOF, name::FINALITY]);
}

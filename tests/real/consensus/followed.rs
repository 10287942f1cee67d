//! A chain that goes on, epoch by epoch.

use super::{assert_is_chain, caught_up, finalized_above, prunes, settings, with_chain};
use tidewatch_core::{Event, Fault, FaultKind, Severity, Tier};
use tidewatch_tests::{EthereumNode, consensus::EPOCH};

/// No poll comes: the consensus client's events alone wake the follower.
#[test]
fn epochs_are_followed_by_the_events_of_the_consensus_client_and_become_final_by_attestations() {
    with_chain(async |context, chain| {
        let node = EthereumNode::start(&context, &settings(&chain, &chain).unpolled()).await;
        let first = finalized_above(&node, &chain, 0).await;
        let second = finalized_above(&node, &chain, first).await;
        assert!(second - first <= EPOCH, "{first}, {second}: an epoch at a time");
        let seen = caught_up(&node, &chain).await;
        let safe = seen.watermarks.tips.get(Tier::Checkpointed).expect("something is safe");
        let checkpoint = safe.checkpoint.expect("the block itself");
        assert_eq!(
            (checkpoint.number, checkpoint.digest),
            (safe.block.height.get(), safe.block.digest)
        );
        assert!(safe.block.height.get() > second);
        // A client of a busy machine may be late; neither is ever wrong.
        let wrong = |fault: &&Fault| {
            fault.severity() == Severity::Invalid || fault.kind == FaultKind::Disputed
        };
        let wrong: Vec<_> = seen.faults.iter().filter(wrong).collect();
        assert!(wrong.is_empty(), "{wrong:?}\n{}", chain.shown());

        // The stream of events; an opinion, of one or two blocks that are new; and one more where the client rang
        // before the execution client was told.
        let beacon = node.source.inner().beacon_work();
        let steps = second / EPOCH + 2;
        assert!(beacon.requests <= 2 + 4 * steps, "{beacon:?} for {steps} steps");
        let records = assert_is_chain(node, &chain).await;
        // A block that came late on a busy machine is replaced by the next proposer: a real reorg, of one block.
        assert!(prunes(&records).iter().all(|depth| *depth < EPOCH), "{:?}", prunes(&records));
        let advanced = records
            .iter()
            .filter(|record| matches!(record.event, Event::Advanced { tier: Tier::Finalized, .. }));
        assert!(advanced.count() >= 2);
    });
}

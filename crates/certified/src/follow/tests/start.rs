//! Starts: what the execution layer, the marshal and the disk disagree about is healed, or refused.

use super::world::{Act, Executed, Node, Setup, endpoint, launch, quiet, run, with_node};
use crate::{Error, Known, epochs::tests::world::Epoched, mocks::Answer};
use commonware_consensus::types::Epoch;
use commonware_runtime::{Clock as _, Runner as _, deterministic};
use std::{sync::Arc, time::Duration};
use tidewatch_core::FaultKind;

const SECOND: Duration = Duration::from_secs(1);

fn chain() -> Epoched {
    Epoched::new(10, vec![0, 1, 2, 3], 35, false)
}

#[test]
fn a_start_goes_on_from_the_boundary_that_the_execution_layer_has() {
    let chain = chain();
    let execution = Arc::new(Executed::up_to(&chain, 23));
    with_node(&Setup::new(&chain, &execution), chain.answers(), async |context, node| {
        context.sleep(60 * SECOND).await;
        let acts = execution.acts();
        // The marshal offers genesis while the start is not done: that is not acknowledged, and taken back.
        assert_eq!(acts[..2], [Act::Delivered(0), Act::Floor(19)], "{acts:?}");
        assert_eq!(node.schemes.known(Epoch::new(2)), Some(Known::Boundary(chain.reference(19))));
        let delivered: Vec<_> = [0].into_iter().chain(19..=35).map(Act::Delivered).collect();
        let acts: Vec<_> =
            acts.into_iter().filter(|act| matches!(act, Act::Delivered(_))).collect();
        assert_eq!(acts, delivered, "nothing below is delivered, nothing above is missing");
    });
}

#[test]
fn a_start_that_cannot_read_the_execution_layer_ends_with_that_and_reads_no_more() {
    for fails_at in [0, 1] {
        let chain = chain();
        let execution = Arc::new(Executed::up_to(&chain, 23));
        *execution.fails_at.lock() = Some(fails_at);
        with_node(&Setup::new(&chain, &execution), quiet(&chain), async |_, node| {
            assert_eq!(node.driver.await.unwrap_err().kind, FaultKind::Disk);
            assert_eq!(*execution.reads.lock(), [None, Some(19)][..=fails_at]);
            assert_eq!(execution.acts(), [Act::Delivered(0)], "that is not acknowledged");
        });
    }
}

#[test]
fn a_start_ends_where_the_execution_layer_lacks_its_own_boundary() {
    let chain = chain();
    let execution = Arc::new(Executed::up_to(&chain, 23));
    execution.forget(19);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |_, node| {
        let fault = node.driver.await.unwrap_err();
        assert!(matches!(fault.reason(), Some(Error::NoHistory { .. })), "{fault}");
    });
}

#[test]
fn a_history_that_the_certificate_of_its_boundary_contradicts_ends_the_start() {
    let chain = chain();
    let other = chain.with_key(1, 9);
    let execution = Arc::new(Executed::up_to(&other, 23));
    with_node(&Setup::new(&chain, &execution), chain.answers(), async |_, node| {
        let fault = node.driver.await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongChain);
        assert!(matches!(fault.reason(), Some(Error::OtherHistory { .. })), "{fault}");
    });
}

#[test]
fn a_block_of_another_branch_above_the_boundary_is_found_when_the_marshal_delivers_it() {
    let chain = chain();
    let other = chain.with_key(2, 9);
    // The same up to height 28.
    let execution = Arc::new(Executed::up_to(&other, 29));
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |_, node| {
        let fault = node.driver.await.unwrap_err();
        assert!(matches!(fault.reason(), Some(Error::OtherHistory { .. })), "{fault}");
    });
}

#[test]
fn an_execution_layer_of_another_genesis_is_refused() {
    let chain = chain();
    let execution = Executed::new(&chain);
    let other = crate::mocks::TestBlock::new(0, tidewatch_core::Digest([9; 32]), b"other");
    execution.replace(&other);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |_, node| {
        let fault = node.driver.await.unwrap_err();
        assert!(matches!(fault.reason(), Some(Error::OtherHistory { .. })), "{fault}");
    });
}

#[test]
fn a_start_waits_for_an_upstream_that_lies_is_silent_or_has_nothing() {
    let chain = chain();
    for answer in [Answer::Bytes(chain.forged(9, 19)), Answer::Missing, Answer::Silence] {
        let chain = chain.clone();
        run(|context| async move {
            let execution = Arc::new(Executed::up_to(&chain, 23));
            let transport = endpoint(&context, move |_| answer.clone());
            let node = launch(&context, &Setup::new(&chain, &execution), transport).await;
            context.sleep(60 * SECOND).await;
            assert_eq!(execution.acts(), [Act::Delivered(0)]);
            assert!(node.metrics.failures.get() > 1);
            node.transport.rescript(chain.answers());
            context.sleep(60 * SECOND).await;
            assert_eq!(execution.top(), 35);
            assert_eq!(node.processed().await, Some(35));
        });
    }
}

/// A life that delivers all of the chain, and then does `more`; returns the disk that it leaves.
fn first_life(
    setup: &Setup,
    more: impl AsyncFnOnce(&deterministic::Context, &Node),
) -> deterministic::Checkpoint {
    let runner = deterministic::Runner::timed(600 * SECOND);
    let ((), disk) = runner.start_and_recover(|context| async move {
        let node = launch(&context, setup, endpoint(&context, setup.chain.answers())).await;
        context.sleep(60 * SECOND).await;
        more(&context, &node).await;
    });
    disk
}

/// The first life delivers all of the chain; what is left of it then, the second life heals.
struct Left {
    case: &'static str,
    /// Whether the first life keeps boundaries.
    keeps: bool,
    /// Blocks that the execution layer has not made durable when it is killed with us.
    lag: u64,
    redelivered: std::ops::Range<u64>,
}

#[test]
fn what_is_lost_between_two_lives_is_healed() {
    let table = [
        Left { case: "neither", keeps: true, lag: 0, redelivered: 0..0 },
        Left { case: "consensus ahead", keeps: true, lag: 3, redelivered: 33..36 },
        Left { case: "consensus ahead by a boundary", keeps: true, lag: 8, redelivered: 28..36 },
        Left { case: "the schemes are lost", keeps: false, lag: 0, redelivered: 0..0 },
        Left { case: "both", keeps: false, lag: 8, redelivered: 28..36 },
    ];
    for Left { case, keeps, lag, redelivered } in table {
        let chain = chain();
        let execution = Executed::lagging(&chain, lag);
        let setup = Setup { keeps, ..Setup::new(&chain, &execution) };
        let disk = first_life(&setup, async |_, node| {
            assert_eq!(node.processed().await, Some(35), "{case}");
        });
        execution.crash();
        execution.acts();
        deterministic::Runner::from(disk).start(|context| async move {
            // Nothing of it needs the network.
            let transport = endpoint(&context, |_| Answer::Missing);
            let node = launch(&context, &Setup::new(&chain, &execution), transport).await;
            context.sleep(5 * SECOND).await;
            let acts = execution.acts();
            let expected: Vec<_> = redelivered.map(Act::Redelivered).collect();
            assert_eq!(acts, expected, "{case}");
            assert_eq!(execution.held(), (0..=35).collect::<Vec<_>>(), "{case}");
            let boundary = Some(Known::Boundary(chain.reference(29)));
            assert_eq!(node.schemes.known(Epoch::new(3)), boundary, "{case}");
        });
    }
}

#[test]
fn a_start_that_finds_all_in_order_asks_nobody_for_proof() {
    let chain = chain();
    let execution = Executed::new(&chain);
    let disk = first_life(&Setup::new(&chain, &execution), async |_, _| {});
    deterministic::Runner::from(disk).start(|context| async move {
        let transport = endpoint(&context, |_| Answer::Silence);
        let node = launch(&context, &Setup::new(&chain, &execution), transport).await;
        context.sleep(SECOND / 2).await;
        assert_eq!(node.source.work().checks_total(), 0);
        assert_eq!(node.metrics.failures.get(), 0);
        let boundary = crate::epochs::tests::world::height(29);
        assert!(!node.transport.calls().contains(&boundary));
    });
}

#[test]
fn blocks_that_nobody_keeps_any_more_end_the_start_unless_the_execution_layer_gets_them_elsewhere()
{
    for skip in [false, true] {
        let chain = chain();
        let execution = Executed::new(&chain);
        let disk = first_life(&Setup::new(&chain, &execution), async |context, node| {
            node.marshal.mailbox.prune(tidewatch_core::Height::new(32));
            context.sleep(SECOND).await;
        });
        // It begins anew, from a copy of before.
        let execution = Arc::new(Executed::up_to(&chain, 5));
        deterministic::Runner::from(disk).start(|context| async move {
            let transport = endpoint(&context, chain.answers());
            let mut setup = Setup::new(&chain, &execution);
            setup.config.skip = skip;
            let mut node = launch(&context, &setup, transport).await;
            context.sleep(SECOND).await;
            let ended = futures::FutureExt::now_or_never(&mut node.driver);
            match skip {
                true => assert!(ended.is_none()),
                false => {
                    let fault = ended.expect("it ended").unwrap_err();
                    assert_eq!(fault.kind, FaultKind::TooOld, "{fault}");
                }
            }
        });
    }
}

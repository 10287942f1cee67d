//! The driver with a real marshal: one behaviour at a time.

use super::world::{Act, Executed, Node, Setup, endpoint, launch, quiet, run, with_node};
use crate::{
    CertificateKind, Error, Known, Push,
    epochs::tests::world::Epoched,
    follow::Config,
    mocks::{Answer, certify_other},
};
use bytes::Bytes;
use commonware_consensus::types::Epoch;
use commonware_runtime::Clock as _;
use std::{sync::Arc, time::Duration};
use tidewatch_core::FaultKind;

const SECOND: Duration = Duration::from_secs(1);

impl Node {
    async fn push(&self, finalization: Bytes) {
        self.pushes.send(Ok(Push::Finalization(finalization))).await.unwrap();
    }

    fn known(&self, epoch: u64) -> Option<Known> {
        self.schemes.known(Epoch::new(epoch))
    }
}

fn finalized(chain: &Epoched, height: u64) -> Bytes {
    chain.certified(CertificateKind::Finalized, height)
}

fn delivered(acts: &[Act]) -> Vec<u64> {
    let delivered = |act: &Act| match act {
        Act::Delivered(height) => Some(*height),
        _ => None,
    };
    acts.iter().filter_map(delivered).collect()
}

/// What the driver did, without what was delivered.
fn did(acts: &[Act]) -> Vec<Act> {
    acts.iter().filter(|act| !matches!(act, Act::Delivered(_))).copied().collect()
}

#[test]
fn a_fresh_follower_delivers_everything_over_every_epoch() {
    let chain = Epoched::new(10, vec![0, 1, 2, 2, 3], 47, false);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), chain.answers(), async |context, node| {
        context.sleep(60 * SECOND).await;
        let acts = execution.acts();
        assert_eq!(delivered(&acts), (0..=47).collect::<Vec<_>>());
        for epoch in 1..=4 {
            let boundary = Known::Boundary(chain.reference(epoch * 10 - 1));
            assert_eq!(node.known(epoch), Some(boundary));
        }
        let hints: Vec<_> =
            did(&acts).into_iter().filter(|act| matches!(act, Act::Hint(_))).collect();
        assert_eq!(hints, [9, 19, 29, 39].map(Act::Hint), "epoch by epoch, and one for each");
        assert_eq!(did(&acts).last(), Some(&Act::Reported(47)));
        assert_eq!(node.metrics.boundaries.get(), 4);
    });
}

#[test]
fn a_finalization_is_given_to_the_marshal_once_and_without_a_hint() {
    let chain = Epoched::new(10, vec![0], 8, false);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |context, node| {
        for _ in 0..3 {
            node.push(finalized(&chain, 5)).await;
            context.sleep(SECOND).await;
        }
        let acts = execution.acts();
        assert_eq!(did(&acts), [Act::Reported(5)]);
        assert_eq!(delivered(&acts), (0..=5).collect::<Vec<_>>());
        let keys = node.transport.calls();
        let digest = crate::Key::Digest(chain.reference(5).digest);
        assert!(!keys.contains(&digest), "the block came with its finalization: {keys:?}");
    });
}

#[test]
fn an_older_finalization_of_a_higher_round_never_gives_way() {
    let chain = Epoched::new(10, vec![0], 8, false);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |context, node| {
        // All of them wait when the driver comes to them: it takes the newest by round.
        for height in [3, 7, 5, 6] {
            node.push(finalized(&chain, height)).await;
        }
        context.sleep(5 * SECOND).await;
        let acts = execution.acts();
        assert_eq!(delivered(&acts), (0..=7).collect::<Vec<_>>());
        let reported = did(&acts);
        assert_eq!(reported.last(), Some(&Act::Reported(7)), "{reported:?}");
        assert!(!reported.contains(&Act::Reported(5)) && !reported.contains(&Act::Reported(6)));
    });
}

#[test]
fn a_later_epoch_that_the_kept_key_verifies_waits_for_its_boundaries() {
    let chain = Epoched::new(10, vec![0, 0, 0, 0], 35, false);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |context, node| {
        node.push(finalized(&chain, 9)).await;
        context.sleep(5 * SECOND).await;
        assert_eq!(node.known(1), Some(Known::Boundary(chain.reference(9))));
        execution.acts();
        // Two boundaries further, under the key that was kept.
        node.push(finalized(&chain, 35)).await;
        context.sleep(20 * SECOND).await;
        let acts = execution.acts();
        assert_eq!(did(&acts), [Act::Hint(19), Act::Hint(29), Act::Reported(35)]);
        assert_eq!(delivered(&acts), (10..=35).collect::<Vec<_>>());
        assert_eq!(node.known(3), Some(Known::Boundary(chain.reference(29))), "for the marshal");
    });
}

#[test]
fn a_finalization_of_an_unknown_epoch_is_answered_by_one_hint_and_not_reported() {
    let chain = Epoched::new(10, vec![0, 1], 15, false);
    run(|context| async move {
        let execution = Executed::new(&chain);
        // The boundary cannot be had, yet.
        let transport = endpoint(&context, |_| Answer::Missing);
        let node = launch(&context, &Setup::new(&chain, &execution), transport).await;
        for height in [12, 13, 14] {
            node.push(finalized(&chain, height)).await;
            context.sleep(2 * SECOND).await;
        }
        assert_eq!(did(&execution.acts()), [Act::Hint(9)]);
        node.transport.rescript(quiet(&chain));
        context.sleep(60 * SECOND).await;
        let acts = execution.acts();
        assert_eq!(did(&acts), [], "the hint is remembered by the resolver");
        assert_eq!(delivered(&acts), (1..=9).collect::<Vec<_>>());
        assert_eq!(node.known(1), Some(Known::Boundary(chain.reference(9))));
    });
}

#[test]
fn a_forged_finalization_of_a_known_epoch_does_nothing() {
    let chain = Epoched::new(10, vec![0, 1], 15, false);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |context, node| {
        node.push(chain.forged(9, 5)).await;
        context.sleep(5 * SECOND).await;
        assert_eq!(did(&execution.acts()), []);
    });
}

#[test]
fn a_certificate_of_another_block_is_dropped_and_the_next_good_one_counts() {
    let chain = Epoched::new(10, vec![0], 8, false);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |context, node| {
        let committee = crate::epochs::tests::world::committee(0);
        let (round, other) = (chain.round(4), chain.reference(3).digest);
        let kind = CertificateKind::Finalized;
        node.push(certify_other(&committee, kind, round, other, chain.block(4))).await;
        node.push(finalized(&chain, 6)).await;
        context.sleep(5 * SECOND).await;
        assert_eq!(did(&execution.acts()), [Act::Reported(6)]);
    });
}

#[test]
fn a_claim_of_an_epoch_before_the_anchor_is_dropped_without_a_hint() {
    let chain = Epoched::new(10, vec![0, 1, 2, 3], 35, false);
    run(|context| async move {
        let execution = Arc::new(Executed::up_to(&chain, 32));
        let transport = endpoint(&context, quiet(&chain));
        let setup = Setup { anchor: 2, ..Setup::new(&chain, &execution) };
        let node = launch(&context, &setup, transport).await;
        context.sleep(5 * SECOND).await;
        execution.acts();
        node.push(finalized(&chain, 5)).await;
        context.sleep(5 * SECOND).await;
        assert_eq!(did(&execution.acts()), []);
        assert_eq!(node.known(0), None);
    });
}

#[test]
fn what_a_follower_does_not_need_is_ignored() {
    let chain = Epoched::new(10, vec![0], 8, false);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |context, node| {
        node.pushes.send(Ok(Push::Irrelevant)).await.unwrap();
        let notarized = chain.certified(CertificateKind::Notarized, 5);
        node.pushes.send(Ok(Push::Notarization(notarized))).await.unwrap();
        context.sleep(5 * SECOND).await;
        assert_eq!(did(&execution.acts()), []);
    });
}

#[test]
fn an_ordinary_block_is_acknowledged_and_teaches_nothing() {
    let chain = Epoched::new(10, vec![0, 1], 8, false);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), chain.answers(), async |context, node| {
        context.sleep(5 * SECOND).await;
        assert_eq!(node.processed().await, Some(8));
        assert_eq!((node.known(1), node.metrics.boundaries.get()), (None, 0));
    });
}

/// The keeper has ended, so the boundary can never be durable.
#[test]
fn a_boundary_that_is_not_durable_is_never_acknowledged() {
    let chain = Epoched::new(10, vec![0, 1], 15, false);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |_, mut node| {
        let keeper = node.keeper.take().expect("it runs");
        keeper.stop();
        keeper.await.unwrap();
        node.push(finalized(&chain, 9)).await;
        let fault = (&mut node.driver).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Stopped);
        assert!(matches!(fault.reason(), Some(Error::NotKept { .. })), "{fault}");
        assert_eq!(execution.top(), 9, "it was delivered");
        assert_eq!(node.processed().await, None, "the marshal has ended, at 8");
    });
}

#[test]
fn a_boundary_that_contradicts_the_known_one_ends_the_driver_unacknowledged() {
    let chain = Epoched::new(10, vec![0, 1], 15, false);
    let other = chain.with_key(0, 2);
    let execution = Executed::new(&chain);
    with_node(&Setup::new(&chain, &execution), quiet(&chain), async |_, node| {
        let known = other.block(9);
        let bytes = commonware_codec::Encode::encode(known);
        crate::Epochs::learn(&node.schemes, other.reference(9), bytes, None).unwrap();
        node.push(finalized(&chain, 9)).await;
        let fault = node.driver.await.unwrap_err();
        assert!(matches!(fault.reason(), Some(Error::OtherBoundary { .. })), "{fault}");
    });
}

#[test]
fn with_skip_the_floor_is_set_right_below_the_boundary_once_for_each_epoch() {
    let chain = Epoched::new(10, vec![0, 1, 2, 3], 35, false);
    run(|context| async move {
        let execution = Executed::new(&chain);
        let transport = endpoint(&context, chain.answers());
        let config = Config { skip: true, ..Config::default() };
        let setup = Setup { config, ..Setup::new(&chain, &execution) };
        let node = launch(&context, &setup, transport).await;
        context.sleep(60 * SECOND).await;
        let acts = execution.acts();
        let floors: Vec<_> =
            did(&acts).into_iter().filter(|act| matches!(act, Act::Floor(_))).collect();
        assert_eq!(floors, [Act::Floor(9), Act::Floor(19), Act::Floor(29)]);
        let delivered = delivered(&acts);
        for boundary in [9, 19, 29] {
            assert!(delivered.contains(&boundary), "{delivered:?}");
        }
        assert_eq!(delivered[delivered.len() - 6..], [30, 31, 32, 33, 34, 35]);
        assert_eq!(node.processed().await, Some(35));
        assert_eq!(node.metrics.hints.get(), 3);
    });
}

#[test]
fn a_stop_ends_it_whatever_it_waits_for() {
    let chain = Epoched::new(10, vec![0, 1], 15, false);
    run(|context| async move {
        // Its start waits for an upstream that never answers.
        let execution = Arc::new(Executed::up_to(&chain, 12));
        let transport = endpoint(&context, |_| Answer::Silence);
        let node = launch(&context, &Setup::new(&chain, &execution), transport).await;
        context.sleep(30 * SECOND).await;
        node.mailbox.stop();
        node.driver.await.unwrap();
    });
}

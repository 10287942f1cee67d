//! The published cases of a publishing service (`PP-*`), through the actor.

use super::*;
use SessionState::{Completed, Failed, Publishing, Superseded, TimedOut};

/// A world whose checkpoints are proven, with what `set` changes.
async fn world(
    context: &deterministic::Context,
    config: Config,
    set: impl FnOnce(&mut super::State),
) -> (Running, Scripted) {
    let rollup = Rollup::new(context, 2);
    rollup.set(set);
    let prover = Scripted::honest(context, 8, 1);
    let running = Running::with_all(context, &rollup, &prover, config).await;
    (running, prover)
}

/// A world in which a part of an epoch and the whole of it wait for a publisher that is not to be had.
async fn two_unpublished(context: &deterministic::Context) -> (Running, Scripted) {
    let rollup = Rollup::new(context, 1);
    rollup.set(|state| state.unavailable = usize::MAX);
    let prover = Scripted::honest(context, 8, 1);
    let running = Running::with_all(context, &rollup, &prover, config()).await;
    running.mailbox.start(0).await.unwrap();
    rollup.grow();
    running.mailbox.checkpointed(2).await.unwrap();
    running.until(|status| status.unpublished == 2).await;
    (running, prover)
}

/// PP-1, PP-13.
#[test]
fn a_publisher_that_is_not_to_be_had_is_tried_again_each_poll() {
    simulate(|context| async move {
        let (running, _) = world(&context, config(), |state| state.unavailable = 2).await;
        running.lands(&[(1, 4)]).await;
        running.sleep(5).await;
        assert_eq!(running.states().await, [(0, Completed)]);
        assert_eq!(running.rollup.get(|state| (state.looked_up, state.submitted.len())), (3, 1));
        running.stop().await;
    });
}

/// PP-8, PP-9, PP-14.
#[test]
fn the_deadline_bounds_how_long_a_candidate_waits() {
    simulate(|context| async move {
        let (running, _) = world(&context, config(), |state| state.unavailable = usize::MAX).await;
        running.sleep(60).await;
        assert_eq!(running.states().await, [(0, Publishing)]);
        running.rollup.set(|state| state.slot = Some(6));
        running.sleep(5).await;
        let status = running.status().await;
        assert_eq!(status.unpublished, 0);
        assert!(status.sessions.iter().all(|session| session.state.is_terminal()));
        running.stop().await;
    });
}

/// PP-7, PP-10: what is on its way neither expires nor is withdrawn.
#[test]
fn what_is_being_submitted_ends_as_it_does() {
    simulate(|context| async move {
        let (running, _) = world(&context, config(), |state| state.after = secs(30)).await;
        running.until(|status| status.unpublished == 0 && !status.sessions.is_empty()).await;
        running.until(|status| status.sessions[0].state == Publishing).await;
        running.sleep(2).await;
        running.rollup.set(|state| state.slot = Some(6));
        running.sleep(10).await;
        assert_eq!(running.states().await, [(0, Publishing)]);
        running.lands(&[(1, 4)]).await;
        running.sleep(1).await;
        assert_eq!(running.states().await, [(0, Completed)]);
        running.stop().await;
    });
    simulate(|context| async move {
        let (running, _) = world(&context, config(), |state| state.after = secs(30)).await;
        running.sleep(20).await;
        running.mailbox.prune(2).await.unwrap();
        running.lands(&[(1, 4)]).await;
        running.stop().await;
    });
}

/// PP-11, PP-12, PB-18, ES-11.
#[test]
fn a_submission_that_is_refused_or_throws_has_failed() {
    for takes in [Takes::Refuses, Takes::Throws] {
        simulate(|context| async move {
            let (running, _) = world(&context, config(), |state| state.takes = takes).await;
            let rollup = &running.rollup;
            running.sleep(60).await;
            assert_eq!(running.states().await, [(0, Failed)], "{takes:?}");
            assert_eq!(rollup.get(|state| state.submitted.len()), 1, "{takes:?}");
            assert_eq!(rollup.get(|state| state.epochs_dissected.clone()), [0], "{takes:?}");
            running.stop().await;
        });
    }
}

/// PP-17, ES-27: what landed already is not submitted, and one whose end was not seen is looked up.
#[test]
fn a_submission_whose_end_was_not_seen_is_looked_up_before_it_is_made_again() {
    for (takes, submitted) in
        [(Takes::Breaks(true), 1), (Takes::Breaks(false), 2), (Takes::Hangs, 2)]
    {
        simulate(|context| async move {
            let config = Config { submit: secs(20), ..config() };
            let (running, _) = world(&context, config, |state| state.takes = takes).await;
            let rollup = &running.rollup;
            running.submits().await;
            running.sleep(1).await;
            rollup.set(|state| state.takes = Takes::Lands);
            running.until(|status| status.sessions[0].state == Completed).await;
            let counts = rollup.get(|state| (state.submitted.len(), state.landed.len()));
            assert_eq!(counts, (submitted, 1), "{takes:?}");
            running.stop().await;
        });
    }
}

/// PP-5, PP-6: of two of one epoch the longer goes first, and the shorter is superseded once that landed; where it is
/// refused, the shorter is what is left.
#[test]
fn the_longest_range_goes_first_and_supersedes_only_once_it_has_landed() {
    for (refused, landed) in [(false, (1, 4)), (true, (1, 2))] {
        simulate(|context| async move {
            let (running, _prover) = two_unpublished(&context).await;
            let rollup = &running.rollup;
            rollup.set(|state| {
                (state.unavailable, state.after) = (0, secs(5));
                state.takes = if refused { Takes::Refuses } else { Takes::Lands };
            });
            running.until(|status| status.unpublished < 2).await;
            running.sleep(2).await;
            let full = Candidate { epoch: 0, first: 1, last: 4, deadline: 6, full: true };
            assert_eq!(rollup.get(|state| state.submitted.clone()), [full], "the longest");
            assert_eq!(running.status().await.unpublished, 1, "the other waits how that ends");
            rollup.set(|state| state.takes = Takes::Lands);
            running.until(|status| status.unpublished == 0).await;
            running.lands(&[landed]).await;
            running.stop().await;
        });
    }
}

/// PP-2, PP-16.
#[test]
fn epochs_are_submitted_one_at_a_time_and_in_order() {
    simulate(|context| async move {
        // The first epoch is proven last.
        let rollup = Rollup::new(&context, 6);
        rollup.set(|state| state.after = secs(7));
        let takes = |key: &Key| if key.first.get() <= 4 { 20 } else { 1 };
        let prover =
            Scripted::new(&context, "prover", 8, move |key, _| Fate::Proves(secs(takes(key))));
        let config = Config { geometry: Geometry { submission_epochs: 4, ..GEOMETRY }, ..config() };
        let running = Running::with_all(&context, &rollup, &prover, config).await;
        running.sleep(10).await;
        assert_eq!(rollup.get(|state| state.submitted.len()), 0, "its first block does not follow");
        running.lands(&[(1, 4), (5, 8), (9, 12)]).await;
        running.stop().await;
    });
}

/// PS-53: what comes after refuses, for as long as it does; nothing is lost or made again, across restarts too.
#[test]
fn a_proof_is_kept_until_it_was_taken() {
    simulate(|context| async move {
        let (running, prover) =
            world(&context, config(), |state| state.unavailable = usize::MAX).await;
        running.until(|status| status.unpublished == 1).await;
        let rollup = running.rollup.clone();
        running.kill().await;
        prover.restart();
        for _ in 0..3 {
            let running = Running::with_all(&context, &rollup, &prover, config()).await;
            running.sleep(30).await;
            assert_eq!(running.states().await, [(0, Publishing)]);
            running.kill().await;
        }
        rollup.set(|state| state.unavailable = 0);
        let running = Running::with_all(&context, &rollup, &prover, config()).await;
        running.lands(&[(1, 4)]).await;
        assert_eq!(prover.submitted().len(), 3, "each once");
        running.stop().await;
    });
}

/// ES-26, and shutdown: the submission at hand is waited for, as long as may be.
#[test]
fn a_stop_waits_for_the_submission_at_hand_within_its_grace() {
    for (after, ends) in [(2, true), (1_000, false)] {
        simulate(|context| async move {
            let mut config = config();
            config.proving.grace = secs(10);
            let (running, _) = world(&context, config, |state| state.after = secs(after)).await;
            let rollup = running.rollup.clone();
            running.submits().await;
            let began = context.current();
            running.stop().await;
            let took = context.current().duration_since(began).unwrap();
            assert_eq!(rollup.landed().len(), usize::from(ends));
            assert!(took <= secs(11), "{took:?}");
        });
    }
}

/// PP-15, PB-17: a publisher may only estimate what it would cost. Its session is over, and is not begun again while the
/// proven tip stays where it is.
#[test]
fn a_publisher_that_only_estimates_ends_the_session_and_nothing_lands() {
    simulate(|context| async move {
        let (running, prover) =
            world(&context, config(), |state| state.takes = Takes::Estimates).await;
        running.until(|status| status.sessions.iter().any(|of| of.state == Completed)).await;
        running.sleep(60).await;
        assert_eq!(running.states().await, [(0, Completed)]);
        assert_eq!(running.rollup.get(|state| (state.submitted.len(), state.landed.len())), (1, 0));
        assert_eq!(prover.submitted().len(), 3, "nothing is proven twice");
        running.stop().await;
    });
}

/// PB-12: the chain went back before anybody was told so.
#[test]
fn what_is_not_on_the_chain_any_more_is_not_submitted() {
    simulate(|context| async move {
        let (running, _) = world(&context, config(), |state| state.unavailable = usize::MAX).await;
        running.until(|status| status.unpublished == 1).await;
        let rollup = running.rollup.clone();
        rollup.set(|state| {
            state.unavailable = 0;
            state.checkpoints.truncate(1);
        });
        running.sleep(30).await;
        assert_eq!(rollup.get(|state| state.submitted.len()), 0);
        assert_eq!(running.states().await, [(0, Publishing)], "the prune is still to come");
        running.mailbox.prune(2).await.unwrap();
        rollup.set(|state| state.checkpoints.push(checkpoint(2, 1, 2)));
        running.mailbox.checkpointed(2).await.unwrap();
        running.lands(&[(1, 4)]).await;
        assert_eq!(rollup.get(|state| state.submitted.len()), 1);
        running.stop().await;
    });
}

/// ES-9, ES-10: how a candidate ended is how its session did.
#[test]
fn a_session_ends_as_its_candidate_does() {
    for (slot, landed, state) in [(2, vec![(1, 4)], Superseded), (6, vec![], TimedOut)] {
        simulate(|context| async move {
            let (running, _prover) = two_unpublished(&context).await;
            let rollup = &running.rollup;
            rollup.set(|state| (state.unavailable, state.slot) = (0, Some(slot)));
            let ended = |status: &Status| {
                let partial = |of: &&super::super::Listed| of.spec.kind == Kind::Partial;
                status.sessions.iter().filter(partial).any(|of| of.state == state)
            };
            running.until(ended).await;
            running.lands(&landed).await;
            running.stop().await;
        });
    }
}

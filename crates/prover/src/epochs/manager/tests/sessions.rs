//! The published cases of epoch sessions (`ES-*`) and checkpoint provers (`CP-*`), through the actor.

use super::*;
use crate::{Failure, scheduler::tests::scripted::Health};
use SessionState::{AwaitingCheckpoints, Completed, Publishing};

fn unprovable() -> Failure {
    Failure::Unprovable("no".into())
}

/// SM-19, SM-20, ES-12 to ES-16, CP-5 to CP-10, CP-12: what a prune takes is cancelled at its prover and counts as no
/// failure; what is left is proven, and the new blocks too.
#[test]
fn a_prune_cancels_what_went_and_the_new_content_is_proven() {
    manage(2, sits, async |running, rollup, prover| {
        running.sleep(10).await;
        assert_eq!((prover.held(), running.states().await), (2, vec![(0, AwaitingCheckpoints)]));
        rollup.set(|state| state.checkpoints[1] = checkpoint(2, 1, 2));
        running.mailbox.prune(2).await.unwrap();
        running.sleep(2).await;
        assert_eq!(prover.held(), 1, "the prover may stop what is gone");
        let status = running.status().await;
        assert_eq!((status.checkpoints, status.failed), (1, 0));
        prover.script(|_, _| Fate::Proves(secs(1)));
        prover.restart();
        running.mailbox.checkpointed(2).await.unwrap();
        running.lands(&[(1, 4)]).await;
        assert_eq!(rollup.get(|state| state.dissected.len()), 0);
        // And back again: what was proven of the old blocks was nothing, what was of checkpoint 1 counts.
        let asked = prover.submitted().len();
        running.mailbox.prune(2).await.unwrap();
        rollup.set(|state| {
            state.checkpoints[1] = checkpoint(2, 0, 1);
            (state.landed, state.proven) = (Vec::new(), 0);
        });
        running.mailbox.checkpointed(2).await.unwrap();
        running.lands(&[(1, 4)]).await;
        assert_eq!(ranges(&prover)[asked..], [(3, 4), (1, 4)]);
        running.stop().await;
    });
}

/// ES-17, SM-36, SM-37.
#[test]
fn a_stop_cancels_sessions_and_leaves_their_jobs_to_the_next_start() {
    manage(4, proves_in(60), async |running, rollup, prover| {
        running.sleep(10).await;
        let context = running.context.child("again");
        running.stop().await;
        assert_eq!(prover.held(), 4);
        let running = Running::with_all(&context, &rollup, &prover, config()).await;
        running.lands(&[(1, 4), (5, 8)]).await;
        let mut asked = ranges(&prover);
        asked.sort_unstable();
        assert_eq!(asked, [(1, 2), (1, 4), (3, 4), (5, 6), (5, 8), (7, 8)], "nothing twice");
        running.stop().await;
    });
}

/// ES-18, SM-24s, SM-42: over is over, and goes with its content.
#[test]
fn a_completed_session_stays_completed_and_is_not_made_again_while_the_tip_lags() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 2);
        rollup.set(|state| state.follows = false);
        let prover = Scripted::honest(&context, 8, 1);
        let running = Running::with_all(&context, &rollup, &prover, config()).await;
        running.lands(&[(1, 4)]).await;
        running.sleep(60).await;
        assert_eq!(running.states().await, [(0, Completed)]);
        running.mailbox.prune(0).await.unwrap();
        running.sleep(5).await;
        assert_eq!(running.states().await, []);
        assert_eq!((rollup.landed(), prover.submitted().len()), (vec![(1, 4)], 3));
        running.stop().await;
    });
}

/// ES-20, ES-21, CP-16.
#[test]
fn a_session_past_its_deadline_is_timed_out_and_not_begun_again() {
    manage(2, sits, async |running, rollup, _| {
        running.sleep(100).await;
        assert_eq!(running.states().await, [(0, AwaitingCheckpoints)], "it is still to come");
        rollup.set(|state| state.slot = Some(6));
        running.sleep(3).await;
        let states = running.states().await;
        assert!(states.iter().all(|(_, state)| state.is_terminal()), "{states:?}");
        running.sleep(20).await;
        assert_eq!(running.states().await, [], "nor begun again");
        assert_eq!(rollup.get(|state| state.submitted.len()), 0);
        running.stop().await;
    });
}

/// ES-22 to ES-24, SM-16, SM-22, CP-7, CP-14: a checkpoint that fails stops its session, and what is registered anew
/// is proven.
#[test]
fn a_failed_checkpoint_stops_its_session_until_there_is_a_fresh_one() {
    let script = |key: &Key, _| match key.height() {
        4 if key.first.get() == 4 || key.first.get() == 3 => Fate::Fails(secs(1), unprovable()),
        _ => Fate::Proves(secs(1)),
    };
    manage(2, script, async |running, rollup, prover| {
        running.sleep(120).await;
        let status = running.status().await;
        assert_eq!((status.failed, status.sessions.len()), (1, 0), "{status:?}");
        let asked = prover.submitted().len();
        running.mailbox.checkpointed(2).await.unwrap();
        running.sleep(60).await;
        assert_eq!((prover.submitted().len(), rollup.landed()), (asked, vec![]));
        assert_eq!(rollup.get(|state| state.epochs_dissected.clone()), [0_u64; 0], "not its fault");
        // The same content again, once it was pruned; block 3 was proven alone meanwhile.
        prover.script(|_, _| Fate::Proves(secs(1)));
        running.mailbox.prune(2).await.unwrap();
        running.mailbox.checkpointed(2).await.unwrap();
        running.lands(&[(1, 4)]).await;
        assert_eq!(ranges(&prover)[asked..], [(4, 4), (1, 4)]);
        running.stop().await;
    });
}

/// ES-25, ES-11, SM-13.
#[test]
fn a_session_that_fails_by_itself_is_looked_into_once_and_not_tried_again() {
    let script = |key: &Key, _| match key.blocks() {
        4 => Fate::Fails(secs(1), unprovable()),
        _ => Fate::Proves(secs(1)),
    };
    manage(2, script, async |running, rollup, prover| {
        running.sleep(200).await;
        assert_eq!(running.states().await, [(0, SessionState::Failed)]);
        assert_eq!(rollup.get(|state| state.epochs_dissected.clone()), [0]);
        assert_eq!(ranges(&prover), [(1, 2), (3, 4), (1, 4), (1, 4), (1, 4)]);
        assert_eq!(rollup.get(|state| state.submitted.len()), 0);
        running.stop().await;
    });
}

/// PS-26, PS-55: a range that no prover can prove at once is proven in halves, and those are joined.
#[test]
fn a_range_that_fails_as_a_whole_is_proven_in_halves_across_a_restart() {
    let script = |key: &Key, _| match key.blocks() {
        2 => Fate::Fails(secs(1), unprovable()),
        _ if key.height() == 2 && key.first.get() == 2 => Fate::Sits,
        _ => Fate::Proves(secs(1)),
    };
    manage(2, script, async |running, rollup, prover| {
        running.sleep(30).await;
        let asked = prover.submitted().len();
        let context = running.context.child("again");
        running.kill().await;
        prover.script(|_, _| Fate::Proves(secs(1)));
        prover.restart();
        let running = Running::with_all(&context, &rollup, &prover, config()).await;
        running.lands(&[(1, 4)]).await;
        assert_eq!(ranges(&prover)[asked..], [(2, 2), (1, 4)], "only what was missing");
        running.stop().await;
    });
}

/// PS-14 and the rest of a scheduler's rules hold of ranges too: a proof that does not verify counts against the range.
#[test]
fn a_proof_that_does_not_verify_is_not_kept() {
    let script = |_: &Key, nth| match nth {
        0 => Fate::Returns(secs(1), Bytes::from_static(b"garbage")),
        1 => Fate::Fails(secs(1), Failure::Lost),
        _ => Fate::Proves(secs(1)),
    };
    manage(2, script, async |running, _, prover| {
        running.lands(&[(1, 4)]).await;
        assert_eq!(prover.submitted().len(), 9, "each of three the third time");
        running.stop().await;
    });
}

/// SM-28 to SM-30, SM-34, SM-41: a part that somebody asked for is durable, and is over once it landed.
#[test]
fn what_somebody_asked_for_is_proven_after_a_restart_too() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 1);
        let prover = Scripted::honest(&context, 8, 30);
        let config = Config { full_epochs: false, ..config() };
        let running = Running::with_all(&context, &rollup, &prover, config.clone()).await;
        running.mailbox.start(0).await.unwrap();
        running.kill().await;
        let running = Running::with_all(&context, &rollup, &prover, config.clone()).await;
        running.until(|status| !status.sessions.is_empty()).await;
        running.until(|status| status.sessions.iter().any(|of| of.state == Publishing)).await;
        running.lands(&[(1, 2)]).await;
        running.sleep(10).await;
        assert_eq!(running.states().await, [], "once");
        running.kill().await;
        let running = Running::start(&context, &rollup, &prover, config).await;
        rollup.grow();
        running.mailbox.checkpointed(2).await.unwrap();
        running.sleep(60).await;
        assert_eq!((rollup.landed(), running.states().await), (vec![(1, 2)], vec![]));
        running.stop().await;
    });
}

/// PS-25 of ranges: an operator has what failed proven again, a checkpoint as well as a session.
#[test]
fn what_failed_is_proven_again_when_an_operator_says_so() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 2);
        let prover = Scripted::new(&context, "prover", 8, |key, _| match key.height() {
            4 => Fate::Fails(secs(1), unprovable()),
            _ => Fate::Proves(secs(1)),
        });
        let running = Running::with_all(&context, &rollup, &prover, config()).await;
        running.until(|status| status.failed == 1).await;
        assert_eq!(running.mailbox.retry(7).await, Ok(0));
        // The checkpoint is well from now on, and the whole is not.
        prover.script(|key, _| match key.blocks() {
            4 => Fate::Fails(secs(1), unprovable()),
            _ => Fate::Proves(secs(1)),
        });
        assert_eq!(running.mailbox.retry(0).await, Ok(1));
        running
            .until(|status| status.sessions.iter().any(|of| of.state == SessionState::Failed))
            .await;
        assert_eq!(running.status().await.failed, 0);
        prover.script(|_, _| Fate::Proves(secs(1)));
        let asked = prover.submitted().len();
        assert_eq!(running.mailbox.retry(0).await, Ok(1));
        running.lands(&[(1, 4)]).await;
        assert_eq!(ranges(&prover)[asked..], [(1, 4)], "what was proven is not made again");
        running.stop().await;
    });
}

/// CP-13: whoever waits for a checkpoint sees how it failed.
#[test]
fn every_session_over_a_checkpoint_that_fails_is_stopped() {
    let script = |key: &Key, _| match key.height() {
        ..=2 => Fate::Fails(secs(10), unprovable()),
        _ => Fate::Proves(secs(1)),
    };
    manage(1, script, async |running, rollup, _| {
        running.mailbox.start(0).await.unwrap();
        rollup.grow();
        running.mailbox.checkpointed(2).await.unwrap();
        let both = [(0, AwaitingCheckpoints); 2];
        assert_eq!(running.states().await, both, "what was asked for, and the whole epoch");
        running.until(|status| status.failed == 1).await;
        running.sleep(3).await;
        let status = running.status().await;
        assert!(status.sessions.iter().all(|session| session.state.is_terminal()), "{status:?}");
        let looked = rollup.get(|state| (state.dissected.clone(), state.epochs_dissected.len()));
        assert_eq!(looked, (vec![1], 0), "once, and as the checkpoint's fault");
        assert_eq!(rollup.get(|state| state.submitted.len()), 0);
        running.stop().await;
    });
}

/// ES-19: a prover that does not answer a release holds up no cancel.
#[test]
fn what_is_cancelled_is_over_although_its_prover_is_silent() {
    manage(2, sits, async |running, _, prover| {
        running.sleep(10).await;
        prover.health(Health::Silent);
        let began = running.context.current();
        running.mailbox.prune(0).await.unwrap();
        assert_eq!(running.states().await, []);
        let took = running.context.current().duration_since(began).unwrap_or_default();
        assert!(took < secs(1), "{took:?}");
        prover.health(Health::Up);
        prover.restart();
        prover.script(|_, _| Fate::Proves(secs(1)));
        running.mailbox.checkpointed(2).await.unwrap();
        running.lands(&[(1, 4)]).await;
        running.stop().await;
    });
}

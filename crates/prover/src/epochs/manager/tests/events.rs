//! The published cases of a prover node (`PN-*`), from its events on.

use super::*;

/// SM-2, ES-1 to ES-4, ES-6 to ES-8, ES-27, CP-1 to CP-4, CP-15: the way of an epoch, from a thin event to where it is published.
#[test]
fn an_epoch_is_proven_checkpoint_by_checkpoint_and_published_as_one() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 1);
        let prover = Scripted::honest(&context, 8, 5);
        let running = Running::start(&context, &rollup, &prover, config()).await;
        assert_eq!(running.states().await, []);
        running.mailbox.checkpointed(1).await.unwrap();
        running.sleep(20).await;
        assert_eq!(ranges(&prover), [(1, 2)], "at once, before its epoch is complete");
        assert_eq!(running.states().await, []);
        rollup.grow();
        running.mailbox.checkpointed(2).await.unwrap();
        let status = running.status().await;
        let [session] = status.sessions[..] else { panic!("{status:?}") };
        assert_eq!((session.spec.epoch, session.spec.kind), (0, Kind::Full));
        assert_eq!((session.spec.from_slot, session.spec.to_slot, session.checkpoints), (0, 1, 2));
        assert_eq!(session.state, SessionState::AwaitingCheckpoints);
        running.until(|status| status.sessions[0].state == SessionState::AwaitingRoot).await;
        assert_eq!(ranges(&prover), [(1, 2), (3, 4), (1, 4)]);
        running.until(|status| status.sessions[0].state == SessionState::Publishing).await;
        running.until(|status| status.sessions[0].state == SessionState::Completed).await;
        let full = Candidate { epoch: 0, first: 1, last: 4, deadline: 6, full: true };
        assert_eq!(rollup.get(|state| state.landed.clone()), [full]);
        running.sleep(30).await;
        assert_eq!((prover.held(), prover.submitted().len()), (0, 3), "it may forget them");
        let mut released = prover.released();
        released.sort_unstable();
        released.dedup();
        assert_eq!((released.len(), prover.released().len()), (3, 3), "each once");
        running.stop().await;
    });
}

/// PN-6: the proven tip wakes publishing: what waits for it goes on at once, not at the next tick.
#[test]
fn a_proven_tip_wakes_what_waits_to_be_published() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 4);
        rollup.set(|state| state.follows = false);
        let prover = Scripted::honest(&context, 8, 1);
        let config = Config { poll: secs(50), ..config() };
        let running = Running::with_all(&context, &rollup, &prover, config).await;
        running.lands(&[(1, 4)]).await;
        running.sleep(5).await;
        assert_eq!(running.status().await.unpublished, 1, "blocks 5 to 8 do not follow yet");
        rollup.set(|state| state.proven = 4);
        running.mailbox.proven(4);
        running.sleep(2).await;
        assert_eq!(rollup.landed(), [(1, 4), (5, 8)]);
        running.stop().await;
    });
}

/// PN-3, PN-5, PN-11, PN-12, PN-14: what fails has changed nothing, and the same event again does.
#[test]
fn an_event_that_fails_changes_nothing_and_counts_when_it_comes_again() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 3);
        let prover = Scripted::honest(&context, 8, 1);
        let running = Running::start(&context, &rollup, &prover, config()).await;
        rollup.set(|state| state.heavy_fails = true);
        let error = running.mailbox.checkpointed(3).await.unwrap_err();
        assert!(error.to_string().contains("boom"), "{error}");
        let status = running.status().await;
        assert_eq!((status.cursor, status.checkpoints, status.sessions.len()), (0, 0, 0));
        rollup.set(|state| state.heavy_fails = false);
        running.mailbox.checkpointed(3).await.unwrap();
        running.mailbox.checkpointed(2).await.unwrap();
        assert_eq!(
            rollup.get(|state| state.heavy.clone()),
            [1, 1, 2, 3],
            "an older tip says nothing"
        );
        let before = running.status().await;
        let error = running.mailbox.prune(99).await.unwrap_err();
        assert!(error.to_string().contains("no block at 99"), "{error}");
        let after = running.status().await;
        assert_eq!((after.cursor, after.checkpoints), (before.cursor, 3));
        // Block 5 lies in checkpoint 3, which goes.
        running.mailbox.prune(5).await.unwrap();
        let after = running.status().await;
        assert_eq!((after.cursor, after.checkpoints), (2, 2));
        running.mailbox.prune(0).await.unwrap();
        assert_eq!((running.status().await.cursor, running.status().await.checkpoints), (0, 0));
        running.stop().await;
    });
}

/// PN-15, PN-19, CP-11, CP-17 to CP-19: whoever looks into a checkpoint that cannot be proven is given it once, and only while
/// the chain has it.
#[test]
fn a_checkpoint_that_cannot_be_proven_is_looked_into_once_while_it_is_on_the_chain() {
    for (gone, dissected) in [(false, vec![1]), (true, vec![])] {
        simulate(|context| async move {
            let rollup = Rollup::new(&context, 2);
            let prover = Scripted::new(&context, "prover", 8, |key, _| match key.first.get() {
                1 | 2 if key.height() <= 2 => {
                    Fate::Fails(secs(1), crate::Failure::Unprovable("Txs not found".into()))
                }
                _ => Fate::Proves(secs(1)),
            });
            let running = Running::with_all(&context, &rollup, &prover, config()).await;
            if gone {
                rollup.set(|state| state.checkpoints[0] = checkpoint(1, 1, 1));
            }
            running.sleep(120).await;
            let heavy = rollup.get(|state| state.heavy.len());
            assert_eq!(rollup.get(|state| state.dissected.clone()), dissected, "gone: {gone}");
            assert_eq!(heavy, 2, "and nothing is read again for it");
            let status = running.status().await;
            assert_eq!((status.failed, status.sessions.len()), (1, 0), "{status:?}");
            assert_eq!(rollup.get(|state| state.epochs_dissected.clone()), [0_u64; 0]);
            running.stop().await;
        });
    }
}

/// PN-20 to PN-23, SM-38.
#[test]
fn a_request_is_forwarded_and_a_manager_that_is_gone_says_so() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 1);
        let prover = Scripted::honest(&context, 1, 1_000);
        let opened = open(context.child("never"), &rollup, &prover, config()).await;
        let (never, mailbox) = opened.unwrap();
        drop(never);
        let error = mailbox.start(0).await.unwrap_err();
        assert!(error.to_string().contains("has stopped"), "{error}");
        assert_eq!(mailbox.status().await, None);
        let running = Running::start(&context, &rollup, &prover, config()).await;
        let refused = running.mailbox.start(5).await.unwrap_err();
        assert_eq!(not_started(&refused), Some(NotStarted::NoBlocks));
        running.mailbox.checkpointed(1).await.unwrap();
        let id = running.mailbox.start(0).await.unwrap();
        assert_eq!(running.mailbox.start(0).await, Ok(id));
        let listed = running.status().await.sessions;
        assert_eq!((listed.len(), listed[0].id, listed[0].spec.kind), (1, id, Kind::Partial));
        let mailbox = running.mailbox.clone();
        running.stop().await;
        assert!(mailbox.checkpointed(1).await.is_err());
    });
}

/// PN-8, PN-9, PN-25, PN-26: the ticker is what sweeps, proofs on disk with the rest.
#[test]
fn the_ticker_sweeps_what_expired_and_what_was_kept_for_it() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 2);
        rollup.set(|state| state.takes = Takes::Refuses);
        let prover = Scripted::honest(&context, 8, 1);
        let running = Running::start(&context, &rollup, &prover, config()).await;
        struct At(Rollup);
        impl Slots for At {
            async fn slot(&mut self) -> Option<u64> {
                self.0.get(|state| state.slot)
            }
        }
        let sweep = Sweep::new(GEOMETRY, None);
        let (ticker, stopper) = Expiry::new(
            context.child("expiry"),
            At(rollup.clone()),
            running.mailbox.clone(),
            sweep,
            secs(1),
        );
        let ticking = ticker.start();
        running.mailbox.checkpointed(2).await.unwrap();
        running.sleep(20).await;
        let kept = async || commonware_runtime::Storage::scan(&context, "epochs-ranges").await;
        assert_eq!((running.status().await.checkpoints, kept().await.unwrap().len()), (2, 3));
        rollup.set(|state| state.slot = None);
        running.sleep(5).await;
        assert_eq!(
            running.status().await.checkpoints,
            2,
            "a slot that is not known expires nothing"
        );
        rollup.set(|state| state.slot = Some(6));
        running.sleep(5).await;
        let status = running.status().await;
        assert_eq!((status.checkpoints, kept().await.unwrap().len()), (0, 0), "{status:?}");
        stopper.stop();
        ticking.await.unwrap().unwrap();
        running.stop().await;
    });
}

#[test]
fn a_chain_that_does_not_answer_holds_nothing_up_for_longer_than_a_call() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 4);
        let prover = Scripted::honest(&context, 8, 1);
        let running = Running::start(&context, &rollup, &prover, config()).await;
        rollup.set(|state| state.silent = true);
        let error = running.mailbox.checkpointed(4).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::Timeout, "{error}");
        rollup.set(|state| state.silent = false);
        running.mailbox.checkpointed(4).await.unwrap();
        running.lands(&[(1, 4), (5, 8)]).await;
        running.stop().await;
    });
}

/// Content that does not hang together is refused, and moves nothing.
#[test]
fn content_that_does_not_hang_together_is_refused() {
    let spoil: [fn(&mut Content); 4] = [
        |content| content.blocks.clear(),
        |content| content.blocks[1].parent = Digest([7; 32]),
        |content| content.blocks.swap(0, 1),
        |content| content.id.slot = 0,
    ];
    for (at, spoil) in spoil.into_iter().enumerate() {
        simulate(|context| async move {
            let rollup = Rollup::new(&context, 2);
            let prover = Scripted::honest(&context, 8, 1);
            let running = Running::start(&context, &rollup, &prover, config()).await;
            running.mailbox.checkpointed(1).await.unwrap();
            rollup.set(|state| spoil(&mut state.checkpoints[1]));
            let refused = running.mailbox.checkpointed(2).await.unwrap_err();
            assert_eq!(refused.kind, FaultKind::WrongPosition, "{at}: {refused}");
            let status = running.status().await;
            assert_eq!((status.cursor, status.checkpoints), (1, 1), "{at}");
            running.stop().await;
        });
    }
}

/// A consumer of a driver's events; what an event asks for that fails makes it come again.
#[test]
fn thin_events_reach_the_manager_and_are_acknowledged_once_it_has_taken_them() {
    use tidewatch_core::{
        BlockRef, CheckpointRef, Consumer as _, Cursor, Event, Head, Record, Tier, Tip,
    };
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 3);
        let prover = Scripted::honest(&context, 8, 1);
        let running = Running::start(&context, &rollup, &prover, config()).await;
        let at = |height: u64, number: Option<u64>| Tip {
            block: key(height, 0).block,
            checkpoint: number.map(|number| CheckpointRef { number, digest: Digest([1; 32]) }),
        };
        let cursor = Cursor::start(&ChainId::new("test:epochs").unwrap());
        let record = |event| {
            let watermarks = tidewatch_core::Watermarks::none();
            Record { event, cursor: cursor.clone(), watermarks }
        };
        let mut thin = Thin::new(running.mailbox.clone());
        let mut tips = tidewatch_core::TipSet::unknown();
        let to: BlockRef = key(4, 0).block;
        let pruned = record(Event::Pruned { to, depth: 2, tips });
        let checkpointed = |number| {
            record(Event::Advanced { tier: Tier::Checkpointed, tip: at(2 * number, Some(number)) })
        };
        rollup.set(|state| state.heavy_fails = true);
        assert!(thin.handle(&[checkpointed(3)]).await.is_err());
        rollup.set(|state| state.heavy_fails = false);
        thin.handle(&[checkpointed(3), checkpointed(2)]).await.unwrap();
        assert_eq!(running.status().await.cursor, 3);
        thin.handle(&[pruned]).await.unwrap();
        assert_eq!(running.status().await.cursor, 1);
        let proven = record(Event::Advanced { tier: Tier::Proven, tip: at(2, None) });
        thin.handle(&[proven]).await.unwrap();
        tips.set(Tier::Checkpointed, Some(at(6, Some(3))));
        let mut head = Head::unknown();
        head.watermarks.tips = tips;
        thin.begin(&head).await.unwrap();
        assert_eq!(running.status().await.cursor, 3);
        running.stop().await;
    });
}

/// PS-67 of sessions: the metrics are those of the status.
#[test]
fn the_metrics_are_those_of_the_status() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 5);
        rollup.set(|state| state.unavailable = usize::MAX);
        let prover = Scripted::new(&context, "prover", 2, |key, _| match key.height() {
            10 => Fate::Sits,
            _ => Fate::Proves(secs(3)),
        });
        let running = Running::with_all(&context, &rollup, &prover, config()).await;
        for _ in 0..6 {
            running.sleep(3).await;
            let status = running.status().await;
            context.sleep(Duration::from_millis(1)).await;
            let text = commonware_runtime::Metrics::encode(&running.context);
            let value = |name: &str| -> usize {
                let line = text.lines().find(|line| line.starts_with(name));
                let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
                line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as usize
            };
            let live = status.sessions.iter().filter(|of| !of.state.is_terminal()).count();
            for (name, expected) in [
                ("manager_cursor ", status.cursor as usize),
                ("manager_checkpoints ", status.checkpoints),
                ("manager_live_sessions ", live),
                ("manager_running ", status.running),
                ("manager_waiting ", status.waiting),
                ("manager_unpublished ", status.unpublished),
            ] {
                assert_eq!(value(name), expected, "{name}");
            }
            assert_eq!(value("manager_events_total{kind=\"taken\"}"), 5);
        }
        running.stop().await;
    });
}

//! Failures of submissions; preblocks that are missing, late or wrong; the connection.

use crate::rig::*;
use commonware_runtime::{Clock as _, Supervisor as _};
use tidewatch_core::{Block as _, BlockRef, Digest, FaultKind, Height};
use tidewatch_sequencer::{
    Applier as _, NotApplied, Opened, Place, Pool as _, Proposal,
    coordinator::{Answer, Config},
};
use tidewatch_sim::sequencing::Reaction;

/// PC-15, Q7: what the network has although nobody heard of it counts, and nothing else is proposed.
#[test]
fn a_submission_whose_answer_was_lost_counts_and_nothing_else_is_proposed() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.network.script(|_, nth| if nth == 0 { Reaction::Mute } else { Reaction::Takes });
        rig.network.hold(true);
        rig.insert(vec![transaction(1, 0)]).await;
        rig.until("it counts as submitted", |rig| rig.counted("maybe_submitted") == 1).await;
        rig.insert(vec![transaction(1, 1)]).await;
        rig.sleep(secs(5)).await;
        let proposed = rig.proposed();
        assert!(proposed.len() > 1, "it is proposed again");
        assert!(proposed.iter().all(|it| it.content == proposed[0].content));
        rig.network.hold(false);
        rig.reaches(3).await;
        let blocks = chain(&*rig.applier).await;
        assert_eq!(blocks.iter().map(counts).sum::<usize>(), 2);
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-16, B2, B3: a submission that fails as the block before it is finished is the failure of its own caller.
#[test]
fn a_submission_that_fails_is_the_failure_of_its_own_caller() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.network.script(|_, nth| match nth {
            1 => Reaction::Refuses("once".into()),
            _ => Reaction::Takes,
        });
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((1, 0)));
        let refused = Answer::Refused(Refusal::Network("once".into()));
        assert_eq!(rig.asks(true).await.unwrap(), refused);
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((2, 0)));
        rig.stop().await;
    });
}

/// B6: transactions of a proposal that the network does not take wait again, in their place.
#[test]
fn transactions_of_a_refused_proposal_wait_again_in_their_place() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.network.script(|_, nth| match nth {
            0..6 => Reaction::Refuses("full".into()),
            _ => Reaction::Takes,
        });
        rig.insert((0..3).map(|nonce| transaction(1, nonce)).collect()).await;
        rig.insert(vec![transaction(2, 0)]).await;
        rig.until("refused", |rig| rig.counted("not_taken") >= 3).await;
        let began = rig.network.submissions().len();
        assert!(began <= 6, "at a bounded rate");
        rig.reaches(2).await;
        rig.check().await;
        let applied: Vec<_> =
            chain(&*rig.applier).await.into_iter().flat_map(|it| it.content.transactions).collect();
        assert_eq!(applied.len(), 4);
        rig.stop().await;
    });
}

/// PC-18, B8: too many key holders are silent, and the number is proposed again.
#[test]
fn without_a_preblock_the_number_is_proposed_again() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(1).await;
        rig.network.hold(true);
        rig.until("a second attempt", |rig| {
            rig.proposed().last().is_some_and(|it| it.identity.attempt.get() == 2)
        })
        .await;
        let (first, second) = {
            let proposed = rig.proposed();
            (proposed[proposed.len() - 2].clone(), proposed[proposed.len() - 1].clone())
        };
        assert_eq!(first.again(), second);
        assert_eq!((rig.head(), rig.counted("timed_out")), (1, 1));
        rig.network.hold(false);
        rig.reaches(2).await;
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-19: the preblock of an earlier attempt counts, and that of a later one is dropped and counted.
#[test]
fn the_preblock_of_an_earlier_attempt_counts_and_the_later_one_is_dropped() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.network.hold(true);
        let caller = rig.asks(true);
        rig.until("a second attempt", |rig| rig.proposed().len() == 2).await;
        let proposed = rig.proposed();
        rig.sleep(ms(100)).await;
        rig.network.send(rig.network.opens(&proposed[0]));
        rig.network.send(rig.network.opens(&proposed[1]));
        assert_eq!(produced(&caller.await.unwrap()), Some((1, 0)));
        rig.sleep(ms(100)).await;
        assert_eq!((rig.applier.calls().len(), rig.counted("doubled")), (1, 1));
        assert_eq!(rig.applier.calls()[0].identity.attempt.get(), 1);
        rig.stop().await;
    });
}

/// PC-21, B7: delivered twice is applied once, published once, and unlocks nothing.
#[test]
fn a_preblock_that_is_delivered_twice_is_applied_and_published_once() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(1).await;
        rig.network.hold(true);
        rig.until("a proposal is out", |rig| rig.status().stage == Stage::Awaiting).await;
        for _ in 0..3 {
            rig.network.send(rig.network.decided(1).unwrap());
        }
        rig.sleep(ms(100)).await;
        assert_eq!(rig.counted("doubled"), 3);
        assert_eq!((rig.applier.calls().len(), rig.board.calls()), (1, 1));
        assert_eq!(rig.status().stage, Stage::Awaiting, "nothing is unlocked");
        rig.network.hold(false);
        rig.reaches(2).await;
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-22, B7: another parent, a missing transaction, an extra one, a forged one: rejected, and still awaiting.
#[test]
fn a_preblock_of_another_parent_or_content_is_rejected_and_the_right_one_awaited() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.network.hold(true);
        rig.insert(vec![transaction(1, 0), transaction(1, 1)]).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        let caller = rig.asks(true);
        rig.until("it is out", |rig| rig.status().stage == Stage::Awaiting).await;
        let right = rig.proposed().pop().unwrap();
        let genesis = rig.applier.head().block;
        let beside = BlockRef { digest: Digest([9; 32]), ..genesis };
        let time_ms = right.content.time_ms;
        let with = |parent, transactions| {
            rig.network.opens(&Proposal::new(parent, content(time_ms, transactions)))
        };
        let both = right.content.transactions.clone();
        let extra = [both.clone(), vec![transaction(9, 0)]].concat();
        rig.network.send(with(beside, both.clone()));
        rig.network.send(with(genesis, both[..both.len() - 1].to_vec()));
        rig.network.send(with(genesis, extra));
        let mut forged = rig.network.opens(&right);
        forged.opened = vec![Opened::Dropped("forged".into()); forged.opened.len()];
        rig.network.send(forged);
        rig.sleep(ms(200)).await;
        assert_eq!(rig.counted("foreign_parent"), 1);
        assert_eq!(rig.counted("foreign_content"), 2);
        assert_eq!(rig.counted("invalid"), 1);
        assert_eq!((rig.head(), rig.applier.calls().len()), (0, 0));
        assert_eq!(rig.status().stage, Stage::Awaiting);
        rig.network.hold(false);
        assert_eq!(produced(&caller.await.unwrap()), Some((1, 2)));
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-24, B7: what nothing was proposed for is not applied, and unlocks nothing that comes later.
#[test]
fn a_preblock_that_nobody_asked_for_is_not_applied() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.until("connected", |rig| rig.status().connected).await;
        let genesis = rig.applier.head().block;
        let unasked = Proposal::new(genesis, content(5_000_000, Vec::new()));
        rig.network.send(rig.network.opens(&unasked));
        rig.sleep(ms(100)).await;
        assert_eq!((rig.counted("unsolicited"), rig.head()), (1, 0));
        rig.network.hold(true);
        let caller = rig.asks(true);
        rig.until("a proposal is out", |rig| rig.status().stage == Stage::Awaiting).await;
        rig.network.send(rig.network.opens(&unasked));
        rig.sleep(ms(100)).await;
        assert_eq!((rig.head(), rig.status().stage), (0, Stage::Awaiting));
        rig.network.hold(false);
        assert_eq!(produced(&caller.await.unwrap()), Some((1, 0)));
        rig.stop().await;
    });
}

/// A preblock from the future is not applied; what is missing before it is asked for again.
#[test]
fn a_preblock_from_the_future_has_what_is_missing_asked_for_again() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(1).await;
        rig.network.hold(true);
        rig.until("a proposal is out", |rig| rig.status().stage == Stage::Awaiting).await;
        let streams = rig.network.opened().len();
        let above = BlockRef::new(Height::new(40), Digest([3; 32]));
        rig.network.send(rig.network.opens(&Proposal::new(above, content(9_000_000, Vec::new()))));
        rig.sleep(ms(400)).await;
        assert_eq!((rig.counted("future"), rig.head()), (1, 1));
        let opened = rig.network.opened();
        assert!(opened.len() > streams && opened.last() == Some(&2), "{opened:?}");
        rig.network.hold(false);
        rig.reaches(3).await;
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-25, B9: a block that the chain refuses leaves a state that goes on, in both modes.
#[test]
fn a_block_that_the_chain_refuses_drops_its_transactions_with_the_reason_and_goes_on() {
    for config in [timed(), on_demand()] {
        simulate(|context| async move {
            let on_demand = config.interval.is_none();
            let rig = Rig::start(&context, config).await;
            rig.until("caught up", |rig| rig.counted("caught_up") == 1).await;
            if !on_demand {
                rig.reaches(1).await;
            }
            rig.applier.fails(NotApplied::Rejected("it does not run".into()));
            rig.insert(vec![transaction(1, 0)]).await;
            let number = rig.head() + 1;
            if on_demand {
                assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((1, 0)));
            }
            rig.reaches(number).await;
            rig.sleep(ms(50)).await;
            let blocks = chain(&*rig.applier).await;
            let dropped = Opened::Dropped("it does not run".into());
            assert!(blocks.iter().any(|block| block.opened == [dropped.clone()]), "{blocks:?}");
            assert_eq!(rig.pool.place(&transaction(1, 0).id()), None, "it is not held for ever");
            assert_eq!(rig.counted("rejected"), 1, "the operator sees it");
            rig.insert(vec![transaction(1, 1)]).await;
            if on_demand {
                assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((2, 1)));
            }
            rig.reaches(number + 1).await;
            rig.check().await;
            rig.stop().await;
        });
    }
}

/// A block that cannot be applied now is applied again, and one that cannot be published is not applied again.
#[test]
fn what_cannot_be_applied_or_published_now_is_tried_again_and_applied_once() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(1).await;
        let fault = FaultKind::Unavailable.fault("test", "not now");
        rig.applier.fails(NotApplied::Failed(fault.clone()));
        rig.applier.fails(NotApplied::Failed(fault));
        rig.board.fails(3);
        rig.insert(vec![transaction(1, 0)]).await;
        rig.reaches(4).await;
        rig.until("published", |rig| rig.board.blocks().len() >= 4).await;
        assert!(rig.counted("not_published") == 3 && rig.counted("failed") == 2);
        let calls = rig.applier.calls().len() as u64;
        assert_eq!(calls, rig.head() + 2, "two failed calls, and one for each block");
        rig.check().await;
        rig.stop().await;
    });
}

/// A number that the network has other content for: ours waits again, and what is there is applied.
#[test]
fn a_number_that_is_taken_is_caught_up_with_and_ours_waits_again() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.insert(vec![transaction(1, 0)]).await;
        let genesis = rig.applier.head().block;
        let theirs = rig.network.rival(genesis, content(5_000_000, vec![transaction(2, 0)]));
        rig.sleep(ms(100)).await;
        assert_eq!(rig.head(), 0, "nobody asked for it");
        assert_eq!(rig.asks(true).await.unwrap(), Answer::Refused(Refusal::Taken));
        rig.reaches(1).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        assert_eq!(chain(&*rig.applier).await[0].content, theirs.content);
        assert_eq!(rig.pool.place(&transaction(1, 0).id()), Some(Place::Pooled));
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((2, 1)));
        rig.stop().await;
    });
}

/// PC-31, B4, B10: a stream that ends while a preblock is awaited is opened again, and no caller is stuck.
#[test]
fn a_stream_that_ends_is_opened_again_and_no_caller_is_stuck() {
    simulate(|context| async move {
        let config = Config { answer_max: secs(5), ..on_demand() };
        let rig = Rig::start(&context, config).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.network.hold(true);
        let caller = rig.asks(true);
        rig.until("a proposal is out", |rig| rig.status().stage == Stage::Awaiting).await;
        let began = context.current();
        rig.network.unreachable(true);
        rig.until("disconnected", |rig| rig.status().stage == Stage::Disconnected).await;
        assert_eq!(caller.await.unwrap(), Answer::Refused(Refusal::Late));
        let waited = context.current().duration_since(began).unwrap();
        assert!(waited <= ms(5_100), "{waited:?}");
        let tries = rig.counted("unreachable");
        assert!((2..12).contains(&tries), "with growing pauses: {tries}");
        rig.network.unreachable(false);
        rig.network.hold(false);
        rig.reaches(1).await;
        assert_eq!(rig.network.opened().last(), Some(&1));
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((2, 0)));
        rig.stop().await;
    });
}

/// A connection that is half open is told from a quiet one.
#[test]
fn a_half_open_connection_is_told_from_a_quiet_one() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("connected", |rig| rig.status().connected).await;
        rig.sleep(secs(60)).await;
        assert_eq!(rig.network.opened().len(), 1, "quiet is no failure");
        rig.network.half_open(true);
        rig.sleep(secs(6)).await;
        assert!(rig.counted("half_open") >= 1 && rig.network.opened().len() >= 2);
        let caller = rig.asks(true);
        rig.sleep(secs(1)).await;
        rig.network.half_open(false);
        assert_eq!(produced(&caller.await.unwrap()), Some((1, 0)));
        rig.stop().await;
    });
}

/// PC-33, B14: a network that drops a slow reader is read on from the wanted number, without a gap.
#[test]
fn a_reader_that_was_dropped_goes_on_without_a_gap() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        let mut habits = tidewatch_sim::sequencing::Habits::GOOD;
        habits.ends = 60;
        rig.network.habits(habits);
        for nonce in 0..30 {
            rig.insert(vec![transaction(1, nonce)]).await;
            rig.sleep(ms(200)).await;
        }
        rig.until("all are applied", |rig| rig.pool.waiting().current() == 0).await;
        rig.reaches(10).await;
        assert!(rig.counted("ended") > 3);
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-34, B14: a preblock that was fixed before the stream was open is read all the same.
#[test]
fn a_preblock_from_before_the_stream_was_open_is_read_all_the_same() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.network.close();
        rig.network.habits(tidewatch_sim::sequencing::Habits {
            unreachable: 100,
            ..tidewatch_sim::sequencing::Habits::GOOD
        });
        rig.until("disconnected", |rig| !rig.status().connected).await;
        let caller = rig.asks(true);
        rig.until("fixed", |rig| rig.network.top() == 1).await;
        assert_eq!(rig.head(), 0);
        rig.network.habits(tidewatch_sim::sequencing::Habits::GOOD);
        assert_eq!(produced(&caller.await.unwrap()), Some((1, 0)));
        rig.stop().await;
    });
}

/// B13: a network that acknowledged a proposal and lost it is given it again.
#[test]
fn a_proposal_that_was_acknowledged_and_lost_is_proposed_again() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(1).await;
        rig.network.hold(true);
        rig.insert(vec![transaction(1, 0)]).await;
        rig.until("acknowledged", |rig| rig.status().stage == Stage::Awaiting).await;
        rig.network.restart(false);
        rig.network.hold(false);
        rig.reaches(3).await;
        rig.check().await;
        rig.stop().await;
    });
}

/// B12, PC-30: a transaction of the delayed inbox is one like others, and comes first.
#[test]
fn a_transaction_of_the_delayed_inbox_comes_first_and_crashes_nobody() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        let delayed = tidewatch_sequencer::Transaction {
            sender: tidewatch_sequencer::Sender::DELAYED,
            ..transaction(0, 0)
        };
        rig.insert(vec![transaction(1, 0), delayed.clone()]).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((1, 2)));
        let block = chain(&*rig.applier).await.remove(0);
        assert_eq!(block.content.transactions[0], delayed);
        assert_eq!(block.reference(), rig.applier.head().block);
        rig.stop().await;
    });
}

/// A transaction that does not open is dropped with a reason, uses its nonce, and holds nobody up.
#[test]
fn a_transaction_that_does_not_open_is_dropped_with_a_reason_and_holds_nobody_up() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        let mut closed = transaction(1, 0);
        closed.payload = bytes::Bytes::from_static(b"!closed");
        rig.insert(vec![closed, transaction(1, 1)]).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((1, 1)));
        let block = chain(&*rig.applier).await.remove(0);
        assert_eq!(block.opened[0], Opened::Dropped("it does not open".into()));
        rig.check().await;
        rig.stop().await;
        let _ = context.child("end");
    });
}

/// A network that calls a number taken, with nothing to show for it, is not believed: what it may have been given stays
/// what is proposed. With other content, the number would be taken for ever.
#[test]
fn a_number_that_is_called_taken_for_no_reason_keeps_its_content() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.network.hold(true);
        rig.network.script(|_, nth| match nth {
            0 => Reaction::Mute,
            1 => Reaction::Taken,
            _ => Reaction::Takes,
        });
        rig.insert(vec![transaction(1, 0)]).await;
        assert_eq!(rig.asks(true).await.unwrap(), Answer::Refused(Refusal::Taken));
        rig.insert(vec![transaction(1, 1)]).await;
        rig.until("it is proposed again", |rig| rig.proposed().len() >= 3).await;
        let proposed = rig.proposed();
        assert!(proposed.iter().all(|it| it.content == proposed[0].content), "{proposed:?}");
        rig.network.hold(false);
        rig.reaches(1).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((2, 1)));
        rig.check().await;
        rig.stop().await;
    });
}

//! The basic protocol, identity, building.

use crate::rig::*;
use commonware_runtime::Clock as _;
use tidewatch_core::Height;
use tidewatch_sequencer::coordinator::{Answer, Config};
use tidewatch_sequencer::{Applier as _, Place, Pool as _};
use tidewatch_sim::sequencing::Reaction;

/// PC-01, B11: one proposal is outstanding, and who asks meanwhile is told so, which is no error.
#[test]
fn one_proposal_is_outstanding_whoever_asks() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.network.hold(true);
        rig.until("a proposal is out", |rig| rig.status().stage == Stage::Awaiting).await;
        let callers = [rig.asks(true), rig.asks(true)];
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Answer::Busy(Height::new(1)));
        }
        rig.sleep(ms(1_500)).await;
        assert_eq!(rig.proposed().len(), 1);
        rig.network.hold(false);
        rig.reaches(3).await;
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-03: a locked pool is an answer, and nothing is taken from it.
#[test]
fn a_locked_pool_is_an_answer_and_nothing_goes_out() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.insert(vec![transaction(1, 0)]).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.pool.lock(true);
        assert_eq!(rig.asks(true).await.unwrap(), Answer::NothingToDo(Nothing::PoolLocked));
        assert_eq!(rig.proposed().len(), 0);
        assert_eq!(rig.pool.place(&transaction(1, 0).id()), Some(Place::Pooled));
        assert_eq!(rig.status().stage, Stage::Idle);
        rig.pool.lock(false);
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((1, 1)));
        rig.stop().await;
    });
}

/// PC-04.
#[test]
fn an_empty_pool_before_its_time_makes_no_block() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        assert_eq!(rig.asks(false).await.unwrap(), Answer::NothingToDo(Nothing::Early));
        assert_eq!(rig.proposed().len(), 0);
        rig.stop().await;
    });
}

/// PC-06, PC-07: a fresh start proposes without a preblock before it, and an empty block each interval.
#[test]
fn a_fresh_start_proposes_and_an_empty_block_comes_each_interval() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(1).await;
        let began = context.current();
        rig.reaches(6).await;
        let took = context.current().duration_since(began).unwrap();
        assert!(took >= secs(5) && took < ms(5_300), "{took:?}");
        assert!(rig.proposed().iter().all(|it| it.content.transactions.is_empty()));
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-09: what comes to an idle loop goes out at once, not after a poll.
#[test]
fn a_transaction_that_comes_to_an_idle_loop_goes_out_at_once() {
    simulate(|context| async move {
        let config = Config { interval: Some(secs(100)), stall: secs(300), ..timed() };
        let rig = Rig::start(&context, config).await;
        rig.reaches(1).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        for nonce in 0..5 {
            rig.insert(vec![transaction(1, nonce)]).await;
            let (began, before) = (context.current(), rig.proposed().len());
            rig.sleep(ms(10)).await;
            assert_eq!(rig.proposed().len(), before + 1, "{:?}", rig.status());
            assert!(context.current().duration_since(began).unwrap() < ms(15));
            rig.reaches(nonce + 2).await;
            rig.sleep(ms(50)).await;
        }
        rig.stop().await;
    });
}

/// The next proposal goes out when the block before it was applied, at once.
#[test]
fn the_next_proposal_goes_out_as_soon_as_the_block_before_it_was_applied() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.stop().await;
        let config =
            Config { interval: Some(secs(100)), stall: secs(300), block_bytes: 60, ..timed() };
        let rig = Rig::start(&context, config).await;
        rig.network.hold(true);
        rig.insert((0..4).map(|nonce| transaction(1, nonce)).collect()).await;
        for number in 1..=4 {
            rig.until("it is out", |rig| rig.proposed().len() as u64 == number).await;
            rig.sleep(ms(300)).await;
            assert_eq!(rig.proposed().len() as u64, number, "none before the block was applied");
            rig.network.decide(number);
            // Some twenty steps of the runtime, of a millisecond each.
            rig.sleep(ms(40)).await;
            assert_eq!(rig.proposed().len() as u64, number + 1, "and then at once");
        }
        rig.reaches(4).await;
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-10, B1: the loop and callers ask in every order, and each gets the answer to its own request.
#[test]
fn each_caller_gets_the_answer_to_its_own_request() {
    for wait in 0..40 {
        simulate(|context| async move {
            let rig = Rig::start(&context, timed()).await;
            rig.reaches(1).await;
            rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
            // Somewhere between idle, the due block, its preblock and its application.
            rig.sleep(ms(930 + wait * 4)).await;
            let answers = [rig.asks(true), rig.asks(false), rig.asks(true)];
            let mut numbers = Vec::new();
            for answer in answers {
                match answer.await.unwrap() {
                    Answer::Produced { block, .. } => numbers.push(block.height.get()),
                    Answer::Busy(_) | Answer::NothingToDo(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(numbers.len() <= 1, "one block has one caller: {numbers:?}");
            let head = rig.head();
            assert!(numbers.iter().all(|number| *number <= head));
            rig.check().await;
            rig.stop().await;
        });
    }
}

/// PC-12, B2: a caller who leaves takes nothing with it.
#[test]
fn a_block_whose_caller_left_is_applied_all_the_same() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.network.hold(true);
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        let caller = rig.asks(true);
        rig.until("a proposal is out", |rig| rig.status().stage == Stage::Awaiting).await;
        caller.abort();
        rig.network.hold(false);
        rig.reaches(1).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((2, 0)));
        rig.stop().await;
    });
}

/// PC-13, B1: the answer counts the transactions, after they were applied.
#[test]
fn the_answer_to_a_request_counts_its_transactions_after_they_were_applied() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.insert((0..3).map(|nonce| transaction(1, nonce)).collect()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        let answer = rig.asks(true).await.unwrap();
        assert_eq!((produced(&answer), rig.head()), (Some((1, 3)), 1));
        rig.stop().await;
    });
}

/// PC-27, B6: what was proposed is pending until it was applied, and gone then.
#[test]
fn what_was_proposed_is_pending_until_it_was_applied() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(1).await;
        rig.network.hold(true);
        let transactions: Vec<_> = (0..5).map(|nonce| transaction(1, nonce)).collect();
        let ids: Vec<_> = transactions.iter().map(|it| it.id()).collect();
        rig.insert(transactions).await;
        rig.until("it is out", |rig| rig.status().attempt.is_some()).await;
        rig.sleep(ms(100)).await;
        let number = rig.pool.outstanding().unwrap().identity.number;
        if rig.pool.outstanding().unwrap().content.transactions.is_empty() {
            rig.network.decide(number.get());
            rig.reaches(number.get()).await;
            rig.sleep(ms(100)).await;
        }
        let number = rig.pool.outstanding().unwrap().identity.number;
        for id in &ids {
            assert_eq!(rig.pool.place(id), Some(Place::Reserved(number)));
        }
        assert_eq!(rig.pool.select(100_000).await, Ok(Vec::new()), "not a second time");
        rig.network.hold(false);
        rig.reaches(number.get()).await;
        rig.sleep(ms(50)).await;
        assert!(ids.iter().all(|id| rig.pool.place(id).is_none()));
        rig.check().await;
        rig.stop().await;
    });
}

/// PC-43, B9: on demand, no block without a request, and a failed one does not block the next.
#[test]
fn on_demand_no_block_comes_without_a_request_and_a_failed_one_blocks_nobody() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.insert(vec![transaction(1, 0)]).await;
        rig.sleep(secs(30)).await;
        assert_eq!((rig.head(), rig.proposed().len()), (0, 0));
        assert!(!rig.status().stalled, "nothing was asked for");
        rig.network.script(|_, nth| match nth {
            0 => Reaction::Refuses("no".into()),
            _ => Reaction::Takes,
        });
        let refused = Answer::Refused(Refusal::Network("no".into()));
        assert_eq!(rig.asks(true).await.unwrap(), refused);
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        assert_eq!(rig.pool.place(&transaction(1, 0).id()), Some(Place::Pooled));
        assert_eq!(produced(&rig.asks(true).await.unwrap()), Some((1, 1)));
        rig.stop().await;
    });
}

/// PC-42: time never goes back, and a block is due by the time of the last one that was applied.
#[test]
fn time_never_goes_back_and_a_block_is_due_by_the_time_of_the_last_one() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(2).await;
        let before = rig.applier.head().time_ms;
        rig.trouble.jump(-500_000);
        rig.reaches(5).await;
        assert!(rig.applier.head().time_ms >= before, "the clock was set back");
        // An attempt that is made again has the time of the first, and the next block is due after that.
        rig.trouble.jump(500_000);
        rig.reaches(6).await;
        rig.network.script(|_, nth| if nth % 2 == 0 { Reaction::Forgets } else { Reaction::Takes });
        rig.reaches(9).await;
        rig.check().await;
        let proposed = rig.proposed();
        for pair in proposed.windows(2) {
            let same = pair[0].identity.number == pair[1].identity.number;
            assert!(!same || pair[0].content == pair[1].content);
            assert!(pair[0].content.time_ms <= pair[1].content.time_ms);
        }
        rig.stop().await;
    });
}

/// The block of a kernel upgrade is empty, with one, two or three blocks before it.
#[test]
fn the_block_of_a_kernel_upgrade_is_empty() {
    for before in 0..4 {
        simulate(|context| async move {
            let upgrades = vec![Upgrade::Number(Height::new(before + 1))];
            let config = Config { upgrades, block_bytes: 60, ..timed() };
            let rig = Rig::start(&context, config).await;
            rig.network.hold(true);
            rig.insert((0..4).map(|nonce| transaction(1, nonce)).collect()).await;
            rig.network.hold(false);
            rig.reaches(6).await;
            let blocks = chain(&*rig.applier).await;
            let empty = blocks[before as usize].content.transactions.is_empty();
            assert!(empty, "block {}: {blocks:?}", before + 1);
            assert_eq!(blocks.iter().map(counts).sum::<usize>(), 4);
            rig.check().await;
            rig.stop().await;
        });
    }
}

/// PC-45, B8: no block for three intervals is an alert, once, which ends with the next block.
#[test]
fn no_block_for_too_long_is_an_alert_that_ends_with_the_next_block() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(1).await;
        rig.network.hold(true);
        rig.sleep(ms(2_900)).await;
        assert!(!rig.status().stalled);
        rig.sleep(ms(300)).await;
        let status = rig.status();
        assert!(status.stalled && status.attempt.is_some(), "{status:?}");
        rig.sleep(secs(10)).await;
        assert_eq!(rig.counted("stalled"), 1, "once");
        rig.network.hold(false);
        rig.reaches(2).await;
        rig.sleep(ms(10)).await;
        assert!(!rig.status().stalled);
        rig.stop().await;
    });
}

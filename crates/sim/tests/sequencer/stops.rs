//! Shutdown.

use crate::rig::*;
use commonware_runtime::Clock as _;
use tidewatch_sequencer::{
    Pool as _,
    coordinator::{Answer, Config},
};

/// PC-39, Q12: what is being applied is finished and published before the end.
#[test]
fn a_stop_finishes_and_publishes_what_is_being_applied() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.network.hold(true);
        rig.trouble.slow_disk(tidewatch_testkit::host::Odds { rate: 1.0, longest: ms(40) });
        let caller = rig.asks(true);
        rig.until("a proposal is out", |rig| rig.status().stage == Stage::Awaiting).await;
        rig.network.decide(1);
        rig.until("applying", |rig| rig.status().stage == Stage::Applying).await;
        let (board, mailbox) = (rig.board.clone(), rig.mailbox.clone());
        let began = context.current();
        rig.stop().await;
        assert!(context.current().duration_since(began).unwrap() < secs(2));
        assert_eq!(board.blocks().len(), 1);
        assert_eq!(produced(&caller.await.unwrap()), Some((1, 0)));
        assert_eq!(mailbox.produce(true).await, Answer::Stopping);
    });
}

/// Q12, Q7: a stop answers who waits, and keeps for the next start what the network may have.
#[test]
fn a_stop_answers_who_waits_and_the_next_start_goes_on_with_what_is_out() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == Stage::Idle).await;
        rig.insert(vec![transaction(1, 0)]).await;
        rig.network.hold(true);
        let caller = rig.asks(true);
        rig.until("a proposal is out", |rig| rig.status().stage == Stage::Awaiting).await;
        let (network, board) = (rig.network.clone(), rig.board.clone());
        let first = rig.pool.outstanding().unwrap();
        rig.stop().await;
        assert_eq!(caller.await.unwrap(), Answer::Stopping);
        // More transactions came: the number is still that content's.
        let rig = Rig::over(&context, network, board, on_demand()).await;
        rig.insert(vec![transaction(1, 1)]).await;
        rig.until("it is proposed again", |rig| rig.proposed().len() == 2).await;
        assert_eq!(rig.proposed()[1], first.again());
        rig.network.hold(false);
        rig.reaches(1).await;
        assert_eq!(counts(&chain(&*rig.applier).await[0]), 1);
        rig.check().await;
        rig.stop().await;
    });
}

/// A publisher that is away holds a stop up for no longer than the grace, and the next start publishes.
#[test]
fn a_publisher_that_is_away_holds_a_stop_up_for_the_grace_and_no_longer() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.board.fails(usize::MAX);
        rig.reaches(3).await;
        let (network, board) = (rig.network.clone(), rig.board.clone());
        let began = context.current();
        rig.stop().await;
        let took = context.current().duration_since(began).unwrap();
        assert!(took <= secs(2), "{took:?}");
        assert_eq!(board.blocks().len(), 0);
        board.fails(0);
        let rig = Rig::over(&context, network, board, Config { interval: None, ..timed() }).await;
        rig.until("published", |rig| rig.board.blocks().len() as u64 == rig.head()).await;
        rig.check().await;
        rig.stop().await;
    });
}

/// Stopped while nothing runs, with a stream that is open or being opened.
#[test]
fn a_stop_of_an_idle_sequencer_is_at_once() {
    for wait in [0, 1, 50, 1_000] {
        simulate(|context| async move {
            let rig = Rig::start(&context, on_demand()).await;
            rig.sleep(ms(wait)).await;
            let began = context.current();
            rig.sequencer().stop();
            rig.stop().await;
            assert!(context.current().duration_since(began).unwrap() < ms(50));
        });
    }
}

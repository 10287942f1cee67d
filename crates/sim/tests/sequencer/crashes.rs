//! Crashes.

use crate::rig::*;
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use std::collections::BTreeSet;
use tidewatch_core::Height;
use tidewatch_sequencer::{Applier as _, Pool as _};
use tidewatch_sim::sequencing::{Memory, Network, spied::Board};

/// PC-37, Q9: what the network fixed while the sequencer was down is applied before anything is proposed.
#[test]
fn what_was_fixed_while_it_was_down_is_applied_before_anything_is_proposed() {
    simulate(|context| async move {
        let rig = Rig::start(&context, timed()).await;
        rig.reaches(2).await;
        rig.until("published", |rig| rig.board.blocks().len() >= 2).await;
        let mut parent = rig.applier.head().block;
        let mut time_ms = rig.applier.head().time_ms;
        let (network, board) = rig.kill().await;
        network.restart(true);
        let before = network.submissions().len();
        for nonce in 0..4 {
            time_ms += 10;
            let fixed = network.rival(parent, content(time_ms, vec![transaction(5, nonce)]));
            parent = tidewatch_core::Block::reference(&tidewatch_sequencer::Block::of(&fixed));
        }
        let rig = Rig::over(&context, network, board, timed()).await;
        let fixed = parent.height.get();
        rig.reaches(fixed).await;
        rig.reaches(fixed + 1).await;
        let proposed = rig.proposed();
        assert!(proposed[before..].iter().all(|it| it.identity.number.get() > fixed));
        assert!(rig.counted("catch_up") >= 1);
        rig.check().await;
        rig.stop().await;
    });
}

/// Nothing is proposed as long as the network does not say where it is.
#[test]
fn nothing_is_proposed_before_the_network_said_where_it_is() {
    simulate(|context| async move {
        let network = Network::new(context.child("network"), 7);
        network.newest_fails(true);
        let rig = Rig::over(&context, network, Board::default(), timed()).await;
        rig.insert(vec![transaction(1, 0)]).await;
        rig.sleep(secs(20)).await;
        assert_eq!(rig.proposed().len(), 0);
        assert_eq!(rig.status().stage, Stage::CatchingUp);
        rig.network.newest_fails(false);
        rig.reaches(1).await;
        rig.stop().await;
    });
}

/// What a test remembers of lives that ended.
struct Past {
    network: Option<Memory>,
    board: Board,
    accepted: u64,
}

/// One life: transactions come, and blocks are made, until change `crash` of the disk never ends.
async fn live(context: &deterministic::Context, past: &mut Past, crash: Option<u64>) -> bool {
    let network = match past.network.take() {
        None => Network::new(context.child("network"), 7),
        Some(memory) => Network::remembering(context.child("network"), memory),
    };
    past.network = Some(network.memory());
    let rig = Rig::over(context, network, past.board.clone(), timed()).await;
    past.accepted = past.accepted.max(rig.pool.nonce(&transaction(1, 0).sender));
    if let Some(crash) = crash {
        rig.trouble.crash_after(crash);
    }
    let trouble = rig.trouble.clone();
    let mut accepted = past.accepted;
    let done = {
        let story = async {
            for _ in 0..3 {
                rig.insert(vec![transaction(1, accepted)]).await;
                accepted += 1;
                let head = rig.head();
                rig.reaches(head + 1).await;
            }
            rig.until("all are applied", |rig| {
                rig.pool.waiting().current() == 0 && rig.pool.outstanding().is_none()
            })
            .await;
        };
        futures::pin_mut!(story);
        let crashed = trouble.crashed();
        futures::pin_mut!(crashed);
        matches!(futures::future::select(story, crashed).await, futures::future::Either::Left(_))
    };
    past.accepted = accepted;
    if done {
        rig.check().await;
        let chain = chain(&*rig.applier).await;
        let numbers: BTreeSet<_> = chain.iter().map(|block| block.identity.number).collect();
        assert_eq!(numbers.len() as u64, rig.applier.head().block.height.get());
        let applied = chain.iter().flat_map(|it| it.content.transactions.iter()).count() as u64;
        assert_eq!(applied, rig.pool.nonce(&transaction(1, 0).sender), "none lost, none doubled");
        assert!(applied >= past.accepted, "what was accepted is applied");
        rig.until("published", |rig| rig.board.blocks().len() as u64 >= applied.min(1)).await;
    }
    done
}

/// PC-36: killed after any change of the disk: each number once, nothing lost or doubled, and it goes on.
#[test]
fn a_crash_at_any_point_leaves_each_number_once_and_no_transaction_lost_or_doubled() {
    let mut completed = false;
    for crash in 0..400 {
        let runtime =
            || deterministic::Config::new().with_seed(crash).with_timeout(Some(secs(100_000)));
        let past = Past { network: None, board: Board::default(), accepted: 0 };
        let ((done, past), left) =
            deterministic::Runner::new(runtime()).start_and_recover(|context| async move {
                let mut past = past;
                let done = live(&context, &mut past, Some(crash)).await;
                (done, past)
            });
        deterministic::Runner::from(left).start(|context| async move {
            let mut past = past;
            assert!(live(&context, &mut past, None).await);
            assert!(Height::new(past.accepted) >= Height::new(3));
        });
        if done {
            completed = true;
            break;
        }
    }
    assert!(completed, "the story ends before a crash");
}

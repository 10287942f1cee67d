//! The reference follower's 16 cases of an executor, by their number there.

use crate::{
    chain::{Fork, Whole},
    client::{Client, Does, status, updated},
    rig::{NEVER, Rig, Setup, run},
};
use std::time::Duration;
use tidewatch_core::FaultKind;
use tidewatch_execution::ExecutionError;

const PAYLOAD: &str = "engine_newPayloadV1";
const FORKCHOICE: &str = "engine_forkchoiceUpdatedV1";

/// Holds every forkchoice until it is released.
fn holds(client: &Client) {
    client.does(|method, _| match method.contains("forkchoice") {
        true => Does::Holds,
        false => Does::Truth,
    });
}

#[test]
fn case_01_a_block_is_given_then_pointed_at_then_acknowledged_and_the_floor_goes_to_the_deepest_candidate()
 {
    run(|context| async move {
        let client = Client::serve();
        let setup = Setup { durable_depth: 1, ..Setup::default() };
        let mut rig = Rig::start(&context, &client, &setup);
        rig.grow(3);
        for place in 1..=3 {
            rig.give(place).await.unwrap();
            assert_eq!(client.tips()[0], Some(rig.at(place)), "acknowledged when it is there");
        }
        assert_eq!(client.methods(), [PAYLOAD, FORKCHOICE].repeat(3));
        // Of 1, 2 and 3, with one block that a crash may cost.
        rig.floor(2).await;
    });
}

#[test]
fn case_02_the_floor_is_as_deep_as_the_client_says_and_the_next_tip_begins_a_new_cycle() {
    run(|context| async move {
        let client = Client::serve();
        let setup = Setup { durable_depth: 2, ..Setup::default() };
        let mut rig = Rig::start(&context, &client, &setup);
        rig.grow(5);
        for place in 1..=3 {
            rig.give(place).await.unwrap();
        }
        rig.floor(1).await;
        for place in 4..=5 {
            rig.give(place).await.unwrap();
            rig.floor(place - 2).await;
        }
    });
}

#[test]
fn case_03_a_block_at_or_below_finalized_does_not_move_the_forkchoice_back() {
    run(|context| async move {
        let client = Client::serve();
        let mut rig = Rig::start(&context, &client, &Setup::default());
        rig.grow(4);
        for place in 1..=4 {
            rig.give(place).await.unwrap();
        }
        for place in [3, 4] {
            let again = rig.target(9, place, None);
            rig.executor.give(vec![rig.payload(place).await], again).await.unwrap();
        }
        assert_eq!(rig.pointed(), [1, 2, 3, 4, 4], "4 is where it stands, 3 is below it");
        let fault = rig.point(10, 2).await.unwrap_err();
        let error = fault.reason::<ExecutionError>();
        assert!(matches!(error, Some(ExecutionError::BelowFinalized { .. })), "{fault}");
    });
}

#[test]
fn case_04_the_floor_waits_until_the_client_has_the_block_for_good() {
    run(|context| async move {
        let client = Client::serve();
        let setup =
            Setup { durable_depth: 3, heartbeat: Duration::from_millis(100), ..Setup::default() };
        let mut rig = Rig::start(&context, &client, &setup);
        rig.grow(1);
        client.change(|world| world.skips = true);
        rig.give(1).await.unwrap();
        let beats = |wanted| move |world: &crate::client::World| world.heads().len() >= wanted;
        client.until("a few heartbeats", beats(4)).await;
        assert_eq!(rig.executor.floor().current(), None);
        // Another one moves it on, and it writes down what is below.
        client.mine(3);
        rig.floor(1).await;
    });
}

#[test]
fn case_05_an_invalid_payload_is_not_acknowledged_ends_the_executor_and_is_kept_as_evidence() {
    run(|context| async move {
        let client = Client::serve();
        let directory = tempfile::tempdir().unwrap();
        let evidence = Some(directory.path().join("evidence"));
        let mut rig = Rig::start(&context, &client, &Setup { evidence, ..Setup::default() });
        rig.grow(2);
        rig.give(1).await.unwrap();
        client.does(|method, _| match method {
            PAYLOAD => Does::Says(status("INVALID", None, Some("invalid state root"))),
            _ => Does::Truth,
        });
        let fault = rig.give(2).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Rejected, "{fault}");
        let Some(ExecutionError::Invalid { block, why, evidence, .. }) = fault.reason() else {
            panic!("{fault}");
        };
        assert_eq!((*block, why.as_str()), (rig.at(2), "invalid state root"));
        let kept = std::fs::read_to_string(evidence.as_ref().unwrap()).unwrap();
        let hash = format!("{:?}", rig.chain[2].hash());
        assert!(kept.contains(&hash) && kept.contains("invalid state root"), "{kept}");
        assert_eq!(client.methods(), [PAYLOAD, FORKCHOICE, PAYLOAD], "no forkchoice after it");
        let again = rig.point(9, 1).await.unwrap_err();
        assert_eq!(again, fault, "whoever comes later is told why");
        assert_eq!(rig.handle.await.unwrap().unwrap_err(), fault);
    });
}

#[test]
fn case_06_a_rejected_forkchoice_is_not_acknowledged_and_ends_the_executor() {
    let invalid = || Does::Says(updated(&status("INVALID", None, Some("links to a bad block"))));
    let refuses: [fn() -> Does; 2] =
        [|| Does::Refuses(-38002, "Invalid forkchoice state"), invalid];
    for refuse in refuses {
        run(|context| async move {
            let client = Client::serve();
            let mut rig = Rig::start(&context, &client, &Setup::default());
            rig.grow(1);
            client.does(move |method, _| match method {
                FORKCHOICE => refuse(),
                _ => Does::Truth,
            });
            let fault = rig.give(1).await.unwrap_err();
            let error = fault.reason::<ExecutionError>();
            assert!(matches!(error, Some(ExecutionError::Rejected { .. })), "{fault}");
            assert_eq!(client.methods(), [PAYLOAD, FORKCHOICE]);
            assert_eq!(rig.handle.await.unwrap().unwrap_err(), fault);
        });
    }
}

#[test]
fn case_07_tips_during_a_forkchoice_in_flight_coalesce_to_the_highest() {
    run(|context| async move {
        let client = Client::serve();
        let mut rig = Rig::start(&context, &client, &Setup::default());
        rig.grow(5);
        rig.knows(1..=5).await;
        holds(&client);
        rig.executor.aim(rig.target(1, 1, None));
        client.until("the first", |world| world.heads().len() == 1).await;
        [2, 3, 4]
            .into_iter()
            .for_each(|place| rig.executor.aim(rig.target(place as u64, place, None)));
        let last = rig.point(5, 5);
        let release = async {
            client.release();
            client.until("the second", |world| world.heads().len() == 2).await;
            client.release();
        };
        let (last, ()) = futures::future::join(last, release).await;
        last.unwrap();
        assert_eq!(rig.pointed(), [1, 5]);
    });
}

#[test]
fn case_08_finalizations_drive_the_forkchoice_by_round_and_a_lower_round_is_ignored_whatever_its_height()
 {
    run(|context| async move {
        let client = Client::serve();
        let mut rig = Rig::start(&context, &client, &Setup::default());
        rig.grow(4);
        rig.knows(1..=4).await;
        rig.point(5, 2).await.unwrap();
        let fault = rig.point(4, 4).await.unwrap_err();
        assert_eq!(fault.reason(), Some(&ExecutionError::Older(rig.at(4))));
        rig.point(6, 3).await.unwrap();
        assert_eq!(rig.pointed(), [2, 3]);
    });
}

#[test]
fn case_09_a_late_older_finalization_does_not_win() {
    run(|context| async move {
        let client = Client::serve();
        let mut rig = Rig::start(&context, &client, &Setup::default());
        rig.grow(4);
        rig.knows(1..=4).await;
        holds(&client);
        rig.executor.aim(rig.target(5, 2, None));
        client.until("it is in flight", |world| world.heads().len() == 1).await;
        rig.executor.aim(rig.target(3, 4, None));
        let next = rig.point(6, 3);
        let release = async {
            client.release();
            client.until("the next", |world| world.heads().len() == 2).await;
            client.release();
        };
        let (next, ()) = futures::future::join(next, release).await;
        next.unwrap();
        assert_eq!(rig.pointed(), [2, 3]);
    });
}

/// A client at a block that says which round it is of.
fn at_round(view: u64) -> Client {
    let client = Client::serve();
    client.add(Whole::genesis().child(Fork::Paris, 0, &view.to_be_bytes()));
    client
}

#[test]
fn case_10_after_a_restart_the_round_of_the_clients_tip_orders_finalizations() {
    run(|context| async move {
        let client = at_round(7);
        let mut rig = Rig::start(&context, &client, &Setup::default());
        rig.grow(3);
        rig.knows(1..=3).await;
        for older in [6, 7] {
            let fault = rig.point(older, 3).await.unwrap_err();
            assert_eq!(fault.reason(), Some(&ExecutionError::Older(rig.at(3))), "{older}");
        }
        rig.point(8, 2).await.unwrap();
        assert_eq!(rig.pointed(), [2]);
    });
}

#[test]
fn case_11_a_tip_without_a_round_is_superseded_by_any_finalization() {
    run(|context| async move {
        let client = Client::serve();
        client.mine(1);
        let mut rig = Rig::start(&context, &client, &Setup::default());
        rig.grow(2);
        rig.knows(1..=2).await;
        rig.point(0, 1).await.unwrap();
        rig.point(1, 2).await.unwrap();
        assert_eq!(rig.pointed(), [1, 2]);
    });
}

#[test]
fn case_12_from_genesis_a_certificate_drives_the_forkchoice_directly() {
    run(|context| async move {
        let client = Client::serve();
        let mut rig = Rig::start(&context, &client, &Setup::default());
        rig.grow(9);
        let syncs = async {
            // It does not know the block, asks its peers, and has all of them a little later.
            client.until("it was tried twice", |world| world.heads().len() >= 2).await;
            rig.chain[1..].iter().for_each(|block| client.add(block.clone()));
        };
        let (pointed, ()) = futures::future::join(rig.point(3, 9), syncs).await;
        pointed.unwrap();
        assert!(client.methods().iter().all(|method| method == FORKCHOICE));
        assert!(rig.pointed().iter().all(|place| *place == 9));
        assert_eq!(client.tips()[0], Some(rig.at(9)));
    });
}

#[test]
fn case_13_the_heartbeat_repeats_the_last_target() {
    run(|context| async move {
        let client = Client::serve();
        let setup = Setup { heartbeat: Duration::from_millis(50), ..Setup::default() };
        let mut rig = Rig::start(&context, &client, &setup);
        rig.grow(2);
        rig.give(1).await.unwrap();
        rig.give(2).await.unwrap();
        let seen = rig.pointed().len();
        client.until("three more", move |world| world.heads().len() >= seen + 3).await;
        assert_eq!(rig.pointed()[seen..seen + 3], [2, 2, 2]);
        let last = client.change(|world| world.calls.last().unwrap().clone());
        let finalized = format!("{:?}", rig.chain[2].hash());
        assert_eq!(last.1[0]["finalizedBlockHash"], finalized, "all of it");
    });
}

#[test]
fn case_14_the_heartbeat_waits_for_a_call_in_flight() {
    run(|context| async move {
        let setup = Setup { heartbeat: Duration::from_millis(50), ..Setup::default() };
        // The other one's heartbeats tell the time.
        let (client, other) = (Client::serve(), Client::serve());
        let _clock = Rig::start(&context, &other, &setup);
        let mut rig = Rig::start(&context, &client, &setup);
        rig.grow(1);
        rig.knows(1..=1).await;
        holds(&client);
        rig.executor.aim(rig.target(1, 1, None));
        let aimed = rig.chain[1].hash();
        client.until("it is in flight", move |world| world.heads().last() == Some(&aimed)).await;
        let (before, beats) = (client.heads().len(), other.heads().len());
        other.until("four beats", move |world| world.heads().len() >= beats + 4).await;
        assert_eq!(client.heads().len(), before, "nothing beside the call in flight");
        client.behaves();
        client.release();
        client.until("beats again", move |world| world.heads().len() >= before + 2).await;
        assert_eq!(client.change(|world| world.running_max), 1);
    });
}

#[test]
fn case_15_a_failure_to_read_the_durable_height_ends_nothing() {
    run(|context| async move {
        let client = Client::serve();
        let mut rig = Rig::start(&context, &client, &Setup::default());
        rig.grow(3);
        rig.give(1).await.unwrap();
        rig.floor(1).await;
        client.does(|method, _| match method {
            "eth_getBlockByNumber" => Does::Refuses(-32603, "the database is closed"),
            _ => Does::Truth,
        });
        rig.give(2).await.unwrap();
        rig.give(3).await.unwrap();
        assert_eq!(rig.executor.floor().current(), Some(rig.at(1)), "it stays");
        client.behaves();
        rig.grow(1);
        rig.give(4).await.unwrap();
        rig.floor(4).await;
    });
}

#[test]
fn case_16_a_start_takes_the_clients_tip_and_sends_nothing_before_the_heartbeat() {
    run(|context| async move {
        let client = Client::serve();
        client.mine(5);
        client.settle(4, 3);
        let [head, safe, finalized] = client.tips();
        let heartbeat = Duration::from_millis(300);
        let _rig = Rig::start(&context, &client, &Setup { heartbeat, ..Setup::default() });
        client.until("the heartbeat", |world| !world.calls.is_empty()).await;
        let (method, params) = client.change(|world| world.calls[0].clone());
        let hash = |block: Option<tidewatch_core::BlockRef>| format!("0x{}", block.unwrap().digest);
        assert_eq!(method, FORKCHOICE);
        assert_eq!(params[0]["headBlockHash"], hash(head));
        assert_eq!(params[0]["safeBlockHash"], hash(safe));
        assert_eq!(params[0]["finalizedBlockHash"], hash(finalized));

        // Without one, a block is the first that it hears.
        let quiet = Client::serve();
        let mut rig = Rig::start(&context, &quiet, &Setup { heartbeat: NEVER, ..Setup::default() });
        rig.grow(1);
        rig.give(1).await.unwrap();
        assert_eq!(quiet.methods(), [PAYLOAD, FORKCHOICE]);
    });
}

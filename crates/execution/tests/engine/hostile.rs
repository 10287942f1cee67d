//! Clients that lie, are silent, or let nobody in.

use crate::{
    client::{Client, Does, right_time, seconds, status, updated},
    rig::{Rig, Setup, run},
};
use std::time::Duration;
use tidewatch_core::{FaultKind, Severity};
use tidewatch_execution::{
    ExecutionError,
    engine::{EngineError, Secret},
};

#[test]
fn a_client_that_says_valid_of_another_block_is_not_believed() {
    run(|context| async move {
        for method in ["engine_newPayloadV1", "engine_forkchoiceUpdatedV1"] {
            let client = Client::serve();
            let mut rig = Rig::start(&context, &client, &Setup::default());
            rig.grow(1);
            let genesis = rig.chain[0].hash();
            client.does(move |called, _| {
                let valid = status("VALID", Some(genesis), None);
                match (called == method, method.contains("forkchoice")) {
                    (false, _) => Does::Truth,
                    (true, false) => Does::Says(valid),
                    (true, true) => Does::Says(updated(&valid)),
                }
            });
            let fault = rig.give(1).await.unwrap_err();
            let (asked, said) = (rig.at(1), rig.at(0).digest);
            assert_eq!(
                fault.reason(),
                Some(&ExecutionError::OtherHead { asked, said }),
                "{method}"
            );
            assert_eq!(fault.severity(), Severity::Invalid);
            client.behaves();
            let target = rig.target(9, 1, None);
            rig.executor.give(vec![rig.payload(1).await], target).await.unwrap();
            assert_eq!(client.tips()[0], Some(rig.at(1)), "it goes on when the client mends");
        }
    });
}

#[test]
fn a_silent_client_costs_no_more_than_the_deadline() {
    run(|context| async move {
        let client = Client::serve();
        let deadline = Duration::from_millis(300);
        let mut rig = Rig::start(&context, &client, &Setup { deadline, ..Setup::default() });
        rig.grow(2);
        rig.give(1).await.unwrap();
        for method in ["engine_newPayloadV1", "engine_forkchoiceUpdatedV1"] {
            client.does(move |called, _| if called == method { Does::Hangs } else { Does::Truth });
            let fault = rig.give(2).await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Timeout, "{fault}");
            assert!(fault.detail.contains("300ms"), "{fault}");
        }
        client.behaves();
        let target = rig.target(9, 2, Some(2));
        rig.executor.give(vec![rig.payload(2).await], target).await.unwrap();
    });
}

#[test]
fn what_the_client_puts_aside_is_tried_again_and_not_acknowledged_before_it_is_done() {
    run(|context| async move {
        for aside in ["SYNCING", "ACCEPTED"] {
            let client = Client::serve();
            let mut rig = Rig::start(&context, &client, &Setup::default());
            rig.grow(2);
            let mut left = 5;
            client.does(move |method, _| {
                if left == 0 || !method.contains("newPayload") {
                    return Does::Truth;
                }
                left -= 1;
                Does::Says(status(aside, None, None))
            });
            rig.give(1).await.unwrap();
            let given = |method: &String| method.contains("newPayload");
            assert_eq!(client.methods().iter().filter(|method| given(method)).count(), 6);

            client.does(move |method, _| match method.contains("newPayload") {
                true => Does::Says(status(aside, None, None)),
                false => Does::Truth,
            });
            let fault = rig.give(2).await.unwrap_err();
            assert_eq!(fault.severity(), Severity::Transient, "{fault}");
            assert!(fault.detail.contains(aside), "{fault}");
            assert_eq!(client.tips()[0], Some(rig.at(1)));
            client.behaves();
            rig.give(2).await.unwrap();
        }
    });
}

#[test]
fn a_client_that_was_started_with_another_secret_is_told_in_words() {
    run(|context| async move {
        let client = Client::serve();
        client.change(|world| world.secret = Some(Secret::new([8; 32])));
        let rig = Rig::start(&context, &client, &Setup::default());
        let fault = rig.engine.chain_info().await.unwrap_err();
        assert_eq!(fault.severity(), Severity::Config, "{fault}");
        let words = "401 Unauthorized: signature is invalid: the secret is another one";
        assert!(fault.detail.starts_with(words), "{fault}");
        client.change(|world| world.secret = Some(Secret::new([7; 32])));
        rig.engine.chain_info().await.unwrap();
    });
}

#[test]
fn a_clock_that_is_off_is_told_with_how_far() {
    run(|context| async move {
        let client = Client::serve();
        client.change(|world| world.secret = Some(Secret::new([7; 32])));
        let rig = Rig::start(&context, &client, &Setup::default());
        for (skew, good) in [(0, true), (-40, true), (40, true), (-600, false), (600, false)] {
            let clock = seconds(&right_time()).checked_add_signed(skew);
            client.change(|world| world.clock = clock);
            let result = rig.engine.chain_info().await;
            if good {
                result.unwrap();
                continue;
            }
            let fault = result.unwrap_err();
            let Some(EngineError::Clock { seconds, ahead, .. }) = fault.reason() else {
                panic!("{fault}");
            };
            assert!((590..=610).contains(seconds), "{fault}");
            assert_eq!(*ahead, skew > 0);
            assert_eq!(fault.severity(), Severity::Transient, "clocks are set right: {fault}");
        }
    });
}

#[test]
fn an_answer_that_is_none_ends_nothing() {
    run(|context| async move {
        let client = Client::serve();
        let mut rig = Rig::start(&context, &client, &Setup::default());
        rig.grow(1);
        let answers = [
            serde_json::json!(null),
            serde_json::json!("VALID"),
            serde_json::json!({ "status": "PERHAPS" }),
            serde_json::json!({ "latestValidHash": null }),
        ];
        for said in answers {
            let says = said.clone();
            client.does(move |method, _| match method.contains("newPayload") {
                true => Does::Says(says.clone()),
                false => Does::Truth,
            });
            let fault = rig.give(1).await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Malformed, "{said}: {fault}");
        }
        client.behaves();
        rig.give(1).await.unwrap();
    });
}

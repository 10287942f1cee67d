//! Endpoints whose answers are sound and of no use to the view.

use super::{ID, node::Node, over, simulate};
use crate::rpc::{Call, Config};
use commonware_runtime::{Clock as _, Supervisor as _, deterministic::Context};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, Source as _, Tier};
use tidewatch_store::Memory;
use tidewatch_stream::{Driver, Mailbox, driver};

/// Follows `nodes` by a driver.
async fn follow(context: &Context, nodes: Vec<Node>) -> Mailbox {
    let source = Arc::new(over(context, nodes, &Config::default()));
    let (view, _) = Memory::new(source.chain_info().await.unwrap());
    let parts = driver::Parts { source, view, monitor: () };
    let (driver, mailbox) = Driver::new(context.child("driver"), parts, driver::Config::default());
    driver.start();
    mailbox
}

async fn sleep(context: &Context, seconds: u64) {
    context.sleep(Duration::from_secs(seconds)).await;
}

fn finalized(mailbox: &Mailbox) -> Option<BlockRef> {
    mailbox.heads().current().watermarks.tips.block(Tier::Finalized)
}

fn asks_for(call: &Call, tag: &str) -> bool {
    call.params.first().and_then(Value::as_str) == Some(tag)
}

/// Says that its latest block is 10, safe 30 and finalized 20.
fn breaks_the_ladder(node: &Node) {
    let heights = [("latest", "0xa"), ("safe", "0x1e"), ("finalized", "0x14")];
    let truth = heights.map(|(tag, height)| {
        let call = Call::new("eth_getBlockByNumber", vec![height.into(), false.into()]);
        (tag, node.truth(&[call]).remove(0))
    });
    node.tamper(move |calls, mut answers| {
        for (call, answer) in calls.iter().zip(&mut answers) {
            for (tag, truth) in &truth {
                if asks_for(call, tag) {
                    *answer = truth.clone();
                }
            }
        }
        Ok(answers)
    });
}

/// Has no block below 30 but genesis.
fn forgets_history(node: &Node) {
    node.tamper(|calls, mut answers| {
        for (call, answer) in calls.iter().zip(&mut answers) {
            let height = call.params.first().and_then(Value::as_str);
            let height = height.and_then(|at| u64::from_str_radix(at.strip_prefix("0x")?, 16).ok());
            if height.is_some_and(|height| (1..30).contains(&height)) {
                *answer = Ok(serde_json::value::RawValue::NULL.to_owned());
            }
        }
        Ok(answers)
    });
}

#[test]
fn an_endpoint_whose_answers_the_view_cannot_use_is_left_for_another_one() {
    for unusable in [breaks_the_ladder, forgets_history] {
        simulate(0, |context| async move {
            let a = Node::new(context.child("a"), "a", ID, 40);
            a.change(|world| (world.safe, world.finalized) = (Some(30), Some(20)));
            let b = a.twin("b");
            unusable(&a);
            let mailbox = follow(&context, vec![a.clone(), b.clone()]).await;
            sleep(&context, 60).await;
            assert_eq!(finalized(&mailbox), Some(b.at(20)));
            assert_eq!(mailbox.heads().current().delivered(), Some(b.tip()));
            let (asked_of_a, asked_of_b) = (a.requests(), b.requests());
            sleep(&context, 60).await;
            assert!(b.requests() > asked_of_b && a.requests() == asked_of_a, "it stays with b");
        });
    }
}

#[test]
fn an_endpoint_that_was_left_is_asked_again_when_the_other_one_is_of_no_use() {
    simulate(0, |context| async move {
        let a = Node::new(context.child("a"), "a", ID, 40);
        a.change(|world| (world.safe, world.finalized) = (Some(30), Some(20)));
        let b = a.twin("b");
        breaks_the_ladder(&a);
        let mailbox = follow(&context, vec![a.clone(), b.clone()]).await;
        sleep(&context, 60).await;
        a.change(|world| {
            world.tamper = None;
            world.extend(5);
            world.finalized = Some(25);
        });
        breaks_the_ladder(&b);
        sleep(&context, 60).await;
        assert_eq!(finalized(&mailbox), Some(a.at(25)));
        assert_eq!(mailbox.heads().current().delivered(), Some(a.tip()));
    });
}

#[test]
fn two_endpoints_of_no_use_take_turns() {
    simulate(0, |context| async move {
        let a = Node::new(context.child("a"), "a", ID, 40);
        a.change(|world| (world.safe, world.finalized) = (Some(30), Some(20)));
        let b = a.twin("b");
        [&a, &b].into_iter().for_each(breaks_the_ladder);
        let mailbox = follow(&context, vec![a.clone(), b.clone()]).await;
        sleep(&context, 600).await;
        assert_eq!(finalized(&mailbox), None);
        let asked = [a.requests(), b.requests()];
        assert!(asked.iter().all(|asked| *asked > 20), "{asked:?}");
        assert!(asked.iter().sum::<usize>() < 600, "with a back-off: {asked:?}");
    });
}

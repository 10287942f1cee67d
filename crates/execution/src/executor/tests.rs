//! The plan, without a client and without a clock. The actor over a client is tested in `tests/engine`.

use super::plan::{Call, Effect, Plan};
use crate::{Aside, ExecutionError, Forkchoice, Order, Payload, Standing, Target, Verdict};
use commonware_utils::NZU32;
use std::time::Duration;
use tidewatch_core::{BlockRef, Digest, Fault, FaultKind, Height};

const fn at(height: u64) -> BlockRef {
    BlockRef::new(Height::new(height), Digest([height as u8; 32]))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Block(u64);

impl Payload for Block {
    fn reference(&self) -> BlockRef {
        at(self.0)
    }

    fn evidence(&self) -> String {
        self.0.to_string()
    }
}

type TestPlan = Plan<Block, u32>;

const fn choice(head: u64, finalized: Option<u64>) -> Forkchoice {
    let finalized = match finalized {
        Some(height) => Some(at(height)),
        None => None,
    };
    Forkchoice { head: at(head), safe: finalized, finalized }
}

const fn target(order: u64, head: u64) -> Target {
    Target { order: Order::version(order), forkchoice: choice(head, None) }
}

const VALID: fn(u64) -> Result<Verdict, Fault> = |height| Ok(Verdict::Valid(at(height).digest));
const SYNCING: Result<Verdict, Fault> = Ok(Verdict::NotYet(Aside::Syncing));

fn away() -> Fault {
    FaultKind::Unreachable.fault("client", "away")
}

fn invalid() -> Result<Verdict, Fault> {
    Ok(Verdict::Invalid { valid: None, why: "bad".into() })
}

/// Who is answered, and whether with success.
fn answered(effect: &Effect<Block, u32>) -> Vec<(u32, bool)> {
    effect.answers.iter().map(|(waiter, answer)| (*waiter, answer.is_ok())).collect()
}

/// A plan for a client that stands at block 10, of which 5 is final.
fn standing(order: Option<Order>) -> TestPlan {
    let mut plan = Plan::new("client".into(), Duration::from_secs(1), NZU32!(3));
    assert_eq!(plan.next(), Some(Call::Standing));
    let forkchoice = choice(10, Some(5));
    assert!(plan.stands(Ok(Standing { forkchoice, order })).answers.is_empty());
    assert_eq!(plan.next(), None, "nothing is sent at a start");
    plan
}

fn next_head(plan: &mut TestPlan) -> Option<(Target, u64)> {
    match plan.next() {
        Some(Call::Point(target)) => Some((target, target.forkchoice.head.height.get())),
        _ => None,
    }
}

#[test]
fn a_target_is_admitted_by_its_order_and_by_what_is_final() {
    // The order of the client's head, what is pointed at, and what becomes of it: nothing is sent, or a head.
    let (old, new) = (Some(Order::version(5)), None);
    let table = [
        (old, target(6, 8), Some(8), None),
        (old, target(4, 20), None, Some(false)),
        (old, target(5, 20), None, Some(false)),
        (old, target(5, 10), None, Some(true)),
        (old, target(6, 4), None, Some(false)),
        (old, target(6, 5), Some(5), None),
        (new, target(0, 8), Some(8), None),
        (new, target(0, 4), None, Some(false)),
        (new, target(9, 20), Some(20), None),
    ];
    for (order, target, head, answer) in table {
        let mut plan = standing(order);
        let effect = plan.point(target, 1);
        assert_eq!(answered(&effect).first().map(|(_, ok)| *ok), answer, "{order:?} {target:?}");
        assert_eq!(next_head(&mut plan).map(|(_, head)| head), head, "{order:?} {target:?}");
    }
}

#[test]
fn what_is_final_stays_final_and_is_safe() {
    let mut plan = standing(None);
    plan.point(target(1, 12), 1);
    let (sent, _) = next_head(&mut plan).unwrap();
    assert_eq!(sent.forkchoice, choice(12, Some(5)));
}

#[test]
fn targets_coalesce_and_each_caller_is_answered_by_the_one_that_stands_for_its_own() {
    let mut plan = standing(None);
    plan.point(target(1, 11), 1);
    let (first, _) = next_head(&mut plan).unwrap();
    for (order, waiter) in [(2, 2), (4, 4), (3, 3)] {
        plan.point(target(order, 10 + order), waiter);
    }
    let effect = plan.pointed(first, VALID(11));
    assert_eq!(answered(&effect), [(1, true)]);
    let (second, head) = next_head(&mut plan).unwrap();
    assert_eq!(head, 14, "2 and 3 are never sent");
    assert_eq!(answered(&plan.pointed(second, VALID(14))), [(2, true), (4, true)]);
    assert_eq!(next_head(&mut plan), None);
}

#[test]
fn a_batch_is_given_in_order_and_acknowledged_when_the_client_stands_at_its_end() {
    let mut plan = standing(None);
    plan.give(vec![Block(11), Block(12)], target(1, 12), 1);
    plan.give(vec![Block(13)], target(2, 13), 2);
    for height in [11, 12] {
        assert_eq!(plan.next(), Some(Call::Give(Block(height))));
        assert!(plan.gave(VALID(height)).answers.is_empty());
    }
    let (pointed, head) = next_head(&mut plan).unwrap();
    assert_eq!(head, 12);
    assert_eq!(answered(&plan.pointed(pointed, VALID(12))), [(1, true)]);
    assert_eq!(plan.next(), Some(Call::Durable));
    assert_eq!(plan.next(), Some(Call::Give(Block(13))));
}

#[test]
fn what_is_put_aside_is_tried_as_often_as_allowed_and_nothing_is_acknowledged() {
    let mut plan = standing(None);
    plan.give(vec![Block(11)], target(1, 11), 1);
    for pause in [true, true, false] {
        // The heartbeat is about targets: it does not make a block wait for ever.
        plan.beat();
        assert_eq!(plan.next(), Some(Call::Give(Block(11))));
        let effect = plan.gave(SYNCING);
        assert_eq!((effect.pause, answered(&effect).is_empty()), (pause, pause));
    }
    assert!(matches!(plan.next(), Some(Call::Beat(_))), "the batch is dropped");

    plan.point(target(2, 12), 2);
    for told in [vec![], vec![], vec![(2, false)]] {
        let (pointed, _) = next_head(&mut plan).unwrap();
        let effect = plan.pointed(pointed, SYNCING);
        assert_eq!((effect.pause, answered(&effect)), (true, told));
    }
    assert_eq!(plan.next(), None, "it waits for the heartbeat");
    plan.beat();
    let (pointed, head) = next_head(&mut plan).unwrap();
    assert_eq!(head, 12, "the heartbeat is the newest target");
    assert!(plan.pointed(pointed, VALID(12)).answers.is_empty());
}

#[test]
fn a_head_that_cannot_be_reached_is_in_the_way_of_no_block() {
    let mut plan = standing(None);
    plan.give(vec![Block(11), Block(12)], target(12, 12), 1);
    for height in [11, 12] {
        assert_eq!(plan.next(), Some(Call::Give(Block(height))));
        plan.gave(VALID(height));
    }
    // The client lost both with its process, and stands at 10.
    let (lost, _) = next_head(&mut plan).unwrap();
    assert!(plan.pointed(lost, SYNCING).pause);
    // Tried in vain, it comes after what waits, but a lower batch is not done before it.
    plan.give(vec![Block(11)], target(11, 11), 2);
    assert_eq!(plan.next(), Some(Call::Give(Block(11))));
    assert!(plan.gave(VALID(11)).answers.is_empty());
    for answer in [vec![], vec![(1, false), (2, false)]] {
        assert_eq!(next_head(&mut plan).map(|(_, head)| head), Some(12));
        assert_eq!(answered(&plan.pointed(lost, SYNCING)), answer);
    }
    // Given up on, it holds up nobody: the blocks that it lacks are given, and then it is tried at once.
    assert_eq!(next_head(&mut plan), None);
    plan.give(vec![Block(11)], target(11, 11), 3);
    assert_eq!(plan.next(), Some(Call::Give(Block(11))));
    assert_eq!(answered(&plan.gave(VALID(11))), [(3, true)]);
    plan.give(vec![Block(12)], target(12, 12), 4);
    assert_eq!(plan.next(), Some(Call::Give(Block(12))));
    assert!(plan.gave(VALID(12)).answers.is_empty());
    assert_eq!(next_head(&mut plan).map(|(_, head)| head), Some(12));
    assert_eq!(answered(&plan.pointed(lost, VALID(12))), [(4, true)]);
}

#[test]
fn a_client_that_is_away_costs_those_who_wait_their_answer_and_a_target_is_tried_again() {
    let mut plan: TestPlan = Plan::new("client".into(), Duration::from_secs(1), NZU32!(3));
    plan.point(target(1, 11), 1);
    plan.give(vec![Block(11)], target(2, 11), 2);
    let effect = plan.stands(Err(away()));
    assert_eq!((effect.pause, answered(&effect)), (true, vec![(1, false), (2, false)]));
    assert_eq!(plan.next(), Some(Call::Standing));

    let mut plan = standing(None);
    plan.point(target(1, 11), 1);
    let (pointed, _) = next_head(&mut plan).unwrap();
    let effect = plan.pointed(pointed, Err(away()));
    assert_eq!((effect.pause, answered(&effect)), (true, vec![(1, false)]));
    let (pointed, _) = next_head(&mut plan).unwrap();
    assert!(plan.pointed(pointed, VALID(11)).answers.is_empty());
    assert_eq!(plan.next(), Some(Call::Durable));
    plan.beat();
    assert_eq!(plan.next(), Some(Call::Beat(choice(11, Some(5)))));
    plan.beaten(choice(11, Some(5)), Err(away()));
}

#[test]
fn what_the_client_refuses_for_good_ends_everything_with_what_it_was_given() {
    let mut plan = standing(None);
    plan.give(vec![Block(11)], target(1, 11), 1);
    plan.point(target(0, 12), 2);
    let (pointed, _) = next_head(&mut plan).unwrap();
    let (error, payload) = plan.pointed(pointed, invalid()).end.unwrap();
    assert!(matches!(error, ExecutionError::Rejected { .. }) && payload.is_none(), "{error}");

    let mut plan = standing(None);
    plan.give(vec![Block(11)], target(1, 11), 1);
    let (error, payload) = plan.gave(invalid()).end.unwrap();
    assert!(matches!(error, ExecutionError::Invalid { .. }), "{error}");
    assert_eq!(payload, Some(Block(11)));
    let mut plan = standing(None);
    assert!(plan.beaten(choice(10, Some(5)), invalid()).end.is_some());
}

#[test]
fn a_client_that_speaks_of_another_block_is_not_believed() {
    let mut plan = standing(None);
    plan.give(vec![Block(11)], target(1, 11), 1);
    assert_eq!(answered(&plan.gave(VALID(10))), [(1, false)]);
    plan.point(target(2, 12), 2);
    let (pointed, _) = next_head(&mut plan).unwrap();
    let effect = plan.pointed(pointed, VALID(11));
    assert_eq!((effect.pause, answered(&effect)), (true, vec![(2, false)]));
}

#[test]
fn the_floor_is_asked_for_after_each_accepted_target_while_anything_waits() {
    let mut plan = standing(None);
    let forkchoice = choice(12, Some(8));
    plan.point(Target { order: Order::version(1), forkchoice }, 1);
    let (pointed, _) = next_head(&mut plan).unwrap();
    plan.pointed(pointed, VALID(12));
    assert_eq!(plan.next(), Some(Call::Durable));
    assert_eq!(plan.survives(Err(away())).floor, None);
    assert_eq!(plan.next(), None);
    plan.beat();
    assert_eq!(plan.next(), Some(Call::Beat(forkchoice)));
    plan.beaten(forkchoice, VALID(12));
    assert_eq!(plan.next(), Some(Call::Durable));
    assert_eq!(plan.survives(Ok(Some(Height::new(8)))).floor, Some(at(8)));
    plan.beat();
    plan.next();
    plan.beaten(forkchoice, VALID(12));
    assert_eq!(plan.next(), None, "nothing waits");
}

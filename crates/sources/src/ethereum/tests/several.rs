//! Several endpoints, and one address with several nodes behind it.

use super::{Follower, ID, node::Node, over, scripted, simulate};
use crate::{
    ethereum::EthereumSource,
    rpc::{Config, RpcError},
};
use commonware_runtime::{Clock as _, Supervisor as _, deterministic::Context};
use commonware_utils::sync::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidewatch_core::{Contact, FaultKind, Monitor, Source as _, Tier};

fn trio(context: &Context, blocks: u64) -> [Node; 3] {
    let a = Node::new(context.child("a"), "a", ID, blocks);
    let (b, c) = (a.twin("b"), a.twin("c"));
    [a, b, c]
}

fn down(node: &Node) {
    node.fail(FaultKind::Unreachable.fault("node", "down"));
}

#[test]
fn one_endpoint_is_asked_until_it_fails_and_then_the_next() {
    simulate(0, |context| async move {
        let nodes = trio(&context, 40);
        let [a, b, c] = &nodes;
        let source = over(&context, nodes.to_vec(), &Config::default());
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        assert_eq!([a, b, c].map(|node| node.requests() > 0), [true, false, false]);
        down(a);
        nodes.iter().for_each(|node| node.change(|world| world.extend(3)));
        follower.pass().await;
        follower.assert_at(b).await;
        let asked = a.requests();
        for _ in 0..5 {
            follower.pass().await;
        }
        assert_eq!(a.requests(), asked, "it rests");
        assert_eq!(c.requests(), 0);
        down(b);
        down(c);
        assert!(follower.source.snapshot().await.is_err());
        a.change(|world| world.tamper = None);
        follower.pass().await;
        follower.assert_at(a).await;
    });
}

#[test]
fn a_silent_endpoint_costs_its_share_of_the_deadline_once() {
    simulate(0, |context| async move {
        let nodes = trio(&context, 40);
        nodes[0].change(|world| world.latency = Duration::from_secs(3_600));
        let source = over(&context, nodes.to_vec(), &Config::default());
        let began = context.current();
        let mut follower = Follower::start(source).await;
        for _ in 0..6 {
            follower.pass().await;
        }
        follower.assert_at(&nodes[1]).await;
        let took = context.current().duration_since(began).unwrap();
        let share = Config::default().request_timeout / 3;
        assert!(took >= share && took < share * 2, "{took:?}");
        assert_eq!(nodes[0].requests(), 0, "no request of it was ever answered");
    });
}

/// An endpoint, and what became of a request.
type Outcome = (String, Option<FaultKind>);

/// How often, and how long it took at the most.
#[derive(Default)]
struct Contacts(Mutex<BTreeMap<Outcome, (u64, Duration)>>);

impl Monitor for Contacts {
    fn contact(&self, contact: &Contact<'_>) {
        let mut seen = self.0.lock();
        let (count, longest) = seen.entry((contact.upstream.into(), contact.failed)).or_default();
        (*count, *longest) = (*count + 1, contact.took.max(*longest));
    }
}

#[test]
fn every_request_is_told_of_with_the_endpoint_and_what_became_of_it() {
    simulate(0, |context| async move {
        let nodes = trio(&context, 40);
        down(&nodes[0]);
        nodes[1].change(|world| world.latency = Duration::from_secs(3_600));
        nodes[2].change(|world| world.latency = Duration::from_millis(40));
        let (config, contacts) = (Config::default(), Arc::new(Contacts::default()));
        let child = context.child("source");
        let source = EthereumSource::new(child, nodes.to_vec(), contacts.clone(), &config).unwrap();
        let given_up = commonware_macros::select! {
            _ = source.chain_info() => false,
            () = context.sleep(Duration::from_millis(100)) => true,
        };
        assert!(given_up);
        source.chain_info().await.unwrap();
        source.snapshot().await.unwrap();
        let seen = contacts.0.lock();
        let of = |name: &str, failed| seen.get(&(name.to_owned(), failed)).copied();
        let (times, answered) = of("a", Some(FaultKind::Unreachable)).unwrap();
        assert_eq!(times, 1, "then it rests");
        let (times, waited) = of("b", Some(FaultKind::Timeout)).unwrap();
        assert_eq!((times, answered + waited), (1, Duration::from_millis(100)), "it was given up");
        let (times, took) = of("c", None).unwrap();
        assert_eq!((times as usize, took), (nodes[2].requests(), Duration::from_millis(40)));
        assert_eq!(seen.len(), 3, "{seen:?}");
    });
}

#[test]
fn whoever_does_not_wait_for_an_endpoint_is_sent_to_another() {
    simulate(0, |context| async move {
        let nodes = trio(&context, 40);
        nodes[0].change(|world| world.latency = Duration::from_secs(3_600));
        let source = over(&context, nodes.to_vec(), &Config::default());
        let given_up = commonware_macros::select! {
            _ = source.chain_info() => false,
            () = context.sleep(Duration::from_millis(100)) => true,
        };
        assert!(given_up);
        let began = context.current();
        source.chain_info().await.unwrap();
        assert!(context.current().duration_since(began).unwrap() < Duration::from_secs(1));
    });
}

#[test]
fn an_endpoint_of_another_chain_is_refused_and_the_others_are_followed() {
    simulate(0, |context| async move {
        let [a, b, _] = trio(&context, 40);
        let stranger = Node::new(context.child("stranger"), "stranger", 1, 90);
        let source =
            over(&context, vec![a.clone(), stranger.clone(), b.clone()], &Config::default());
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        down(&a);
        follower.pass().await;
        follower.assert_at(&b).await;
        assert_eq!(stranger.requests(), 2, "asked which chain it is of, twice");
        assert_eq!(follower.source.work().refusals.get("wrong_chain"), Some(&1));
    });
}

#[test]
fn a_node_that_became_one_of_another_chain_is_told_from_one_that_answered_for_it_once() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 40, &Config::default());
        let ours = source.chain_info().await.unwrap();
        let stranger = Node::new(context.child("stranger"), "stranger", 1, 90);
        let (mut first, other) = (true, stranger.clone());
        node.tamper(move |calls, truth| {
            Ok(if std::mem::take(&mut first) { other.truth(calls) } else { truth })
        });
        assert_eq!(source.chain_info().await.unwrap(), ours, "a proxy sent us elsewhere once");
        node.tamper(move |calls, _| Ok(stranger.truth(calls)));
        let theirs = source.chain_info().await.unwrap();
        assert_eq!(theirs.id.as_str(), "eth:1");
        let fault = source.snapshot().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongChain, "{fault}");
        assert!(fault.detail.contains("eth:1") && fault.detail.contains("eth:31337"), "{fault}");
    });
}

/// Nothing fails meanwhile: a connection is made again in silence, and this one leads elsewhere.
#[test]
fn a_chain_with_another_genesis_behind_the_same_address_takes_nothing_back() {
    for finalized in [0, 20] {
        simulate(0, |context| async move {
            let (node, source) = scripted(&context, 40, &Config::default());
            node.change(|world| (world.safe, world.finalized) = (Some(30), Some(finalized)));
            let mut follower = Follower::start(source).await;
            follower.pass().await;
            let before = follower.watermarks().await;
            let other = Node::new(context.child("other"), "other", 1, 60);
            node.tamper(move |calls, _| Ok(other.truth(calls)));
            let fault = follower.refused().await;
            assert_eq!(fault.kind, FaultKind::WrongChain, "{fault}");
            assert_eq!(follower.watermarks().await, before);
        });
    }
}

#[test]
fn an_endpoint_that_lied_is_not_asked_next() {
    simulate(0, |context| async move {
        let [a, b, _] = trio(&context, 40);
        let source = over(&context, vec![a.clone(), b.clone()], &Config::default());
        let mut follower = Follower::start(source).await;
        follower.source.snapshot().await.unwrap();
        a.tamper(move |_, mut answers| {
            answers.reverse();
            Ok(answers)
        });
        let heights = [3, 4, 5].map(tidewatch_core::Height::new);
        let fault = follower.source.digests(a.tip(), &heights).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongPosition, "{fault}");
        assert_eq!(b.requests(), 0);
        follower.pass().await;
        follower.assert_at(&b).await;
    });
}

/// Within a request that is answered otherwise, as by a node whose client has asked too often.
#[test]
fn an_endpoint_that_cannot_answer_a_call_is_not_asked_next() {
    simulate(0, |context| async move {
        let [a, b, _] = trio(&context, 40);
        let source = over(&context, vec![a.clone(), b.clone()], &Config::default());
        let mut follower = Follower::start(source).await;
        a.tamper(|_, mut answers| {
            let message = "daily request count exceeded".into();
            answers[0] = Err(RpcError { code: -32005, message });
            Ok(answers)
        });
        follower.pass().await;
        follower.assert_at(&b).await;
    });
}

/// A load balancer in front of nodes at 100, 98 and 95: which one answers is chance.
#[test]
fn a_balancer_in_front_of_nodes_that_lag_is_no_reorg() {
    for seed in 0..32_u64 {
        simulate(seed, |context| async move {
            let front = Node::new(context.child("front"), "front", ID, 95);
            let behind = [front.twin("far"), front.twin("near")];
            front.change(|world| world.extend(5));
            behind[1].change(|world| world.extend(3));
            let mut turn = seed;
            front.tamper(move |calls, truth| {
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                Ok(match (turn >> 33) % 3 {
                    0 => truth,
                    other => behind[other as usize - 1].truth(calls),
                })
            });
            let source = over(&context, vec![front.clone()], &Config::default());
            let chain_info = source.chain_info().await.unwrap();
            let mut highest = 0;
            for _ in 0..20 {
                let snapshot = source.snapshot().await.unwrap();
                let height = snapshot.tips.block(Tier::Proposed).unwrap().height.get();
                assert!(height >= highest, "{height} after {highest} of {}", chain_info.id);
                highest = height;
            }
            assert_eq!(highest, 100);
        });
    }
}

#[test]
fn a_chain_that_became_shorter_is_believed_after_a_while() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 40, &Config::default());
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        node.change(|world| world.reorg(7, 0));
        let began = context.current();
        let Config { lower_max, lower_pause, .. } = Config::default();
        let cost = follower.pass().await;
        assert_eq!(cost, u64::from(lower_max) + 2, "the second snapshot of a prune is not lower");
        let took = context.current().duration_since(began).unwrap();
        assert!(took < lower_pause * (lower_max + 1), "{took:?}");
        follower.assert_at(&node).await;
        assert_eq!(follower.pass().await, 1);
    });
}

#[test]
fn of_two_endpoints_the_one_that_does_not_lag_is_followed() {
    simulate(0, |context| async move {
        let [a, b, _] = trio(&context, 40);
        let source = over(&context, vec![a.clone(), b.clone()], &Config::default());
        let mut follower = Follower::start(source).await;
        [&a, &b].into_iter().for_each(|node| node.change(|world| world.extend(9)));
        follower.pass().await;
        // The first one was replaced by one that has yet to come as far.
        a.change(|world| world.canonical.truncate(30));
        follower.pass().await;
        follower.assert_at(&b).await;
        assert_eq!(follower.pass().await, 1, "the other one is asked now");
    });
}

#[test]
fn requests_beyond_the_budget_wait() {
    simulate(0, |context| async move {
        let config = Config {
            requests_per_second: std::num::NonZeroU32::new(5).unwrap(),
            requests_burst: std::num::NonZeroU32::new(10).unwrap(),
            ..Config::default()
        };
        let (_, source) = scripted(&context, 40, &config);
        let began = context.current();
        for _ in 0..60 {
            source.snapshot().await.unwrap();
        }
        let took = context.current().duration_since(began).unwrap();
        // 61 requests, 10 of them at once.
        assert!(took > Duration::from_secs(10) && took < Duration::from_secs(11), "{took:?}");
    });
}

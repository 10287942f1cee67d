//! A sentinel over the recorded network, which goes on slot by slot.

use super::replay::SLOTS;
use super::*;
use crate::rpc::tests::{run as run_tokio, script::Script};
use commonware_runtime::{Clock as _, tokio};
use commonware_utils::{NZUsize, sync::Mutex};
use std::sync::OnceLock;
use tidewatch_core::Running;
use tidewatch_sentinel::{
    Config as SentinelConfig, Event, Judgement, Mailbox, NotJudged, Output, Parts, Proposal,
    Sentinel, SlotReport,
};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

struct Nowhere;

impl Output for Nowhere {
    async fn give(&mut self, _: &Event) -> Result<(), CoreFault> {
        Ok(())
    }
}

/// A sentinel that watches the network over sockets.
struct Watched {
    context: tokio::Context,
    network: Replay,
    mailbox: Mailbox,
    sentinel: Running,
    listener: Running,
}

impl Watched {
    async fn start(context: tokio::Context, network: Replay) -> Self {
        let side = |is_l1| {
            let network = network.clone();
            Script::new(move |method, params| network.answer(is_l1, method, params))
        };
        let node = crate::aztec::endpoint(&format!("aztec+http://{}", side(false).serve().await));
        let l1 = layer_1(&format!("http://{}", side(true).serve().await));
        let later = Arc::new(OnceLock::<Mailbox>::new());
        let hand_in = later.clone();
        let hand_in = Box::new(move |observation| {
            if let Some(mailbox) = hand_in.get() {
                let _ = mailbox.observe(observation);
            }
        });
        let (node, l1) = (node.unwrap(), l1.unwrap());
        let context_of = context.child("validators");
        let config = Config::default();
        let parts = open(context_of, &node, &l1, Arc::new(()), &config, hand_in).await.unwrap();
        let Validators { chain_info, canonical, committees, observer, mut listener, .. } = parts;
        listener.interval = Duration::from_millis(10);
        let config = SentinelConfig {
            interval: Duration::from_millis(20),
            lag: 1,
            ahead: 64,
            patience: 4,
            ..SentinelConfig::new(chain_info.id, "watched", NZUsize!(8))
        };
        let parts = Parts { observer, canonical, committees, output: Nowhere };
        let opened = Sentinel::open(context.child("sentinel"), parts, config).await;
        let (sentinel, mailbox) = opened.unwrap();
        later.set(mailbox.clone()).unwrap();
        let (sentinel, listener) = (Running::start(sentinel), Running::start(listener));
        Self { context, network, mailbox, sentinel, listener }
    }

    async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        let deadline = self.context.current() + LIMIT;
        while !done().await {
            assert!(self.context.current() < deadline, "{what}");
            self.context.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Goes on to `slot`, and waits until all is recorded that is due by then.
    async fn go(&self, slot: u64) {
        self.network.go(slot);
        let due = Slot(slot.saturating_sub(3));
        self.until(&format!("slot {due} is recorded"), async || {
            self.mailbox.status().await.unwrap().processed >= Some(due)
        })
        .await;
    }

    async fn slots(&self) -> Vec<SlotReport> {
        let (first, last) = self.mailbox.status().await.unwrap().kept.unwrap();
        self.mailbox.slots((first..=last).into()).await.unwrap()
    }

    async fn stop(self) {
        self.mailbox.stop();
        self.listener.stop();
        self.listener.await.unwrap();
        self.sentinel.await.unwrap();
    }
}

/// The network from slot 74 on, until the last slot that was recorded is judged.
async fn watch(context: tokio::Context, network: Replay) -> Watched {
    let watched = Watched::start(context, network).await;
    watched
        .until("watching begins", async || {
            watched.mailbox.status().await.unwrap().initial.is_some()
        })
        .await;
    let initial = watched.mailbox.status().await.unwrap().initial.unwrap().get();
    assert!(initial < 76, "watching begins after slot {initial}");
    for slot in (initial + 1)..=84 {
        if slot > initial + 3 {
            watched.go(slot).await;
        } else {
            watched.network.go(slot);
        }
    }
    watched
}

#[test]
fn the_one_that_ran_nowhere_is_named_and_nobody_else() {
    run_tokio(|context| async move {
        let watched = watch(context, Replay::at(75)).await;
        let mut judged = 0;
        for report in watched.slots().await {
            let slot = report.slot.get();
            let Judgement::Judged { proposer, proposal, attested, missed, contradicted } =
                report.judgement
            else {
                panic!("{report:?}");
            };
            judged += 1;
            assert_eq!(contradicted, []);
            if SLOTS.contains(&slot) {
                assert_eq!(proposal, Proposal::Mined, "slot {slot}");
                assert_eq!(missed, [id(ABSENT)], "slot {slot}");
                assert_eq!(attested.len(), 2, "the third of three is the proposer");
                assert_ne!(proposer, id(ABSENT));
            } else if slot <= 81 {
                assert_eq!(proposal, Proposal::BlocksMissed, "slot {slot}");
                assert_eq!(proposer, id(ABSENT), "slot {slot}");
                assert_eq!(missed, [], "nobody could attest to anything");
            }
        }
        assert!(judged >= 5, "{judged}");
        watched.stop().await;
    });
}

#[test]
fn where_a_node_does_not_say_what_it_heard_nobody_is_absent() {
    run_tokio(|context| async move {
        let network = Replay::at(75);
        network.tamper(|method, _, answer| match method {
            "p2p_getCheckpointAttestationsForSlot" => {
                Err(RpcError { code: -32_601, message: format!("Method not found: {method}") })
            }
            _ => answer,
        });
        let watched = watch(context, network).await;
        for report in watched.slots().await {
            match report.judgement {
                Judgement::Judged { proposal, attested, missed, .. } => {
                    assert!(SLOTS.contains(&report.slot.get()));
                    assert_eq!((proposal, attested.len()), (Proposal::Mined, 2));
                    assert_eq!(missed, [], "its signature may have been dropped");
                }
                other => {
                    assert!(!SLOTS.contains(&report.slot.get()));
                    assert_eq!(other, Judgement::NotJudged { reason: NotJudged::Missed });
                }
            }
        }
        watched.stop().await;
    });
}

#[test]
fn a_node_that_stays_behind_makes_slots_not_judged_and_nobody_absent() {
    run_tokio(|context| async move {
        let watched = watch_until_behind(context).await;
        let reports = watched.slots().await;
        let not = reports.iter().filter(|report| {
            report.judgement == Judgement::NotJudged { reason: NotJudged::OutOfStep }
        });
        assert!(not.count() >= 1, "{reports:?}");
        for report in reports.iter().filter(|report| report.slot > Slot(77)) {
            assert!(!matches!(report.judgement, Judgement::Judged { .. }), "{report:?}");
        }
        watched.stop().await;
    });
}

/// From slot 78 on the node takes in nothing.
async fn watch_until_behind(context: tokio::Context) -> Watched {
    let network = Replay::at(75);
    let watched = Watched::start(context, network.clone()).await;
    watched
        .until("watching begins", async || {
            watched.mailbox.status().await.unwrap().initial.is_some()
        })
        .await;
    let behind = Arc::new(Mutex::new(0_u64));
    for slot in 76..=90 {
        if let 78 | 80 | 81 = slot {
            *behind.lock() += 1;
            network.stay_behind(*behind.lock());
        }
        network.go(slot);
        watched
            .until("the slot has passed", async || {
                watched.mailbox.status().await.unwrap().passed >= Some(Slot(slot - 1))
            })
            .await;
    }
    watched
        .until("slot 80 is recorded", async || {
            watched.mailbox.status().await.unwrap().processed >= Some(Slot(80))
        })
        .await;
    watched
}

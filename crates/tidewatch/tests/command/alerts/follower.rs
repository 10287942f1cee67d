//! A follower, its store and its consumers: the real ones, of a scripted source, in the deterministic runtime.

use super::simulate;
use crate::support::rules::Recording;
use commonware_runtime::{Clock as _, Metrics as _, Supervisor as _, deterministic::Context};
use commonware_utils::NZUsize;
use futures::future::pending;
use std::{future::Future, sync::Arc, time::Duration};
use tidewatch_core::{
    Ack, Change, Consumer, Fault, FaultKind, LocalView as _, Record, Running, Tier, Tip,
};
use tidewatch_node::{Attachment, Config, Follower};
use tidewatch_store::{Config as StoreConfig, Reader, Store};
use tidewatch_stream::{
    Delivery,
    delivery::{self, Parts},
};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::{Call, ScriptedSource},
};

/// Blocks that are not final yet.
const OPEN: u64 = 50;

/// A follower that Prometheus scrapes.
struct Watched {
    context: Context,
    chain: Chain,
    source: ScriptedSource,
    height: u64,
    finalized: u64,
    follower: Follower<Context, Reader<Context, TestBlock>>,
    recording: Recording,
}

impl Watched {
    /// One that has gone well for a while.
    async fn start(context: Context) -> Self {
        let named = context.child("tidewatch");
        let (chain, height) = (Chain::new('a', 20_000), OPEN + 10);
        let source = ScriptedSource::new(&chain, [height, 0, 0, height - OPEN]);
        let config = StoreConfig::new(chain.chain_info(), ());
        let (view, log) = Store::open(named.child("store"), config).await.unwrap();
        let config = Config {
            source: Arc::new(source.clone()),
            view,
            log,
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(named.child("follower"), config);
        let (finalized, recording) = (height - OPEN, Recording::default());
        let mut watched = Self { context, chain, source, height, finalized, follower, recording };
        watched.minutes(20, Self::grows).await;
        watched.recording.fires(&[(watched.recording.minute(), &[])]);
        watched
    }

    /// So many minutes, with what happens every [`STEP`](super::STEP).
    async fn minutes(&mut self, minutes: usize, mut happens: impl FnMut(&mut Self)) {
        let (context, mut recording) =
            (self.context.child("minutes"), std::mem::take(&mut self.recording));
        super::minutes(&context, &mut recording, minutes, || happens(self)).await;
        self.recording = recording;
    }

    fn grows(&mut self) {
        self.height += 1;
        self.finalized = self.height - OPEN;
        self.stands();
    }

    fn grows_without_finality(&mut self) {
        self.height += 1;
        self.stands();
    }

    fn stands(&mut self) {
        self.source.stand(&self.chain, [self.height, 0, 0, self.finalized]);
    }

    fn minute(&self) -> usize {
        self.recording.minute()
    }
}

fn watched<F: Future<Output = ()>>(test: impl FnOnce(Watched) -> F) {
    simulate(|context| async move { test(Watched::start(context).await).await });
}

#[test]
fn a_source_that_does_not_answer_any_more() {
    watched(|mut watched| async move {
        let began = watched.minute();
        watched.source.chaos(Some(Box::new(|_, _| Some(FaultKind::Unreachable))));
        watched.minutes(60, |_| ()).await;
        let all = [
            "TidewatchFaults",
            "TidewatchFinalityStalled",
            "TidewatchNoBlocks",
            "TidewatchNoContact",
        ];
        watched.recording.fires(&[
            (began + 1, &[]),
            (began + 4, &["TidewatchNoContact"]),
            (began + 12, &["TidewatchNoBlocks", "TidewatchNoContact"]),
            (began + 59, &all),
        ]);
        // It comes back.
        watched.source.chaos(None);
        watched.minutes(20, Watched::grows).await;
        watched.recording.fires(&[(watched.minute(), &[])]);
    });
}

#[test]
fn a_node_whose_blocks_are_refused_again_and_again() {
    watched(|mut watched| async move {
        let began = watched.minute();
        watched.source.chaos(Some(Box::new(|_, call| {
            matches!(call, Call::Blocks { .. }).then_some(FaultKind::Malformed)
        })));
        watched.minutes(40, Watched::grows).await;
        watched
            .recording
            .fires(&[(began + 4, &[]), (began + 30, &["TidewatchFaults", "TidewatchNoBlocks"])]);
    });
}

#[test]
fn a_chain_without_new_blocks() {
    watched(|mut watched| async move {
        let began = watched.minute();
        watched.minutes(60, Watched::stands).await;
        let both: &[&str] = &["TidewatchFinalityStalled", "TidewatchNoBlocks"];
        watched.recording.fires(&[
            (began + 5, &[]),
            (began + 15, &["TidewatchNoBlocks"]),
            (began + 59, both),
        ]);
    });
}

#[test]
fn blocks_that_do_not_become_final() {
    watched(|mut watched| async move {
        let began = watched.minute();
        watched.minutes(60, Watched::grows_without_finality).await;
        watched.recording.fires(&[(began + 25, &[]), (began + 59, &["TidewatchFinalityStalled"])]);
    });
}

#[test]
fn a_node_of_another_chain_says_what_is_final() {
    watched(|mut watched| async move {
        let began = watched.minute();
        watched.chain = watched.chain.fork(watched.finalized - 5, 'b', 20_000);
        watched.minutes(3, Watched::grows).await;
        // What was open went away too.
        watched.recording.fires(&[(began + 2, &["TidewatchConflicted", "TidewatchDeepReorg"])]);
    });
}

#[test]
fn a_reorg_that_goes_deep_and_one_that_does_not() {
    watched(|mut watched| async move {
        let began = watched.minute();
        watched.chain = watched.chain.fork(watched.height - 10, 'b', 20_000);
        watched.minutes(15, Watched::grows).await;
        let deep = watched.minute();
        watched.chain = watched.chain.fork(watched.height - 30, 'c', 20_000);
        watched.minutes(15, Watched::grows).await;
        watched.recording.fires(&[
            (began + 5, &[]),
            (deep + 2, &["TidewatchDeepReorg"]),
            (deep + 14, &[]),
        ]);
    });
}

/// What a consumer does with events.
#[derive(Clone, Copy)]
enum Does {
    Fails,
    HangsAfterTheFirst,
}

struct Bad(Does);

impl Consumer for Bad {
    fn name(&self) -> &str {
        "bad"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        match self.0 {
            Does::Fails => Err(FaultKind::Unavailable.fault("bad", "its own database is away")),
            Does::HangsAfterTheFirst if records.iter().all(|record| record.sequence() > 0) => {
                pending().await
            }
            Does::HangsAfterTheFirst => Ok(Ack::Durable),
        }
    }
}

#[test]
fn a_consumer_that_fails_again_and_again() {
    watched(|mut watched| async move {
        let began = watched.minute();
        watched.follower.attach(Attachment::new(Bad(Does::Fails)));
        watched.minutes(15, Watched::grows).await;
        watched.recording.fires(&[
            (began + 8, &["TidewatchConsumerFailing"]),
            (watched.minute(), &["TidewatchConsumerFailing"]),
        ]);
    });
}

/// In the store that `follow` has: what it keeps by default must be more than what the alert waits for.
#[test]
fn a_consumer_that_does_not_acknowledge_is_told_of_before_events_that_it_needs_are_gone() {
    simulate(|context| async move {
        let named = context.child("tidewatch");
        let chain = Chain::new('a', 25_000);
        let config = StoreConfig::new(chain.chain_info(), ());
        let (mut view, log) = Store::open(named.child("store"), config).await.unwrap();
        let parts =
            Parts { log: log.clone(), consumer: Bad(Does::HangsAfterTheFirst), monitor: () };
        let config = delivery::Config { batch_max: NZUsize!(1), ..Default::default() };
        let (delivery, mailbox) =
            Delivery::new(named.child("follower").child("delivery"), parts, config);
        let _running = Running::start(delivery);
        let mut recording = Recording::default();
        let mut height = 0;
        for _ in 0..48 {
            // Two events a block.
            let to = if height == 0 { 1 } else { height + 500 };
            let changes = (height + 1..=to).flat_map(|height| {
                let tip = Tip::from(chain.at(height));
                let moved = Change::Advanced { tier: Tier::Proposed, tip, proof: None };
                [Change::Blocks(chain.range(height, height)), moved]
            });
            view.commit(changes.collect()).await.unwrap();
            height = to;
            if height == 1 {
                mailbox.durable(1).await.unwrap();
            }
            context.sleep(Duration::from_secs(60)).await;
            recording.scrape(&context.encode(), context.current());
        }
        assert_eq!(log.retention().await.unwrap().oldest_event, 0, "it would begin anew");
        recording.fires(&[(10, &[]), (recording.minute(), &["TidewatchConsumerBehind"])]);
    });
}

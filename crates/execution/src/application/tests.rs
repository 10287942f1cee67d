//! Lives of an application: a marshal that delivers a final chain, a client that writes behind, and crashes of
//! either at any call, drawn from a seed.

use super::{Application, Config, Layer, Mailbox, Parts, ingress::Delivered};
use crate::{Execution as _, Executor, Order, Payload as _, client::Client, executor};
use commonware_consensus::simplex::{scheme::ed25519::Scheme, types::Finalization};
use commonware_runtime::{Clock as _, Handle, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{Acknowledgement as _, NZUsize, acknowledgement::Exact};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tidewatch_certified::{Finalized, follow::Marshal};
use tidewatch_core::{BlockRef, Digest, Fault, FaultKind, Height};
use tidewatch_testkit::chain::{Chain, TestBlock};

const TICK: Duration = Duration::from_millis(10);
const TIP: u64 = 120;
/// Blocks that the marshal delivers without an acknowledgement.
const ACKS_MAX: usize = 5;

/// What a marshal keeps, as far as an application reads it.
#[derive(Clone)]
struct Kept {
    chain: Chain,
    /// Blocks below are gone.
    from: u64,
}

impl Marshal for Kept {
    type Scheme = Scheme;
    type Block = TestBlock;

    fn finalized(&self, _: Finalized<Scheme, TestBlock>) {}
    fn hint(&self, _: Height) {}
    fn floor(&self, _: Finalization<Scheme, Digest>) {}

    async fn processed(&self) -> Option<Height> {
        None
    }

    async fn finalization(&self, _: Height) -> Option<Finalization<Scheme, Digest>> {
        None
    }

    async fn block(&self, height: Height) -> Option<TestBlock> {
        let height = height.get();
        (height >= self.from).then(|| self.chain.blocks()[height as usize].clone())
    }
}

/// One life of the follower's process.
struct Life {
    mailbox: Mailbox<TestBlock>,
    layer: Layer<Client>,
    application: Handle<Result<(), Fault>>,
    executor: Handle<Result<(), Fault>>,
}

impl Life {
    fn begin(context: &deterministic::Context, marshal: &Kept, client: &Client) -> Self {
        let execution = Arc::new(client.clone());
        let order: fn(&TestBlock) -> Order =
            |block| Order::round(0, block.reference().height.get());
        let config = executor::Config {
            retry: TICK,
            heartbeat: 10 * TICK,
            deadline: Duration::from_secs(1),
            ..executor::Config::default()
        };
        let (actor, executor) = Executor::new(context.child("executor"), execution.clone(), config);
        client.state.lock().floor = Some(executor.floor());
        let layer = Layer::new(execution.clone(), executor.clone(), order);
        let parts = Parts { execution, executor, marshal: marshal.clone(), order };
        let config = Config {
            batch_max: NZUsize!(3),
            backoff_base: TICK,
            backoff_cap: 5 * TICK,
            ..Config::default()
        };
        let (application, mailbox) = Application::new(context.child("application"), parts, config);
        Self { mailbox, layer, application: application.start(), executor: actor.start() }
    }

    fn kill(self) {
        self.application.abort();
        self.executor.abort();
    }
}

/// What the marshal has delivered, and not been acknowledged.
struct Deliveries {
    chain: Chain,
    processed: Option<u64>,
    waiting: VecDeque<<Exact as commonware_utils::Acknowledgement>::Waiter>,
}

impl Deliveries {
    /// The next height: genesis is the first.
    fn next(&self) -> usize {
        self.processed.map_or(0, |height| height as usize + 1)
    }

    fn fill(&mut self, mailbox: &Mailbox<TestBlock>) {
        while self.waiting.len() < ACKS_MAX
            && let Some(block) = self.chain.blocks().get(self.next() + self.waiting.len())
        {
            let (acknowledgement, waiter) = Exact::handle();
            let _ = mailbox.sender.enqueue(Delivered(block.clone(), acknowledgement));
            self.waiting.push_back(waiter);
        }
    }

    /// Counts what was acknowledged. False if one was dropped.
    fn collect(&mut self) -> bool {
        use futures::FutureExt as _;
        while let Some(first) = self.waiting.front_mut() {
            match first.now_or_never() {
                None => return true,
                Some(Ok(())) => {
                    self.processed = Some(self.next() as u64);
                    self.waiting.pop_front();
                }
                Some(Err(_)) => return false,
            }
        }
        true
    }
}

/// What a follow driver does at its start: what the client lost is delivered again, in order.
async fn redelivered(
    layer: &Layer<Client>,
    marshal: &Kept,
    processed: Option<u64>,
) -> Result<(), Fault> {
    use tidewatch_certified::follow::ExecutionLayer as _;
    let durable = layer.durable().await?;
    assert_eq!(Some(durable), marshal.chain.get(durable.height.get()), "of the same chain");
    for height in durable.height.get() + 1..=processed.unwrap_or_default() {
        let block = marshal.block(Height::new(height)).await.unwrap();
        layer.redeliver(block).await?;
    }
    Ok(())
}

fn lives(seed: u64) -> (u64, u64) {
    let config =
        deterministic::Config::new().with_seed(seed).with_timeout(Some(Duration::from_secs(3_600)));
    deterministic::Runner::new(config).start(|context| async move {
        let chain = Chain::new('a', TIP);
        let client = Client::new(context.child("client"), &chain, seed);
        let marshal = Kept { chain: chain.clone(), from: 1 };
        let mut deliveries =
            Deliveries { chain: chain.clone(), processed: None, waiting: VecDeque::new() };
        let mut life = Life::begin(&context.child("first"), &marshal, &client);
        let (mut ticks, mut kills, mut crashed_before) = (0, 0, false);
        client.state.lock().left = 12;
        while deliveries.processed < Some(TIP) {
            deliveries.fill(&life.mailbox);
            let (crashes, processed) = (client.state.lock().crashes, deliveries.processed);
            context.sleep(TICK).await;
            let lived = deliveries.collect();
            let (stands, crashed, killed) = {
                let mut state = client.state.lock();
                let killed = std::mem::take(&mut state.killed);
                (state.memory.at.head.height.get(), state.crashes != crashes, killed)
            };
            // What was executed at the end of one tick may be acknowledged in the next.
            assert!(
                crashed
                    || crashed_before
                    || deliveries.processed == processed
                    || Some(stands) >= deliveries.processed,
                "seed {seed}: {:?} is acknowledged, and the client stands at {stands}",
                deliveries.processed
            );
            crashed_before = crashed;
            if killed || !lived {
                kills += 1;
                deliveries.waiting.clear();
                life.kill();
                loop {
                    life = Life::begin(&context.child("next"), &marshal, &client);
                    let processed = deliveries.processed;
                    let begun = redelivered(&life.layer, &marshal, processed);
                    let begun = tidewatch_core::within(&context, 100 * TICK, begun).await;
                    client.state.lock().killed = false;
                    if matches!(begun, Some(Ok(()))) {
                        break;
                    }
                    life.kill();
                }
            }
            ticks += 1;
            let processed = deliveries.processed;
            let state = client.state.lock();
            let (at, disk) = (state.memory.at, state.disk.at.head);
            assert!(
                ticks < 10_000,
                "seed {seed}: {processed:?} acknowledged, the client at {at}, {disk} on disk"
            );
        }
        let state = client.state.lock();
        let mut has: Vec<BlockRef> = state.memory.chain().collect();
        has.reverse();
        let whole = chain.blocks().iter().map(|block| block.reference());
        assert!(has.into_iter().eq(whole), "seed {seed}: what it was given is the chain, in order");
        let crashes = state.crashes;
        drop(state);
        life.kill();
        (crashes, kills)
    })
}

#[test]
fn whatever_crashes_at_whatever_call_what_the_marshal_delivers_is_executed_in_order() {
    let (crashes, kills) = (0..100)
        .map(lives)
        .fold((0, 0), |(crashes, kills), (more, deaths)| (crashes + more, kills + deaths));
    assert!(crashes > 100 && kills > 100, "{crashes} crashes and {kills} kills");
}

fn short(test: impl AsyncFnOnce(deterministic::Context, Chain, Client)) {
    deterministic::Runner::timed(Duration::from_secs(3_600)).start(|context| async move {
        let chain = Chain::new('a', 20);
        let client = Client::new(context.child("client"), &chain, 5);
        test(context, chain, client).await;
    });
}

#[test]
fn a_client_that_lost_what_the_marshal_forgot_is_waited_for_and_nothing_is_acknowledged() {
    short(async |context, chain, client| {
        let marshal = Kept { chain: chain.clone(), from: 8 };
        let life = Life::begin(&context, &marshal, &client);
        let (acknowledgement, waiter) = Exact::handle();
        let block = chain.blocks()[10].clone();
        let _ = life.mailbox.sender.enqueue(Delivered(block, acknowledgement));
        assert!(tidewatch_core::within(&context, 1_000 * TICK, waiter).await.is_none());
        assert_eq!(client.standing().await.unwrap().forkchoice.head, chain.at(0));
        life.mailbox.stop();
        assert_eq!(life.application.await.unwrap(), Ok(()), "it ends in order all the same");
        life.executor.abort();
    });
}

#[test]
fn a_client_that_starts_far_behind_is_given_what_the_marshal_keeps() {
    short(async |context, chain, client| {
        let marshal = Kept { chain: chain.clone(), from: 1 };
        let life = Life::begin(&context, &marshal, &client);
        let (acknowledgement, waiter) = Exact::handle();
        let block = chain.blocks()[20].clone();
        let _ = life.mailbox.sender.enqueue(Delivered(block, acknowledgement));
        waiter.await.unwrap();
        let forkchoice = client.standing().await.unwrap().forkchoice;
        let tip = chain.at(20);
        assert_eq!((forkchoice.head, forkchoice.finalized), (tip, Some(tip)));
        life.kill();
    });
}

#[test]
fn an_executor_that_has_ended_ends_the_application_and_nothing_is_acknowledged() {
    short(async |context, chain, client| {
        let marshal = Kept { chain: chain.clone(), from: 1 };
        let life = Life::begin(&context, &marshal, &client);
        life.executor.abort();
        let (acknowledgement, waiter) = Exact::handle();
        let block = chain.blocks()[1].clone();
        let _ = life.mailbox.sender.enqueue(Delivered(block, acknowledgement));
        assert!(waiter.await.is_err(), "the marshal ends too");
        let ended = life.application.await.unwrap().unwrap_err();
        assert_eq!(ended.kind, FaultKind::Stopped);
    });
}

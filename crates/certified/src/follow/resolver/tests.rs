//! The resolver with a consumer that judges as a test tells it to.

use super::{Config, Mailbox, Parts, Resolver, fetch::Failure, metrics::Metrics};
use crate::{
    CertificateKind, Key as Request,
    follow::ExecutionLayer,
    mocks::{Answer, Chain, Scripted, Table, TestBlock},
};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::{
    marshal::resolver::handler::{Annotation, Key, Request as Wanted},
    types::Round,
};
use commonware_cryptography::ed25519::PublicKey;
use commonware_resolver::{Consumer, Delivery, Resolver as _};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{channel::oneshot, sync::Mutex};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, FaultKind, Height};

const SECOND: Duration = Duration::from_secs(1);

/// Judges what it is given, and writes it down.
#[derive(Clone, Default)]
struct Judge {
    deliveries: Arc<Mutex<Vec<Bytes>>>,
    /// How many of the next deliveries are bad.
    bad: Arc<Mutex<usize>>,
}

impl Consumer for Judge {
    type Key = Key<Digest>;
    type Value = Bytes;
    type Subscriber = Annotation;
    type Outcome = bool;

    fn deliver(
        &mut self,
        _: Delivery<Key<Digest>, Annotation>,
        value: Bytes,
    ) -> oneshot::Receiver<bool> {
        self.deliveries.lock().push(value);
        let mut bad = self.bad.lock();
        let good = *bad == 0;
        *bad = bad.saturating_sub(1);
        let (sender, receiver) = oneshot::channel();
        let _ = sender.send(good);
        receiver
    }
}

/// An execution layer with some blocks, which may fail.
#[derive(Default)]
struct Local {
    blocks: Mutex<Vec<TestBlock>>,
    failures: Mutex<usize>,
}

impl ExecutionLayer for Local {
    type Block = TestBlock;

    async fn durable(&self) -> Result<BlockRef, Fault> {
        Ok(self.blocks.lock()[0].reference())
    }

    async fn at(&self, _: Height) -> Result<Option<TestBlock>, Fault> {
        Ok(None)
    }

    async fn by_digest(&self, digest: Digest) -> Result<Option<TestBlock>, Fault> {
        let mut failures = self.failures.lock();
        if *failures > 0 {
            *failures -= 1;
            return Err(FaultKind::Disk.fault("execution", "as told"));
        }
        Ok(self.blocks.lock().iter().find(|block| block.reference().digest == digest).cloned())
    }

    async fn redeliver(&self, _: TestBlock) -> Result<(), Fault> {
        Ok(())
    }
}

struct World {
    chain: Chain,
    transport: Arc<Scripted>,
    local: Arc<Local>,
    judge: Judge,
    table: Table,
    resolver: Mailbox<PublicKey>,
    metrics: Metrics,
}

impl World {
    fn new(
        context: &deterministic::Context,
        script: impl FnMut(Request) -> Answer + Send + 'static,
    ) -> Self {
        let transport = Arc::new(Scripted::new(context, script));
        let (local, judge, table) = (Arc::new(Local::default()), Judge::default(), Table::up_to(9));
        let parts = Parts {
            transport: transport.clone(),
            execution: local.clone(),
            epochs: table.clone(),
            consumer: judge.clone(),
        };
        let (actor, resolver) =
            Resolver::new::<PublicKey>(context.child("resolver"), parts, Config::default());
        let metrics = actor.metrics();
        actor.start();
        let chain = Chain::new(12);
        Self { chain, transport, local, judge, table, resolver, metrics }
    }

    fn block(&mut self, height: u64) {
        let digest = self.chain.reference(height).digest;
        self.resolver.fetch(Wanted::finalized_block_by_height(digest, Height::new(height)));
    }

    fn finalization(&mut self, height: u64) {
        self.resolver.fetch(Wanted::finalized(Height::new(height)));
    }

    fn deliveries(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.judge.deliveries.lock())
    }

    fn retries(&self) -> Vec<(Failure, u64)> {
        use Failure::{Epoch, Invalid, Local, Missing, Timeout, Upstream};
        [Local, Timeout, Upstream, Missing, Invalid, Epoch]
            .map(|failure| (failure, self.metrics.retries(failure)))
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(600)).start(test);
}

/// An endpoint that has everything.
fn honest() -> impl FnMut(Request) -> Answer + Send {
    let chain = Chain::new(12);
    move |request| match request {
        Request::Digest(digest) => {
            chain.by_digest(digest).map_or(Answer::Missing, |block| Answer::Bytes(block.encode()))
        }
        Request::Height(height) => {
            Answer::Bytes(chain.certified(CertificateKind::Finalized, height.get()))
        }
        _ => Answer::Missing,
    }
}

#[test]
fn a_block_comes_from_the_execution_layer_if_it_has_it() {
    run(|context| async move {
        let mut world = World::new(&context, honest());
        world.local.blocks.lock().push(world.chain.block(5).clone());
        world.block(5);
        context.sleep(SECOND).await;
        assert_eq!(world.deliveries(), [world.chain.block(5).encode()]);
        assert_eq!(world.transport.calls(), []);
        assert_eq!((world.metrics.local.get(), world.metrics.requests.get()), (1, 0));
    });
}

#[test]
fn a_block_that_the_execution_layer_lacks_comes_from_the_upstream() {
    run(|context| async move {
        let mut world = World::new(&context, honest());
        world.block(5);
        context.sleep(SECOND).await;
        assert_eq!(world.deliveries(), [world.chain.block(5).encode()]);
        let digest = world.chain.reference(5).digest;
        assert_eq!(world.transport.calls(), [Request::Digest(digest)]);
        assert_eq!(world.metrics.delivered.get(), 1);
    });
}

#[test]
fn an_execution_layer_that_fails_is_asked_again_and_not_the_upstream() {
    run(|context| async move {
        let mut world = World::new(&context, honest());
        world.local.blocks.lock().push(world.chain.block(5).clone());
        *world.local.failures.lock() = 2;
        world.block(5);
        context.sleep(SECOND).await;
        assert_eq!(world.deliveries().len(), 1);
        assert_eq!(world.transport.calls(), []);
        assert_eq!(world.retries(), [(Failure::Local, 2)]);
    });
}

#[test]
fn a_finalization_comes_from_the_upstream_as_it_is() {
    run(|context| async move {
        let mut world = World::new(&context, honest());
        world.finalization(5);
        context.sleep(SECOND).await;
        let bytes = world.chain.certified(CertificateKind::Finalized, 5);
        assert_eq!(world.deliveries(), [bytes]);
        assert_eq!(world.transport.calls(), [Request::Height(Height::new(5))]);
    });
}

#[test]
fn what_the_marshal_finds_bad_is_asked_for_again() {
    run(|context| async move {
        let mut world = World::new(&context, honest());
        *world.judge.bad.lock() = 2;
        world.finalization(5);
        context.sleep(SECOND).await;
        assert_eq!(world.deliveries().len(), 3);
        assert_eq!(world.retries(), [(Failure::Invalid, 2)]);
        assert_eq!(world.metrics.delivered.get(), 1);
    });
}

#[test]
fn a_bad_block_of_the_execution_layer_is_replaced_by_the_upstreams() {
    run(|context| async move {
        let mut world = World::new(&context, honest());
        world.local.blocks.lock().push(world.chain.block(5).clone());
        *world.judge.bad.lock() = 1;
        world.block(5);
        context.sleep(SECOND).await;
        assert_eq!(world.deliveries().len(), 2);
        assert_eq!((world.metrics.local.get(), world.metrics.requests.get()), (1, 1));
    });
}

#[test]
fn a_request_without_an_answer_ends_at_its_deadline_is_counted_and_made_again() {
    run(|context| async move {
        let mut world = World::new(&context, |_| Answer::Silence);
        world.finalization(5);
        context.sleep(10 * SECOND).await;
        // Two seconds each, and 0.25, 0.5 and 1 second between.
        assert_eq!(world.retries(), [(Failure::Timeout, 4)]);
        world.transport.rescript(honest());
        context.sleep(10 * SECOND).await;
        assert_eq!(world.deliveries().len(), 1);
    });
}

#[test]
fn an_upstream_that_lacks_it_or_fails_is_asked_again_after_longer_and_longer_waits() {
    for (answer, failure) in [
        (Answer::Missing, Failure::Missing),
        (Answer::Fault(FaultKind::Unreachable), Failure::Upstream),
    ] {
        run(|context| async move {
            let times = Arc::new(Mutex::new(Vec::new()));
            let (seen, clock) = (times.clone(), context.child("clock"));
            let mut world = World::new(&context, move |_| {
                seen.lock().push(clock.current());
                answer.clone()
            });
            world.finalization(5);
            context.sleep(130 * SECOND).await;
            let times: Vec<SystemTime> = times.lock().clone();
            let waits: Vec<_> = times
                .windows(2)
                .map(|pair| pair[1].duration_since(pair[0]).unwrap().as_millis() as u64 - 10)
                .collect();
            let expected = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000];
            assert_eq!(waits, expected);
            assert_eq!(world.retries(), [(failure, 11)]);
        });
    }
}

#[test]
fn a_finalization_of_an_unknown_epoch_waits_until_it_is_known() {
    run(|context| async move {
        let mut world = World::new(&context, honest());
        world.finalization(11);
        context.sleep(10 * SECOND).await;
        assert_eq!(world.transport.calls(), []);
        world.table.fill(12);
        context.sleep(10 * SECOND).await;
        assert_eq!(world.deliveries().len(), 1);
    });
}

#[test]
fn a_key_that_nobody_wants_any_more_is_given_up() {
    run(|context| async move {
        let mut world = World::new(&context, |_| Answer::Missing);
        for height in 1..=9 {
            world.finalization(height);
        }
        context.sleep(SECOND).await;
        world
            .resolver
            .retain(|key, _| matches!(key, Key::Finalized { height } if height.get() > 8));
        world.transport.rescript(honest());
        context.sleep(60 * SECOND).await;
        assert_eq!(world.deliveries(), [world.chain.certified(CertificateKind::Finalized, 9)]);
    });
}

#[test]
fn no_more_requests_are_in_flight_than_may_be() {
    run(|context| async move {
        let mut world = World::new(&context, honest());
        for height in 1..=9 {
            world.finalization(height);
            world.block(height);
        }
        world.resolver.fetch(Wanted::notarized(Round::zero()));
        context.sleep(60 * SECOND).await;
        assert_eq!(world.deliveries().len(), 18, "a notarization is not served");
        assert!(world.transport.in_flight().max <= Config::default().concurrency.get());
        world.resolver.stop();
    });
}

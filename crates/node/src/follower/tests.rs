use super::*;
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, sync::Mutex};
use std::collections::BTreeSet;
use tidewatch_core::{
    Ack, Block, BlockRef, ChainId, Digest, Height, Ladder, Limits, Record, Snapshot, Tier, TipSet,
};
use tidewatch_store::{Memory, MemoryReader};

const LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq)]
struct TestBlock(u64);

const fn digest(height: u64) -> Digest {
    let mut bytes = [0; 32];
    bytes[0] = height as u8;
    Digest(bytes)
}

fn reference(height: u64) -> BlockRef {
    BlockRef::new(Height::new(height), digest(height))
}

impl Block for TestBlock {
    fn reference(&self) -> BlockRef {
        reference(self.0)
    }

    fn parent(&self) -> Digest {
        digest(self.0 - 1)
    }
}

fn chain_info() -> ChainInfo {
    ChainInfo { id: ChainId::new("test:1").unwrap(), genesis: reference(0) }
}

/// A chain that is final up to a height, or refuses to say where it is.
struct Scripted(Mutex<Result<u64, Fault>>);

impl Scripted {
    fn new(tip: Result<u64, Fault>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(tip)))
    }

    fn grow(&self, tip: u64) {
        *self.0.lock() = Ok(tip);
    }
}

impl Source for Scripted {
    type Block = TestBlock;

    fn name(&self) -> &str {
        "scripted"
    }

    fn ladder(&self) -> Ladder {
        Ladder::Certified
    }

    fn limits(&self) -> Limits {
        Limits { digests_max: NZUsize!(16), blocks_max: NZUsize!(3) }
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        Ok(chain_info())
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let tip = reference(self.0.lock().clone()?);
        Ok(TipSet::unknown().with(Tier::Proposed, tip).with(Tier::Finalized, tip).into())
    }

    async fn digests(&self, heights: &[Height]) -> Result<Vec<Option<Digest>>, Fault> {
        Ok(heights.iter().map(|height| Some(digest(height.get()))).collect())
    }

    async fn blocks(&self, from: Height, tip: BlockRef) -> Result<Vec<TestBlock>, Fault> {
        Ok((from.get()..=tip.height.get()).take(3).map(TestBlock).collect())
    }
}

/// What a consumer does with its first events.
#[derive(Clone, Copy)]
enum Does {
    TakesIn,
    Refuses,
    HangsAt(u64),
}

/// Remembers the sequences that it was given.
#[derive(Clone)]
struct Recorder {
    name: &'static str,
    does: Does,
    given: Arc<Mutex<BTreeSet<u64>>>,
}

impl Recorder {
    fn new(name: &'static str, does: Does) -> Self {
        Self { name, does, given: Arc::default() }
    }

    fn given(&self) -> Vec<u64> {
        self.given.lock().iter().copied().collect()
    }
}

impl Consumer for Recorder {
    fn name(&self) -> &str {
        self.name
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        let last = records.iter().map(Record::sequence).max().unwrap();
        match self.does {
            Does::Refuses => {
                return Err(FaultKind::InvalidConfig.fault(self.name, "has nowhere to put it"));
            }
            Does::HangsAt(sequence) if last >= sequence => pending().await,
            Does::HangsAt(_) | Does::TakesIn => {}
        }
        self.given.lock().extend(records.iter().map(Record::sequence));
        Ok(Ack::Durable)
    }
}

type TestFollower = Follower<deterministic::Context, MemoryReader<TestBlock>>;

fn start(context: &deterministic::Context, source: &Arc<Scripted>) -> TestFollower {
    Follower::start(
        context.child("follower"),
        source.clone(),
        Memory::new(chain_info()),
        chain_info(),
        (),
        Config::default(),
    )
}

fn attach(follower: &mut TestFollower, consumer: &Recorder) {
    follower.attach(consumer.clone(), (), delivery::Config::default());
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(60)).start(test);
}

/// Waits until `consumer` was given `events`.
async fn given(context: &deterministic::Context, consumer: &Recorder, events: usize) {
    while consumer.given().len() < events {
        context.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn every_consumer_is_given_every_event() {
    run(|context| async move {
        let source = Scripted::new(Ok(7));
        let mut follower = start(&context, &source);
        let consumers = ["a", "b"].map(|name| Recorder::new(name, Does::TakesIn));
        consumers.iter().for_each(|consumer| attach(&mut follower, consumer));
        follower.sync().await.unwrap();
        // Three ranges of blocks, then two tiers.
        for consumer in &consumers {
            given(&context, consumer, 5).await;
        }
        source.grow(8);
        follower.sync().await.unwrap();
        for consumer in &consumers {
            given(&context, consumer, 8).await;
            assert_eq!(consumer.given(), (0..8).collect::<Vec<_>>());
        }
        let log = follower.log().clone();
        follower.stop(LIMIT).await.unwrap();
        let watermarks = log.watermarks().unwrap();
        assert_eq!(watermarks.tips.block(Tier::Finalized), Some(reference(8)));
    });
}

#[test]
fn a_driver_that_ends_is_named_with_its_fault() {
    run(|context| async move {
        let broken = FaultKind::Disk.fault("scripted", "the disk is gone");
        let mut follower = start(&context, &Scripted::new(Err(broken.clone())));
        attach(&mut follower, &Recorder::new("idle", Does::TakesIn));
        let ended = follower.ended().await;
        assert_eq!(ended, Ended { actor: "driver".into(), result: Err(broken) });
        follower.stop(LIMIT).await.unwrap();
    });
}

#[test]
fn a_consumer_that_ends_is_named_and_the_others_go_on() {
    run(|context| async move {
        let source = Scripted::new(Ok(1));
        let mut follower = start(&context, &source);
        let good = Recorder::new("good", Does::TakesIn);
        attach(&mut follower, &good);
        attach(&mut follower, &Recorder::new("bad", Does::Refuses));
        let ended = follower.ended().await;
        assert_eq!(ended.actor, "consumer bad");
        assert_eq!(ended.result.map_err(|fault| fault.kind), Err(FaultKind::InvalidConfig));
        source.grow(4);
        follower.sync().await.unwrap();
        given(&context, &good, 6).await;
        follower.stop(LIMIT).await.unwrap();
    });
}

#[test]
fn a_supervised_actor_that_ends_is_named() {
    run(|context| async move {
        let mut follower = start(&context, &Scripted::new(Ok(1)));
        follower.supervise("upstream", context.child("upstream").spawn(|_| async {}));
        let ended = follower.ended().await;
        assert_eq!(ended, Ended { actor: "upstream".into(), result: Ok(()) });
        let aborted = context.child("feed").spawn(|_| pending::<()>());
        aborted.abort();
        follower.supervise("feed", aborted);
        let ended = follower.ended().await;
        assert_eq!(ended.actor, "feed");
        assert_eq!(ended.result.map_err(|fault| fault.kind), Err(FaultKind::Bug));
        follower.stop(LIMIT).await.unwrap();
    });
}

#[test]
fn waiting_for_the_end_may_be_given_up_and_goes_on_after_the_last_one() {
    run(|context| async move {
        let broken = FaultKind::Disk.fault("scripted", "the disk is gone");
        let source = Scripted::new(Ok(1));
        let mut follower = start(&context, &source);
        for _ in 0..3 {
            assert!(follower.ended().now_or_never().is_none());
        }
        follower.sync().await.unwrap();
        *source.0.lock() = Err(broken);
        assert_eq!(follower.ended().await.actor, "driver");
        // Nothing is left that could end.
        commonware_macros::select! {
            ended = follower.ended() => panic!("{ended:?}"),
            () = context.sleep(LIMIT) => {},
        }
        assert!(matches!(follower.sync().await, Err(SyncError::Stopped(_))));
        follower.stop(LIMIT).await.unwrap();
    });
}

#[test]
fn a_stop_ends_at_once_where_nothing_is_stuck() {
    run(|context| async move {
        let mut follower = start(&context, &Scripted::new(Ok(5)));
        let consumer = Recorder::new("quick", Does::TakesIn);
        attach(&mut follower, &consumer);
        follower.supervise("upstream", context.child("upstream").spawn(|_| pending()));
        follower.sync().await.unwrap();
        given(&context, &consumer, 4).await;
        let begin = context.current();
        follower.stop(LIMIT).await.unwrap();
        assert!(context.current().duration_since(begin).unwrap() < Duration::from_millis(100));
    });
}

#[test]
fn a_consumer_that_hangs_is_named_after_the_limit_and_holds_up_nobody() {
    run(|context| async move {
        let source = Scripted::new(Ok(1));
        let mut follower = start(&context, &source);
        let (stuck, good) =
            (Recorder::new("stuck", Does::HangsAt(4)), Recorder::new("good", Does::TakesIn));
        attach(&mut follower, &stuck);
        attach(&mut follower, &good);
        for tip in 1..=3 {
            source.grow(tip);
            follower.sync().await.unwrap();
        }
        given(&context, &good, 9).await;
        assert!(stuck.given().iter().all(|sequence| *sequence < 4));
        let begin = context.current();
        let running = follower.stop(LIMIT).await.unwrap_err();
        let expected = StillRunning { actors: vec!["consumer stuck".into()], after: LIMIT };
        assert_eq!(running, expected);
        assert_eq!(running.to_string(), "still running after 2s: consumer stuck");
        let took = context.current().duration_since(begin).unwrap();
        assert!(took >= LIMIT && took < LIMIT * 2, "{took:?}");
    });
}

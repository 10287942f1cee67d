use super::*;
use commonware_runtime::{
    Runner as _, Supervisor as _, deterministic, telemetry::metrics::count_running_tasks,
};
use commonware_utils::{NZU64, NZUsize, sync::Mutex};
use futures::{FutureExt as _, future::pending};
use std::collections::BTreeSet;
use tidewatch_core::{
    Ack, Block, BlockRef, ChainId, ChainInfo, Change, Conflict, Digest, Fault, FaultKind, Height,
    Ladder, Limits, Record, Running, Snapshot, Stopper, Tier, TipSet, Watermarks,
};
use tidewatch_store::{Keep, Memory, MemoryReader, MemoryWriter, Retention};

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

    async fn digests(
        &self,
        _tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        Ok(heights.iter().map(|height| Some(digest(height.get()))).collect())
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<TestBlock>, Fault> {
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
    let (view, log) = Memory::new(chain_info());
    let config = Config {
        source: source.clone(),
        view,
        log,
        monitor: (),
        driver: driver::Config::default(),
        supervisor: supervisor::Config { stop_limit: LIMIT, ..supervisor::Config::default() },
    };
    Follower::start(context.child("follower"), config)
}

fn attach(follower: &TestFollower, consumer: &Recorder) -> Attached {
    follower.attach(Attachment::new(consumer.clone()))
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
        let follower = start(&context, &source);
        let consumers = ["a", "b"].map(|name| Recorder::new(name, Does::TakesIn));
        for consumer in &consumers {
            attach(&follower, consumer);
        }
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
fn a_driver_that_ends_is_the_cause_and_everything_else_is_stopped_after_it() {
    run(|context| async move {
        let broken = FaultKind::Disk.fault("scripted", "the disk is gone");
        let source = Scripted::new(Ok(1));
        let follower = start(&context, &source);
        let consumer = Recorder::new("idle", Does::TakesIn);
        attach(&follower, &consumer);
        given(&context, &consumer, 3).await;
        for _ in 0..3 {
            assert!(follower.ended().now_or_never().is_none());
        }
        *source.0.lock() = Err(broken.clone());
        let report = follower.ended().await;
        let cause = report.cause.clone().unwrap();
        assert_eq!((cause.actor.as_str(), cause.result), ("driver", Err(broken)));
        assert_eq!((report.later.len(), report.over, report.members.len()), (0, true, 0));
        assert!(matches!(follower.sync().await, Err(SyncError::Stopped(_))));
        assert!(follower.heads().changed().await.is_ok(), "the last head");
        assert_eq!(follower.ended().await, report);
        assert_eq!(count_running_tasks(&context, "follower"), 0);
        assert_eq!(follower.stop(LIMIT).await.unwrap(), report);
    });
}

#[test]
fn an_optional_consumer_that_ends_is_reported_and_the_others_go_on() {
    run(|context| async move {
        let source = Scripted::new(Ok(1));
        let follower = start(&context, &source);
        let good = Recorder::new("good", Does::TakesIn);
        attach(&follower, &good);
        attach(&follower, &Recorder::new("bad", Does::Refuses));
        let reports = follower.report();
        let report = reports.until(|report| report.rested("consumer bad").is_some()).await.unwrap();
        let ended = report.rested("consumer bad").unwrap().clone();
        assert_eq!(ended.result.map_err(|fault| fault.kind), Err(FaultKind::InvalidConfig));
        source.grow(4);
        follower.sync().await.unwrap();
        given(&context, &good, 6).await;
        let report = follower.stop(LIMIT).await.unwrap();
        assert_eq!((report.cause, report.later.len(), report.rested.len()), (None, 0, 1));
    });
}

#[test]
fn a_critical_consumer_that_ends_ends_the_follower() {
    run(|context| async move {
        let follower = start(&context, &Scripted::new(Ok(1)));
        let bad = Recorder::new("bad", Does::Refuses);
        follower.attach(Attachment { role: Role::Critical, ..Attachment::new(bad) });
        let report = follower.ended().await;
        assert_eq!(report.cause.unwrap().actor, "consumer bad");
        assert!(report.over && report.still_running.is_none());
    });
}

/// Today's default of [`Consumer::restart`] refuses.
#[test]
fn a_consumer_that_is_too_old_ends_alone() {
    run(|context| async move {
        let source = Scripted::new(Ok(1));
        // Neither the events nor the blocks that it would need are kept.
        let blocks = Keep { count: Some(NZU64!(1)), ..Keep::default() };
        let retention = Retention { blocks, ..Retention::events(NZU64!(2)) };
        let (view, log) = Memory::with_retention(chain_info(), retention);
        let config = Config {
            source: source.clone(),
            view,
            log,
            monitor: (),
            driver: driver::Config::default(),
            supervisor: supervisor::Config::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        for tip in 2..9 {
            source.grow(tip);
            follower.sync().await.unwrap();
        }
        attach(&follower, &Recorder::new("late", Does::TakesIn));
        let reports = follower.report();
        let report =
            reports.until(|report| report.rested("consumer late").is_some()).await.unwrap();
        let ended = report.rested("consumer late").unwrap().result.clone();
        assert_eq!(ended.unwrap_err().kind, FaultKind::TooOld);
        assert!(follower.sync().await.is_ok());
        follower.stop(LIMIT).await.unwrap();
    });
}

#[test]
fn consumers_come_and_go_while_it_runs() {
    run(|context| async move {
        let source = Scripted::new(Ok(3));
        let follower = start(&context, &source);
        let [first, second] = ["first", "second"].map(|name| Recorder::new(name, Does::TakesIn));
        let attached = attach(&follower, &first);
        attach(&follower, &second);
        attached.delivery.durable(3).await.unwrap();
        follower.detach(attached.id).await.unwrap();
        assert_eq!(follower.detach(attached.id).await, Err(RemoveError::Unknown));
        assert!(attached.delivery.durable(4).await.is_err());
        source.grow(4);
        follower.sync().await.unwrap();
        given(&context, &second, 6).await;
        assert_eq!(first.given().len(), 3);
        // Attached again, it goes on from its durable position.
        let attached = attach(&follower, &first);
        attached.delivery.durable(6).await.unwrap();
        assert_eq!(first.given(), (0..6).collect::<Vec<_>>());
        let names: Vec<_> = follower.report().current().members.into_iter().map(|m| m.1).collect();
        assert_eq!(names, ["driver", "consumer second", "consumer first"]);
        follower.stop(LIMIT).await.unwrap();
    });
}

#[test]
fn where_it_stands_can_be_awaited_without_a_consumer() {
    run(|context| async move {
        let source = Scripted::new(Ok(1));
        let follower = start(&context, &source);
        let heads = follower.heads();
        heads.reached(Tier::Finalized, Height::new(1)).await.unwrap();
        source.grow(5);
        let head = heads.reached(Tier::Finalized, Height::new(5)).await.unwrap();
        assert_eq!(head.delivered(), Some(reference(5)));
        follower.stop(LIMIT).await.unwrap();
        assert!(heads.reached(Tier::Finalized, Height::new(6)).await.is_err());
    });
}

#[test]
fn ws_5_to_ws_12_a_height_or_a_block_is_waited_for_and_what_is_there_is_not() {
    run(|context| async move {
        let source = Scripted::new(Ok(5));
        let follower = start(&context, &source);
        let heads = follower.heads();
        for tip in [7, 8] {
            source.grow(tip);
            follower.sync().await.unwrap();
            assert_eq!(heads.current().delivered(), Some(reference(tip)), "WS-5, WS-6");
        }
        let there = heads.reached(Tier::Proposed, Height::new(4)).now_or_never();
        assert!(there.is_some_and(|head| head.is_ok()), "WS-7: the source is not asked");
        let is = |block| heads.until(move |head| head.block(Tier::Finalized) == Some(block));
        assert!(is(reference(8)).now_or_never().is_some(), "WS-9");
        let mut waits = Box::pin(is(reference(9)));
        assert!(waits.as_mut().now_or_never().is_none(), "WS-10");
        source.grow(9);
        follower.sync().await.unwrap();
        assert!(waits.await.is_ok(), "WS-10");
        // What never comes is an answer once nobody follows any more.
        let other = BlockRef::new(Height::new(9), digest(8));
        let (above, other) = (heads.reached(Tier::Proposed, Height::new(10)), is(other));
        follower.stop(LIMIT).await.unwrap();
        assert!(above.await.is_err(), "WS-8, WS-12");
        assert!(other.await.is_err(), "WS-11");
    });
}

/// A view that keeps no log.
struct Bare(MemoryWriter<TestBlock>);

impl LocalView for Bare {
    type Block = TestBlock;

    fn chain_info(&self) -> &ChainInfo {
        self.0.chain_info()
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        self.0.watermarks().await
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.0.locate(heights).await
    }

    async fn commit(&mut self, changes: Vec<Change<TestBlock>>) -> Result<(), Fault> {
        self.0.commit(changes).await
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.0.keep_evidence(conflict).await
    }
}

#[test]
fn a_view_without_a_log_is_followed_too() {
    run(|context| async move {
        let config = Config {
            source: Scripted::new(Ok(6)),
            view: Bare(Memory::new(chain_info()).0),
            log: (),
            monitor: (),
            driver: driver::Config::default(),
            supervisor: supervisor::Config::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        follower.heads().reached(Tier::Finalized, Height::new(6)).await.unwrap();
        follower.stop(LIMIT).await.unwrap();
    });
}

#[test]
fn a_source_of_another_chain_is_the_cause_of_the_end() {
    run(|context| async move {
        let other = ChainInfo { genesis: reference(9), ..chain_info() };
        let config = Config {
            source: Scripted::new(Ok(6)),
            view: Memory::new(other.clone()).0,
            log: (),
            monitor: (),
            driver: driver::Config::default(),
            supervisor: supervisor::Config::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        let cause = follower.ended().await.cause.unwrap();
        assert_eq!(cause.result.unwrap_err().kind, FaultKind::WrongChain);
    });
}

#[test]
fn a_stop_ends_at_once_where_nothing_is_stuck() {
    run(|context| async move {
        let follower = start(&context, &Scripted::new(Ok(5)));
        let consumer = Recorder::new("quick", Does::TakesIn);
        attach(&follower, &consumer);
        let (stopper, stopping) = Stopper::new();
        let upstream = context.child("upstream").spawn(|_| async move {
            stopping.stopped().await;
            Ok(())
        });
        follower.supervise(Member::critical(Running::new("upstream", upstream, stopper)));
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
        let follower = start(&context, &source);
        let (stuck, good) =
            (Recorder::new("stuck", Does::HangsAt(4)), Recorder::new("good", Does::TakesIn));
        attach(&follower, &stuck);
        attach(&follower, &good);
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

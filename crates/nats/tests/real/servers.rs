//! Publishers, electors and readers over real servers of NATS, alone and in a cluster of three.
//!
//! What was seen of servers, and what this crate relies on, is a test by name here; what a publisher makes of it in every
//! order is in the crate's worlds.

#[path = "../../src/worlds/followers.rs"]
mod followers;
#[path = "../../src/worlds/observer.rs"]
mod observer;

use crate::{
    rig::{TICK, alone, connected, opened, options, service, three},
    server::{FLOOR, NEWEST, Server, TOO_OLD},
};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Handle, Spawner as _, Supervisor as _, tokio::Context};
use commonware_utils::sync::Mutex;
use followers::{Machine, Truth};
use observer::Observer;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{ChainId, Cursor, FaultKind, Running};
use tidewatch_nats::{
    Answer, Claim, Cluster as _, Error, Leader, Marked, MessageId, Names, Outgoing, PublisherId,
    Refusal, Service, Tail,
    client::{JetStream, Options},
    service,
    tail::{self, From},
};
use tidewatch_store::MemoryReader;
use tidewatch_testkit::chain::TestBlock;

const LIMIT: Duration = Duration::from_secs(120);

fn leader(name: &str, token: u64) -> Leader {
    Leader { publisher: PublisherId::read(name), token }
}

/// A message of `leader` on the stream of the chain `name`.
fn message(
    name: &str,
    leader: &Leader,
    number: u64,
    expected: u64,
    record: Option<u64>,
) -> Outgoing {
    let chain = ChainId::new(name).unwrap();
    let names = Names::of(&chain);
    let cursor = Cursor::start(&chain);
    let subject =
        if record.is_none() { names.lead() } else { format!("{}.event.blocks", names.prefix) };
    Outgoing {
        subject,
        id: MessageId::new(leader, number),
        after: None,
        leader: leader.clone(),
        expected,
        record,
        payload: format!(r#"{{"event":"made up","cursor":"{cursor}"}}"#).into(),
    }
}

const ELSEWHERE: Answer = Answer::Refused(Refusal::Elsewhere);

fn stored(sequence: u64) -> Answer {
    Answer::Stored { sequence, duplicate: false }
}

/// What servers were seen to answer, alone and in a cluster.
async fn the_fence_holds(context: &Context, servers: &[Server], copies: u32) {
    let name = "fence";
    let cluster = opened(context, &service(servers, ChainId::new(name).unwrap(), copies)).await;
    let (old, new) = (leader("old", 1), leader("new", 2));
    let end = cluster.end().await.unwrap();
    assert!(end.sequence == 0 && end.message.is_none());
    let publish = async |message: &Outgoing| cluster.publish(message).await.unwrap();
    assert_eq!(publish(&message(name, &old, 0, 0, None)).await, stored(1));
    let first = message(name, &old, 1, 1, Some(1));
    assert_eq!(publish(&first).await, stored(2));
    // The retry of a stored message: one server refuses, several say duplicate.
    let again = publish(&first).await;
    let duplicate = Answer::Stored { sequence: 2, duplicate: true };
    assert_eq!(again, if copies > 1 { duplicate } else { ELSEWHERE });
    // The next leader's record, and the zombie's message after it.
    assert_eq!(publish(&message(name, &new, 0, 2, None)).await, stored(3));
    assert_eq!(publish(&message(name, &old, 2, 2, Some(1))).await, ELSEWHERE);
    // Also where the zombie takes the stream to end where it ends: the record is another one.
    assert_eq!(publish(&message(name, &old, 3, 3, Some(1))).await, ELSEWHERE);
    assert_eq!(publish(&message(name, &new, 1, 3, Some(3))).await, stored(4));
    let end = cluster.end().await.unwrap();
    let last = Marked::read(end.message.as_ref().unwrap()).unwrap();
    assert!(end.sequence == 4 && last.leader == new && !last.leads);
    let found = cluster.message(3).await.unwrap().unwrap();
    assert!(Marked::read(&found).unwrap().leads);
    assert_eq!(cluster.message(99).await.unwrap(), None);
    // After all these refusals the stream is healthy.
    assert_eq!(publish(&message(name, &new, 2, 4, Some(3))).await, stored(5));
}

/// What servers were seen to do with a lease.
async fn a_lease_is_claimed_renewed_and_ends(context: &Context, servers: &[Server], copies: u32) {
    let cluster = opened(context, &service(servers, ChainId::new("lease").unwrap(), copies)).await;
    let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let lease = cluster.lease().await.unwrap();
    assert!(lease.revision == 0 && lease.value.is_none());
    let Claim::Held(first) = cluster.claim(0, value("a")).await.unwrap() else { panic!("taken") };
    assert_eq!(cluster.claim(0, value("b")).await.unwrap(), Claim::Taken);
    let Claim::Held(renewed) = cluster.claim(first, value("a")).await.unwrap() else {
        panic!("taken")
    };
    assert!(renewed > first);
    assert_eq!(cluster.claim(first, value("a")).await.unwrap(), Claim::Taken);
    // It is given up, and what takes over expects the marker.
    let Claim::Held(_) = cluster.claim(renewed, None).await.unwrap() else { panic!("taken") };
    let free = cluster.lease().await.unwrap();
    assert!(free.value.is_none() && free.revision > renewed, "{free:?}");
    assert_eq!(cluster.claim(0, value("b")).await.unwrap(), Claim::Taken);
    let Claim::Held(taken) = cluster.claim(free.revision, value("b")).await.unwrap() else {
        panic!("taken")
    };
    // Nobody renews it: it ends by its age, and leaves a marker too.
    let ended = loop {
        let lease = cluster.lease().await.unwrap();
        if lease.value.is_none() {
            break lease;
        }
        context.sleep(TICK).await;
    };
    assert!(ended.revision > taken, "{ended:?}");
    assert_eq!(cluster.claim(0, value("c")).await.unwrap(), Claim::Taken);
    let Claim::Held(last) = cluster.claim(ended.revision, value("c")).await.unwrap() else {
        panic!("taken")
    };
    assert!(last > ended.revision, "the token grows over an end");
}

#[test]
fn one_server_refuses_a_zombie_whatever_it_expects() {
    alone(LIMIT, NEWEST, async |context, servers| the_fence_holds(&context, &servers, 1).await);
}

#[test]
fn the_oldest_server_that_is_used_does_too() {
    alone(LIMIT, FLOOR, async |context, servers| {
        the_fence_holds(&context, &servers, 1).await;
        a_lease_is_claimed_renewed_and_ends(&context, &servers, 1).await;
    });
}

#[test]
fn a_lease_at_one_server_ends_and_its_token_grows() {
    alone(LIMIT, NEWEST, async |context, servers| {
        a_lease_is_claimed_renewed_and_ends(&context, &servers, 1).await;
    });
}

#[test]
fn a_server_below_the_floor_is_refused_with_the_reason() {
    alone(LIMIT, TOO_OLD, async |context, servers| {
        let client = connected(&context, &servers).await;
        let names = Names::of(&ChainId::new("c").unwrap());
        let refused = loop {
            match JetStream::open(client.clone(), names.clone(), None).await {
                Err(fault) if fault.severity().is_fatal() => break fault,
                Err(_) => context.sleep(TICK).await,
                Ok(_) => panic!("2.11.11 was accepted"),
            }
        };
        assert_eq!(refused.kind, FaultKind::InvalidConfig);
        assert!(matches!(refused.reason::<Error>(), Some(Error::TooOld { .. })), "{refused}");
    });
}

#[test]
fn what_is_there_in_another_form_is_refused_by_the_setting() {
    alone(LIMIT, NEWEST, async |context, servers| {
        let cluster =
            opened(&context, &service(&servers, ChainId::new("settings").unwrap(), 1)).await;
        let found = tidewatch_nats::client::configuration(&cluster).await.unwrap();
        assert_eq!(found["deny_delete"], true);
        let chain = ChainId::new("settings").unwrap();
        let client = connected(&context, &servers).await;
        // Three copies were asked for, and one is there.
        let refused =
            JetStream::open(client.clone(), Names::of(&chain), Some(3)).await.unwrap_err();
        assert!(refused.detail.contains("num_replicas"), "{refused}");
        // A stream that somebody else made by that name.
        let other = Names::of(&ChainId::new("other").unwrap());
        let body = serde_json::json!({
            "name": other.stream, "subjects": [other.subjects()], "max_msgs_per_subject": 1,
        });
        let create = format!("$JS.API.STREAM.CREATE.{}", other.stream);
        client.request(create, body.to_string().into()).await.unwrap();
        let refused = JetStream::open(client, other, None).await.unwrap_err();
        let Some(Error::Settings { differences, .. }) = refused.reason::<Error>() else {
            panic!("{refused}")
        };
        let named: Vec<_> = differences.iter().map(|one| one.setting.as_str()).collect();
        assert_eq!(named, ["deny_delete", "deny_purge", "max_msgs_per_subject"]);
    });
}

/// Followers of one chain that publish, and a reader of what they publish.
struct Followers {
    truth: Arc<Mutex<Truth>>,
    logs: Vec<MemoryReader<TestBlock>>,
    running: Vec<Option<Running>>,
    observer: Arc<Mutex<Observer>>,
    tasks: Vec<Handle<()>>,
    consumer: Option<Handle<()>>,
    cluster: JetStream,
    options: Options,
    chain: ChainId,
}

impl Followers {
    fn start(context: &Context, servers: &[Server], cluster: JetStream, count: usize) -> Self {
        let truth = Arc::new(Mutex::new(Truth::new(7)));
        let chain = truth.lock().chain.chain_info().id;
        let observer = Arc::new(Mutex::new(Observer::default()));
        let mut this = Self {
            logs: Vec::new(),
            running: Vec::new(),
            tasks: Vec::new(),
            consumer: None,
            cluster,
            options: options(servers),
            truth: truth.clone(),
            observer,
            chain,
        };
        let moving = truth.clone();
        this.tasks.push(context.child("chain").spawn(move |context| async move {
            loop {
                context.sleep(2 * TICK).await;
                moving.lock().step();
            }
        }));
        for number in 0..count {
            let mut machine = Machine::new(&truth.lock().chain);
            this.logs.push(machine.reader.clone());
            let mut rng = StdRng::seed_from_u64(number as u64);
            let truth = truth.clone();
            this.tasks.push(context.child("follower").spawn(move |context| async move {
                loop {
                    let now = {
                        let truth = truth.lock();
                        (truth.chain.clone(), truth.finalized)
                    };
                    machine.follow(now, rng.random_range(1..20), 1).await;
                    context.sleep(Duration::from_millis(rng.random_range(10..200))).await;
                }
            }));
            this.running.push(None);
            this.publish(context, number);
        }
        this.consume(context);
        this
    }

    /// A consumer reads from the place that was kept on.
    fn consume(&mut self, context: &Context) {
        let (cluster, observer) = (self.cluster.clone(), self.observer.clone());
        let (known, config) = (self.truth.clone(), tail::Config::new(self.chain.clone()));
        self.consumer = Some(context.child("consumer").spawn(move |context| async move {
            let kept = observer.lock().place.clone();
            let from = kept.map_or(From::Oldest, |place| From::Place(Box::new(place)));
            let mut tail = Tail::new(context, cluster, Arc::new(()), config, from);
            loop {
                match tail.next().await {
                    Ok(taken) => observer.lock().take(&taken, &known.lock().parents),
                    Err(fault) => {
                        observer.lock().violations.push(fault.to_string());
                        return;
                    }
                }
            }
        }));
    }

    /// The consumer ends where it stands.
    fn kill_consumer(&mut self) {
        self.consumer.take().expect("it runs").abort();
    }

    /// Publisher `number` runs.
    fn publish(&mut self, context: &Context, number: usize) {
        let (options, chain) = (self.options.clone(), self.chain.clone());
        let config = service::Config { options, chain, replicas: None };
        let log = self.logs[number].clone();
        let service = Service::new(context.child("nats"), config, None, log, Arc::new(()));
        self.running[number] = Some(Running::start(service));
    }

    /// Publisher `number` ends where it stands.
    fn abort(&mut self, number: usize) {
        self.running[number].take().expect("it runs").abort();
    }

    fn height(&self) -> u64 {
        let stands = self.observer.lock().position();
        stands.and_then(|stands| stands.delivered).map_or(0, |block| block.height.get())
    }

    /// Waits until the reader has come further by some blocks.
    async fn goes_on(&self, context: &Context) {
        let tip = self.truth.lock().chain.tip();
        while self.height() < tip {
            context.sleep(TICK).await;
        }
    }

    /// The chain stands still, and all agree in the end.
    async fn end(mut self, context: &Context) {
        self.tasks[0].abort();
        let tip = self.truth.lock().chain.tip();
        let agree = || {
            let stands = self.observer.lock().position().unwrap_or_default();
            self.height() == tip
                && self.logs.iter().all(|log| {
                    let ours = log.watermarks().unwrap();
                    ours.same_blocks(&stands)
                })
        };
        while !agree() {
            context.sleep(TICK).await;
        }
        for running in self.running.iter_mut().filter_map(Option::take) {
            running.stop();
            running.await.unwrap();
        }
        self.tasks.iter().for_each(Handle::abort);
        self.kill_consumer();
        let observer = self.observer.lock();
        assert!(observer.violations.is_empty(), "{:#?}", observer.violations);
    }
}

/// Kills servers, publishers and the consumer in turn: after each of them events come as before.
async fn killed(context: &Context, mut servers: Vec<Server>, copies: u32, rounds: usize) {
    let name = Truth::new(7).chain.chain_info().id;
    let cluster = opened(context, &service(&servers, name, copies)).await;
    let mut followers = Followers::start(context, &servers, cluster, 3);
    followers.goes_on(context).await;
    for round in 0..rounds {
        let server = round % servers.len();
        servers[server].kill();
        context.sleep(TICK * 4).await;
        servers[server].restart();
        followers.goes_on(context).await;
        let who = round % 3;
        followers.abort(who);
        context.sleep(TICK * 4).await;
        followers.publish(context, who);
        followers.kill_consumer();
        context.sleep(TICK).await;
        followers.consume(context);
        followers.goes_on(context).await;
    }
    followers.end(context).await;
}

#[test]
fn three_followers_publish_as_one_over_kills_of_the_server_and_of_each_of_them() {
    alone(LIMIT, NEWEST, async |context, servers| killed(&context, servers, 1, 3).await);
}

#[test]
fn a_cluster_of_three_refuses_a_zombie_and_its_lease_ends() {
    three(2 * LIMIT, async |context, servers| {
        the_fence_holds(&context, &servers, 3).await;
        a_lease_is_claimed_renewed_and_ends(&context, &servers, 3).await;
    });
}

#[test]
fn three_followers_publish_as_one_over_kills_in_a_cluster_of_three() {
    three(2 * LIMIT, async |context, servers| killed(&context, servers, 3, 2).await);
}

/// Nine minutes: each leader that ends without a word costs the life of its lease.
#[test]
#[ignore = "long: 50 kills of servers and 50 of publishers; run by name"]
fn fifty_kills_of_servers_and_of_publishers_lose_nothing_and_double_nothing() {
    alone(10 * LIMIT, NEWEST, async |context, servers| killed(&context, servers, 1, 25).await);
    three(20 * LIMIT, async |context, servers| killed(&context, servers, 3, 25).await);
}

//! The whole protocol over real sockets: a scripted node of Tempo over HTTP and WebSocket.

use super::chain::World;
use crate::{
    registry::{self, Settings},
    rpc::tests::{run, script::Script},
    tempo::{Config, Endpoint, Genesis, Network, TempoSource, TempoUpstream, open, schemes},
};
use commonware_runtime::{Clock as _, Supervisor as _, tokio::Context};
use commonware_utils::{NZUsize, sync::Mutex};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidewatch_conformance::{Stage, Verdict, source, source_checks};
use tidewatch_core::{BlockRef, Doorbell, FaultKind, Height, Source as _, Tier, within};
use tidewatch_testkit::monitor::Faults;

/// How long a test waits for what it is about.
const PATIENCE: Duration = Duration::from_secs(30);

/// A scripted node of a network.
struct Served {
    world: Arc<Mutex<World>>,
    script: Script,
    address: SocketAddr,
    /// Whether it pushes what it makes.
    pushes: bool,
}

impl Served {
    async fn new(world: World) -> Self {
        let world = Arc::new(Mutex::new(world));
        let answering = world.clone();
        let script = Script::new(move |method, params| answering.lock().answer(method, params));
        let script =
            script.with_subscriptions(|method, _| (method == "consensus_subscribe").then(Vec::new));
        let address = script.serve().await;
        Self { world, script, address, pushes: true }
    }

    /// Makes `blocks` more blocks, and pushes each.
    fn extend(&self, blocks: u64) {
        for _ in 0..blocks {
            let event = {
                let mut world = self.world.lock();
                world.extend(1);
                world.event()
            };
            if self.pushes {
                self.script.push("consensus_event", &event);
            }
        }
    }

    fn tip(&self) -> BlockRef {
        self.world.lock().tip()
    }

    fn network(&self) -> Network {
        self.world.lock().network.clone()
    }

    fn endpoint(&self, scheme: &str) -> Endpoint {
        // The network is given to what is opened.
        format!("tempo+{scheme}://{}?network=mainnet", self.address).parse().unwrap()
    }
}

impl Stage for Served {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        self.pushes
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.extend(blocks);
        true
    }
}

/// Connections that come back soon.
fn hasty() -> Config {
    let mut config = Config::default();
    config.certified.backoff_base = Duration::from_millis(20);
    config.certified.backoff_cap = Duration::from_millis(40);
    config.certified.silence = Duration::from_secs(2);
    config.rpc.backoff_base = Duration::from_millis(20);
    config.rpc.backoff_cap = Duration::from_millis(40);
    config
}

type Opened = (TempoSource<Context>, TempoUpstream<Context>, Faults);

fn follow(context: &Context, served: &Served, scheme: &str, config: &Config) -> Opened {
    let (network, recorder) = (served.network(), Faults::default());
    let context = context.child("tempo");
    let endpoints = [served.endpoint(scheme)];
    let (source, upstream) =
        open(context, &endpoints, &network, schemes(&network), Arc::new(recorder.clone()), config)
            .unwrap();
    (source, upstream, recorder)
}

/// Waits until the source has `tip`, woken by `bell`, and each second, as a driver is.
async fn rung_to(
    context: &Context,
    source: &TempoSource<Context>,
    bell: &mut Doorbell,
    tip: BlockRef,
) {
    let reached = async {
        loop {
            let now = source.snapshot().await.ok().and_then(|it| it.tips.block(Tier::Finalized));
            if now == Some(tip) {
                return;
            }
            let _ = within(context, Duration::from_secs(1), bell.rung()).await;
        }
    };
    within(context, PATIENCE, reached).await.expect("the tip is reached");
}

#[test]
fn it_holds_in_every_check_of_a_source_over_sockets() {
    for scheme in ["http", "ws"] {
        let report = run(|context| async move {
            let mut served = Served::new(World::new(8, &[0, 0, 1, 1, 2], 20)).await;
            served.pushes = scheme == "ws";
            let mut config = hasty();
            config.certified.recent_max = NZUsize!(4);
            let (tempo, upstream, _) = follow(&context, &served, scheme, &config);
            let upstream = served.pushes.then(|| upstream.start());
            let report = source(context.child("suite"), Arc::new(tempo), &mut served).await;
            if let Some(upstream) = upstream {
                upstream.abort();
            }
            report
        });
        report.assert();
        for check in [source_checks::REACH, source_checks::GROWTH, source_checks::TIPS_ONLY] {
            let held = |it: &&tidewatch_conformance::Check| it.name == check;
            let found = report.checks().iter().find(held).unwrap();
            assert_eq!(found.verdict, Verdict::Held, "{scheme}\n{report}");
        }
    }
}

#[test]
fn a_subscription_wakes_and_events_that_are_lost_cost_no_block() {
    run(|context| async move {
        let mut served = Served::new(World::new(10, &[0, 0, 1], 3)).await;
        let mut config = hasty();
        config.certified.silence = PATIENCE;
        let (source, upstream, recorder) = follow(&context, &served, "ws", &config);
        let mut bell = source.doorbell();
        let _upstream = upstream.start();
        rung_to(&context, &source, &mut bell, served.tip()).await;
        assert_eq!(served.script.calls("consensus_subscribe"), 1);
        assert_eq!(served.script.calls("eth_subscribe"), 0);
        for _ in 0..3 {
            served.extend(1);
            rung_to(&context, &source, &mut bell, served.tip()).await;
        }
        // Some are lost, over a change of the key: the next event has the newest asked for.
        served.pushes = false;
        served.extend(18);
        served.pushes = true;
        served.extend(1);
        rung_to(&context, &source, &mut bell, served.tip()).await;
        let blocks = source.blocks(served.tip(), Height::new(1)).await.unwrap();
        assert_eq!(blocks, served.world.lock().blocks[1..]);
        // An event that says anything else is a ring as well, and believed no more.
        served.script.push("consensus_event", &json!({"type": "nullified", "epoch": 7, "view": 7}));
        served.extend(1);
        rung_to(&context, &source, &mut bell, served.tip()).await;
        // A push waits for no walk over epochs: that is for the next answer.
        let faults = recorder.all();
        assert!(faults.iter().all(|fault| fault.kind == FaultKind::UnknownEpoch), "{faults:?}");
    });
}

#[test]
fn many_events_at_once_are_few_questions() {
    run(|context| async move {
        let served = Served::new(World::new(1_000, &[0], 3)).await;
        let (source, upstream, _) = follow(&context, &served, "ws", &hasty());
        let mut bell = source.doorbell();
        let _upstream = upstream.start();
        rung_to(&context, &source, &mut bell, served.tip()).await;
        let before = served.script.calls("consensus_getFinalization");
        served.world.lock().extend(200);
        let event = served.world.lock().event();
        for _ in 0..200 {
            served.script.push("consensus_event", &event);
        }
        rung_to(&context, &source, &mut bell, served.tip()).await;
        let asked = served.script.calls("consensus_getFinalization") - before;
        assert!(asked < 100, "{asked} questions for 200 events");
    });
}

#[test]
fn a_subscription_that_ends_or_falls_silent_is_made_again() {
    run(|context| async move {
        let mut served = Served::new(World::new(10, &[0, 1], 3)).await;
        let mut config = hasty();
        // The tip is asked for after a connection was made, and when something was pushed.
        config.certified.ask_interval = 10 * PATIENCE;
        let (source, upstream, _) = follow(&context, &served, "ws", &config);
        let mut bell = source.doorbell();
        let _upstream = upstream.start();
        rung_to(&context, &source, &mut bell, served.tip()).await;
        // The connection ends, and blocks are made meanwhile.
        served.pushes = false;
        served.script.hang_up();
        served.extend(9);
        rung_to(&context, &source, &mut bell, served.tip()).await;
        // The node goes on without a word, as one whose feed has ended.
        let again = async {
            while served.script.calls("consensus_subscribe") < 4 {
                served.extend(1);
                rung_to(&context, &source, &mut bell, served.tip()).await;
                context.sleep(Duration::from_millis(20)).await;
            }
        };
        within(&context, PATIENCE, again).await.expect("subscribes again");
    });
}

#[test]
fn a_node_that_is_a_follower_itself_is_followed_and_one_that_lags_takes_nothing_back() {
    run(|context| async move {
        let (served, lags) = (
            Served::new(World::new(10, &[0, 0, 1], 25)).await,
            Served::new(World::new(10, &[0, 0, 1], 25)).await,
        );
        // It took in its history by hashing: of what is between the ends of epochs it has no certificate.
        lags.world.lock().lag = 2;
        lags.world.lock().without =
            (1..25).filter(|height| height % 10 != 9 && *height != 23).collect();
        let network = served.network();
        let endpoints = [served.endpoint("http"), lags.endpoint("ws")];
        let mut config = hasty();
        config.certified.blocks_max = NZUsize!(10);
        config.certified.gap_max = NZUsize!(10);
        let (tempo, _) = open(
            context.child("both"),
            &endpoints,
            &network,
            schemes(&network),
            Arc::new(()),
            &config,
        )
        .unwrap();
        for _ in 0..4 {
            let tips = tempo.snapshot().await.unwrap().tips;
            assert_eq!(tips.block(Tier::Finalized), Some(served.tip()));
        }
        // Alone it is followed to where it stands.
        let (alone, _, _) = follow(&context, &lags, "http", &config);
        let tip = alone.snapshot().await.unwrap().tips.block(Tier::Finalized).unwrap();
        assert_eq!(tip, lags.world.lock().reference(23));
        let mut next = Height::new(1);
        while next <= tip.height {
            let blocks = alone.blocks(tip, next).await.unwrap();
            let first = next.get() as usize;
            assert_eq!(blocks, lags.world.lock().blocks[first..first + blocks.len()]);
            next = Height::new(next.get() + blocks.len() as u64);
        }
    });
}

#[test]
fn whoever_names_a_genesis_file_follows_that_network_from_the_registry_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (file, other) =
        (directory.path().join("genesis.json"), directory.path().join("other.json"));
    let storage = directory.path().join("data");
    let runner = commonware_runtime::tokio::Config::new().with_storage_directory(storage);
    use commonware_runtime::Runner as _;
    commonware_runtime::tokio::Runner::new(runner).start(|context| async move {
        let served = Served::new(World::new(10, &[0, 1], 25)).await;
        std::fs::write(&file, served.world.lock().genesis.to_string()).unwrap();
        std::fs::write(&other, World::new(10, &[3], 0).genesis.to_string()).unwrap();
        assert_eq!(Genesis::File(file.clone()).network().unwrap(), served.network());
        let opened = |name: &'static str, genesis: std::path::PathBuf, anchor: Option<BlockRef>| {
            let address = format!("tempo+http://{}?genesis={}", served.address, genesis.display());
            let target = registry::parse(&[&address], None).unwrap();
            assert!(target.has_epochs());
            // The chain began in November 2025.
            let trust_period = Duration::from_secs(100 * 365 * 24 * 60 * 60);
            let settings = Settings { anchor, trust_period, ..Settings::default() };
            target.open(context.child(name), Arc::new(()), settings)
        };
        let tempo = opened("first", file.clone(), None).await.unwrap();
        let chain_info = tempo.chain_info().await.unwrap();
        assert_eq!(chain_info.id, served.network().id());
        let snapshot = tempo.source.snapshot().await.unwrap();
        assert_eq!(snapshot.tips.block(Tier::Finalized), Some(served.tip()));
        drop(tempo);
        // What is in the directory is of another chain.
        let refused = opened("other", other.clone(), None).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::WrongChain, "{refused}");
        // A block that the operator vouches for: the epoch that it leads to is where the table begins.
        let pinned = served.world.lock().reference(19);
        let tempo = opened("pinned", file.clone(), Some(pinned)).await.unwrap();
        let snapshot = tempo.source.snapshot().await.unwrap();
        assert_eq!(snapshot.tips.block(Tier::Finalized), Some(served.tip()));
    });
}

/// Answers of a node in front of another one.
#[test]
fn errors_of_a_node_are_what_they_mean() {
    for (code, kind) in [(204, FaultKind::Unavailable), (-32_601, FaultKind::Unavailable)] {
        run(|context| async move {
            let mut served = Served::new(World::new(10, &[0], 3)).await;
            let error = move |asked: &Value| {
                (asked["method"] == "consensus_getFinalization").then(|| {
                    let error = json!({"code": code, "message": "not now", "data": "block"});
                    json!({"jsonrpc": "2.0", "id": asked["id"], "error": error})
                })
            };
            let script = served.script.clone().with_whole(error);
            served.address = script.serve().await;
            for scheme in ["http", "ws"] {
                let (tempo, _, _) = follow(&context, &served, scheme, &hasty());
                let fault = tempo.snapshot().await.unwrap_err();
                assert_eq!(fault.kind, kind, "{code}: {fault}");
            }
        });
    }
}

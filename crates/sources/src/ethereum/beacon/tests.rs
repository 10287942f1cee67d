//! Over real sockets: an execution node and a consensus client that are served, and a follower of both.

#![allow(
    clippy::disallowed_methods,
    reason = "the servers are not what runs here, and end with the test"
)]

use super::{
    standing::SETTLED,
    wire::{BLOCKS, CHECKPOINTS, EVENTS, TOPICS, read_block, read_checkpoints},
};
use crate::{
    ethereum::{
        Address, EthereumSource, open,
        tests::{
            Follower,
            node::{World, reference},
        },
    },
    rpc::{Config, Node, tests::script::Script},
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::any,
};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio::Context};
use commonware_utils::sync::Mutex;
use futures::{SinkExt as _, StreamExt as _, channel::mpsc};
use serde_json::json;
use std::{collections::HashMap, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, Digest, FaultKind, Height, Source as _, Tier, within};
use tidewatch_testkit::monitor::Faults;

const LIMIT: Duration = Duration::from_secs(30);

fn run<F: Future>(test: impl FnOnce(Context) -> F) -> F::Output {
    commonware_runtime::tokio::Runner::default().start(test)
}

/// What it answers instead of what it should.
type Instead = Arc<dyn Fn(&str) -> Option<Response> + Send + Sync>;

/// A consensus client that is served.
#[derive(Clone, Default)]
struct Beacon(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    justified: Option<BlockRef>,
    finalized: Option<BlockRef>,
    /// By the root of the beacon block around it.
    blocks: HashMap<String, BlockRef>,
    requests: Vec<String>,
    instead: Option<Instead>,
    events: Vec<mpsc::Sender<Result<String, Infallible>>>,
}

/// The root of the beacon block around an execution block.
fn root(block: Option<BlockRef>) -> String {
    let zero = Digest([0; 32]);
    let digest = block.map_or(zero, |block| Digest(block.digest.0.map(|byte| !byte)));
    format!("0x{digest}")
}

impl Beacon {
    fn say(&self, justified: Option<BlockRef>, finalized: Option<BlockRef>) {
        let mut state = self.0.lock();
        (state.justified, state.finalized) = (justified, finalized);
        for block in [justified, finalized].into_iter().flatten() {
            state.blocks.insert(root(Some(block)), block);
        }
    }

    fn instead(&self, answer: Option<Instead>) {
        self.0.lock().instead = answer;
    }

    /// What was asked since this was called last.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().requests)
    }

    /// Sends `text` to whoever listens; those who left are forgotten.
    async fn push(&self, text: &str) -> usize {
        let mut listeners = std::mem::take(&mut self.0.lock().events);
        let mut heard = Vec::new();
        for mut listener in listeners.drain(..) {
            if listener.send(Ok(text.to_owned())).await.is_ok() {
                heard.push(listener);
            }
        }
        let count = heard.len();
        self.0.lock().events.extend(heard);
        count
    }

    async fn serve(&self) -> SocketAddr {
        let beacon = self.clone();
        let handler = move |request: Request| std::future::ready(beacon.answer(&request));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(any(handler));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        address
    }

    fn answer(&self, request: &Request) -> Response {
        let mut state = self.0.lock();
        let asked = request.uri().path_and_query().unwrap().as_str().to_owned();
        state.requests.push(asked.clone());
        if let Some(answer) = state.instead.clone().and_then(|instead| instead(&asked)) {
            return answer;
        }
        if asked == format!("{EVENTS}?{TOPICS}") {
            let (sender, events) = mpsc::channel(16);
            state.events.push(sender);
            return Body::from_stream(events.boxed()).into_response();
        }
        let body = if asked == CHECKPOINTS {
            let checkpoint = |block| json!({"epoch": "1", "root": root(block)});
            json!({
                "execution_optimistic": false,
                "data": {
                    "previous_justified": checkpoint(None),
                    "current_justified": checkpoint(state.justified),
                    "finalized": checkpoint(state.finalized),
                },
            })
        } else {
            let block = state.blocks[asked.strip_prefix(BLOCKS).unwrap()];
            let payload = json!({
                "block_number": block.height.to_string(),
                "block_hash": format!("0x{}", block.digest),
            });
            let message = json!({"slot": "7", "body": {"execution_payload": payload}});
            json!({"version": "bellatrix", "data": {"message": message, "signature": "0x"}})
        };
        ([("content-type", "application/json")], body.to_string()).into_response()
    }
}

/// Both clients, and a follower.
struct Rig {
    world: Arc<Mutex<World>>,
    beacon: Beacon,
    faults: Faults,
    follower: Follower<EthereumSource<Context, Node<Context>>>,
}

impl Rig {
    /// An execution node of `blocks` blocks.
    async fn start(context: &Context, blocks: u64) -> Self {
        let world = Arc::new(Mutex::new(World::new(31_337, blocks)));
        let behind = world.clone();
        let node = Script::new(move |method, params| behind.lock().answer(method, params));
        let (beacon, faults) = (Beacon::default(), Faults::default());
        let (el, cl) = (node.serve().await, beacon.serve().await);
        let address: Address = format!("eth+http://{el}?beacon=http://{cl}").parse().unwrap();
        let config = Config {
            backoff_base: Duration::from_millis(20),
            backoff_cap: Duration::from_millis(100),
            ..Config::default()
        };
        let source =
            open(context.child("source"), &[address], Arc::new(faults.clone()), &config).unwrap();
        let follower = Follower::start(source).await;
        Self { world, beacon, faults, follower }
    }

    fn at(&self, height: u64) -> BlockRef {
        reference(&self.world.lock().canonical[usize::try_from(height).unwrap()])
    }

    /// What the node says is safe and final.
    fn node(&self, safe: u64, finalized: u64) {
        let mut world = self.world.lock();
        (world.safe, world.finalized) = (Some(safe), Some(finalized));
    }

    /// What the consensus client says is, of the node's chain.
    fn client(&self, justified: u64, finalized: u64) {
        self.beacon.say(Some(self.at(justified)), Some(self.at(finalized)));
    }

    /// One pass: requests to the node, and to the client.
    async fn pass(&mut self) -> (u64, usize) {
        let requests = self.follower.pass().await;
        (requests, self.beacon.asked().len())
    }

    /// Where safe and finalized stand.
    async fn tiers(&self) -> [Option<u64>; 2] {
        let tips = self.follower.watermarks().await.tips;
        let at = |tier| tips.block(tier).map(|block| block.height.get());
        [at(Tier::Checkpointed), at(Tier::Finalized)]
    }
}

#[test]
fn recorded_answers_are_read() {
    let checkpoints = include_bytes!("recorded/checkpoints.json");
    let [justified, finalized] = read_checkpoints("client", checkpoints).unwrap();
    let root = "0xe21d110da9405c8a617dfb662a7b11451307343b75e59327d3f54654a2bd562e";
    assert_eq!(justified.map(|root| root.to_string()).as_deref(), Some(root));
    let root = "0x9490815a7a9666e8b3f65e87962b99aff4367e8ff87a688d67a2aa0b905353a2";
    assert_eq!(finalized.map(|root| root.to_string()).as_deref(), Some(root));
    let block = read_block("client", include_bytes!("recorded/block.json")).unwrap().unwrap();
    assert_eq!(block.height, Height::new(11));
    assert_eq!(
        format!("0x{}", block.digest),
        "0x4246ae1af1918ba90662e1e7a0db63bd96a69073ca21537784af2fce9d3c8dd3"
    );
}

#[test]
fn what_is_no_execution_block_is_no_checkpoint_and_what_is_odd_is_refused() {
    let zero = format!("0x{}", "00".repeat(32));
    let body = |body| json!({"data": {"message": {"body": body}}}).to_string();
    let payload = |number: serde_json::Value, hash: &str| {
        body(json!({"execution_payload": {"block_number": number, "block_hash": hash}}))
    };
    for none in [body(json!({})), payload(json!("0"), &zero)] {
        assert_eq!(read_block("client", none.as_bytes()).unwrap(), None, "{none}");
    }
    let hash = format!("0x{}", "07".repeat(32));
    let block = BlockRef::new(Height::new(24), Digest([7; 32]));
    assert_eq!(read_block("client", payload(json!("24"), &hash).as_bytes()).unwrap(), Some(block));
    let table = [
        (payload(json!(24), &hash), FaultKind::Malformed),
        (payload(json!("-1"), &hash), FaultKind::Malformed),
        (payload(json!("24"), "0x07"), FaultKind::Malformed),
        ("{}".into(), FaultKind::Malformed),
        ("<html>".into(), FaultKind::UnexpectedContent),
        (String::new(), FaultKind::UnexpectedContent),
    ];
    for (text, kind) in table {
        assert_eq!(read_block("client", text.as_bytes()).unwrap_err().kind, kind, "{text}");
    }
}

#[test]
fn an_opinion_costs_two_requests_an_epoch_and_nothing_in_between() {
    run(|context| async move {
        let mut rig = Rig::start(&context, 40).await;
        rig.node(16, 8);
        rig.client(16, 8);
        let (_, asked) = rig.pass().await;
        assert_eq!(asked, 3, "the checkpoints and both blocks");
        assert_eq!(rig.tiers().await, [Some(16), Some(8)]);
        assert_eq!(rig.pass().await, (1, 0), "quiet");
        rig.world.lock().extend(1);
        assert_eq!(rig.pass().await, (1, 0), "a block");
        for epoch in 3..5 {
            rig.node(8 * epoch, 8 * (epoch - 1));
            rig.client(8 * epoch, 8 * (epoch - 1));
            assert_eq!(rig.pass().await, (1, 2), "what is final was justified before");
            assert_eq!(rig.tiers().await, [Some(8 * epoch), Some(8 * (epoch - 1))]);
            assert_eq!(rig.pass().await, (1, 0));
        }
        // The client is an epoch behind: its blocks are known, and so are the node's there.
        rig.node(40, 32);
        assert_eq!(rig.pass().await, (1, 1));
        assert_eq!(rig.tiers().await, [Some(40), Some(32)]);
        assert_eq!(rig.faults.kinds(), []);
    });
}

#[test]
fn a_client_that_is_behind_ahead_or_knows_nothing_has_no_objection() {
    run(|context| async move {
        let mut rig = Rig::start(&context, 40).await;
        rig.node(16, 8);
        rig.pass().await;
        assert_eq!(rig.tiers().await, [Some(16), Some(8)], "it knows nothing yet");
        rig.node(24, 16);
        rig.client(32, 24);
        rig.pass().await;
        assert_eq!(rig.tiers().await, [Some(24), Some(16)], "it is ahead, and makes no tier");
        rig.node(32, 24);
        rig.client(16, 8);
        rig.pass().await;
        assert_eq!(rig.tiers().await, [Some(32), Some(24)], "it restarted");
        let far = BlockRef::new(Height::new(1_000), Digest([7; 32]));
        rig.beacon.say(Some(far), Some(far));
        rig.node(40, 32);
        rig.pass().await;
        assert_eq!(rig.tiers().await, [Some(40), Some(32)], "the node has nothing as high");
        assert_eq!(rig.faults.kinds(), []);
    });
}

/// Another block at a height of the node's chain, above the tier and below it.
#[test]
fn a_contradiction_withholds_the_tier_at_once_and_is_a_fault_once_it_lasts() {
    for height in [16, 8, 30] {
        run(|context| async move {
            let mut rig = Rig::start(&context, 40).await;
            rig.node(16, 8);
            rig.client(16, 8);
            rig.pass().await;
            rig.node(24, 16);
            let other = BlockRef::new(Height::new(height), Digest([7; 32]));
            rig.beacon.say(Some(rig.at(24)), Some(other));
            rig.world.lock().extend(1);
            let start = context.current();
            rig.pass().await;
            let passed = context.current().duration_since(start).unwrap();
            assert!(passed < SETTLED);
            assert_eq!(rig.tiers().await, [Some(16), Some(8)], "neither moves");
            assert_eq!(rig.follower.watermarks().await.delivered, Some(rig.at(41)), "blocks do");
            assert_eq!(rig.faults.kinds(), [], "it may be for a moment");
            let reported = within(&context, LIMIT, async {
                while rig.faults.kinds().is_empty() {
                    rig.pass().await;
                    context.sleep(Duration::from_millis(50)).await;
                }
            });
            reported.await.expect("it is reported");
            let passed = context.current().duration_since(start).unwrap();
            assert!(passed >= SETTLED, "{passed:?}");
            let fault = rig.faults.all().remove(0);
            assert_eq!(fault.kind, FaultKind::Disputed);
            for said in [rig.at(height).to_string(), other.to_string(), "finalized".into()] {
                assert!(fault.detail.contains(&said), "{}", fault.detail);
            }
            rig.pass().await;
            rig.pass().await;
            assert_eq!(rig.faults.kinds(), [FaultKind::Disputed], "once");
            assert_eq!(rig.tiers().await, [Some(16), Some(8)]);
            rig.client(24, 16);
            rig.pass().await;
            assert_eq!(rig.tiers().await, [Some(24), Some(16)], "they agree");
            rig.pass().await;
            assert_eq!(rig.pass().await, (1, 0), "and it is over");
            let refusals = rig.follower.source.beacon_work().refusals;
            assert_eq!(refusals, [("disputed", 1)].into());
        });
    }
}

#[test]
fn a_client_that_does_not_answer_costs_its_opinion_alone() {
    let page = |status: u16, body: &'static str| -> Instead {
        let status = http::StatusCode::from_u16(status).unwrap();
        Arc::new(move |_| Some((status, body).into_response()))
    };
    let silent: Instead = Arc::new(|_| {
        let never = futures::stream::pending::<Result<String, Infallible>>();
        Some(Body::from_stream(never).into_response())
    });
    let endless: Instead = Arc::new(|_| {
        let page = Ok::<_, Infallible>("x".repeat(64 * 1024));
        Some(Body::from_stream(futures::stream::repeat(page)).into_response())
    });
    let blocks: Instead = Arc::new(|asked| {
        let page = asked.starts_with(BLOCKS).then_some("{\"data\": 7}");
        page.map(axum::response::IntoResponse::into_response)
    });
    let table = [
        (page(503, "syncing"), FaultKind::Unavailable),
        (page(404, "{}"), FaultKind::Unavailable),
        (page(200, "<html>"), FaultKind::UnexpectedContent),
        (page(200, "{\"data\": {}}"), FaultKind::Malformed),
        (silent, FaultKind::Timeout),
        (endless, FaultKind::Oversized),
        (blocks, FaultKind::Malformed),
    ];
    run(|context| async move {
        for (instead, kind) in table {
            let mut rig = Rig::start(&context, 40).await;
            rig.beacon.instead(Some(instead));
            rig.node(16, 8);
            rig.client(16, 8);
            rig.pass().await;
            assert_eq!(rig.tiers().await, [Some(16), Some(8)], "the node's word counts");
            assert_eq!(rig.faults.kinds(), [kind]);
            // It is asked again, and heard once it answers.
            rig.beacon.instead(None);
            let other = BlockRef::new(Height::new(20), Digest([7; 32]));
            rig.beacon.say(Some(other), Some(rig.at(8)));
            rig.node(24, 16);
            let heard = within(&context, LIMIT, async {
                rig.beacon.asked();
                while rig.pass().await.1 == 0 {
                    context.sleep(Duration::from_millis(20)).await;
                }
            });
            heard.await.expect("it is asked again");
            assert_eq!(rig.faults.kinds(), [kind]);
            assert_eq!(
                rig.follower.source.snapshot().await.unwrap().tips.block(Tier::Checkpointed),
                None
            );
        }
    });
}

const HEAD: &str = "event: head\ndata: {\"slot\":\"44\"}\n\n";

#[test]
fn a_pushed_head_wakes_and_goes_on_to_where_the_node_has_it_later() {
    run(|context| async move {
        let rig = Rig::start(&context, 40).await;
        let source = &rig.follower.source;
        let before = source.snapshot().await.unwrap();
        let mut bell = source.doorbell();
        within(&context, LIMIT, bell.rung()).await.expect("it listens now");
        assert_eq!(rig.beacon.push(": keep-alive\n\n").await, 1);
        assert_eq!(rig.beacon.push(HEAD).await, 1);
        within(&context, LIMIT, bell.rung()).await.expect("the head");
        assert_eq!(source.snapshot().await.unwrap().tips, before.tips, "the node does not have it");
        within(&context, LIMIT, bell.rung()).await.expect("again");
        rig.world.lock().extend(1);
        assert_ne!(source.snapshot().await.unwrap().tips, before.tips);
        // Nothing is left to ring for.
        let quiet = within(&context, Duration::from_millis(400), bell.rung()).await;
        assert_eq!(quiet, None);
        assert_eq!(rig.beacon.push(HEAD).await, 1);
        within(&context, LIMIT, bell.rung()).await.expect("the next head");
    });
}

#[test]
fn a_push_that_finality_moved_asks_for_an_opinion_and_a_head_does_not() {
    run(|context| async move {
        let mut rig = Rig::start(&context, 40).await;
        rig.node(16, 8);
        rig.client(16, 8);
        let mut bell = rig.follower.source.doorbell();
        within(&context, LIMIT, bell.rung()).await.expect("it listens");
        rig.pass().await;
        assert_eq!(rig.pass().await, (1, 0));
        rig.beacon.push(HEAD).await;
        within(&context, LIMIT, bell.rung()).await.expect("the head");
        assert_eq!(rig.pass().await, (1, 0));
        // The node is not told: the client alone knows of another chain.
        let other = BlockRef::new(Height::new(24), Digest([7; 32]));
        rig.beacon.say(Some(other), Some(rig.at(16)));
        rig.beacon.push("event: finalized_checkpoint\ndata: {}\n\n").await;
        within(&context, LIMIT, async {
            while rig.pass().await.1 == 0 {
                bell.rung().await;
            }
        })
        .await
        .expect("it rings for it");
        let tips = rig.follower.source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Checkpointed), None, "it is disputed");
        assert_eq!(tips.block(Tier::Finalized), Some(rig.at(8)));
    });
}

#[test]
fn a_stream_that_ends_is_opened_again_after_a_wait_that_doubles_and_is_counted() {
    run(|context| async move {
        let rig = Rig::start(&context, 40).await;
        let source = &rig.follower.source;
        let mut bell = source.doorbell();
        within(&context, LIMIT, bell.rung()).await.expect("it listens");
        let start = context.current();
        for _ in 0..3 {
            rig.beacon.0.lock().events.clear();
            within(&context, LIMIT, bell.rung()).await.expect("it listens again");
        }
        let passed = context.current().duration_since(start).unwrap();
        // At the least half of 20, 40 and 80 milliseconds.
        assert!(passed >= Duration::from_millis(70), "{passed:?}");
        rig.beacon.push(&"x".repeat(16 * 1024)).await;
        within(&context, LIMIT, bell.rung()).await.expect("it listens again");
        let work = source.beacon_work();
        assert_eq!(work.requests, 5);
        assert_eq!(work.refusals, [("oversized", 1), ("unreachable", 3)].into());
    });
}

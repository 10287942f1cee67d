//! B78. Three nodes at three heights were behind one address. A response of the lowest one looked like
//! an empty block, a reorg, or an error that ended the follower.
//!
//! Here an empty response is never taken as the truth about a block whose digest is known, an old tip
//! is ignored as outdated, and data that one node does not have yet is requested again soon: the fault
//! has severity behind, and costs one poll.

use crate::{
    certified::{Connection, Endpoint, Followed},
    support::{Live, Steps, secs, simulate},
};
use bytes::Bytes;
use commonware_runtime::Clock as _;
use commonware_utils::sync::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidewatch_certified::{Key, Transport};
use tidewatch_core::{Event, Fault, FaultKind, Severity, Tier};
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{
    chain::Chain,
    source::{Answer, Kind, ScriptedSource},
};

/// One address with three nodes behind it; a random one serves each request.
struct Balanced {
    nodes: [Endpoint; 3],
    rng: Mutex<StdRng>,
}

impl Transport for Balanced {
    type Feed = Connection;

    fn name(&self) -> &str {
        "balanced"
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        let node = self.rng.lock().random_range(0..3);
        self.nodes[node].fetch(key).await
    }

    async fn listen(&self) -> Result<Connection, Fault> {
        Err(FaultKind::Unreachable.fault("balanced", "no push connections"))
    }
}

#[test]
fn with_nodes_at_100_98_and_95_block_100_is_reached_without_a_step_back() {
    for seed in 0..10 {
        simulate(|context| async move {
            let chain = Chain::new('a', 120);
            let nodes = [100, 98, 95].map(|tip| Endpoint::named(&context, "node", &chain, tip));
            let rng = Mutex::new(StdRng::seed_from_u64(seed));
            let balanced = Balanced { nodes: nodes.clone(), rng };
            let followed = Followed::start(&context, balanced, Config::default()).await;
            context.sleep(secs(60)).await;
            assert_eq!(followed.delivered(), Some(100), "seed {seed}");
            // The nodes keep moving, and never agree.
            for by in 1..=20 {
                for (node, tip) in nodes.iter().zip([100, 98, 95]) {
                    node.stand(&chain, tip + by);
                }
                context.sleep(secs(5)).await;
            }
            context.sleep(secs(60)).await;
            let watermarks = followed.view.stands();
            assert_eq!(watermarks.tips.block(Tier::Finalized), Some(chain.at(120)), "seed {seed}");
            let back =
                |event: &Event| matches!(event, Event::Pruned { .. } | Event::Regressed { .. });
            assert!(!followed.view.events().iter().any(back), "{:?}", followed.view.words());
            let lied = |fault: &FaultKind| fault.severity() == Severity::Invalid;
            assert!(!followed.recorder.kinds().iter().any(lied), "nobody lied");
            assert!(!followed.refused.kinds().iter().any(lied), "nobody lied");
        });
    }
}

#[test]
fn a_range_that_a_node_does_not_have_yet_is_missing_and_asked_for_again_after_a_poll() {
    simulate(|context| async move {
        let chain = Chain::new('a', 100);
        let source = ScriptedSource::new(&chain, [90, 0, 0, 0]);
        let live = Live::new(&context, &source, Config::default());
        live.sleep(secs(1)).await;
        source.stand(&chain, [100, 0, 0, 0]);
        for nth in 1..=3 {
            source.answer(Kind::Blocks, nth, Answer::Blocks(Vec::new()));
        }
        live.sleep(secs(5)).await;
        assert_eq!(live.recorder.kinds(), [FaultKind::Missing; 3]);
        assert_eq!(
            live.view.words()[live.view.words().len() - 2..],
            ["blocks 91a-100a", "proposed 100a"]
        );
        live.stop().await;
    });
}

#[test]
fn digests_that_a_node_does_not_have_yet_make_no_reorg() {
    let chain = Chain::new('a', 100);
    let mut steps = Steps::synced(&chain, [100, 0, 0, 50]);
    // One node reports a new tip, and a lagging node serves the search for the ancestor.
    steps.source.stand(&chain.fork(97, 'b', 100), [100, 0, 0, 50]);
    steps.source.answer(Kind::Digests, 1, Answer::Digests(vec![None; 64]));
    let pass = steps.pass();
    assert!(pass.fault().is_some_and(|kind| kind.severity() != Severity::Corrupt), "{pass:?}");
    assert!(pass.events.is_empty(), "{:?}", pass.events);
    let events = steps.settle();
    assert_eq!(events[0], "prune 96a: 4 dropped, 96a - - 50a/50");
}

//! The source over real sockets: a scripted node over HTTP and WebSocket.

use super::{FIRST, hash};
use crate::{
    ethereum::tests::node::World,
    etherlink::{Address, open},
    rpc::{
        Config,
        tests::{run, script::Script},
    },
};
use commonware_runtime::Supervisor as _;
use commonware_utils::sync::Mutex;
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidewatch_conformance::{Check, Stage, Verdict, source, source_checks};

/// A scripted node.
struct Served {
    world: Arc<Mutex<World>>,
    script: Script,
    address: SocketAddr,
    pushes: bool,
}

impl Served {
    async fn new(mut world: World, pushes: bool) -> Self {
        (world.safe, world.level) = (None, Some(FIRST));
        let world = Arc::new(Mutex::new(world));
        let answering = world.clone();
        let answer = move |method: &str, params: &[Value]| answering.lock().answer(method, params);
        let script = Script::new(answer);
        let address = script.serve().await;
        Self { world, script, address, pushes }
    }

    /// Changes the chain, and pushes where it stands then.
    fn change(&self, change: impl FnOnce(&mut World)) -> bool {
        let mut world = self.world.lock();
        change(&mut world);
        let latest = world.answer("eth_getBlockByNumber", &["latest".into()]).unwrap();
        if self.pushes {
            self.script.push("eth_subscription", &latest);
        }
        true
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
        self.change(|world| world.extend(blocks))
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        self.change(|world| world.reorg(depth, blocks))
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        self.change(|world| world.finalized = world.finalized.map(|height| height + blocks))
    }
}

#[test]
fn it_holds_in_every_check_of_a_source_over_sockets() {
    for scheme in ["http", "ws"] {
        let report = run(|context| async move {
            let world = World::hashed(hash, 42_793, 20);
            let mut served = Served::new(world, scheme == "ws").await;
            served.change(|world| world.finalized = Some(4));
            let address = format!("etherlink+{scheme}://{}?l1-level={FIRST}", served.address);
            let address: Address = address.parse().unwrap();
            let config = Config {
                lower_max: 2,
                lower_pause: Duration::from_millis(10),
                ..Config::default()
            };
            let monitor = Arc::new(());
            let etherlink = open(context.child("etherlink"), &[address], monitor, &config).unwrap();
            source(context.child("suite"), Arc::new(etherlink), &mut served).await
        });
        report.assert();
        // What a busy machine answers at once or late is not shown; these are.
        let mut checks = vec![
            source_checks::REACH,
            source_checks::GROWTH,
            source_checks::FINALITY,
            source_checks::REORGANISED,
            source_checks::SHORTER,
        ];
        if scheme == "ws" {
            checks.extend([source_checks::DOORBELL, source_checks::BELLS]);
        }
        for check in checks {
            let held = |it: &&Check| it.name == check && it.verdict == Verdict::Held;
            assert!(report.checks().iter().any(|it| held(&it)), "{scheme}: {check}\n{report}");
        }
    }
}

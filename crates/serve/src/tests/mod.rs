//! A server over a real socket, of a history that the test writes.

mod client;
mod described;
mod indexer;
mod readers;
mod routes;
mod sockets;
mod streams;

use crate::{Config, Listening, Observer, Parts, Server};
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use commonware_utils::NZUsize;
use std::net::SocketAddr;
use tidewatch_core::{
    Change, HeadSender, Ladder, LocalView as _, Running, State, Tier, Watermarks,
};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter, Retention};
use tidewatch_testkit::chain::{Chain, TestBlock};

/// A server, and the history that it serves.
struct Served {
    context: tokio::Context,
    address: SocketAddr,
    view: MemoryWriter<TestBlock>,
    log: MemoryReader<TestBlock>,
    heads: HeadSender,
    observer: Observer,
    running: Running,
    chain: Chain,
}

fn config() -> Config {
    let many = NZUsize!(100_000);
    Config {
        streams_per_client_max: NZUsize!(1_024),
        opens_per_second: many,
        opens_burst: many,
        ..Config::default()
    }
}

/// Runs `test` with a server of `config` over an empty history of `retention`.
fn serve<F: Future<Output = ()>>(
    config: Config,
    retention: impl Into<Retention>,
    test: impl FnOnce(Served) -> F,
) {
    let retention = retention.into();
    tokio::Runner::default().start(|context| async move {
        let chain = Chain::new('a', 3_000);
        test(Served::start(context, config, retention, chain).await).await;
    });
}

impl Served {
    async fn start(
        context: tokio::Context,
        config: Config,
        retention: Retention,
        chain: Chain,
    ) -> Self {
        let (view, log) = Memory::with_retention(chain.chain_info(), retention);
        let ((heads, watched), observer) = (HeadSender::new(), Observer::default());
        let parts = Parts {
            served: log.clone(),
            heads: watched,
            ladder: Ladder::Certified,
            observer: observer.clone(),
            source: "scripted".into(),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let listening = Listening::bind(any, config).await.unwrap();
        let address = listening.address();
        let server = Server::new(context.child("serve"), listening, parts).await.unwrap();
        let running = Running::start(server);
        Self { context, address, view, log, heads, observer, running, chain }
    }

    /// Delivers the blocks up to `height`, each with its proposed tip, and finalizes `depth` below.
    async fn grow(&mut self, from: u64, to: u64, depth: u64) {
        for height in from..=to {
            let tip = |tier, height| Change::Advanced {
                tier,
                tip: self.chain.at(height).into(),
                proof: None,
            };
            let mut changes =
                vec![Change::Blocks(self.chain.range(height, height)), tip(Tier::Proposed, height)];
            let finalized = self.watermarks().tips.block(Tier::Finalized);
            if height > depth + finalized.map_or(0, |block| block.height.get()) {
                changes.push(tip(Tier::Finalized, height - depth));
            }
            self.view.commit(changes).await.unwrap();
        }
        self.moved(State::Live);
    }

    /// Everything above `to` goes, and fork `to + 1..` of `fork` is the chain.
    async fn reorg(&mut self, to: u64, fork: char) {
        let mut tips = self.log.watermarks().unwrap().tips;
        for tier in Tier::ALL {
            let over = tips.block(tier).is_some_and(|block| block.height.get() > to);
            if over {
                tips.set(tier, Some(self.chain.at(to).into()));
            }
        }
        self.view.commit(vec![Change::Pruned { to: self.chain.at(to), tips }]).await.unwrap();
        self.chain = self.chain.fork(to + 1, fork, to + 1_000);
        self.moved(State::Live);
    }

    fn moved(&self, state: State) {
        let watermarks = self.log.watermarks().unwrap();
        self.heads.update(|head| {
            (head.watermarks, head.tips, head.status.state) = (watermarks, watermarks.tips, state);
        });
    }

    fn watermarks(&self) -> Watermarks {
        self.log.watermarks().unwrap()
    }
}

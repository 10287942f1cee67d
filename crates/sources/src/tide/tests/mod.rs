//! Over real sockets: an upstream that is served, and followers of it.

mod hostile;

use super::TideSource;
use crate::{
    ethereum::{
        EthBlock,
        tests::node::{World, reference},
    },
    registry,
};
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_macros::select;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio};
use std::{sync::Arc, time::Duration};
use tidewatch_conformance::{self as conformance, Stage, Verdict, source_checks as name};
use tidewatch_core::{
    AnyBlock, Block, BlockRef, ChainId, ChainInfo, Change, Doorbell, Fault, FaultKind, HeadSender,
    Height, Ladder, LocalView as _, Running, Source as _, Tier,
};
use tidewatch_serve::{Config, Listening, Observer, Parts, Server};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter};
use tidewatch_stream::{Mode, Pass, Report, Start, Unguarded};

const ID: u64 = 31_337;

/// A history that is served.
struct Served<B: Block> {
    view: MemoryWriter<B>,
    log: MemoryReader<B>,
    address: String,
    _running: Running,
    _heads: HeadSender,
}

impl<B: Block + commonware_codec::Codec> Served<B> {
    async fn start(context: &tokio::Context, chain_info: ChainInfo, source: &str) -> Self {
        let (view, log) = Memory::new(chain_info);
        let (sender, heads) = HeadSender::new();
        let (ladder, observer) = (Ladder::Rollup, Observer::default());
        let parts = Parts { served: log.clone(), heads, ladder, observer, source: source.into() };
        let any = "127.0.0.1:0".parse().unwrap();
        let listening = Listening::bind(any, Config::default()).await.unwrap();
        let address = format!("tide+http://{}", listening.address());
        let server = Server::new(context.child("serve"), listening, parts).await.unwrap();
        Self { view, log, address, _running: Running::start(server), _heads: sender }
    }

    async fn follow(&self, context: &tokio::Context) -> Arc<TideSource> {
        follow(&self.address, context).await
    }
}

async fn follow(address: &str, context: &tokio::Context) -> Arc<TideSource> {
    let target = registry::parse(&[address], None).unwrap();
    let settings = registry::Settings::default();
    let opened = target.open(context.child("follow"), Arc::new(()), settings).await.unwrap();
    assert!(opened.name.starts_with(address), "{}", opened.name);
    opened.typed::<TideSource>().unwrap()
}

/// An Ethereum chain, and a follower of it that serves it.
struct Root {
    world: World,
    served: Served<EthBlock>,
}

impl Root {
    async fn start(context: &tokio::Context, blocks: u64) -> Self {
        let world = World::new(ID, blocks);
        let genesis = reference(&world.canonical[0]);
        let chain_info = ChainInfo { id: ChainId::new(format!("eth:{ID}")).unwrap(), genesis };
        let served = Served::start(context, chain_info, "eth+http://node").await;
        let mut root = Self { world, served };
        root.deliver(1, Vec::new()).await;
        root
    }

    fn at(&self, height: u64) -> BlockRef {
        reference(&self.world.canonical[height as usize])
    }

    /// Blocks from `from` on, the tiers as the world has them.
    async fn deliver(&mut self, from: u64, mut changes: Vec<Change<EthBlock>>) {
        let headers = self.world.canonical.iter().skip(from as usize);
        let block = |header| EthBlock::decode(alloy_rlp::encode(header).encode()).unwrap();
        let blocks: Vec<_> = headers.map(block).collect();
        if !blocks.is_empty() {
            changes.push(Change::Blocks(blocks));
        }
        let top = Some(self.world.height());
        let tiers = [
            (Tier::Proposed, top),
            (Tier::Checkpointed, self.world.safe),
            (Tier::Finalized, self.world.finalized),
        ];
        let tips = self.served.log.watermarks().unwrap().tips;
        for (tier, height) in tiers {
            let tip = height.filter(|height| *height > 0).map(|height| self.at(height));
            if let Some(tip) = tip.filter(|tip| tips.block(tier) != Some(*tip)) {
                changes.push(Change::Advanced { tier, tip: tip.into(), proof: None });
            }
        }
        self.served.view.commit(changes).await.unwrap();
    }
}

impl Stage for Root {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        let from = self.world.height() + 1;
        self.world.extend(blocks);
        self.deliver(from, Vec::new()).await;
        true
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        let to = self.world.height() - depth;
        let below = self.at(to);
        let mut tips = self.served.log.watermarks().unwrap().tips;
        for tier in Tier::ALL {
            if tips.block(tier).is_some_and(|tip| tip.height > below.height) {
                tips.set(tier, Some(below.into()));
            }
        }
        self.world.reorg(depth, blocks);
        self.deliver(to + 1, vec![Change::Pruned { to: below, tips }]).await;
        true
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        self.world.finalized = self.world.finalized.map(|height| height + blocks);
        self.world.safe = self.world.safe.max(self.world.finalized);
        self.deliver(self.world.height() + 1, Vec::new()).await;
        true
    }
}

async fn attempt(source: &TideSource, view: &mut MemoryWriter<AnyBlock>) -> Result<Report, Fault> {
    let chain_info = view.chain_info().clone();
    let mode = Mode::Blocks { start: Start::Genesis, skip_finalized: false };
    Pass::new(source, view, &chain_info, mode, Unguarded, &()).run().await
}

async fn pass(source: &TideSource, view: &mut MemoryWriter<AnyBlock>) {
    assert_eq!(attempt(source, view).await.unwrap().faults, []);
}

#[test]
fn the_doorbell_rings_for_what_happens_upstream_and_after_it_was_away() {
    tokio::Runner::default().start(|context| async move {
        let mut root = Root::start(&context, 9).await;
        let source = root.served.follow(&context).await;
        let mut bell = source.doorbell();
        let rung = async |bell: &mut Doorbell, within: u64| {
            select! {
                () = bell.rung() => true,
                () = context.sleep(Duration::from_secs(within)) => false,
            }
        };
        assert!(rung(&mut bell, 60).await, "the first answer");
        let asked = source.requests();
        assert!(!rung(&mut bell, 1).await, "nothing happened");
        assert!(source.requests() <= asked + 1, "it waits for an event, and does not ask again");
        root.grow(1).await;
        assert!(rung(&mut bell, 60).await, "a block");
        root.reorg(2, 3).await;
        assert!(rung(&mut bell, 60).await, "a reorg");
    });
}

#[test]
fn the_source_conforms() {
    tokio::Runner::default().start(|context| async move {
        let mut root = Root::start(&context, 20).await;
        root.finalize(4).await;
        let source = root.served.follow(&context).await;
        let report = conformance::source(context.child("suite"), source, &mut root).await;
        report.assert();
        for check in report.checks() {
            assert_eq!(check.verdict == Verdict::Held, check.name != name::PROOF, "{report}");
        }
    });
}

#[test]
fn a_reorg_is_followed_by_a_follower_of_a_follower() {
    tokio::Runner::default().start(|context| async move {
        let mut root = Root::start(&context, 300).await;
        root.finalize(100).await;
        let one = root.served.follow(&context).await;
        let chain_info = one.chain_info().await.unwrap();
        let mut middle = Served::<AnyBlock>::start(&context, chain_info.clone(), one.name()).await;
        pass(&one, &mut middle.view).await;
        let two = middle.follow(&context).await;
        let (mut view, log) = Memory::new(chain_info);
        for (depth, blocks) in [(0, 1), (5, 7), (150, 200), (1, 1), (3, 9)] {
            root.reorg(depth, blocks).await;
            pass(&one, &mut middle.view).await;
            pass(&two, &mut view).await;
            let (ours, theirs) = (log.watermarks().unwrap(), root.served.log.watermarks().unwrap());
            assert_eq!(ours.delivered, theirs.delivered, "{depth}");
            for tier in Tier::ALL {
                assert_eq!(ours.tips.get(tier), theirs.tips.get(tier), "{depth}");
            }
        }
        assert!(two.name().contains("on the word of"), "{}", two.name());
    });
}

#[test]
fn a_tip_that_is_gone_is_torn_and_has_no_blocks() {
    tokio::Runner::default().start(|context| async move {
        let mut root = Root::start(&context, 9).await;
        let source = root.served.follow(&context).await;
        let (gone, below) = (root.at(9), root.at(5));
        root.reorg(4, 4).await;
        let torn = source.digests(gone, &[Height::new(5)]).await.unwrap_err();
        assert_eq!(torn.kind, FaultKind::Torn);
        assert_eq!(source.blocks(gone, Height::new(1)).await.unwrap(), []);
        let known = source.digests(below, &[Height::new(5), Height::new(6)]).await.unwrap();
        assert_eq!(known, [Some(below.digest), None], "nothing above the tip");
        assert_eq!(source.blocks(below, Height::new(1)).await.unwrap().len(), 5);
    });
}

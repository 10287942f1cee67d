//! Who asks a source, as the fuzzer says, and holds every answer against what it must be.

use super::{Listener, chain::Move, check, node::Node};
use arbitrary::Arbitrary;
use commonware_codec::{Decode, Encode};
use commonware_runtime::{Clock as _, deterministic::Context};
use futures::future::{Either, select};
use std::{fmt::Debug, pin::pin, time::Duration};
use tidewatch_core::{
    Block as _, BlockRef, EventLog as _, Fault, FaultKind, Height, ChainInfo, LocalView as _,
    Source, Tier,
};
use tidewatch_store::Memory;
use tidewatch_stream::{Ended, Mode, Pass, Unguarded};

/// Calls of a source in one pass at the most.
const CALLS_MAX: u64 = 200;

/// Passes after which a follower of an honest node is where it is.
const PASSES: usize = 16;

/// A height.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum At {
    Low(u8),
    /// So far below the tip, or above.
    Below(i8),
    High(u8),
}

#[derive(Arbitrary, Clone, Debug)]
pub enum Asked {
    ChainInfo,
    Snapshot,
    Digests(Vec<At>),
    /// Under the last tip, or one before that.
    Blocks {
        from: At,
        tip: u8,
    },
    Pass,
    Pause(u8),
    Move(Move),
    /// A snapshot that is not waited for, after so many milliseconds.
    Impatient(u16),
}

impl At {
    fn height(self, tip: Option<BlockRef>) -> Height {
        let tip = tip.map_or(0, |tip| tip.height.get());
        Height::new(match self {
            Self::Low(height) => height.into(),
            Self::Below(by) => tip.saturating_sub_signed(by.into()),
            Self::High(below) => u64::MAX - u64::from(below),
        })
    }
}

pub struct Asker<S: Source> {
    source: S,
    node: Node,
    chain_info: ChainInfo,
    view: Memory<S::Block>,
    mode: Mode,
    /// Proposed tips that were seen.
    tips: Vec<BlockRef>,
    /// Events that were read.
    read: u64,
    finalized: Option<BlockRef>,
}

impl<S: Source> Asker<S>
where
    S::Block: Decode<Cfg = ()> + Encode + PartialEq + Debug,
{
    /// Asks `source`, which `node` is behind, for a follower of `chain_info`.
    pub fn new(source: S, node: Node, chain_info: ChainInfo, mode: Mode) -> Self {
        let view = Memory::new(chain_info.clone());
        Self { source, node, chain_info, view, mode, tips: Vec::new(), read: 0, finalized: None }
    }

    /// Asks, and says how many calls of the source that were.
    pub async fn answer(&mut self, context: &Context, asked: &Asked) -> usize {
        let tip = self.tips.last().copied();
        match asked {
            Asked::ChainInfo => drop(self.source.chain_info().await.inspect_err(check)),
            Asked::Snapshot => self.snapshot().await,
            Asked::Digests(heights) => {
                let max = self.source.limits().digests_max.get();
                let heights: Vec<_> = heights.iter().take(max).map(|at| at.height(tip)).collect();
                if let Ok(digests) = self.source.digests(&heights).await.inspect_err(check) {
                    assert_eq!(digests.len(), heights.len());
                }
            }
            Asked::Blocks { from, tip: at } => {
                let before = usize::from(*at) % self.tips.len().max(1);
                let Some(tip) = self.tips.iter().nth_back(before).copied() else { return 1 };
                self.blocks(from.height(Some(tip)), tip).await;
            }
            Asked::Pass => return self.pass().await.1,
            Asked::Pause(seconds) => context.sleep(Duration::from_secs((*seconds).into())).await,
            Asked::Move(moved) => self.node.go(*moved),
            Asked::Impatient(millis) => {
                let patience = pin!(context.sleep(Duration::from_millis((*millis).into())));
                let snapshot = pin!(self.source.snapshot());
                if let Either::Left((Err(fault), _)) = select(snapshot, patience).await {
                    check(&fault);
                }
            }
        }
        1
    }

    async fn snapshot(&mut self) {
        let Ok(snapshot) = self.source.snapshot().await.inspect_err(check) else { return };
        for tier in Tier::ALL {
            let Some(block) = snapshot.tips.block(tier) else { continue };
            // Every node calls it by another name than its digest.
            let genesis = block == self.chain_info.genesis;
            assert!(genesis || self.node.has_said(block), "nobody said {block}");
        }
        self.tips.extend(snapshot.tips.block(Tier::Proposed));
    }

    async fn blocks(&mut self, from: Height, tip: BlockRef) {
        let max = self.source.limits().blocks_max;
        let Ok(blocks) = self.source.blocks(from, tip).await.inspect_err(check) else { return };
        assert!(blocks.len() <= max.max(self.source.limits().blocks_max).get());
        for (block, height) in blocks.iter().zip(from.get()..) {
            let name = block.reference();
            assert_eq!(name.height.get(), height, "{name}");
            assert!(name.height < tip.height || name == tip, "{name} is not under {tip}");
            let again = S::Block::decode_cfg(block.encode(), &());
            assert_eq!(again.as_ref().ok(), Some(block));
        }
        for pair in blocks.windows(2) {
            assert_eq!(pair[1].parent(), pair[0].reference().digest, "{:?}", pair[1]);
        }
    }

    /// One pass: how it ended, and how many calls of the source it was.
    async fn pass(&mut self) -> (Result<Ended, Fault>, usize) {
        let (source, view) = (&self.source, &mut self.view);
        let mut pass = Pass::new(source, view, &self.chain_info, self.mode, Unguarded, &Listener);
        let result = pass.run().await.inspect_err(check);
        let calls = pass.cost().total();
        assert!(calls <= CALLS_MAX, "{calls} calls");
        pass.faults().iter().for_each(check);
        if let Ok(report) = &result {
            report.faults.iter().for_each(check);
        }
        self.read_events().await;
        (result.map(|report| report.ended), calls.max(1) as usize)
    }

    async fn read_events(&mut self) {
        let many = 10_000.try_into().expect("not zero");
        for record in self.view.read(self.read, many).await.expect("all are kept") {
            let finalized = record.watermarks.tips.block(Tier::Finalized);
            if let Some(before) = self.finalized {
                let now = finalized.expect("what is finalized stays");
                assert!(now == before || now.height > before.height, "{before} became {now}");
            }
            self.finalized = finalized;
            self.read = record.sequence() + 1;
        }
    }

    /// The node says the truth from now on.
    pub async fn settle(&mut self) {
        self.node.repent();
        let (stand, chains) = (self.node.stand(), self.node.chains());
        let top = stand.top;
        let possible = chains.chain_info(&stand) == self.chain_info
            && chains.is_sound(&stand)
            && self.finalized.is_none_or(|f| chains.at(&stand, f.height.get()) == Some(f));
        if !possible {
            return;
        }
        let mut last = None;
        for _ in 0..PASSES {
            let ended = self.pass().await.0;
            let watermarks = self.view.watermarks().await.expect("in memory");
            let there = watermarks.tips.block(Tier::Proposed) == Some(top);
            match ended {
                Ok(Ended::Quiet) if there => return,
                // It has announced a lie below where it is to begin.
                Err(fault) if fault.kind == FaultKind::InvalidConfig => return,
                ended => last = Some((ended, watermarks)),
            }
        }
        panic!("the node is at {top}, and the follower is not: {last:?}");
    }
}

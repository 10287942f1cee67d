//! Sends the requests chosen by the fuzzer to a source, and checks every response.

use super::{Listener, chain::Move, check, node::Node};
use arbitrary::Arbitrary;
use commonware_codec::{Decode, Encode};
use commonware_runtime::{Clock as _, deterministic::Context};
use futures::future::{Either, select};
use std::{fmt::Debug, pin::pin, time::Duration};
use tidewatch_core::{
    Block as _, BlockRef, ChainInfo, EventLog as _, Fault, FaultKind, Height, LocalView as _,
    Source, Tier,
};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter};
use tidewatch_stream::{Ended, Mode, Pass, Unguarded};

/// Maximum number of calls to a source in one pass.
const CALLS_MAX: u64 = 200;

/// Number of passes within which a follower of an honest node converges.
const PASSES: usize = 16;

/// A height.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum At {
    Low(u8),
    /// Distance below the tip; negative is above it.
    Below(i8),
    High(u8),
}

#[derive(Arbitrary, Clone, Debug)]
pub enum Asked {
    ChainInfo,
    Snapshot,
    Digests(Vec<At>),
    /// Blocks under the last tip, or an earlier one.
    Blocks {
        from: At,
        tip: u8,
    },
    Pass,
    Pause(u8),
    Move(Move),
    /// A snapshot that is dropped after the given number of milliseconds.
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
    view: MemoryWriter<S::Block>,
    log: MemoryReader<S::Block>,
    mode: Mode,
    /// Proposed tips observed so far.
    tips: Vec<BlockRef>,
    /// Number of events read.
    read: u64,
    finalized: Option<BlockRef>,
}

impl<S: Source> Asker<S>
where
    S::Block: Decode<Cfg = ()> + Encode + PartialEq + Debug,
{
    /// Tests `source`, whose upstream is `node`, for a follower of `chain_info`.
    pub fn new(source: S, node: Node, chain_info: ChainInfo, mode: Mode) -> Self {
        let (view, log) = Memory::new(chain_info.clone());
        Self {
            source,
            node,
            chain_info,
            view,
            log,
            mode,
            tips: Vec::new(),
            read: 0,
            finalized: None,
        }
    }

    /// Sends one request, and returns the number of calls to the source.
    pub async fn answer(&mut self, context: &Context, asked: &Asked) -> usize {
        let tip = self.tips.last().copied();
        match asked {
            Asked::ChainInfo => drop(self.source.chain_info().await.inspect_err(check)),
            Asked::Snapshot => self.snapshot().await,
            Asked::Digests(heights) => {
                let max = self.source.limits().digests_max.get();
                let heights: Vec<_> = heights.iter().take(max).map(|at| at.height(tip)).collect();
                let Some(tip) = tip else { return 1 };
                if let Ok(digests) = self.source.digests(tip, &heights).await.inspect_err(check) {
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
            // Nodes report genesis by a hash that differs from its digest.
            let genesis = block == self.chain_info.genesis;
            assert!(genesis || self.node.has_said(block), "the node never reported {block}");
        }
        self.tips.extend(snapshot.tips.block(Tier::Proposed));
    }

    async fn blocks(&mut self, from: Height, tip: BlockRef) {
        let max = self.source.limits().blocks_max;
        let Ok(blocks) = self.source.blocks(tip, from).await.inspect_err(check) else { return };
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

    /// Runs one pass. Returns its result, and the number of calls to the source.
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
        for record in self.log.read(self.read, many).await.expect("all are kept") {
            let finalized = record.watermarks.tips.block(Tier::Finalized);
            if let Some(before) = self.finalized {
                let now = finalized.expect("what is finalized stays");
                assert!(now == before || now.height > before.height, "{before} became {now}");
            }
            self.finalized = finalized;
            self.read = record.sequence() + 1;
        }
    }

    /// Makes the node honest, and checks that the follower converges.
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
                // The follower has announced a forged tip below its start.
                Err(fault) if fault.kind == FaultKind::InvalidConfig => return,
                ended => last = Some((ended, watermarks)),
            }
        }
        panic!("the node is at {top}, the follower did not converge: {last:?}");
    }
}

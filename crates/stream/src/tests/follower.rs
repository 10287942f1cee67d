//! One source, one view, and passes between them, without a clock.

use super::{
    Watched,
    chain::Chain,
    source::{Call, Kind, ScriptedSource},
    words::watermarks_words,
};
use crate::{Cost, Forks, Mode, Pass, Report, Start, Unguarded};
use futures::executor::block_on;
use tidewatch_core::{ChainInfo, Fault, FaultKind, Height, Ladder};
use tidewatch_store::Memory;

/// What a pass did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<Report, Fault>,
    pub(crate) cost: Cost,
    /// Its events, in words.
    pub(crate) events: Vec<String>,
    /// What the source was asked.
    pub(crate) calls: Vec<Call>,
}

impl Outcome {
    /// The kind of the fault that ended it.
    pub(crate) fn fault(&self) -> Option<FaultKind> {
        self.result.as_ref().err().map(|fault| fault.kind)
    }

    /// Kinds of faults that did not end it.
    pub(crate) fn faults(&self) -> Vec<FaultKind> {
        let report = self.result.as_ref().expect("the pass ended without a fault");
        report.faults.iter().map(|fault| fault.kind).collect()
    }

    /// How many calls of `kind` it made.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        let n = match kind {
            Kind::ChainInfo => self.cost.chain_info,
            Kind::Snapshot => self.cost.tip,
            Kind::Digests => self.cost.reorg,
            Kind::Blocks => self.cost.download,
        };
        n as usize
    }
}

/// A follower of a scripted source.
pub(crate) struct Follower {
    pub(crate) source: ScriptedSource,
    pub(crate) view: Watched,
    pub(crate) chain_info: ChainInfo,
    pub(crate) mode: Mode,
}

/// Every block from `height`.
pub(crate) const fn from(height: u64) -> Mode {
    Mode::Blocks { start: Start::Height(Height::new(height)), skip_finalized: false }
}

/// Every block from genesis, but none below the source's finalized one.
pub(crate) const SKIP: Mode = Mode::Blocks { start: Start::Genesis, skip_finalized: true };

impl Follower {
    /// Of a rollup.
    pub(crate) fn new(mode: Mode, chain: &Chain, heights: [u64; 4]) -> Self {
        Self::on(Ladder::Rollup, mode, chain, heights)
    }

    /// Of a chain with this ladder.
    pub(crate) fn on(ladder: Ladder, mode: Mode, chain: &Chain, heights: [u64; 4]) -> Self {
        let source = ScriptedSource::new(chain, heights);
        source.change(|world| world.ladder = ladder);
        let chain_info = chain.chain_info();
        let view = Watched::new(Memory::new(chain_info.clone()), ladder);
        Self { source, view, chain_info, mode }
    }

    /// One that has taken in all that the source has.
    pub(crate) fn synced(mode: Mode, chain: &Chain, heights: [u64; 4]) -> Self {
        let mut follower = Self::new(mode, chain, heights);
        follower.settle();
        follower
    }

    /// Passes until one is quiet.
    pub(crate) fn settle(&mut self) {
        for _ in 0..8 {
            let outcome = self.pass();
            let report = outcome.result.expect("the source is sound");
            if report.ended == crate::Ended::Quiet {
                return;
            }
        }
        panic!("never quiet, at {}", self.stands());
    }

    /// One pass, of which none before it is known.
    pub(crate) fn pass(&mut self) -> Outcome {
        self.pass_remembering(&mut Forks::default())
    }

    /// One pass, after those that left `forks`.
    pub(crate) fn pass_remembering(&mut self, forks: &mut Forks) -> Outcome {
        let (events, calls) = (self.view.words().len(), self.source.calls().len());
        let mut pass =
            Pass::new(&self.source, &mut self.view, &self.chain_info, self.mode, Unguarded, &())
                .remembering(forks);
        let result = block_on(pass.run());
        let cost = pass.cost();
        let outcome = Outcome {
            result,
            cost,
            events: self.view.words().split_off(events),
            calls: self.source.calls().split_off(calls),
        };
        assert_eq!(outcome.cost.total(), outcome.calls.len() as u64, "every call is counted");
        outcome
    }

    /// Where the view stands, in words.
    pub(crate) fn stands(&self) -> String {
        watermarks_words(&self.view.stands())
    }

    /// The view stands where the source does, and a further pass costs one call.
    pub(crate) fn assert_settled(&mut self) {
        let outcome = self.pass();
        assert_eq!(outcome.calls, [Call::Snapshot], "at {}", self.stands());
        assert_eq!(outcome.events, [""; 0]);
    }
}

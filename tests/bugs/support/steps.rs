//! One source and one view, single passes, no clock.

use super::ALL;
use super::Watched;
use futures::executor::block_on;
use tidewatch_core::{ChainInfo, Fault, FaultKind, Ladder, LocalView};
use tidewatch_store::Memory;
use tidewatch_stream::{Ended, Mode, Pass, Report, Unguarded};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::{Call, ScriptedSource},
    words::watermarks_words,
};

/// One pass of `source` over any view.
pub(crate) async fn pass<V: LocalView<Block = TestBlock>>(
    source: &ScriptedSource,
    view: &mut V,
    chain_info: &ChainInfo,
    mode: Mode,
) -> Result<Report, Fault> {
    Pass::new(source, view, chain_info, mode, Unguarded, &()).run().await
}

/// Outcome of a pass.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<Report, Fault>,
    /// Its events, in compact notation.
    pub(crate) events: Vec<String>,
    /// Its calls to the source.
    pub(crate) calls: Vec<Call>,
}

impl Outcome {
    /// The kind of the fault that ended it.
    pub(crate) fn fault(&self) -> Option<FaultKind> {
        self.result.as_ref().err().map(|fault| fault.kind)
    }

    /// Kinds of the faults that did not end it.
    pub(crate) fn faults(&self) -> Vec<FaultKind> {
        let report = self.result.as_ref().expect("the pass ended without a fault");
        report.faults.iter().map(|fault| fault.kind).collect()
    }

    /// How it ended, if no fault ended it.
    pub(crate) fn ended(&self) -> Ended {
        self.result.as_ref().expect("the pass ended without a fault").ended
    }
}

/// One source and one view, with single passes between them and without a clock.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) source: ScriptedSource,
    pub(crate) view: Watched,
    pub(crate) chain_info: ChainInfo,
    pub(crate) mode: Mode,
}

impl Steps {
    /// An empty view with blocks from genesis of a rollup, whose source is on `chain` with tiers at
    /// `heights` (0: the tier is unknown).
    pub(crate) fn new(chain: &Chain, heights: [u64; 4]) -> Self {
        Self::on(Ladder::Rollup, ALL, chain, heights)
    }

    /// As above, with another ladder and another mode.
    pub(crate) fn on(ladder: Ladder, mode: Mode, chain: &Chain, heights: [u64; 4]) -> Self {
        let source = ScriptedSource::new(chain, heights);
        source.change(|world| world.ladder = ladder);
        let chain_info = chain.chain_info();
        let view = Watched::new(Memory::new(chain_info.clone()), ladder);
        Self { source, view, chain_info, mode }
    }

    /// A view that has caught up with its source.
    pub(crate) fn synced(chain: &Chain, heights: [u64; 4]) -> Self {
        let mut steps = Self::new(chain, heights);
        steps.settle();
        steps
    }

    /// Runs one pass.
    pub(crate) fn pass(&mut self) -> Outcome {
        let (events, calls) = (self.view.words().len(), self.source.calls().len());
        let result = block_on(pass(&self.source, &mut self.view, &self.chain_info, self.mode));
        Outcome {
            result,
            events: self.view.words().split_off(events),
            calls: self.source.calls().split_off(calls),
        }
    }

    /// Runs passes until one yields no event. Returns all events, in compact notation.
    pub(crate) fn settle(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        for _ in 0..8 {
            let outcome = self.pass();
            events.extend(outcome.events.clone());
            if outcome.ended() == Ended::Quiet {
                return events;
            }
        }
        panic!("passes keep yielding events, view at {}", self.stands());
    }

    /// The watermarks of the view, in compact notation.
    pub(crate) fn stands(&self) -> String {
        watermarks_words(&self.view.stands())
    }
}

mod certificates;
mod digests;
mod ranges;
mod snapshots;

use crate::{
    Config, Key,
    mocks::{Answer, Chain, Scripted, TestSource, follow},
};
use commonware_runtime::{Runner as _, deterministic};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, Height, Source as _, Tier, TipSet};
use tidewatch_testkit::monitor::Faults;

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(600)).start(test);
}

/// A source without pushes over an endpoint that does as `script` says.
fn source(
    context: &deterministic::Context,
    config: Config,
    script: impl FnMut(Key) -> Answer + Send + 'static,
) -> (TestSource, Arc<Scripted>, Faults) {
    let transport = Arc::new(Scripted::new(context, script));
    let (source, _, recorder) = follow(context, &transport, config);
    (source, transport, recorder)
}

/// As `script`, but what `changed` answers with something.
fn except(
    mut script: impl FnMut(Key) -> Answer + Send,
    mut changed: impl FnMut(Key) -> Option<Answer> + Send,
) -> impl FnMut(Key) -> Answer + Send {
    move |key| changed(key).unwrap_or_else(|| script(key))
}

fn height(value: u64) -> Key {
    Key::Height(Height::new(value))
}

/// Proposed and finalized.
async fn tips(source: &TestSource) -> (BlockRef, BlockRef) {
    let tips = source.snapshot().await.expect("a snapshot").tips;
    both(tips)
}

fn both(tips: TipSet) -> (BlockRef, BlockRef) {
    (tips.block(Tier::Proposed).expect("known"), tips.block(Tier::Finalized).expect("known"))
}

/// The pair of heights of a chain, as [`tips`] gives them.
fn at(chain: &Chain, proposed: u64, finalized: u64) -> (BlockRef, BlockRef) {
    (chain.reference(proposed), chain.reference(finalized))
}

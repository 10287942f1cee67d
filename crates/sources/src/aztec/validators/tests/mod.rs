//! Tests over what a real network answered.

mod hearing;
mod hostile;
mod recorded;
mod replay;
mod watched;

use super::*;
use crate::rpc::{Answer, Call, RpcError, Unanswered};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use replay::Replay;
use std::future::Future;
use tidewatch_core::Fault as CoreFault;
use tidewatch_sentinel::{Observation, Slot, ValidatorId};

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(3_600)).start(test);
}

/// The one that ran nowhere.
const ABSENT: &str = "15d34aaf54267db7d7c367839aaf71a00a2c6a65";

fn id(text: &str) -> ValidatorId {
    text.parse().unwrap()
}

/// Validators over a network in memory.
async fn validators(
    context: &deterministic::Context,
    network: &Replay,
    hand_in: impl FnMut(Observation) + Send + 'static,
) -> Result<Validators<deterministic::Context, replay::Side>, CoreFault> {
    let (node, l1) = (network.node(), network.l1());
    let config = Config::default();
    let context = context.child("validators");
    over(context, node, l1, Arc::new(()), &config, Box::new(hand_in)).await
}

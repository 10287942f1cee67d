//! A process that is killed again and again, at moments that a seed gives; of what it had not synced, anything may
//! be left.

use super::world::{Act, Executed, Setup, endpoint, launch, quiet};
use crate::{CertificateKind, Known, Push, epochs::tests::world::Epoched};
use bytes::Bytes;
use commonware_consensus::types::Epoch;
use commonware_runtime::{Clock as _, Runner as _, deterministic, reschedule};
use commonware_utils::Probability;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::time::Duration;
use tidewatch_testkit::host::{Odds, crash};

const SECOND: Duration = Duration::from_secs(1);
/// Heights 4, 9, 14 and so on are boundaries: every second block or so is near one.
const LENGTH: u64 = 5;
const TIP: u64 = 33;

/// When a life ends: after a time, in the middle of what happens then.
#[derive(Clone, Copy)]
struct Wait {
    time: Duration,
    steps: u32,
}

/// One life, until it is killed.
async fn life(context: deterministic::Context, setup: Setup, tip: Bytes, wait: Wait) {
    let chain = &setup.chain;
    // Nothing but what the marshal delivers teaches a boundary.
    let transport = endpoint(&context, quiet(chain));
    let node = launch(&context, &setup, transport).await;
    // What the marshal counts as delivered before anything runs was acknowledged in a former life: the epoch
    // that comes next is known from the disk.
    if let Some(processed) = node.processed().await {
        for epoch in 1..=chain.epoch(processed + 1) {
            let boundary = chain.reference(epoch * LENGTH - 1);
            let known = node.schemes.known(Epoch::new(epoch));
            let passed_over = setup.config.skip && known.is_none();
            assert!(
                known == Some(Known::Boundary(boundary)) || passed_over,
                "{known:?} of {epoch}, processed {processed}"
            );
        }
        let next = chain.epoch(processed + 1);
        assert!(next == 0 || node.schemes.known(Epoch::new(next)).is_some(), "{processed}");
    }
    node.pushes.send(Ok(Push::Finalization(tip))).await.unwrap();
    context.sleep(wait.time).await;
    for _ in 0..wait.steps {
        reschedule().await;
    }
}

/// What of the bytes that were not synced is left: nothing, the first ones, or any of them.
fn left_by_a_crash(rng: &mut StdRng) -> deterministic::FaultConfig {
    let kept = if rng.random_bool(0.5) { 0 } else { rng.random_range(0..=100) };
    let mode = match rng.random_bool(0.5) {
        true => deterministic::PartialWriteMode::Subset,
        false => deterministic::PartialWriteMode::Prefix,
    };
    crash::faults((mode, Probability::new(kept, 100).unwrap()))
}

fn killed(seed: u64, skip: bool) {
    let chain = Epoched::new(LENGTH, vec![0, 1, 1, 2, 3, 4, 4], TIP, false);
    let mut rng = StdRng::seed_from_u64(seed);
    // Below a block that was skipped to there is none that could be the durable one.
    let lag = if skip { 0 } else { rng.random_range(0..3) };
    let execution = Executed::lagging(&chain, lag);
    let config = deterministic::Config::default()
        .with_seed(seed)
        .with_storage_fault_config(left_by_a_crash(&mut rng));
    let mut runner = deterministic::Runner::new(config);
    let tip = chain.certified(CertificateKind::Finalized, TIP);
    let slow_disk = Odds { rate: rng.random_range(0.0..1.0), longest: Duration::from_millis(50) };
    let setup = || {
        let mut setup = Setup::new(&chain, &execution);
        setup.config.skip = skip;
        setup.slow_disk = slow_disk;
        setup
    };
    for _ in 0..12 {
        let time = Duration::from_millis(rng.random_range(0..100));
        let wait = Wait { time, steps: rng.random_range(0..300) };
        let tip = tip.clone();
        let ((), disk) = runner.start_and_recover(|context| life(context, setup(), tip, wait));
        if rng.random_bool(0.5) {
            execution.crash();
        }
        runner = deterministic::Runner::from(disk);
    }
    let wait = Wait { time: 120 * SECOND, steps: 0 };
    runner.start(|context| life(context, setup(), tip, wait));
    assert_eq!(execution.top(), TIP, "seed {seed}");
    if !skip {
        assert_eq!(execution.held(), (0..=TIP).collect::<Vec<_>>(), "seed {seed}");
    }
    let acts = execution.acts();
    assert!(acts.contains(&Act::Delivered(TIP)), "seed {seed}: {acts:?}");
}

#[test]
fn whenever_it_is_killed_nothing_is_lost_and_no_boundary_is_acknowledged_before_it_is_durable() {
    for seed in 0..24 {
        killed(seed, false);
    }
}

#[test]
fn whenever_it_is_killed_one_that_skips_gets_to_the_tip() {
    for seed in 100..112 {
        killed(seed, true);
    }
}

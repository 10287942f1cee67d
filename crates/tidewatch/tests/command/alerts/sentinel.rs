//! A sentinel over ports that a test scripts.

use super::{
    minutes,
    scripted::{Script, config, signed},
    simulate,
};
use crate::support::rules::Recording;
use commonware_runtime::{Supervisor as _, deterministic::Context};
use std::future::Future;
use tidewatch_core::Running;
use tidewatch_sentinel::{Act, Mailbox, Parts, Sentinel};

/// A sentinel, with a slot each step for which three of four validators vote.
struct Watched {
    context: Context,
    script: Script,
    mailbox: Mailbox,
    slot: u64,
    recording: Recording,
    _running: Running,
}

impl Watched {
    async fn start(context: Context) -> Self {
        let (named, script) = (context.child("tidewatch"), Script::new());
        let parts = Parts {
            observer: script.clone(),
            canonical: script.clone(),
            committees: script.clone(),
            output: script.clone(),
        };
        let opened = Sentinel::open(named.child("sentinel"), parts, config()).await;
        let (sentinel, mailbox) = opened.unwrap();
        let (_running, recording) = (Running::start(sentinel), Recording::default());
        let mut watched = Self { context, script, mailbox, slot: 4, recording, _running };
        watched.minutes(30).await;
        watched.recording.fires(&[(watched.recording.minute(), &[])]);
        watched
    }

    async fn minutes(&mut self, count: usize) {
        let Self { context, script, mailbox, slot, recording, .. } = self;
        let passes = || {
            *slot += 1;
            for voter in 0..3 {
                mailbox.observe(signed(*slot, voter, Act::Attestation(script.payload(*slot))));
            }
            script.extend(*slot);
            mailbox.ring();
        };
        minutes(context, recording, count, passes).await;
    }
}

fn watched<F: Future<Output = ()>>(test: impl FnOnce(Watched) -> F) {
    simulate(|context| async move { test(Watched::start(context).await).await });
}

#[test]
fn an_observer_of_another_chain() {
    watched(|mut watched| async move {
        let began = watched.recording.minute();
        watched.script.observer_off(true);
        watched.minutes(30).await;
        watched.recording.fires(&[(began + 5, &[]), (began + 25, &["TidewatchSentinelOutOfStep"])]);
    });
}

#[test]
fn a_validator_that_signs_twice_is_told_of_the_first_time() {
    watched(|mut watched| async move {
        let began = watched.recording.minute();
        let other = Act::Attestation(watched.script.payload_on(1, watched.slot));
        watched.mailbox.observe(signed(watched.slot, 0, other));
        watched.minutes(20).await;
        watched.recording.fires(&[(began + 10, &["TidewatchContradiction"])]);
    });
}

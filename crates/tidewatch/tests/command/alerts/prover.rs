//! A scheduler over one prover, which does as a test says.

use super::{minutes, simulate};
use crate::support::rules::Recording;
use bytes::Bytes;
use commonware_runtime::{Supervisor as _, deterministic::Context};
use commonware_utils::sync::Mutex;
use futures::{FutureExt as _, future::BoxFuture};
use std::{future::ready, sync::Arc, time::Duration};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, Running};
use tidewatch_node::{Attachment, Config, Follower};
use tidewatch_prover::{
    Failure, Handle, Key, Offer, Program, Progress, Prover, Scheduler, disk,
    proven::{Feed, ProvenOverlay},
    scheduler::{self, Parts},
};
use tidewatch_store::{Config as StoreConfig, Store};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::ScriptedSource,
};

/// That a proof is of its block.
struct Named;

impl Program for Named {
    fn id(&self) -> Digest {
        Digest([7; 32])
    }

    fn check(&self, _: BlockRef, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn verify(&self, _: Digest, block: BlockRef, proof: &[u8]) -> Result<(), String> {
        if proof == block.digest.0 { Ok(()) } else { Err("of another block".into()) }
    }
}

/// What the prover does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Proves,
    IsAway,
    Fails,
}

#[derive(Clone)]
struct Scripted(Arc<Mutex<Does>>);

impl Scripted {
    fn answer<T: Send + 'static>(&self, says: T) -> BoxFuture<'_, Result<T, Failure>> {
        ready(match *self.0.lock() {
            Does::IsAway => Err(Failure::Unavailable("nobody listens".into())),
            Does::Proves | Does::Fails => Ok(says),
        })
        .boxed()
    }
}

impl Prover for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>> {
        self.answer(Offer { slots: 4, deadline: None })
    }

    fn submit(&self, _: Key, inputs: Bytes) -> BoxFuture<'_, Result<Handle, Failure>> {
        let digest: String = inputs.iter().map(|byte| format!("{byte:02x}")).collect();
        self.answer(Handle::new(digest).unwrap())
    }

    fn poll<'a>(
        &'a self,
        handle: &'a Handle,
        _: Duration,
    ) -> BoxFuture<'a, Result<Progress, Failure>> {
        if *self.0.lock() == Does::Fails {
            return ready(Err(Failure::Unprovable("it is not so".into()))).boxed();
        }
        let digest = handle.as_str();
        let digest = commonware_formatting::from_hex(digest).unwrap();
        self.answer(Progress::Proved(digest.into()))
    }

    fn release<'a>(&'a self, _: &'a Handle) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }
}

/// A follower whose blocks are proven, half an hour of which went well; then the prover does something else for
/// another one.
fn then(does: Does, fires: &'static [(usize, &'static [&'static str])]) {
    simulate(|context: Context| async move {
        let named = context.child("tidewatch");
        let (chain, prover) =
            (Chain::new('a', 2_000), Scripted(Arc::new(Mutex::new(Does::Proves))));
        let info = chain.chain_info();
        let parts = Parts {
            program: Arc::new(Named),
            provers: vec![Arc::new(prover.clone())],
            subject: disk::Subject {
                chain: info.id.clone(),
                program: Named.id(),
                start: info.genesis,
            },
        };
        let config = scheduler::Config::new(disk::Config::new("proving"));
        let scheduler = named.child("proving").child("scheduler");
        let (scheduling, mailbox) = Scheduler::open(scheduler, parts, config).await.unwrap();
        let source = ScriptedSource::new(&chain, [1, 0, 0, 1]);
        let config = StoreConfig::new(info, ());
        let (view, log) = Store::open(named.child("store"), config).await.unwrap();
        let config = Config {
            source: Arc::new(ProvenOverlay::new(source.clone(), mailbox.proven())),
            view,
            log: log.clone(),
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(named.child("follower"), config);
        let _running = Running::start(scheduling);
        let inputs = |block: &TestBlock| -> Result<Bytes, Fault> {
            Ok(Bytes::copy_from_slice(&block.reference().digest.0))
        };
        follower.attach(Attachment::new(Feed::new(log, mailbox, inputs)));

        let (mut height, mut recording) = (1, Recording::default());
        let mut grows = || {
            height += 1;
            source.stand(&chain, [height, 0, 0, height]);
        };
        minutes(&context, &mut recording, 30, &mut grows).await;
        let began = recording.minute();
        recording.fires(&[(began, &[])]);
        *prover.0.lock() = does;
        minutes(&context, &mut recording, 30, &mut grows).await;
        let fires: Vec<_> = fires.iter().map(|(minute, all)| (began + minute, *all)).collect();
        recording.fires(&fires);
    });
}

#[test]
fn no_prover_answers() {
    then(Does::IsAway, &[(4, &[]), (25, &["TidewatchProvingStalled"])]);
}

#[test]
fn blocks_cannot_be_proven() {
    then(
        Does::Fails,
        &[
            (3, &["TidewatchProofsPoisoned"]),
            (25, &["TidewatchProofsPoisoned", "TidewatchProvingStalled"]),
        ],
    );
}

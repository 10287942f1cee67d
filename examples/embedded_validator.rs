//! A follower and a sentinel inside of a validator's process: over the validator's own marshal, and the votes that it
//! takes and sends, without a network.
//!
//! The validators are those of the embedded network with epochs. In a validator of yours, add a
//! `MarshalBell` to the reporters of its marshal, and make a `MarshalSource` of the marshal's mailbox: the
//! two lines of `crates/devnet/src/epochs` that name them are all that the devnet does. For the sentinel, add the
//! `Reporter` of a `Listener` beside the reporter of your consensus, and tell an `Electorate` who votes in each epoch;
//! `Devnet::watched` does both here. Nothing in the validator waits for either.
#![allow(clippy::print_stdout, reason = "it is what the program does")]

use commonware_codec::Encode as _;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use eyre::{ensure, eyre};
use std::{
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tidewatch_core::{
    Ack, Archive as _, Consumer, Fault, Height, Record, Running, Source as _, Tier,
};
use tidewatch_devnet::epochs::{Condition, Config as Network, Devnet};
use tidewatch_node::{Attachment, Config, Follower};
use tidewatch_sentinel::{
    Config as SentinelConfig, Epoch, Event, Mailbox, Output, Parts, Sentinel, Status, What,
};
use tidewatch_sources::alto::{AltoBlock, CertificateMode, chain_id};
use tidewatch_store::{self as store, Store};

/// Epochs that are followed through.
const EPOCHS: u64 = 3;
/// Blocks of an epoch.
const EPOCH_LENGTH: u64 = 16;

struct Print;

/// Says who was inactive, and who contradicted itself.
struct Tell;

impl Output for Tell {
    async fn give(&mut self, event: &Event) -> Result<(), Fault> {
        if let What::Inactive { epoch, validators } = &event.what {
            for of in validators {
                println!("{} was inactive in epoch {epoch}", of.validator);
            }
        }
        Ok(())
    }
}

impl Consumer for Print {
    fn name(&self) -> &str {
        "print"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        for record in records {
            if let tidewatch_core::Event::Advanced { tier: Tier::Finalized, tip } = &record.event {
                println!("validator 0 finalized {}", tip.block);
            }
        }
        Ok(Ack::Accepted)
    }
}

fn main() -> eyre::Result<()> {
    let directory = tempfile::tempdir()?;
    let runtime = tokio::Config::new().with_storage_directory(directory.path());
    tokio::Runner::new(runtime).start(|context| async move {
        let network = Network {
            epoch_length: EPOCH_LENGTH,
            validators: 4,
            committee: 4,
            block_time: Duration::from_millis(100),
            ..Network::default()
        };
        let last = Height::new(EPOCHS * network.epoch_length);
        let devnet = Devnet::start(context.child("devnet"), network).await?;
        devnet.reach(Height::new(1), Duration::from_secs(30)).await?;

        // Before the follower, which has a supervisor of its own: what is heard is judged by slots and epochs.
        let chain = chain_id(&devnet.public().encode(), CertificateMode::Standard);
        let mailbox = Arc::new(OnceLock::<Mailbox>::new());
        let heard = mailbox.clone();
        let hand_in = Box::new(move |observation| {
            if let Some(mailbox) = heard.get() {
                let _ = mailbox.observe(observation); // Returns at once; a full mailbox merges.
            }
        });
        let listening = context.child("listener");
        let watched = devnet.watched(listening, 0, chain.clone(), hand_in);
        let watched = watched.ok_or_else(|| eyre!("no validator runs"))?;
        let slots = NonZeroUsize::new(EPOCH_LENGTH as usize).ok_or_else(|| eyre!("no slots"))?;
        let config = SentinelConfig {
            interval: Duration::from_millis(50),
            lag: 4,
            patience: 16,
            ahead: 256,
            ..SentinelConfig::new(chain, "sentinel", slots)
        };
        let parts = Parts {
            observer: watched.observer,
            canonical: watched.canonical,
            committees: watched.electorate,
            output: Tell,
        };
        let (sentinel, judged) = Sentinel::open(context.child("sentinel"), parts, config).await?;
        let _ = mailbox.set(judged.clone());
        let sentinel = Running::start(sentinel);
        // Somebody is absent, from the first epoch on that is watched as a whole.
        devnet.set(3, Condition::Stopped);

        let chain = chain_id(&devnet.public().encode(), CertificateMode::Standard);
        let source = devnet.inside(0, chain).ok_or_else(|| eyre!("no validator runs"))?;
        let decoder = tidewatch_core::BlockDecoder::new::<AltoBlock>(AltoBlock::codec(1 << 20));
        let config = store::Config::new(source.chain_info().await?, decoder);
        let (view, store) = Store::open(context.child("store"), config).await?;
        let config = Config {
            source: Arc::new(source),
            view,
            log: store.clone(),
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        follower.attach(Attachment::new(Print));

        follower.heads().reached(Tier::Finalized, last).await?;
        let finalized = store.watermarks()?.tips.block(Tier::Finalized);
        let finalized = finalized.ok_or_else(|| eyre!("nothing is final"))?;
        let proof = store.proof(Tier::Finalized, finalized).await?;
        let proof = proof.ok_or_else(|| eyre!("no certificate"))?;
        ensure!(proof.block == finalized, "the certificate is about {}", proof.block);
        println!(
            "followed {EPOCHS} epochs from inside; {finalized} is proven final by {} bytes",
            proof.bytes.len()
        );
        // An epoch is evaluated some slots after its end.
        while judged.status().await?.epoch < Some(Epoch(EPOCHS - 1)) {
            devnet.reach(devnet.tip().next(), Duration::from_secs(30)).await?;
        }
        let report = judged.epoch(Epoch(EPOCHS - 1)).await?;
        let report = report.ok_or_else(|| eyre!("nothing was judged"))?;
        let inactive: Vec<_> = report.validators.iter().filter(|row| row.inactive).collect();
        ensure!(inactive.len() == 1, "one validator was stopped, inactive are {inactive:?}");
        let Status { processed, .. } = judged.status().await?;
        println!("judged up to slot {processed:?}; inactive: {}", inactive[0].validator);
        judged.stop();
        sentinel.await?;
        watched.listener.stop();
        follower.stop(Duration::from_secs(1)).await?;
        devnet.stop().await;
        Ok(())
    })
}

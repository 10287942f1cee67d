//! A follower inside of a validator's process: over the validator's own marshal, without a network.
//!
//! The validators are those of the embedded network with epochs. In a validator of yours, add a
//! `MarshalBell` to the reporters of its marshal, and make a `MarshalSource` of the marshal's mailbox: the
//! two lines of `crates/devnet/src/epochs` that name them are all that the devnet does.
#![allow(clippy::print_stdout, reason = "it is what the program does")]

use commonware_codec::Encode as _;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use eyre::{ensure, eyre};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{
    Ack, Archive as _, Consumer, Event, Fault, Height, Record, Source as _, Tier,
};
use tidewatch_devnet::epochs::{Config as Network, Devnet};
use tidewatch_node::{Attachment, Config, Follower};
use tidewatch_sources::alto::{AltoBlock, CertificateMode, chain_id};
use tidewatch_store::{self as store, Store};

/// Epochs that are followed through.
const EPOCHS: u64 = 2;

struct Print;

impl Consumer for Print {
    fn name(&self) -> &str {
        "print"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        for record in records {
            if let Event::Advanced { tier: Tier::Finalized, tip } = &record.event {
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
            epoch_length: 16,
            block_time: Duration::from_millis(100),
            ..Network::default()
        };
        let last = Height::new(EPOCHS * network.epoch_length);
        let devnet = Devnet::start(context.child("devnet"), network).await?;
        devnet.reach(Height::new(1), Duration::from_secs(30)).await?;

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
        follower.stop(Duration::from_secs(1)).await?;
        devnet.stop().await;
        Ok(())
    })
}

//! A follower node: an alto chain, verified, kept on disk, its events printed.
//!
//! The chain is the embedded devnet; point `source` and `chain_info` at a network of yours instead.
#![allow(clippy::print_stdout, reason = "it is what the program does")]

use commonware_codec::Encode as _;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use eyre::eyre;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{
    Ack, Archive as _, Consumer, Event, Fault, Height, Record, Running, Source as _, Tier,
};
use tidewatch_devnet::Devnet;
use tidewatch_node::{Attachment, Config, Follower, Member};
use tidewatch_sources::alto::{self, AltoBlock, Endpoint, StandardScheme};
use tidewatch_store::{self as store, Store};

/// Prints finality. What it prints is gone with the terminal, so it acknowledges nothing durable.
struct Print;

impl Consumer for Print {
    fn name(&self) -> &str {
        "print"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        for record in records {
            if let Event::Advanced { tier: Tier::Finalized, tip } = &record.event {
                println!("finalized {}", tip.block);
            }
        }
        Ok(Ack::Accepted)
    }
}

fn main() -> eyre::Result<()> {
    let directory = tempfile::tempdir()?;
    let runtime = tokio::Config::new().with_storage_directory(directory.path());
    tokio::Runner::new(runtime).start(|context| async move {
        let devnet = Devnet::start(context.child("devnet"), Default::default()).await?;
        let source: Endpoint = format!("alto+{}?mode=standard", devnet.url()).parse()?;

        let config = alto::Config::default();
        let codec = AltoBlock::codec(config.block_size_max);
        let (source, upstream) = alto::open::<_, StandardScheme>(
            context.child("source"),
            &[source],
            &devnet.public().encode(),
            Arc::new(()),
            config,
        )?;
        let config = store::Config::new(source.chain_info().await?, codec);
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
        follower.supervise(Member::critical(Running::start(upstream)));
        follower.attach(Attachment::new(Print));

        follower.heads().reached(Tier::Finalized, Height::new(5)).await?;
        let delivered = store.watermarks()?.delivered.ok_or_else(|| eyre!("no block"))?;
        let first = store.locate(&[Height::new(1)]).await?[0].unwrap_or(delivered);
        let proof = store.proof(Tier::Finalized, first).await?;
        let proof = proof.ok_or_else(|| eyre!("no certificate"))?;
        println!("block {} is proven final by {} bytes", proof.block, proof.bytes.len());
        follower.stop(Duration::from_secs(1)).await?;
        devnet.stop().await;
        Ok(())
    })
}

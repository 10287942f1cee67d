//! Watching the devnet, from inside of one of its validators.

use super::{Events, Later, Run, Told, View, Watching, refused};
use crate::{
    Outcome,
    command::{
        Problem,
        data_dir::DataDir,
        sentinel::{
            args::{Planned, Wanted, Wrong},
            report, told,
        },
    },
};
use commonware_codec::Encode as _;
use commonware_macros::select;
use commonware_runtime::{Spawner as _, Supervisor as _};
use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_core::{ChainId, Height, Running};
use tidewatch_devnet::{
    CertificateMode,
    epochs::{Condition, Config as Network, Devnet, Watched},
};
use tidewatch_sentinel::{Config, Parts, Sentinel, simplex::EvidenceKeeper};
use tidewatch_sources::alto::chain_id;

/// How long the first block of the network may take.
const FIRST_BLOCK: Duration = Duration::from_secs(60);
/// Blocks of an epoch for each validator, where nothing is asked for.
const BLOCKS_EACH: u64 = 8;
/// Validator that is watched from.
const INSIDE: usize = 0;

impl Run {
    pub(super) async fn devnet(mut self, wanted: Wanted, data: &DataDir) -> Outcome<()> {
        let validators = wanted.validators;
        let epoch_length = wanted.epoch_length.unwrap_or(BLOCKS_EACH * u64::from(validators));
        let network = Network {
            directory: Some(data.storage().join("devnet")),
            mode: if wanted.vrf { CertificateMode::Vrf } else { CertificateMode::Standard },
            validators,
            committee: validators,
            epoch_length,
            block_time: wanted.block_time,
            ..Network::default()
        };
        self.say(&format!("starting the devnet: {validators} validators")).await;
        let failed = |error| Problem::failure(format!("the devnet did not start: {error}"));
        let usage = |error: tidewatch_devnet::Error| match error {
            tidewatch_devnet::Error::Setting { .. } => Problem::usage(format!("--source: {error}")),
            error => failed(error),
        };
        let devnet = select! {
            () = self.stop.asked() => return Ok(()),
            started = Devnet::start(self.context.child("devnet"), network) => started.map_err(usage)?,
        };
        let reached = select! {
            () = self.stop.asked() => Ok(false),
            reached = devnet.reach(Height::new(1), FIRST_BLOCK) => reached.map(|()| true).map_err(failed),
        };
        let devnet = Arc::new(devnet);
        let result = match reached {
            Ok(true) => self.watch(&devnet, &wanted, epoch_length, data).await,
            other => other.map(drop),
        };
        // Whoever changes conditions has ended with the sentinel.
        if let Some(devnet) = Arc::into_inner(devnet) {
            devnet.stop().await;
        }
        result
    }

    async fn watch(
        &mut self,
        devnet: &Arc<Devnet>,
        wanted: &Wanted,
        epoch_length: u64,
        data: &DataDir,
    ) -> Outcome<()> {
        let chain = chain_id(&devnet.public().encode(), devnet.mode());
        let epoch_slots = usize::try_from(epoch_length).ok().and_then(NonZeroUsize::new);
        let epoch_slots = epoch_slots.unwrap_or(NonZeroUsize::MIN);
        report::note(data, &chain, epoch_slots)?;
        // What is heard goes to the sentinel, which is opened after the ports that it needs.
        let later = Later::default();
        let hand_in = later.hand_in();
        let watched =
            devnet.watched(self.context.child("listener"), INSIDE, chain.clone(), hand_in);
        let watched =
            watched.ok_or_else(|| Problem::failure("the validator to watch from does not run"))?;
        let Watched { electorate, canonical, observer, listener } = watched;
        let evidence = data.path().join("evidence");
        let events = Events { printer: self.printer.clone(), json: self.json() };
        let output = EvidenceKeeper::new(electorate.clone(), evidence.clone(), events);
        let parts = Parts { observer, canonical, committees: electorate.clone(), output };
        let config = self.config(&chain, wanted, epoch_slots);
        let opened = Sentinel::open(self.context.child("sentinel"), parts, config).await;
        let (sentinel, opened) = opened.map_err(|fault| refused(fault, data))?;
        let mailbox = later.0.get_or_init(|| opened);
        let running = Watching { sentinel: Running::start(sentinel), listener };
        if self.json() {
            let evidence = evidence.display().to_string();
            let chain = chain.to_string();
            let evidence = Some(evidence);
            let line = told::Line::Watching { chain: &chain, epoch_length, evidence };
            self.print(told::json(&line)).await?;
        } else {
            self.say(&format!("watching {chain}, evidence in {}", evidence.display())).await;
        }
        let planned = {
            let (devnet, planned) = (devnet.clone(), wanted.planned.clone());
            self.context.child("faults").spawn(move |_| plan(devnet, planned, epoch_length))
        };
        let mut view = View { electorate: Some(electorate), told: Told::default(), drawn: 0 };
        let interval = wanted.block_time.min(Duration::from_millis(500));
        let ended =
            async || Problem::failure(format!("the devnet ended: {}", devnet.ended().await));
        let shown = (&mut view, interval);
        let result = self.follow(mailbox, running, shown, ended, data).await;
        planned.abort();
        let _ = planned.await;
        result
    }

    fn config(&self, chain: &ChainId, wanted: &Wanted, epoch_slots: NonZeroUsize) -> Config {
        Config {
            interval: wanted.block_time / 2,
            // A late vote takes as long as a block that times out.
            lag: 4,
            patience: 16,
            ahead: 256,
            target: self.asked.target,
            threshold: self.asked.threshold,
            ..Config::new(chain.clone(), report::PARTITION, epoch_slots)
        }
    }
}

/// Has things go wrong in their epochs.
async fn plan(devnet: Arc<Devnet>, planned: Vec<Planned>, epoch_length: u64) {
    let of = |planned: &Planned| match planned.wrong {
        Wrong::Stopped => Condition::Stopped,
        Wrong::Paused => Condition::Paused,
        Wrong::Apart => Condition::Apart(u32::try_from(planned.validator).unwrap_or_default()),
        Wrong::Twice => Condition::VotesTwice,
    };
    let mut now = BTreeMap::<usize, Condition>::new();
    let mut height = devnet.tip();
    loop {
        let epoch = height.get() / epoch_length;
        for validator in planned.iter().map(|planned| planned.validator) {
            let due = planned
                .iter()
                .find(|planned| planned.validator == validator && planned.epochs.contains(&epoch));
            let condition = due.map_or(Condition::Runs, of);
            if now.insert(validator, condition).unwrap_or_default() != condition {
                tracing::info!(validator, epoch, ?condition, "as was asked for");
                devnet.set(validator, condition);
            }
        }
        // A chain that stands still has no next epoch.
        match devnet.reach(height.next(), Duration::from_secs(60)).await {
            Ok(()) | Err(tidewatch_devnet::Error::Timeout { .. }) => height = devnet.tip(),
            Err(_) => return,
        }
    }
}

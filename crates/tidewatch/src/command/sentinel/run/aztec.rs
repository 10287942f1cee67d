//! Watching an Aztec chain, by one of its nodes and by layer 1.

use super::{Events, Later, Run, Told, View, Watching, refused};
use crate::{
    Outcome,
    command::{
        Problem,
        data_dir::DataDir,
        sentinel::{args::Nodes, report, told},
    },
};
use commonware_macros::select;
use commonware_runtime::Supervisor as _;
use std::{future::pending, num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_core::Running;
use tidewatch_sentinel::{Config, Parts, Sentinel};
use tidewatch_sources::{
    aztec::validators::{self, Validators},
    rpc,
};

/// How often what is judged is shown.
const SHOWN: Duration = Duration::from_millis(500);

impl Run {
    pub(super) async fn aztec(&mut self, nodes: Nodes, data: &DataDir) -> Outcome<()> {
        let Nodes { aztec, l1 } = nodes;
        // What is heard goes to the sentinel, which is opened after the ports that it needs.
        let (later, config) = (Later::default(), rpc::Config::default());
        let context = self.context.child("aztec");
        let opening =
            validators::open(context, &aztec, &l1, Arc::new(()), &config, later.hand_in());
        let opened = select! {
            () = self.stop.asked() => return Ok(()),
            opened = opening => opened.map_err(Problem::from)?,
        };
        let Validators {
            chain_info,
            constants,
            interval,
            canonical,
            committees,
            observer,
            listener,
        } = opened;
        let chain = chain_info.id;
        let epoch_slots = usize::try_from(constants.epoch_slots).ok().and_then(NonZeroUsize::new);
        let epoch_slots = epoch_slots.unwrap_or(NonZeroUsize::MIN);
        report::note(data, &chain, epoch_slots)?;
        let output = Events { printer: self.printer.clone(), json: self.json() };
        let parts = Parts { observer, canonical, committees, output };
        let config = Config {
            interval,
            // Several requests, each with a deadline of its own.
            call: Duration::from_secs(30),
            // The listener reads a slot once another one has passed.
            lag: 1,
            patience: 8,
            ahead: 64,
            target: self.asked.target,
            threshold: self.asked.threshold,
            ..Config::new(chain.clone(), report::PARTITION, epoch_slots)
        };
        let opened = Sentinel::open(self.context.child("sentinel"), parts, config).await;
        let (sentinel, opened) = opened.map_err(|fault| refused(fault, data))?;
        let mailbox = later.0.get_or_init(|| opened);
        let running =
            Watching { sentinel: Running::start(sentinel), listener: Running::start(listener) };
        if self.json() {
            let chain = chain.to_string();
            let epoch_length = constants.epoch_slots;
            let line = told::Line::Watching { chain: &chain, epoch_length, evidence: None };
            self.print(told::json(&line)).await?;
        } else {
            self.say(&format!("watching {chain}, slots of {} s", constants.slot_seconds)).await;
            if constants.committee_size == 0 {
                self.say("it has no committee: anybody may propose, and nobody is due").await;
            }
        }
        let mut view = View { electorate: None, told: Told::default(), drawn: 0 };
        let ended = async || pending::<Problem>().await;
        self.follow(mailbox, running, (&mut view, SHOWN), ended, data).await
    }
}

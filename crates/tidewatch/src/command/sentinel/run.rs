//! Watching, from options to exit code.

use super::{
    args::{Planned, Wanted, Watch, Wrong},
    report, told,
};
use crate::{
    Outcome,
    command::{Problem, args::Format, data_dir::DataDir, logs, metrics, signals::Stop},
    output::Printer,
};
use commonware_codec::Encode as _;
use commonware_macros::select;
use commonware_runtime::{Clock as _, Runner as _, Spawner as _, Supervisor as _, tokio::Context};
use console::Term;
use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tidewatch_core::{ChainId, Fault, FaultKind, Height, Running};
use tidewatch_devnet::{
    CertificateMode,
    epochs::{Condition, Config as Network, Devnet, Watched},
};
use tidewatch_sentinel::{
    Asked, Committees as _, Config, Epoch, Event, Mailbox, Output, Parts, Sentinel, Slot, Status,
    ValidatorId, What,
    simplex::{Electorate, EvidenceKeeper},
};
use tidewatch_sources::alto::chain_id;

/// How long the first block of the network may take.
const FIRST_BLOCK: Duration = Duration::from_secs(60);
/// How long parts may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// Blocks of an epoch for each validator, where nothing is asked for.
const BLOCKS_EACH: u64 = 8;
/// Validator that is watched from.
const INSIDE: usize = 0;

/// Prints events, for machines; for people they are in the table.
struct Events {
    printer: Printer,
    json: bool,
}

impl Output for Events {
    async fn give(&mut self, event: &Event) -> Result<(), Fault> {
        if !self.json {
            return Ok(());
        }
        let printed = self.printer.print(told::json(&event.line())).await;
        printed.map_err(|error| FaultKind::Consumer.fault("standard output", error))
    }
}

/// Watches until it is stopped, or until what was asked for is evaluated.
pub(super) fn run(asked: Watch) -> Outcome<()> {
    logs::start();
    let wanted = asked.wanted()?;
    let data = match &asked.data_dir {
        Some(path) => DataDir::open(path)?,
        None => DataDir::temporary()?,
    };
    let printer = Printer::start(std::io::stdout())
        .map_err(|error| Problem::failure(format!("cannot start printing: {error}")))?;
    commonware_runtime::tokio::Runner::new(data.runtime()).start(|context| async move {
        let stop = Stop::new()?;
        let run = Run { context, asked, printer, stop };
        run.devnet(wanted, &data).await
    })
}

struct Run {
    context: Context,
    asked: Watch,
    printer: Printer,
    stop: Stop,
}

impl Run {
    /// What is for people only.
    async fn say(&self, text: &str) {
        if self.asked.format == Format::Human {
            let _ = self.printer.print(format!("{text}\n")).await; // A reader who left is noticed later.
        }
    }

    async fn devnet(mut self, wanted: Wanted, data: &DataDir) -> Outcome<()> {
        if let Some(address) = self.asked.metrics {
            let address = metrics::serve(&self.context, address).await?;
            self.say(&format!("metrics at http://{address}/metrics")).await;
        }
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
        let mailbox = Arc::new(OnceLock::<Mailbox>::new());
        let heard = mailbox.clone();
        let hand_in = Box::new(move |observation| {
            if let Some(mailbox) = heard.get() {
                let _ = mailbox.observe(observation); // Never waits: a full mailbox merges.
            }
        });
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
        let ended = |fault| Problem::ended(fault, data.path());
        let opened = Sentinel::open(self.context.child("sentinel"), parts, config).await;
        let (sentinel, opened) = opened.map_err(|fault: Fault| match fault.kind {
            FaultKind::InvalidConfig => Problem::usage(fault.to_string()).hint(
                "--target is above 0 and at most 1, --threshold at most the epochs that are kept",
            ),
            _ => ended(fault),
        })?;
        let mailbox = mailbox.get_or_init(|| opened);
        let mut sentinel = Running::start(sentinel);
        let mut socket = report::CONTROL.listen(data.path())?;
        socket.serve(&self.context, report::Desk(mailbox.clone()));
        let mut listener = listener;
        if self.json() {
            let evidence = evidence.display().to_string();
            let chain = chain.to_string();
            let line = told::Line::Watching { chain: &chain, epoch_length, evidence };
            self.print(told::json(&line)).await?;
        } else {
            self.say(&format!("watching {chain}, evidence in {}", evidence.display())).await;
        }
        let planned = {
            let (devnet, planned) = (devnet.clone(), wanted.planned.clone());
            self.context.child("faults").spawn(move |_| plan(devnet, planned, epoch_length))
        };
        let mut view = View { electorate, told: Told::default(), drawn: 0 };
        let result = loop {
            let interval = wanted.block_time.min(Duration::from_millis(500));
            let due = self.context.sleep(interval);
            select! {
                () = self.stop.asked() => break Ok(()),
                ended = &mut sentinel => break match ended {
                    Ok(()) => Err(Problem::failure("the sentinel ended by itself")),
                    Err(fault) => Err(Problem::ended(fault, data.path())),
                },
                ended = &mut listener => break match ended {
                    Ok(()) => Err(Problem::failure("the listener ended by itself")),
                    Err(fault) => Err(Problem::from(fault)),
                },
                error = devnet.ended() => break Err(Problem::failure(format!("the devnet ended: {error}"))),
                () = due => match self.tell(mailbox, &mut view).await {
                    Ok(true) => break Ok(()),
                    Ok(false) => {}
                    Err(problem) => break Err(problem),
                },
            }
        };
        planned.abort();
        let _ = planned.await;
        mailbox.stop();
        listener.stop();
        let both = async {
            let _ = listener.await;
            sentinel.await
        };
        select! {
            ended = both => result.and(ended.map_err(ended_in(data))),
            () = self.context.sleep(STOP_LIMIT) => result,
        }
    }

    const fn json(&self) -> bool {
        matches!(self.asked.format, Format::Json)
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

    async fn print(&self, text: String) -> Outcome<()> {
        loop {
            match self.printer.print(text.clone()).await {
                Ok(()) => return Ok(()),
                // The reader is slow.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.context.sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(Problem::failure(format!("cannot print: {error}"))),
            }
        }
    }

    /// Prints what is new; says whether that is all that was asked for.
    async fn tell(&self, mailbox: &Mailbox, view: &mut View) -> Outcome<bool> {
        let status = mailbox.status().await?;
        match self.json() {
            true => self.lines(mailbox, view, &status).await?,
            false => self.table(mailbox, view, &status).await?,
        }
        let until = self.asked.until_epoch.map(Epoch);
        Ok(until.is_some_and(|until| status.epoch >= Some(until)))
    }

    async fn lines(&self, mailbox: &Mailbox, view: &mut View, status: &Status) -> Outcome<()> {
        let Some(processed) = status.processed else { return Ok(()) };
        let kept = status.kept.map_or(processed, |(first, _)| first);
        let from = view.told.slot.map_or(kept, |slot| slot.plus(1).max(kept));
        if from <= processed {
            for slot in mailbox.slots((from..=processed).into()).await? {
                self.committee(view, slot.slot).await?;
                self.print(told::json(&told::Line::Slot(&slot))).await?;
            }
        }
        view.told.slot = Some(processed);
        for epoch in view.told.epochs(status) {
            if let Some(report) = mailbox.epoch(epoch).await? {
                self.print(told::json(&told::Line::Epoch(&report))).await?;
            }
        }
        Ok(())
    }

    /// Says by what evidence of the epoch of `slot` is pinned, once.
    async fn committee(&self, view: &mut View, slot: Slot) -> Outcome<()> {
        let epoch = view.electorate.epoch(slot);
        let Some(term) = view.electorate.term_at(slot) else { return Ok(()) };
        if view.told.committee == Some(epoch) {
            return Ok(());
        }
        view.told.committee = Some(epoch);
        let validators = term.committee.members().iter();
        let validators = validators.map(|key| commonware_formatting::hex(&key.encode())).collect();
        let committee = term.committee.fingerprint();
        let line = told::Line::Committee { epoch: epoch.get(), committee, validators };
        self.print(told::json(&line)).await
    }

    async fn table(&self, mailbox: &Mailbox, view: &mut View, status: &Status) -> Outcome<()> {
        for event in mailbox.events(view.told.events + 1, 1_000).await? {
            view.told.take(&event);
        }
        let Some(processed) = status.processed else { return Ok(()) };
        let evaluated = view.told.epochs(status);
        if !std::io::stdout().is_terminal() {
            // Nothing can be drawn over: one table for each epoch.
            for epoch in evaluated {
                if let Some(report) = mailbox.epoch(epoch).await? {
                    self.print(told::epoch(&report)).await?;
                }
            }
            return Ok(());
        }
        if view.told.slot == Some(processed) {
            return Ok(());
        }
        view.told.slot = Some(processed);
        let kept = status.kept.map_or(processed, |(first, _)| first);
        let from = processed.minus(told::STRIP - 1).unwrap_or_default().max(kept);
        let slots = mailbox.slots((from..=processed).into()).await?;
        let statistics = mailbox.all(Asked::default()).await?;
        // A terminal that does not say how large it is has lines of 80.
        let (rows, columns) = Term::stdout().size_checked().unwrap_or((24, 80));
        let columns = usize::from(columns).max(1);
        // The last two lines are those of the committee, at 80 columns one.
        let size = (usize::from(rows).saturating_sub(3), columns);
        let mut text = told::table(status, &slots, &statistics, &view.told.inactive, size);
        if let Some(term) = view.electorate.term_at(processed) {
            text += &format!("committee {}\n", term.committee.fingerprint());
        }
        let lines = text.lines().map(|line| line.len().div_ceil(columns).max(1)).sum();
        let over = match view.drawn {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}A\x1b[J"),
        };
        view.drawn = lines;
        self.print(over + &text).await
    }
}

fn ended_in(data: &DataDir) -> impl Fn(Fault) -> Problem + '_ {
    |fault| Problem::ended(fault, data.path())
}

/// What was drawn and told so far.
struct View {
    electorate: Electorate,
    told: Told,
    drawn: usize,
}

#[derive(Default)]
struct Told {
    slot: Option<Slot>,
    epoch: Option<Epoch>,
    committee: Option<Epoch>,
    events: u64,
    inactive: BTreeMap<ValidatorId, u64>,
}

impl Told {
    /// The epochs that were evaluated since it was asked last.
    fn epochs(&mut self, status: &Status) -> Vec<Epoch> {
        let Some(newest) = status.epoch else { return Vec::new() };
        let first = self.epoch.map_or(newest.get(), |told| told.get() + 1);
        self.epoch = self.epoch.max(Some(newest));
        (first..=newest.get()).map(Epoch).collect()
    }

    fn take(&mut self, event: &Event) {
        self.events = self.events.max(event.sequence);
        match &event.what {
            What::Inactive { epoch, validators } => {
                // Whoever is not in the newest verdict did its part again.
                self.inactive.retain(|id, _| validators.iter().any(|of| of.validator == *id));
                for of in validators {
                    self.inactive.entry(of.validator.clone()).or_insert(epoch.get());
                }
            }
            What::Withdrawn { epoch, .. } => self.inactive.retain(|_, since| *since != epoch.get()),
            What::Contradicted(_) => {}
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

//! Watching, from options to exit code.

mod aztec;
#[cfg(feature = "devnet")]
mod devnet;

use super::{args::Watch, report, told};
use crate::{
    Outcome,
    command::{Problem, args::Format, data_dir::DataDir, logs, metrics, signals::Stop},
    output::Printer,
};
use commonware_codec::Encode as _;
use commonware_macros::select;
use commonware_runtime::{Clock as _, Runner as _, tokio::Context};
use console::Term;
use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tidewatch_core::{Fault, FaultKind, Running};
use tidewatch_sentinel::{
    Asked, Committees as _, Epoch, Event, Mailbox, Output, Slot, Status, ValidatorId, What,
    simplex::{Electorate, HandIn},
};

/// How long parts may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(1);

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
    let nodes = asked.nodes()?;
    #[cfg(not(feature = "devnet"))]
    let Some(nodes) = nodes else {
        let _ = asked.wanted()?;
        return Err(Problem::usage("this build has no devnet").hint(
                "build with the feature devnet, or watch an Aztec chain: --source aztec+http://HOST:PORT",
            ));
    };
    #[cfg(feature = "devnet")]
    let wanted = if nodes.is_none() { Some(asked.wanted()?) } else { None };
    let data = match &asked.data_dir {
        Some(path) => DataDir::open(path)?,
        None => DataDir::temporary()?,
    };
    let printer = Printer::stdout()?;
    commonware_runtime::tokio::Runner::new(data.runtime()).start(|context| async move {
        let context = metrics::named(&context);
        let stop = Stop::new()?;
        let mut run = Run { context, asked, printer, stop };
        if let Some(address) = run.asked.metrics {
            let address = metrics::serve(&run.context, address).await?;
            run.say(&format!("metrics at http://{address}/metrics")).await;
        }
        #[cfg(not(feature = "devnet"))]
        return run.aztec(nodes, &data).await;
        #[cfg(feature = "devnet")]
        match (nodes, wanted) {
            (Some(nodes), _) => run.aztec(nodes, &data).await,
            (None, Some(wanted)) => run.devnet(wanted, &data).await,
            (None, None) => Ok(()),
        }
    })
}

/// What a sentinel hands to others before it is opened.
#[derive(Clone, Default)]
struct Later(Arc<OnceLock<Mailbox>>);

impl Later {
    /// Takes what is observed, from when the sentinel is open on.
    fn hand_in(&self) -> HandIn {
        let mailbox = self.0.clone();
        Box::new(move |observation| {
            if let Some(mailbox) = mailbox.get() {
                let _ = mailbox.observe(observation); // Never waits: a full mailbox merges.
            }
        })
    }
}

/// What runs while validators are watched.
struct Watching {
    sentinel: Running,
    listener: Running,
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

    /// Shows what is judged until somebody asks for the end, something ends by itself, or what was asked for is
    /// evaluated. `ended` resolves with why what is watched has ended.
    async fn follow(
        &mut self,
        mailbox: &Mailbox,
        running: Watching,
        (view, interval): (&mut View, Duration),
        ended: impl AsyncFn() -> Problem,
        data: &DataDir,
    ) -> Outcome<()> {
        let Watching { mut sentinel, mut listener } = running;
        let mut socket = report::CONTROL.listen(data.path())?;
        socket.serve(&self.context, report::Desk(mailbox.clone()));
        let result = loop {
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
                problem = ended() => break Err(problem),
                () = due => match self.tell(mailbox, view).await {
                    Ok(true) => break Ok(()),
                    Ok(false) => {}
                    Err(problem) => break Err(problem),
                },
            }
        };
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
        let Some(electorate) = &view.electorate else { return Ok(()) };
        let epoch = electorate.epoch(slot);
        let Some(term) = electorate.term_at(slot) else { return Ok(()) };
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
        if let Some(term) = view.electorate.as_ref().and_then(|known| known.term_at(processed)) {
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

/// Why a sentinel was not opened.
fn refused(fault: Fault, data: &DataDir) -> Problem {
    match fault.kind {
        FaultKind::InvalidConfig => Problem::usage(fault.to_string()).hint(
            "--target is above 0 and at most 1, --threshold at most the epochs that are kept",
        ),
        _ => Problem::ended(fault, data.path()),
    }
}

fn ended_in(data: &DataDir) -> impl Fn(Fault) -> Problem + '_ {
    |fault| Problem::ended(fault, data.path())
}

/// What was drawn and told so far.
struct View {
    /// Who evidence is pinned by, where there is any.
    electorate: Option<Electorate>,
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

//! `tidewatch sentinel report`: one epoch, from the sentinel that has a data directory, or from the directory.

use super::{
    args::{Report, ReportFormat},
    told,
};
use crate::{
    Outcome,
    command::{
        Problem,
        control::{self, Control, Desk as _, Refused},
        data_dir::DataDir,
    },
};
use bytes::Bytes;
use commonware_runtime::{Runner as _, Supervisor as _};
use serde::{Deserialize, Serialize};
use std::{io::Write as _, num::NonZeroUsize, ops::RangeInclusive, path::Path};
use tidewatch_core::{BlockRef, ChainId, Digest, Fault, Height, Running};
use tidewatch_sentinel::{
    AtSlot, Canonical, Committee, Committees, Config, Epoch, Event, Mailbox, Observer, Output,
    Parts, Position, Sentinel, Slot, Standing, ValidatorId,
};

/// Prefix of the partitions of a sentinel.
pub(super) const PARTITION: &str = "tidewatch-sentinel";
/// The file that names the chain, in a data directory.
const CHAIN: &str = "sentinel-chain";

/// Where a sentinel listens.
pub(super) const CONTROL: Control =
    Control { socket: "sentinel.sock", owner: "tidewatch sentinel" };

/// What is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    epoch: u64,
    format: ReportFormat,
}

/// Answers from what a sentinel recorded.
pub(super) struct Desk(pub(super) Mailbox);

impl control::Desk for Desk {
    type Ask = Ask;
    /// The bytes are the report.
    type Told = ();

    async fn answer(&self, ask: Ask, _: Bytes) -> Result<((), Bytes), Refused> {
        let refused = |fault: Fault| Refused::new(fault.to_string());
        let epoch = Epoch(ask.epoch);
        let report = self.0.epoch(epoch).await.map_err(refused)?;
        let Some(report) = report else {
            let newest = self.0.status().await.map_err(refused)?.epoch;
            let newest = newest.map_or("none".into(), |epoch| epoch.to_string());
            let message = format!("epoch {epoch} is not recorded; the newest one is {newest}");
            return Err(Refused::new(message).hint(
                "an epoch is recorded once it has ended while a sentinel watched it from its beginning",
            ));
        };
        let text = match ask.format {
            ReportFormat::Table => told::epoch(&report),
            ReportFormat::Csv => told::csv(&report),
            ReportFormat::Json => told::json(&told::Line::Epoch(&report)),
        };
        Ok(((), text.into()))
    }
}

/// No chain and nobody: what is kept is read, and nothing is judged.
struct Nobody;

impl Observer for Nobody {
    async fn position(&self, _: Height) -> Result<Option<Position>, Fault> {
        Ok(None)
    }
}

impl Canonical for Nobody {
    async fn standing(&self) -> Result<Option<Standing>, Fault> {
        Ok(None)
    }

    async fn at(&self, _: &Standing, slots: RangeInclusive<Slot>) -> Result<Vec<AtSlot>, Fault> {
        let slots = slots.start().get()..=slots.end().get();
        Ok(slots.map(|_| AtSlot::Unknown).collect())
    }

    async fn on_chain(&self, _: &Standing, blocks: &[BlockRef]) -> Result<Vec<bool>, Fault> {
        Ok(vec![true; blocks.len()])
    }

    async fn checkpoint(&self, _: &Standing, _: u64) -> Result<Option<Digest>, Fault> {
        Ok(None)
    }
}

impl Committees for Nobody {
    fn epoch(&self, slot: Slot) -> Epoch {
        Epoch(slot.get())
    }

    fn slots(&self, _: Epoch) -> Option<RangeInclusive<Slot>> {
        None
    }

    async fn committee(&self, _: Epoch) -> Result<Option<Committee>, Fault> {
        Ok(None)
    }

    async fn proposer(&self, _: Slot) -> Result<Option<ValidatorId>, Fault> {
        Ok(None)
    }
}

impl Output for Nobody {
    /// Refused: whoever watches next gives it on.
    async fn give(&mut self, _: &Event) -> Result<(), Fault> {
        Err(tidewatch_core::FaultKind::Unavailable.fault("the report", "it takes no events"))
    }
}

/// Notes which chain is watched in `data`.
pub(super) fn note(data: &DataDir, chain: &ChainId, epoch_slots: NonZeroUsize) -> Outcome<()> {
    let path = data.path().join(CHAIN);
    std::fs::write(&path, format!("{chain} {epoch_slots}\n"))
        .map_err(|error| Problem::disk("write", &path, &error))
}

fn noted(directory: &Path) -> Outcome<(ChainId, NonZeroUsize)> {
    let path = directory.join(CHAIN);
    let none = || {
        Problem::usage(format!("{} is no data directory of a sentinel", directory.display()))
            .hint("name the one that `tidewatch sentinel --data-dir DIR` was started with")
    };
    let text = std::fs::read_to_string(path).map_err(|_| none())?;
    let noted = text
        .trim()
        .split_once(' ')
        .and_then(|(chain, slots)| Some((ChainId::new(chain).ok()?, slots.parse().ok()?)));
    noted.ok_or_else(none)
}

/// Prints an epoch.
pub(super) fn run(asked: &Report) -> Outcome<()> {
    let ask = Ask { epoch: asked.epoch, format: asked.format };
    let (chain, epoch_slots) = noted(&asked.data_dir)?;
    let ((), text) =
        CONTROL.ask_wherever(&asked.data_dir, (&ask, &[]), DataDir::briefly, |data| {
            offline(data, chain, epoch_slots, ask.clone())
        })?;
    std::io::stdout()
        .lock()
        .write_all(&text)
        .map_err(|error| Problem::failure(format!("cannot print: {error}")))
}

/// Answers from a directory that nobody has.
fn offline(
    data: &DataDir,
    chain: ChainId,
    epoch_slots: NonZeroUsize,
    ask: Ask,
) -> Outcome<((), Bytes)> {
    let ended = |fault| Problem::ended(fault, data.path());
    let runtime = data.runtime().with_worker_threads(1);
    let answered = commonware_runtime::tokio::Runner::new(runtime).start(|context| async move {
        let parts =
            Parts { observer: Nobody, canonical: Nobody, committees: Nobody, output: Nobody };
        let config = Config::new(chain, PARTITION, epoch_slots);
        let opened = Sentinel::open(context.child("sentinel"), parts, config).await;
        let (sentinel, mailbox) = opened.map_err(ended)?;
        let running = Running::start(sentinel);
        let answered = Desk(mailbox.clone()).answer(ask, Bytes::new()).await;
        mailbox.stop();
        running.await.map_err(ended)?;
        Ok::<_, Problem>(answered)
    })?;
    Ok(answered?)
}

//! The public contract of `--format json`: one object a line.

use super::{Printer, Reached};
use commonware_utils::sync::Mutex;
use serde_json::{Value, json};
use tidewatch_core::{
    Ack, BlockRef, CheckpointRef, Consumer, Cursor, Event, Fault, FaultKind, Monitor, Record,
    State, Status, Tier, Tip, TipSet, Watermarks,
};

/// The name of the durable position of standard output.
pub(crate) const CONSUMER: &str = "stdout";

/// Prints events, and acknowledges what was written.
#[derive(Debug)]
pub(crate) struct Events {
    printer: Printer,
    reached: Reached,
}

impl Events {
    pub(crate) const fn new(printer: Printer, reached: Reached) -> Self {
        Self { printer, reached }
    }

    fn failed(error: &std::io::Error) -> Fault {
        let slow = error.kind() == std::io::ErrorKind::WouldBlock;
        // Without a reader there is nothing left to do.
        let kind = if slow { FaultKind::Consumer } else { FaultKind::InvalidConfig };
        kind.fault("standard output", error)
    }
}

impl Consumer for Events {
    fn name(&self) -> &str {
        CONSUMER
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        let text: String = records.iter().map(|record| line(&event(record))).collect();
        self.printer.print(text).await.map_err(|error| Self::failed(&error))?;
        if let Some(last) = records.last() {
            self.reached.printed(last.watermarks.tips.block(Tier::Finalized));
        }
        Ok(Ack::Durable)
    }

    async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
        // Whoever reads the lines is told where they go on: everything is dropped, then the tiers.
        let watermarks = &oldest.watermarks;
        let Some(head) = watermarks.head() else { return Ok(()) };
        let pruned = json!({
            "event": "pruned", "to": block(head), "depth": 0, "tips": tips(&watermarks.tips),
            "cursor": oldest.cursor.to_string(),
        });
        self.printer.print(line(&pruned)).await.map_err(|error| Self::failed(&error))
    }
}

/// Prints faults and changes of state.
#[derive(Debug)]
pub(crate) struct Lines {
    printer: Printer,
    reached: Reached,
    last: Mutex<Option<State>>,
}

impl Lines {
    pub(crate) const fn new(printer: Printer, reached: Reached) -> Self {
        Self { printer, reached, last: Mutex::new(None) }
    }
}

impl Monitor for Lines {
    fn moved(&self, watermarks: &Watermarks) {
        self.reached.kept(watermarks.tips.block(Tier::Finalized));
    }

    fn fault(&self, fault: &Fault) {
        self.printer.hint(line(&json!({
            "event": "fault", "kind": fault.kind.as_str(), "source": fault.about,
            "detail": fault.detail,
        })));
    }

    fn status(&self, status: &Status) {
        if self.last.lock().replace(status.state) != Some(status.state) {
            self.printer.hint(line(&json!({
                "event": "status", "state": status.state.as_str(), "lag": status.lag,
                "source_height": status.source_height.map(|height| height.get()),
            })));
        }
    }
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

fn block(block: BlockRef) -> Value {
    json!({ "height": block.height.get(), "digest": block.digest.to_string() })
}

fn checkpoint(checkpoint: Option<CheckpointRef>) -> Value {
    checkpoint.map_or(Value::Null, |checkpoint| {
        json!({ "number": checkpoint.number, "digest": checkpoint.digest.to_string() })
    })
}

/// All tiers by name; `null` where one is not known.
fn tips(tips: &TipSet) -> Value {
    let tip = |tier| tips.get(tier).map_or(Value::Null, |tip| self::tip(&tip));
    Tier::ALL.map(|tier| (tier.as_str().to_string(), tip(tier))).into_iter().collect()
}

fn tip(tip: &Tip) -> Value {
    json!({ "block": block(tip.block), "checkpoint": checkpoint(tip.checkpoint) })
}

fn moved(event: &str, tier: Tier, tip: &Tip, cursor: &Cursor) -> Value {
    json!({
        "event": event, "tier": tier.as_str(), "block": block(tip.block),
        "checkpoint": checkpoint(tip.checkpoint), "cursor": cursor.to_string(),
    })
}

fn event(record: &Record) -> Value {
    let cursor = &record.cursor;
    match &record.event {
        Event::Blocks { from, to } => json!({
            "event": "blocks", "from": block(*from), "to": block(*to),
            "count": to.height.get() - from.height.get() + 1, "cursor": cursor.to_string(),
        }),
        Event::Advanced { tier, tip } => moved("advanced", *tier, tip, cursor),
        Event::Regressed { tier, tip } => moved("regressed", *tier, tip, cursor),
        Event::Pruned { to, depth, tips } => json!({
            "event": "pruned", "to": block(*to), "depth": depth, "tips": self::tips(tips),
            "cursor": cursor.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, tokio};
    use std::{
        future::{Future as _, poll_fn},
        io::Write,
        pin::pin,
        sync::{Arc, mpsc},
    };
    use tidewatch_core::{ChainId, Digest, Height};
    use tidewatch_sim::conformance::{Subject, Verdict, consumer};

    fn at(height: u64, fill: u8) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([fill; 32]))
    }

    fn record(event: Event) -> Record {
        let mut watermarks = Watermarks::none();
        watermarks.apply(&event);
        let cursor = Cursor::new(&ChainId::new("test:1").unwrap(), 1, &watermarks, &[]);
        Record { event, watermarks, cursor }
    }

    /// The contract, field by field and in the words of the README.
    #[test]
    fn every_event_has_the_fields_of_the_contract() {
        let hex = |fill: u8| format!("{fill:02x}").repeat(32);
        let checkpoint = CheckpointRef { number: 3, digest: Digest([9; 32]) };
        let tip = Tip { block: at(5, 1), checkpoint: Some(checkpoint) };
        let table = [
            (
                Event::Blocks { from: at(1, 2), to: at(50, 3) },
                json!({
                    "event": "blocks", "from": {"height": 1, "digest": hex(2)},
                    "to": {"height": 50, "digest": hex(3)}, "count": 50,
                }),
            ),
            (
                Event::Advanced { tier: Tier::Checkpointed, tip },
                json!({
                    "event": "advanced", "tier": "checkpointed",
                    "block": {"height": 5, "digest": hex(1)},
                    "checkpoint": {"number": 3, "digest": hex(9)},
                }),
            ),
            (
                Event::Regressed { tier: Tier::Proposed, tip: at(4, 4).into() },
                json!({
                    "event": "regressed", "tier": "proposed",
                    "block": {"height": 4, "digest": hex(4)}, "checkpoint": null,
                }),
            ),
            (
                Event::Pruned {
                    to: at(2, 5),
                    depth: 3,
                    tips: TipSet::unknown().with(Tier::Proposed, at(2, 5)),
                },
                json!({
                    "event": "pruned", "to": {"height": 2, "digest": hex(5)}, "depth": 3,
                    "tips": {
                        "proposed": {"block": {"height": 2, "digest": hex(5)}, "checkpoint": null},
                        "checkpointed": null, "proven": null, "finalized": null,
                    },
                }),
            ),
        ];
        for (event, mut want) in table {
            let record = record(event);
            want["cursor"] = record.cursor.to_string().into();
            assert_eq!(super::event(&record), want);
        }
    }

    /// What a reader at the other end of the pipe has, and keeps when the command ends.
    #[derive(Default)]
    struct Reader {
        lines: Arc<Mutex<Vec<u8>>>,
        /// Disconnected when the last printer is gone.
        printer: Option<mpsc::Receiver<()>>,
    }

    struct Pipe {
        lines: Arc<Mutex<Vec<u8>>>,
        full: Arc<Mutex<()>>,
        _open: mpsc::Sender<()>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _room = self.full.lock();
            self.lines.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Prints into a pipe that is full while the consumer runs, so that it always waits for the reader:
    /// one that was quick would leave nothing to crash in.
    struct Waiting {
        events: Events,
        full: Arc<Mutex<()>>,
    }

    impl Consumer for Waiting {
        fn name(&self) -> &str {
            self.events.name()
        }

        async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
            let mut handling = pin!(self.events.handle(records));
            poll_fn(|wake| {
                let _full = self.full.lock();
                handling.as_mut().poll(wake)
            })
            .await
        }

        async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
            self.events.restart(oldest).await
        }
    }

    impl Reader {
        /// A process that is gone writes no more: waits for its thread.
        fn close(&mut self) {
            if let Some(printer) = self.printer.take() {
                assert_eq!(printer.recv(), Err(mpsc::RecvError));
            }
        }
    }

    impl Subject for Reader {
        type Consumer = Waiting;
        /// The highest block, and all tiers.
        type Held = (Value, Value);

        async fn open(&mut self) -> Result<Waiting, Fault> {
            self.close();
            let (open, printer) = mpsc::channel();
            self.printer = Some(printer);
            let full = Arc::<Mutex<()>>::default();
            let pipe = Pipe { lines: self.lines.clone(), full: full.clone(), _open: open };
            let printer = Printer::start(pipe).map_err(|error| Events::failed(&error))?;
            Ok(Waiting { events: Events::new(printer, Reached::new(None, true)), full })
        }

        /// Folds the lines in the words of the README.
        async fn holds(&mut self) -> (Value, Value) {
            self.close();
            let (mut head, mut tiers) = self.expects(&Watermarks::none());
            for line in self.lines.lock().split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
                let line: Value = serde_json::from_slice(line).unwrap();
                match line["event"].as_str().unwrap() {
                    "blocks" => head = line["to"].clone(),
                    "pruned" => {
                        head = line["to"].clone();
                        tiers = line["tips"].clone();
                    }
                    _ => {
                        let tip = json!({"block": line["block"], "checkpoint": line["checkpoint"]});
                        tiers[line["tier"].as_str().unwrap()] = tip;
                    }
                }
            }
            (head, tiers)
        }

        fn expects(&self, watermarks: &Watermarks) -> (Value, Value) {
            (watermarks.delivered.map_or(Value::Null, block), tips(&watermarks.tips))
        }
    }

    #[test]
    fn a_reader_of_the_lines_is_where_the_events_lead_whenever_the_command_crashes() {
        let report = tokio::Runner::default()
            .start(|context| async move { consumer(context, Reader::default).await });
        for check in report.checks() {
            assert_eq!(check.verdict, Verdict::Held, "{report}");
        }
    }
}

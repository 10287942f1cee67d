//! Prints the lines of `--format json`, whose contract is [`tidewatch_core::json`].

use super::{
    Printer, Reached,
    repeats::{Repeats, counted},
};
use commonware_utils::sync::Mutex;
use tidewatch_core::{
    Ack, Consumer, Fault, FaultKind, Monitor, Record, State, Status,
    json::{Line, Proving},
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
        let lines = records.iter().map(|record| text(&Line::event(&record.event, &record.cursor)));
        let lines = lines.collect::<Result<String, _>>().map_err(|error| Self::failed(&error))?;
        self.printer.print(lines).await.map_err(|error| Self::failed(&error))?;
        if let Some(last) = records.last() {
            self.reached.printed(&last.cursor);
        }
        Ok(Ack::Durable)
    }
}

/// Prints faults and changes of state.
#[derive(Debug)]
pub(crate) struct Lines {
    printer: Printer,
    last: Mutex<(Option<State>, Repeats)>,
    proving: Mutex<Option<Proving>>,
}

impl Lines {
    pub(crate) fn new(printer: Printer) -> Self {
        Self { printer, last: Mutex::default(), proving: Mutex::default() }
    }

    /// Prints how far proving is, where that is news.
    pub(crate) fn proving(&self, proving: &Proving) {
        let before = self.proving.lock().replace(proving.clone());
        if before.is_none_or(|before| before.is_passed_by(proving)) {
            self.hint(&Line::Proving(proving.clone()));
        }
    }

    fn hint(&self, line: &Line<'_>) {
        match text(line) {
            Ok(text) => self.printer.hint(text),
            Err(error) => tracing::error!(%error, "a line that cannot be written as JSON"),
        }
    }
}

impl Monitor for Lines {
    fn fault(&self, fault: &Fault) {
        let Some(count) = self.last.lock().1.tell(fault) else { return };
        let detail = counted(&fault.detail, count);
        self.hint(&Line::Fault {
            detail: &detail,
            kind: fault.kind.as_str(),
            source: &fault.about,
        });
    }

    fn status(&self, status: &Status) {
        {
            let (last, repeats) = &mut *self.last.lock();
            if last.replace(status.state) == Some(status.state) {
                return;
            }
            if status.state == State::Live {
                repeats.forget();
            }
        }
        self.hint(&status.into());
    }
}

/// `line` as text.
fn text(line: &Line<'_>) -> std::io::Result<String> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod before;

#[cfg(test)]
mod stalled;

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, Supervisor as _, tokio};
    use commonware_utils::NZU64;
    use serde_json::{Value, json};
    use std::{
        future::{Future as _, poll_fn},
        io::Write,
        pin::pin,
        sync::{Arc, mpsc},
    };
    use tidewatch_conformance::{Subject, Verdict, consumer, consumer_checks as name};
    use tidewatch_core::{
        Change, LocalView as _, Tier, Tip, Watermarks,
        json::{Block, Tips},
    };
    use tidewatch_store::Memory;
    use tidewatch_stream::{
        Delivery,
        delivery::{Config, Parts},
    };
    use tidewatch_testkit::chain::Chain;

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
            Ok(Waiting {
                events: Events::new(printer, Reached::new(None, Tier::Finalized, true)),
                full,
            })
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
            let head = serde_json::to_value(watermarks.delivered.map(Block::from));
            (head.unwrap(), serde_json::to_value(Tips::from(&watermarks.tips)).unwrap())
        }
    }

    /// Block 1 is being written when 40 more come, to a log that keeps 8 events.
    #[test]
    fn a_reader_that_stalls_longer_than_events_are_kept_is_announced_every_block() {
        tokio::Runner::default().start(|context| async move {
            let chain = Chain::new('a', 100);
            let (mut view, log) = Memory::with_retention(chain.chain_info(), NZU64!(8));
            let mut reader = Reader::default();
            let full = Arc::<Mutex<()>>::default();
            let (lines, (open, printer)) = (reader.lines.clone(), mpsc::channel());
            reader.printer = Some(printer);
            let pipe = Pipe { lines: lines.clone(), full: full.clone(), _open: open };
            let consumer = Events::new(
                Printer::start(pipe).unwrap(),
                Reached::new(None, Tier::Finalized, true),
            );
            let parts = Parts { log, consumer, monitor: () };
            let (delivery, mailbox) =
                Delivery::new(context.child("delivery"), parts, Config::default());
            let (stalled, (stall, reads)) = (mpsc::channel(), mpsc::channel::<()>());
            std::thread::spawn(move || {
                let _full = full.lock();
                stalled.0.send(()).unwrap();
                let _ = reads.recv();
            });
            stalled.1.recv().unwrap();
            let mut commit = async |from, to| {
                for height in from..=to {
                    let tip = Tip::from(chain.at(height));
                    let moved = Change::Advanced { tier: Tier::Proposed, tip, proof: None };
                    let blocks = Change::Blocks(chain.range(height, height));
                    view.commit(vec![blocks, moved]).await.unwrap();
                }
            };
            commit(1, 1).await;
            let running = delivery.start();
            commit(2, 41).await;
            drop(stall);
            mailbox.durable(82).await.unwrap();
            mailbox.stop();
            running.await.unwrap().unwrap();
            reader.close();
            let (mut next, lines) = (1, lines.lock().clone());
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line: Value = serde_json::from_slice(line).unwrap();
                if line["event"] == "blocks" {
                    assert_eq!(line["from"]["height"], next, "{line}");
                    next = line["to"]["height"].as_u64().unwrap() + 1;
                }
            }
            assert_eq!(next, 42, "all are announced");
        });
    }

    #[test]
    fn a_reader_of_the_lines_is_where_the_events_lead_whenever_the_command_crashes() {
        let report = tokio::Runner::default()
            .start(|context| async move { consumer(context, Reader::default).await });
        let other = report.checks().iter().filter(|check| check.verdict != Verdict::Held);
        let other: Vec<_> = other.map(|check| check.name).collect();
        // It acknowledges every batch at once.
        assert_eq!(other, [name::OUT], "{report}");
        assert!(matches!(report.verdict(name::OUT), Some(Verdict::NotShown(_))), "{report}");
    }
}

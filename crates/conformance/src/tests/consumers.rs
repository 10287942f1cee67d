//! Consumers, right and wrong.

use super::simulate;
use crate::{Report, Subject, Verdict, consumer, consumer_checks as name};
use commonware_runtime::{Clock as _, Handle, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{acknowledgement::Acknowledgement as _, sync::Mutex};
use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{Ack, Consumer, Event, Fault, FaultKind, Record, Tier, Watermarks};

/// Events that a consumer in a hurry can take in again: fewer than two batches.
const SHORT: u64 = 7;

/// What is wrong with a consumer, and what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Keeps everything before it acknowledges.
    Careful,
    /// Keeps every third batch, and acknowledges only that as durable.
    Lazy,
    /// Keeps everything, and does not start again.
    Proud,
    /// Keeps batches in tasks that overtake each other, and acknowledges each when it is kept.
    Pipelined,
    /// The same, but it cannot take in again more than the last batch.
    PipelinedShort,
    /// Keeps nothing.
    Forgetful,
    OtherName,
    DoesNotOpen,
    IgnoresRegressions,
    LeavesLowTiers,
    LosesConnection,
    StopsAtWhatItKnows,
    StopsAtOtherBatches,
    PositionFirst,
    DurableTooSoon,
    HalfWritten,
    KeepsOldWatermarks,
    BySequence,
    Refuses,
    Hangs,
    Panics,
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
struct Disk {
    watermarks: Watermarks,
    /// Events handled.
    handled: u64,
    stuck: bool,
    opened: u64,
}

struct Keeper {
    clock: deterministic::Context,
    manner: Manner,
    name: String,
    disk: Arc<Mutex<Disk>>,
    memory: Disk,
    batches: u64,
    /// Batches that are being kept. They end with it.
    flushes: Mutex<Vec<Handle<()>>>,
    /// When it last took something in.
    busy: SystemTime,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.flushes.lock().iter().for_each(Handle::abort);
    }
}

impl Keeper {
    /// Keeps what is in memory a while later, and acknowledges it then.
    fn flush(&mut self) -> Ack {
        let (acknowledgement, later) = Ack::later();
        let wait = Duration::from_millis(if self.batches.is_multiple_of(2) { 2 } else { 9 });
        let (memory, disk) = (self.memory.clone(), self.disk.clone());
        let flush = self.clock.child("flush").spawn(move |clock| async move {
            clock.sleep(wait).await;
            {
                let mut disk = disk.lock();
                // Another batch, with what is in this one, may have been kept before.
                if memory.handled > disk.handled {
                    *disk = Disk { opened: disk.opened, ..memory };
                }
            }
            acknowledgement.acknowledge();
        });
        self.flushes.lock().push(flush);
        later
    }

    async fn wait(&self) {
        self.clock.sleep(Duration::from_millis(1)).await;
    }

    /// Whether it had nothing to do for longer than its connection lasts.
    fn is_idle(&self) -> bool {
        let idle = self.clock.current().duration_since(self.busy).unwrap_or_default();
        idle > Duration::from_millis(50)
    }

    /// Takes `records` into memory.
    fn take(&mut self, records: &[Record]) {
        for record in records {
            let known = record.sequence() < self.memory.handled;
            match (self.manner, &record.event) {
                (Manner::IgnoresRegressions, Event::Regressed { .. }) => {}
                (Manner::BySequence, _) if known => {}
                // Below the target of a prune nothing changes, it thinks.
                (Manner::LeavesLowTiers, Event::Pruned { to, tips, .. }) => {
                    let watermarks = &mut self.memory.watermarks;
                    watermarks.delivered = watermarks.delivered.map(|_| *to);
                    for tier in Tier::ALL {
                        let stands = watermarks.tips.block(tier);
                        if stands.is_some_and(|block| block.height > to.height) {
                            watermarks.tips.set(tier, tips.get(tier));
                        }
                    }
                }
                // Where it folds by itself, it depends on having had everything before.
                (
                    Manner::KeepsOldWatermarks
                    | Manner::IgnoresRegressions
                    | Manner::LeavesLowTiers,
                    event,
                ) => self.memory.watermarks.apply(event),
                _ => self.memory.watermarks = record.watermarks,
            }
            self.memory.handled = self.memory.handled.max(record.cursor.handled());
        }
    }

    /// Whether `records` are what a consumer expects that never heard of at-least-once.
    fn is_stuck(&mut self, records: &[Record]) -> bool {
        let (first, next) = (records[0].sequence(), self.memory.handled);
        let known = records.iter().all(|record| record.sequence() < next);
        self.memory.stuck |= match self.manner {
            Manner::StopsAtWhatItKnows => first < next,
            Manner::PipelinedShort => first + SHORT < next,
            Manner::StopsAtOtherBatches => first < next && !known,
            Manner::LosesConnection => self.is_idle(),
            _ => false,
        };
        self.memory.stuck
    }

    async fn keep(&mut self) {
        self.wait().await;
        let mut disk = self.disk.lock();
        *disk = Disk { opened: disk.opened, ..self.memory.clone() };
        self.busy = self.clock.current();
    }
}

impl Consumer for Keeper {
    fn name(&self) -> &str {
        &self.name
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        self.batches += 1;
        assert!(self.manner != Manner::Panics, "as told");
        match self.manner {
            Manner::Refuses => return Err(FaultKind::Consumer.fault("keeper", "as told")),
            Manner::Hangs => return pending().await,
            Manner::PositionFirst => {
                if records[0].sequence() < self.memory.handled {
                    return Ok(Ack::Durable);
                }
                self.disk.lock().handled = records[records.len() - 1].cursor.handled();
                self.wait().await;
            }
            _ => {}
        }
        if self.is_stuck(records) {
            self.keep().await;
            return Ok(Ack::Durable);
        }
        self.take(records);
        match self.manner {
            Manner::Forgetful => return Ok(Ack::Accepted),
            Manner::Pipelined | Manner::PipelinedShort => return Ok(self.flush()),
            Manner::Lazy if !self.batches.is_multiple_of(3) => return Ok(Ack::Accepted),
            Manner::DurableTooSoon if !self.batches.is_multiple_of(3) => {
                self.wait().await;
                return Ok(Ack::Durable);
            }
            Manner::HalfWritten => {
                self.disk.lock().watermarks.tips = self.memory.watermarks.tips;
                self.wait().await;
                self.disk.lock().watermarks.delivered = self.memory.watermarks.delivered;
            }
            _ => {}
        }
        self.keep().await;
        Ok(Ack::Durable)
    }

    async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
        if self.manner == Manner::Proud {
            return Err(FaultKind::TooOld.fault("keeper", "as told"));
        }
        if self.manner != Manner::KeepsOldWatermarks {
            self.memory.watermarks = oldest.watermarks;
        }
        self.memory.handled = oldest.cursor.handled();
        if self.manner != Manner::Forgetful {
            self.keep().await;
        }
        Ok(())
    }
}

struct Kept {
    clock: Arc<deterministic::Context>,
    manner: Manner,
    disk: Arc<Mutex<Disk>>,
}

impl Subject for Kept {
    type Consumer = Keeper;
    type Held = [String; 2];

    async fn open(&mut self) -> Result<Keeper, Fault> {
        let memory = {
            let mut disk = self.disk.lock();
            disk.opened += 1;
            disk.clone()
        };
        if self.manner == Manner::DoesNotOpen && memory.opened > 1 {
            return Err(FaultKind::Disk.fault("keeper", "as told"));
        }
        let name = match self.manner {
            Manner::OtherName => format!("keeper {}", memory.opened),
            _ => "keeper".into(),
        };
        let (clock, disk) = (self.clock.child("keeper"), self.disk.clone());
        let busy = clock.current();
        Ok(Keeper {
            clock,
            manner: self.manner,
            name,
            disk,
            memory,
            batches: 0,
            flushes: Mutex::default(),
            busy,
        })
    }

    async fn holds(&mut self) -> [String; 2] {
        words(&self.disk.lock().watermarks)
    }

    fn expects(&self, watermarks: &Watermarks) -> [String; 2] {
        words(watermarks)
    }
}

/// Blocks, in words: which version of the tips it is does not matter.
fn words(watermarks: &Watermarks) -> [String; 2] {
    use tidewatch_testkit::words::{tips_words, word};
    [watermarks.delivered.map_or("-".into(), word), tips_words(&watermarks.tips)]
}

fn examine(seed: u64, manner: Manner) -> Report {
    simulate(seed, |context| async move {
        let clock = Arc::new(context.child("clock"));
        consumer(context, || Kept { clock: clock.clone(), manner, disk: Arc::default() }).await
    })
}

#[test]
fn a_careful_consumer_holds_in_every_check_whatever_the_seed() {
    for seed in 0..8 {
        let report = examine(seed, Manner::Careful);
        for check in report.checks().iter().filter(|check| check.name != name::OUT) {
            assert_eq!(check.verdict, Verdict::Held, "seed {seed}\n{report}");
        }
        assert!(matches!(report.verdict(name::OUT), Some(Verdict::NotShown(_))), "{report}");
    }
}

#[test]
fn one_that_acknowledges_later_and_out_of_order_holds_in_every_check() {
    for seed in 0..4 {
        let report = examine(seed, Manner::Pipelined);
        // It never waits while it handles events.
        for check in report.checks().iter().filter(|check| check.name != name::DROPPED) {
            assert_eq!(check.verdict, Verdict::Held, "seed {seed}\n{report}");
        }
    }
}

#[test]
fn one_that_keeps_every_third_batch_and_one_that_does_not_start_again_hold_too() {
    for (manner, check) in [(Manner::Lazy, name::LIVE), (Manner::Proud, name::RESTART)] {
        let report = examine(0, manner);
        report.assert();
        for check in [name::TAKES, name::AGAIN, name::DROPPED, name::DURABLE, check] {
            assert_eq!(report.verdict(check), Some(&Verdict::Held), "{manner:?}\n{report}");
        }
    }
}

#[test]
fn one_that_keeps_nothing_and_says_so_breaks_nothing() {
    let report = examine(0, Manner::Forgetful);
    report.assert();
    for check in [name::TAKES, name::DURABLE, name::BRIDGE] {
        let verdict = report.verdict(check);
        assert!(matches!(verdict, Some(Verdict::NotShown(_))), "{check}\n{report}");
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    assert_eq!(examine(7, Manner::Lazy), examine(7, Manner::Lazy));
}

#[test]
fn each_check_is_broken_by_a_consumer_that_is_wrong_in_what_it_is_about() {
    let table = [
        (Manner::OtherName, name::NAME, "\"keeper 1\" at first, then \"keeper 2\""),
        (Manner::DoesNotOpen, name::OPENS, "keeper: as told"),
        (Manner::IgnoresRegressions, name::TAKES, "6a/6 4a/4 1a/1\"], the events lead to"),
        (Manner::LeavesLowTiers, name::PRUNED, "7a/7 8a/8 3a/3\"], the events lead to"),
        (
            Manner::LosesConnection,
            name::LIVE,
            "it holds [\"3a\", \"3a - - -\"], the events lead to",
        ),
        (
            Manner::StopsAtWhatItKnows,
            name::AGAIN,
            "it holds [\"7a\", \"3a 2a/2 1a/1 -\"], the events lead to",
        ),
        (
            Manner::StopsAtOtherBatches,
            name::CUT,
            "it holds [\"3a\", \"3a 2a/2 - -\"], the events lead to",
        ),
        (Manner::PositionFirst, name::DROPPED, "35n 5d/5 5d/5 5d/5\"], the events lead to"),
        (
            Manner::DurableTooSoon,
            name::DURABLE,
            "what it acknowledged as durable leads to Some([\"7a\"",
        ),
        (Manner::PipelinedShort, name::OUT, "the events lead to"),
        (Manner::HalfWritten, name::PLACE, "it holds [\"-\", \"3a 2a/2 1a/1 -\"]"),
        (Manner::KeepsOldWatermarks, name::RESTART, "16f 2a/2 1a/1 -\"], the events lead to"),
        (
            Manner::BySequence,
            name::BRIDGE,
            "it holds [\"4a\", \"4a 4a 4a 3a\"], the events lead to",
        ),
        (Manner::Refuses, name::REFUSES, "it answered with a fault: keeper: as told"),
        (Manner::Hangs, name::ENDS, "nothing came of events in 60s"),
        (Manner::Panics, name::PANICS, "it panicked: as told"),
    ];
    for (manner, check, seen) in table {
        let report = examine(0, manner);
        match report.verdict(check) {
            Some(Verdict::Broken(detail)) if detail.contains(seen) => {}
            _ => panic!("{manner:?}: {check}: not {seen:?}\n{report}"),
        }
    }
    let missing: Vec<_> = name::ALL
        .into_iter()
        .filter(|name| table.iter().all(|(_, check, _)| check != name))
        .collect();
    assert_eq!(missing, [""; 0]);
}

//! B55. The position was saved before its data was flushed, or the data before the position: after a
//! crash in between, data was missing or duplicated.
//!
//! Here a record carries its own position, so that a transactional consumer saves both atomically; and
//! a position stored on its behalf moves only after the consumer has acknowledged the events as
//! durable. After a crash between the two, the consumer recognises the events that it already has.

use crate::support::{crash, grow, open, restart, secs};
use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, sync::Mutex};
use std::sync::Arc;
use tidewatch_core::{Ack, Consumer, Fault, Positions as _, Record};
use tidewatch_stream::{
    Delivery,
    delivery::{Config, Parts},
};
use tidewatch_testkit::chain::Chain;

/// Events of the history, one per block, delivered two at a time and flushed six at a time.
const EVENTS: u64 = 18;

/// Durable state of the consumer: rows, and the position after them, written in one transaction.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<u64>,
    position: u64,
}

/// Where the consumer crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dies {
    /// Before the data is flushed and before the position is saved.
    BeforeTheFlush,
    /// After the data is flushed and before the position is saved.
    BeforeThePosition,
    Never,
}

struct Database {
    table: Arc<Mutex<Table>>,
    waiting: Vec<u64>,
    batches: u64,
    dies: (Dies, u64),
}

impl Database {
    async fn die_if(&self, dies: Dies) {
        if self.dies == (dies, self.batches) {
            std::future::pending::<()>().await;
        }
    }
}

impl Consumer for Database {
    fn name(&self) -> &str {
        "database"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        self.batches += 1;
        let known = self.table.lock().position;
        let new = records.iter().filter(|record| record.cursor.handled() > known);
        self.waiting.extend(new.map(Record::sequence));
        if !self.batches.is_multiple_of(3) {
            return Ok(Ack::Accepted);
        }
        self.die_if(Dies::BeforeTheFlush).await;
        {
            let mut table = self.table.lock();
            table.rows.append(&mut self.waiting);
            table.position = records.last().unwrap().cursor.handled();
        }
        self.die_if(Dies::BeforeThePosition).await;
        Ok(Ack::Durable)
    }
}

/// Delivers events until nothing changes any more.
async fn run(
    context: &deterministic::Context,
    table: &Arc<Mutex<Table>>,
    dies: (Dies, u64),
) -> u64 {
    let store = open(context, &Chain::new('a', 0).chain_info()).await.unwrap();
    let database = Database { table: table.clone(), waiting: Vec::new(), batches: 0, dies };
    let config = Config { batch_max: NZUsize!(2), ..Config::default() };
    let context = context.child("database");
    let parts = Parts { log: store.clone(), consumer: database, monitor: () };
    let (delivery, _mailbox) = Delivery::new(context.child("delivery"), parts, config);
    let _handle = delivery.start();
    context.sleep(secs(60)).await;
    store.load("database").await.unwrap().map_or(0, |cursor| cursor.handled())
}

#[test]
fn a_crash_between_flush_and_position_in_either_order_loses_nothing_and_doubles_nothing() {
    for dies in [Dies::BeforeTheFlush, Dies::BeforeThePosition] {
        for batch in [3, 6, 9] {
            let table = Arc::new(Mutex::new(Table::default()));
            let (_, disk) = crash(|context| async move {
                let chain = Chain::new('a', EVENTS);
                let mut store = open(&context, &chain.chain_info()).await.unwrap();
                grow(&mut store, &chain, 1..=EVENTS).await;
            });
            let rows = table.clone();
            let (position, disk) =
                deterministic::Runner::from(disk).start_and_recover(|context| async move {
                    run(&context, &rows, (dies, batch)).await
                });
            let flushed = table.lock().position;
            match dies {
                Dies::BeforeTheFlush => assert_eq!(flushed, position),
                _ => assert_eq!(flushed, position + 6, "the data is ahead of the position"),
            }
            let rows = table.clone();
            let position =
                restart(
                    disk,
                    |context| async move { run(&context, &rows, (Dies::Never, 0)).await },
                );
            assert_eq!(position, EVENTS);
            assert_eq!(table.lock().rows, (0..EVENTS).collect::<Vec<_>>(), "{dies:?} {batch}");
        }
    }
}

//! The port of positions over real servers, and over the embedded stores, by one suite.

use crate::{
    rig::{TICK, alone, opened, service, three},
    server::{FLOOR, NEWEST, Server},
};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic, tokio::Context};
use rand::{SeedableRng as _, rngs::StdRng};
use std::{num::NonZeroUsize, time::Duration};
use tidewatch_conformance as conformance;
use tidewatch_core::{ChainId, Change, Cursor, FaultKind, LocalView as _, Positions as _};
use tidewatch_nats::{
    Error, Leader, MessageId, Positions, PublisherId,
    client::JetStream,
    positions::Kept,
    tail::{From, Place},
};
use tidewatch_store::Memory;
use tidewatch_testkit::chain::Chain;

const LIMIT: Duration = Duration::from_secs(120);

fn chain() -> ChainId {
    Chain::new('a', 3).chain_info().id
}

/// Two positions of a log: in both stores it has these events.
fn changes() -> [Vec<Change<tidewatch_testkit::chain::TestBlock>>; 2] {
    let chain = Chain::new('a', 3);
    [vec![Change::Blocks(chain.range(1, 2))], vec![Change::Blocks(chain.range(3, 3))]]
}

async fn cursors(log: &impl tidewatch_core::EventLog) -> [Cursor; 2] {
    let records = log.read(0, NonZeroUsize::new(2).unwrap()).await.unwrap();
    [records[0].cursor.clone(), records[1].cursor.clone()]
}

/// Opens the positions, each time as a writer of its own.
async fn positions(context: &Context, jetstream: &JetStream, writer: u64) -> Positions {
    let mut rng = StdRng::seed_from_u64(writer);
    loop {
        match Positions::open(jetstream.clone(), chain(), &mut rng).await {
            Ok(positions) => return positions,
            Err(fault) if fault.severity().is_fatal() => panic!("{fault}"),
            Err(_) => context.sleep(TICK).await,
        }
    }
}

async fn in_memory() -> [Cursor; 2] {
    let (mut writer, reader) = Memory::new(Chain::new('a', 3).chain_info());
    for changes in changes() {
        writer.commit(changes).await.unwrap();
    }
    cursors(&reader).await
}

async fn conforms(context: Context, servers: Vec<Server>, copies: u32) {
    let jetstream = opened(&context, &service(&servers, chain(), copies)).await;
    let [first, second] = in_memory().await;
    let writers = std::cell::Cell::new(0);
    let open = async || {
        writers.set(writers.get() + 1);
        positions(&context, &jetstream, writers.get()).await
    };
    conformance::positions(open, [&first, &second]).await;
}

#[test]
fn the_positions_at_one_server_conform() {
    alone(LIMIT, NEWEST, async |context, servers| conforms(context, servers, 1).await);
}

#[test]
fn the_positions_at_the_oldest_server_that_is_used_conform() {
    alone(LIMIT, FLOOR, async |context, servers| conforms(context, servers, 1).await);
}

#[test]
fn the_positions_at_a_cluster_of_three_conform() {
    three(LIMIT, |context, servers| conforms(context, servers, 3));
}

#[test]
fn the_embedded_positions_in_memory_conform() {
    deterministic::Runner::default().start(|_| async move {
        let (mut writer, reader) = Memory::new(Chain::new('a', 3).chain_info());
        for changes in changes() {
            writer.commit(changes).await.unwrap();
        }
        let [first, second] = cursors(&reader).await;
        conformance::positions(async || reader.clone(), [&first, &second]).await;
    });
}

#[test]
fn the_embedded_positions_on_disk_conform() {
    deterministic::Runner::default().start(|context| async move {
        let config = tidewatch_store::Config::new(Chain::new('a', 3).chain_info(), ());
        let opened = tidewatch_store::Store::open(context.child("store"), config).await;
        let (mut writer, reader) = opened.unwrap();
        for changes in changes() {
            writer.commit(changes).await.unwrap();
        }
        let [first, second] = cursors(&reader).await;
        conformance::positions(async || reader.clone(), [&first, &second]).await;
    });
}

#[test]
fn of_two_consumers_of_one_name_the_newer_one_moves_the_position() {
    alone(LIMIT, NEWEST, async |context, mut servers| {
        let jetstream = opened(&context, &service(&servers, chain(), 1)).await;
        let [first, second] = in_memory().await;
        let old = positions(&context, &jetstream, 1).await;
        let new = positions(&context, &jetstream, 2).await;
        old.store("a", &first).await.unwrap();
        assert_eq!(new.load("a").await.unwrap(), Some(first.clone()));
        old.store("a", &second).await.unwrap();
        new.store("a", &first).await.unwrap();
        for _ in 0..2 {
            let refused = old.store("a", &second).await.unwrap_err();
            assert!(
                matches!(refused.reason(), Some(Error::Taken(name)) if name == "a"),
                "{refused}"
            );
            assert_eq!(refused.kind, FaultKind::InvalidConfig);
            assert_eq!(old.load("a").await.unwrap(), Some(first.clone()));
        }
        new.store("a", &second).await.unwrap();
        // Over the end of the server too; and each consumer by itself.
        servers[0].kill();
        servers[0].restart();
        let place = Place {
            sequence: 7,
            id: MessageId::new(&Leader { publisher: PublisherId::read("p"), token: 1 }, 3),
            cursor: first.clone(),
        };
        while new.keep("a", &place).await.is_err() {
            context.sleep(TICK).await;
        }
        let kept = new.kept("a").await.unwrap().unwrap();
        assert_eq!(kept.clone().from(), From::Place(Box::new(place)));
        old.store("b", &second).await.unwrap();
        let alone = Kept { cursor: second.clone(), message: None };
        assert_eq!(old.kept("b").await.unwrap().unwrap(), alone);
        assert_eq!(alone.from(), From::Position(Box::new(second)));
        // Somebody forgets it: it comes again as a new one.
        assert!(old.forget("a").await.unwrap());
        new.store("a", &first).await.unwrap();
    });
}

#[test]
fn a_position_is_kept_again_where_a_server_came_back_with_nothing() {
    alone(LIMIT, NEWEST, async |context, mut servers| {
        let jetstream = opened(&context, &service(&servers, chain(), 1)).await;
        let positions = positions(&context, &jetstream, 1).await;
        let start = Cursor::start(&chain());
        positions.store("a", &start).await.unwrap();
        servers[0].restart_empty();
        while positions.store("a", &start).await.is_err() {
            context.sleep(TICK).await;
        }
        assert_eq!(positions.load("a").await.unwrap(), Some(start));
    });
}

//! A real Postgres server, a real Tidewatch server of a history that the test writes, and what is between them.
//!
//! `CARGO_PROFILE_DEV_OPT_LEVEL=2 cargo test -p tidewatch-sinks --test real postgres:: -- --ignored --nocapture` prints how many
//! events a second are taken in.

use crate::{
    database::{Postgres, pause},
    rows::{becomes, consistent},
    world::World,
};
use commonware_runtime::{Handle, Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_utils::{NZU64, sync::Mutex};
use rand::{SeedableRng as _, rngs::StdRng};
use std::{net::SocketAddr, sync::Arc};
use tidewatch_client::Options;
use tidewatch_sinks::{
    events::{Event, Events, Step},
    postgres::{Address, Applied, Config, Error, OnReset, Progress, Sink, VERSION, run},
};
use tokio_postgres::Client;

/// Runs `test` with a database, where there is one.
fn with(test: impl AsyncFnOnce(tokio::Context, Postgres)) {
    tokio::Runner::default().start(|context| async move {
        if let Some(postgres) = Postgres::start().await {
            test(context, postgres).await;
        }
    });
}

fn config(postgres: &Postgres, address: SocketAddr) -> Config {
    Config {
        address: Address::new(&postgres.url(), None).unwrap(),
        schema: "tidewatch".into(),
        from: format!("http://{address}"),
        token: None,
        earliest: true,
        on_reset: OnReset::Stop,
    }
}

fn start(context: &tokio::Context, config: Config) -> Handle<Result<(), Error>> {
    context
        .child("sink")
        .spawn(move |context| run(context, config, |progress| eprintln!("{progress:?}")))
}

/// The next `count` events of a server, from the oldest on.
async fn events(address: SocketAddr, count: usize) -> Vec<Event> {
    let options = Options { earliest: true, ..Options::default() };
    let mut stream = Events::new(&format!("http://{address}"), options).unwrap();
    let mut events = Vec::new();
    while events.len() < count {
        if let Step::Event(event) = stream.next().await.unwrap() {
            events.push(*event);
        }
    }
    events
}

async fn count(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[test]
fn the_tables_are_the_chain_over_reorgs_and_a_history_that_is_long_gone() {
    with(async |context, postgres| {
        // So few events are kept that a sink that was away is led over what it missed.
        let mut world = World::new(context.child("world"), 'g', NZU64!(40));
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let mut rng = StdRng::seed_from_u64(16);
        let mut client = postgres.client().await;
        for _ in 0..6 {
            // While the sink is away, and while it is there.
            for _ in 0..60 {
                world.step(&mut rng).await;
            }
            world.grow(2).await;
            let sink = start(&context, config(&postgres, address));
            becomes(&mut client, &world).await;
            for _ in 0..40 {
                world.step(&mut rng).await;
                consistent(&mut client).await;
            }
            world.grow(2).await;
            becomes(&mut client, &world).await;
            sink.abort();
        }
        assert!(world.reorgs > 50, "{}", world.reorgs);
        let undone = count(&client, "select count(*) from tidewatch.undone").await;
        assert!(undone > 50, "what was taken away is kept: {undone}");
        let checkpoints =
            "select count(*) from tidewatch.blocks where checkpoint_tier = 'checkpointed'";
        assert!(count(&client, checkpoints).await > 5);
        // An event says what the tiers were before it.
        let backwards = "
            select count(*) from tidewatch.events e
            where kind = 'pruned' and (tips_before->'proposed'->>'number')::bigint < number";
        assert_eq!(count(&client, backwards).await, 0);
    });
}

#[test]
fn what_the_caller_writes_is_committed_with_the_cursor_or_not_at_all() {
    with(async |context, postgres| {
        let mut world = World::with_all_events(context.child("world"));
        world.grow(8).await;
        world.grow(1).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let events = events(address, 4).await;
        let mut client = postgres.client().await;
        client.batch_execute("create table mine (cursor text)").await.unwrap();
        let sink = Sink::new("tidewatch", "mine").unwrap();
        sink.prepare(&mut client).await.unwrap();
        sink.prepare(&mut client).await.unwrap();
        assert_eq!(sink.position(&client).await.unwrap(), None);

        let apply = async |client: &mut Client, event: &Event, commit: bool| {
            let mut transaction = client.transaction().await?;
            let write = async |transaction: &mut tokio_postgres::Transaction<'_>, event: &Event| {
                let row = "insert into mine values ($1)";
                transaction.execute(row, &[&event.cursor]).await?;
                Ok::<_, Error>(())
            };
            let applied = sink.apply(&mut transaction, event, write).await?;
            match commit {
                true => transaction.commit().await?,
                false => transaction.rollback().await?,
            }
            Ok::<_, Error>(applied)
        };
        let rows = "select count(*) from mine";
        // The first event is what holds before all others.
        assert_eq!(events[0].kind(), Some("start"));
        assert_eq!(apply(&mut client, &events[0], false).await.unwrap(), Applied::Now(1));
        assert_eq!(sink.position(&client).await.unwrap(), None);
        assert_eq!(count(&client, rows).await, 0);
        for (index, event) in events.iter().enumerate().take(3) {
            let applied = apply(&mut client, event, true).await.unwrap();
            assert_eq!(applied, Applied::Now(index as i64 + 1));
            // A transaction whose end nobody heard of is made again.
            assert_eq!(apply(&mut client, event, true).await.unwrap(), Applied::Already);
            assert_eq!(count(&client, rows).await, index as i64 + 1);
            let position = sink.position(&client).await.unwrap().unwrap();
            assert_eq!((&position.cursor, position.position), (&event.cursor, index as i64 + 1));
        }
        // One that was passed, and one that comes later.
        for wrong in [&events[1], &events[0]] {
            let refused = apply(&mut client, wrong, true).await.unwrap_err();
            assert!(matches!(refused, Error::NotNext { position: 3, .. }), "{refused}");
        }
        let mut other = events[3].clone();
        let mut chain = (*other.chain).clone();
        chain.genesis.digest = "ab".repeat(32);
        other.chain = Arc::new(chain);
        let refused = apply(&mut client, &other, true).await.unwrap_err();
        assert!(matches!(refused, Error::OtherChain { .. }) && !refused.may_pass(), "{refused}");
        assert_eq!(count(&client, rows).await, 3);
        assert_eq!(apply(&mut client, &events[3], true).await.unwrap(), Applied::Now(4));
    });
}

#[test]
fn a_second_sink_is_refused_and_told_who_writes() {
    with(async |context, postgres| {
        let (first, second) = (postgres.client().await, postgres.client().await);
        let (tables, other) =
            (Sink::new("tidewatch", "tables").unwrap(), Sink::new("tidewatch", "b").unwrap());
        first.batch_execute("set application_name = 'the first one'").await.unwrap();
        tables.lock(&first).await.unwrap();
        let refused = tables.lock(&second).await.unwrap_err();
        let pid: i32 = first.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        let words = refused.to_string();
        let told = words.contains(&format!("session {pid} ")) && words.contains("the first one");
        assert!(told && words.contains("\"tables\""), "{words}");
        other.lock(&second).await.unwrap();
        // A running one ends for that, and does not when the lock is given back in time.
        let mut world = World::with_all_events(context.child("world"));
        world.grow(3).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let ended = start(&context, config(&postgres, address)).await.unwrap().unwrap_err();
        assert!(matches!(ended, Error::Held { .. }), "{ended}");
        let sink = start(&context, config(&postgres, address));
        drop(first);
        let mut client = postgres.client().await;
        becomes(&mut client, &world).await;
        sink.abort();
    });
}

#[test]
fn a_schema_of_a_newer_version_or_of_somebody_else_and_another_chain_are_refused() {
    with(async |context, postgres| {
        let mut world = World::with_all_events(context.child("world"));
        world.grow(3).await;
        let (address, serving) = world.serve("127.0.0.1:0").await;
        let mut client = postgres.client().await;
        let theirs = "create schema tidewatch; create table tidewatch.blocks (mine text)";
        client.batch_execute(theirs).await.unwrap();
        let ended = start(&context, config(&postgres, address)).await.unwrap().unwrap_err();
        assert!(ended.to_string().contains("42P07") && !ended.may_pass(), "{ended}");
        client.batch_execute("drop schema tidewatch cascade").await.unwrap();

        let sink = start(&context, config(&postgres, address));
        becomes(&mut client, &world).await;
        sink.abort();
        let other = World::new(context.child("other"), 'x', NZU64!(100));
        let (another, _serving) = other.serve("127.0.0.1:0").await;
        let ended = start(&context, config(&postgres, another)).await.unwrap().unwrap_err();
        assert!(matches!(ended, Error::OtherChain { .. }), "{ended}");

        let newer = VERSION + 1;
        let update = format!("update tidewatch.version set version = {newer}");
        client.batch_execute(&update).await.unwrap();
        let ended = start(&context, config(&postgres, address)).await.unwrap().unwrap_err();
        assert!(matches!(ended, Error::Newer { found, .. } if found == newer), "{ended}");
        drop(serving);
    });
}

#[test]
fn where_no_event_leads_on_it_stops_or_begins_again_and_the_log_says_so() {
    with(async |context, postgres| {
        let mut world = World::with_all_events(context.child("world"));
        world.grow(9).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let mut client = postgres.client().await;
        let sink = start(&context, config(&postgres, address));
        becomes(&mut client, &world).await;
        sink.abort();
        client.batch_execute("update tidewatch.cursors set cursor = 'nonsense'").await.unwrap();
        let ended = start(&context, config(&postgres, address)).await.unwrap().unwrap_err();
        let code = match &ended {
            Error::Reset { code, .. } => code.as_str(),
            _ => panic!("{ended}"),
        };
        assert_eq!(code, "malformed_cursor");
        let resets = "select count(*) from tidewatch.events where kind = 'reset'";
        assert_eq!(count(&client, resets).await, 0);
        let begin = Config { on_reset: OnReset::Begin, ..config(&postgres, address) };
        let sink = start(&context, begin);
        while count(&client, resets).await == 0 {
            pause();
        }
        world.grow(2).await;
        becomes(&mut client, &world).await;
        sink.abort();
        assert_eq!(count(&client, resets).await, 1);
        // What came before it stays in the log.
        let before = "select count(*) from tidewatch.events where kind = 'blocks' and position <
                      (select position from tidewatch.events where kind = 'reset')";
        assert_eq!(count(&client, before).await, 1);
    });
}

#[test]
fn rows_that_were_changed_behind_its_back_are_noticed() {
    with(async |context, postgres| {
        let mut world = World::with_all_events(context.child("world"));
        world.grow(9).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let mut client = postgres.client().await;
        let sink = start(&context, config(&postgres, address));
        becomes(&mut client, &world).await;
        sink.abort();
        client
            .batch_execute("update tidewatch.blocks set hash = 'x' where number = 9")
            .await
            .unwrap();
        let ended = start(&context, config(&postgres, address)).await.unwrap().unwrap_err();
        assert!(matches!(ended, Error::Diverged(_)) && !ended.may_pass(), "{ended}");
    });
}

#[test]
fn a_database_that_goes_away_is_connected_again_and_said() {
    with(async |context, mut postgres| {
        let mut world = World::with_all_events(context.child("world"));
        world.grow(5).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let said = Arc::new(Mutex::new(Vec::new()));
        let (config, heard) = (config(&postgres, address), said.clone());
        let sink = context.child("sink").spawn(move |context| {
            run(context, config, move |progress| {
                let word = match progress {
                    Progress::Connected { .. } => "connected",
                    Progress::Committed { .. } => "committed",
                    Progress::ServerLost(_) => "server lost",
                    Progress::Failed { .. } => "failed",
                };
                heard.lock().push(word);
            })
        });
        let mut client = postgres.client().await;
        becomes(&mut client, &world).await;
        postgres.kill();
        world.grow(1).await;
        // It is away for long enough to be noticed.
        while said.lock().last() != Some(&"failed") {
            pause();
        }
        postgres.run(&[]).await;
        let mut client = postgres.client().await;
        becomes(&mut client, &world).await;
        sink.abort();
        let said = said.lock();
        assert_eq!(said.iter().filter(|word| **word == "connected").count(), 2, "{said:?}");
    });
}

#[test]
#[ignore = "prints figures: the module says how to run it"]
fn how_many_events_a_second() {
    with(async |context, postgres| {
        let mut world = World::with_all_events(context.child("world"));
        for _ in 0..10_000 {
            world.grow(1).await;
        }
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let client = postgres.client().await;
        let began = std::time::Instant::now();
        let done = Arc::new(Mutex::new(None));
        let (config, heard, head) = (config(&postgres, address), done.clone(), world.head);
        let sink = context.child("sink").spawn(move |context| {
            run(context, config, move |progress| {
                if let Progress::Committed { position, state, .. } = progress
                    && state.tips.proposed.as_ref().is_some_and(|tip| tip.block.height == head)
                {
                    *heard.lock() = Some((position, began.elapsed()));
                }
            })
        });
        let (events, took) = loop {
            if let Some(done) = *done.lock() {
                break done;
            }
            pause();
        };
        sink.abort();
        let blocks = count(&client, "select count(*) from tidewatch.blocks").await;
        let rate = events as f64 / took.as_secs_f64();
        println!("{events} events, {blocks} blocks, in {took:.1?}: {rate:.0} events a second");
    });
}

//! `tidewatch sink` as a process, beside a real Tidewatch server and a real Postgres server.
//!
//! `cargo test -p tidewatch --test sink -- --ignored --nocapture` kills the sink 50 times and the database 50 times, with
//! the server ended 25 times, under reorgs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_types, reason = "processes live in real time")]
#![allow(clippy::print_stdout, reason = "what it was is printed, not tested")]

#[allow(dead_code, reason = "shared with the other tests of the command")]
mod command;
#[allow(dead_code, reason = "shared with the other tests of the command")]
mod process;
#[path = "../../sinks/tests/rows/mod.rs"]
mod rows;
#[path = "../../sinks/tests/server/mod.rs"]
mod server;
#[path = "../../sinks/tests/world/mod.rs"]
mod world;

use command::{Command, signal};
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use process::Process;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rows::{becomes, consistent};
use server::Postgres;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tidewatch_client::{Block, Follow, Hello, Message, Options, Tier};
use tokio_postgres::Client;
use world::World;

/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(120);

fn into(url: &str, address: SocketAddr) -> Command {
    Command::new(&["sink", "postgres", url, "--from", &format!("http://{address}")])
}

/// Compares the tables with what the server answers over HTTP.
async fn as_served(client: &Client, address: SocketAddr) {
    let mut follow = Follow::new(&format!("http://{address}"), Options::default()).unwrap();
    let Message::Hello(Hello { block: Some(block), tips, .. }) = follow.next().await.unwrap()
    else {
        panic!("a stream begins with a hello");
    };
    let rows = client.query("select number, hash from tidewatch.blocks order by number", &[]).await;
    let rows: Vec<(i64, String)> =
        rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let heights: Vec<_> = (1..=block.height).collect();
    let served = follow.digests(&block, &heights).await.unwrap().unwrap();
    assert_eq!(rows.len(), served.len());
    for ((number, hash), (height, digest)) in rows.iter().zip(heights.iter().zip(served)) {
        assert_eq!((*number, Some(hash.clone())), (*height as i64, digest));
    }
    for tier in Tier::ALL {
        let row = "select number, hash, checkpoint_number from tidewatch.tips where tier = $1";
        let row = client.query_opt(row, &[&tier.as_str()]).await.unwrap();
        let tip = row.map(|row| {
            let block = Block { height: row.get::<_, i64>(0) as u64, digest: row.get(1) };
            (block, row.get::<_, Option<i64>>(2).map(|number| number as u64))
        });
        let served = tips.get(tier).cloned();
        let served = served.map(|tip| (tip.block, tip.checkpoint.map(|it| it.number)));
        assert_eq!(tip, served, "{}", tier.as_str());
    }
}

/// Kills each of them so many times, the server half as often.
fn killed(kills: usize, seed: u64) {
    tokio::Runner::default().start(|context| async move {
        let Some(mut postgres) = Postgres::start().await else { return };
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::with_all_events(context.child("world"));
        world.grow(3).await;
        let (address, mut serving) = world.serve("127.0.0.1:0").await;
        let url = postgres.url();
        let mut sink = Process::start(move || into(&url, address).with(["--format", "json"]));
        let mut client = postgres.client().await;
        let (began, mut checks, mut pauses) = (Instant::now(), 0, [Duration::ZERO; 3]);
        let mut left: Vec<_> = [kills, kills, kills / 2].into();
        let mut last = None;
        while left.iter().sum::<usize>() > 0 {
            // It gets on after each kill, and at every moment the tables are whole.
            world.grow(1).await;
            let since = Instant::now();
            loop {
                let position = consistent(&mut client).await.map(|(position, _)| position);
                checks += 1;
                if position > last {
                    last = position;
                    break;
                }
                assert!(since.elapsed() < LIMIT, "nothing came after {last:?}");
                sink.lines(Duration::from_millis(5));
            }
            for _ in 0..rng.random_range(0..20) {
                world.step(&mut rng).await;
                sink.lines(Duration::from_millis(rng.random_range(0..20)));
                consistent(&mut client).await;
                checks += 1;
            }
            let mut at = rng.random_range(0..left.iter().sum());
            let which = left.iter().position(|left| {
                let here = at < *left;
                at = at.saturating_sub(*left);
                here
            });
            let which = which.unwrap();
            left[which] -= 1;
            let killed = Instant::now();
            match which {
                0 => drop(sink.kill(LIMIT)),
                1 => {
                    postgres.kill();
                    // What it misses meanwhile.
                    world.step(&mut rng).await;
                    postgres.run(&[]).await;
                    client = postgres.client().await;
                }
                _ => {
                    serving.stop();
                    serving.await.unwrap();
                    world.step(&mut rng).await;
                    (_, serving) = world.serve(&address.to_string()).await;
                }
            }
            pauses[which] = pauses[which].max(killed.elapsed());
        }
        world.grow(1).await;
        let blocks = becomes(&mut client, &world).await;
        as_served(&client, address).await;
        let events = consistent(&mut client).await.unwrap().0;
        let run = sink.run.unwrap();
        signal(&run, "TERM");
        let output = run.end(LIMIT);
        assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
        println!(
            "{kills} kills of the sink and of the database, {} ends of the server in {:.0?}: {events} events, {} \
             reorgs, {blocks} blocks that are the chain's; the tables were whole at each of {checks} looks; down for {pauses:.1?} \
             at the longest",
            kills / 2,
            began.elapsed(),
            world.reorgs,
        );
    });
}

#[test]
fn killed_under_reorgs_the_tables_are_the_chain_and_never_apart_from_the_cursor() {
    killed(4, 16);
}

#[test]
#[ignore = "takes minutes: the module says how to run it"]
fn a_hundred_kills_under_reorgs() {
    killed(50, 17);
}

#[test]
fn a_database_is_filled_for_people_and_a_second_sink_is_refused() {
    tokio::Runner::default().start(|context| async move {
        let Some(postgres) = Postgres::start().await else { return };
        let mut world = World::with_all_events(context.child("world"));
        world.grow(9).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let run = into(&postgres.url(), address).start();
        let line = run.line_with("into ");
        assert!(line.contains("/chain, schema tidewatch, from event 1 on"), "{line}");
        run.line_with("proposed 9 | checkpointed 7 | finalized 3");
        let second = into(&postgres.url(), address).start().end(LIMIT);
        assert_eq!(second.code, Some(2), "{second:?}");
        let told = format!("tidewatch tables, process {}", run.pid());
        for words in [&*told, "another sink writes", "pg_terminate_backend", "--schema"] {
            assert!(second.errors.contains(words), "{words} is not in {}", second.errors);
        }
        world.reorg(2).await;
        run.line_with("1 undone");
        signal(&run, "INT");
        let output = run.end(LIMIT);
        assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
    });
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do_and_no_secret_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let secret = secret.to_str().unwrap();
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    for (url, more, words) in [
        ("postgres://u:hunter2@127.0.0.1/d", &[][..], "--password-file"),
        ("mysql://u@127.0.0.1/hunter2", &[], "postgres://USER@HOST:PORT/DATABASE"),
        ("postgres://u@127.0.0.1/d", &["--schema", "Tide"], "lower-case letters"),
        ("postgres://u@127.0.0.1/d", &["--password-file", "nowhere"], "cannot read nowhere"),
        ("postgres://u@127.0.0.1/d", &["--token-file", "/dev/null"], "is empty"),
    ] {
        let output = into(url, address).with(more).start().end(LIMIT);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.errors.contains(words), "{words} is not in {}", output.errors);
        assert!(!output.errors.contains("hunter2"), "{}", output.errors);
    }
    // Nobody listens there: that passes, and is said.
    let run = into("postgres://u@127.0.0.1:9/d", address)
        .with(["--password-file", secret])
        .env("RUST_LOG", "trace")
        .start();
    let line = run.line_with("again in");
    assert!(line.contains("the database: "), "{line}");
    signal(&run, "TERM");
    let output = run.end(LIMIT);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!output.errors.contains("hunter2") && !output.text().contains("hunter2"));
}

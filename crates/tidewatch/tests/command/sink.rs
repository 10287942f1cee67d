//! `tidewatch sink` as a process, beside a real Tidewatch server and a real Postgres server.
//!
//! `cargo test -p tidewatch --test command sink:: -- --ignored --nocapture` kills the sink 50 times and the database 50 times,
//! the server ended 25 times, under reorgs.

use crate::support::{
    database::Postgres,
    process::Process,
    receiver::{Act, Fold, Receiver},
    rows::{becomes, consistent},
    run::{Command, signal},
    world::World,
};
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tidewatch_client::{Block, Follow, Hello, Message, Options, Tier};
use tokio_postgres::Client;

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
fn a_database_is_asked_over_tls_and_has_to_be_the_one_that_it_is_called() {
    tokio::Runner::default().start(|context| async move {
        let Some(mut postgres) = Postgres::start().await else { return };
        let mut world = World::with_all_events(context.child("world"));
        world.grow(3).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let certified = crate::support::tls::Certified::new();
        let port = postgres.run_over_tls(|directory| certified.write(directory)).await;
        let url =
            |host: &str, mode: &str| format!("postgres://tide@{host}:{port}/chain?sslmode={mode}");
        let trusting =
            |url: &str, authority: &str| into(url, address).env("SSL_CERT_FILE", authority).start();
        let other = crate::support::tls::Certified::new();
        for (host, mode, authority, words) in [
            // Nobody that is trusted says who it is.
            (
                "localhost",
                "require",
                other.authority(),
                ["invalid peer certificate", "SSL_CERT_FILE"],
            ),
            // It says that it is somebody else.
            (
                "127.0.0.1",
                "require",
                certified.authority(),
                ["not valid for name", "SSL_CERT_FILE"],
            ),
            // It takes nobody without TLS.
            ("localhost", "disable", certified.authority(), ["no encryption", "check the user"]),
        ] {
            let run = trusting(&url(host, mode), authority);
            let output = run.end(LIMIT);
            assert_eq!(output.code, Some(2), "{output:?}");
            for words in words {
                assert!(output.errors.contains(words), "{words} is not in {}", output.errors);
            }
        }
        let run = trusting(&url("localhost", "require"), certified.authority());
        becomes(&mut postgres.client().await, &world).await;
        let over = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid)
                    where ssl and application_name like 'tidewatch tables%'";
        let over: i64 = postgres.client().await.query_one(over, &[]).await.unwrap().get(0);
        assert_eq!(over, 1, "it is encrypted");
        signal(&run, "TERM");
        assert_eq!(run.end(LIMIT).code, Some(0));
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
    // What is no secret of a webhook is not repeated either.
    let hook = ["sink", "webhook", "https://hooks.example/", "--from", "http://127.0.0.1:9"];
    let output = Command::new(&hook).with(["--secret-file", secret]).start().end(LIMIT);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.errors.contains("openssl rand") && !output.errors.contains("hunter2"));
    // Nobody listens there: that passes, and is said.
    let run = into("postgres://u@127.0.0.1:9/d", address)
        .with(["--password-file", secret])
        .env("RUST_LOG", "trace")
        .start();
    let line = run.line_with("again in");
    assert!(line.contains("the database: "), "{line}");
    signal(&run, "TERM");
    let output = run.ends_well(LIMIT);
    assert!(!output.errors.contains("hunter2") && !output.text().contains("hunter2"));
}

/// A directory with a secret in it.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
    std::fs::write(directory.path().join("secret"), secret).unwrap();
    directory
}

fn hook(url: &str, address: SocketAddr, directory: &std::path::Path) -> Command {
    let place = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    Command::new(&["sink", "webhook", url, "--from", &format!("http://{address}")]).with([
        "--secret-file",
        &place("secret"),
        "--data-dir",
        &place("data"),
    ])
}

/// Kills the sender of a webhook so many times.
fn sender_killed(kills: usize, seed: u64) {
    tokio::Runner::default().start(|context| async move {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::with_all_events(context.child("world"));
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let receiver = Receiver::start(&context).await;
        let (directory, url) = (directory(), receiver.url());
        let path = directory.path().to_owned();
        let mut sink = Process::start(move || hook(&url, address, &path));
        let began = Instant::now();
        for kill in 0..kills {
            let (before, since) = (receiver.events().len(), Instant::now());
            world.grow(1).await;
            while receiver.events().len() == before {
                assert!(since.elapsed() < LIMIT, "nothing came after {before} events");
                sink.lines(Duration::from_millis(5));
            }
            if kill % 5 == 0 {
                receiver.next([Act::Status(500)]);
            }
            for _ in 0..rng.random_range(0..10) {
                world.step(&mut rng).await;
                sink.lines(Duration::from_millis(rng.random_range(0..20)));
            }
            sink.kill(LIMIT);
        }
        world.grow(1).await;
        let since = Instant::now();
        let block = |block: tidewatch_core::BlockRef| (block.height.get(), block.digest.to_string());
        let head = block(world.at(world.head));
        let finalized = world.finalized().map(block);
        loop {
            let fold = Fold::of(&receiver.events());
            if fold.head.as_ref() == Some(&head)
                && fold.tips.get("proposed") == Some(&head)
                && fold.tips.get("finalized") == finalized.as_ref()
            {
                let (events, requests) = (receiver.events().len(), receiver.got().len());
                println!(
                    "{kills} kills of the sender in {:.0?}: {events} events, {} of them prunes, in {requests} requests",
                    began.elapsed(),
                    fold.prunes,
                );
                break;
            }
            assert!(since.elapsed() < LIMIT, "{:?} is not {head:?}", fold.head);
            sink.lines(Duration::from_millis(20));
        }
        let run = sink.run.unwrap();
        signal(&run, "TERM");
        let output = run.end(LIMIT);
        assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
    });
}

#[test]
fn a_sender_that_is_killed_leaves_no_event_out_and_sends_none_differently() {
    sender_killed(6, 18);
}

#[test]
#[ignore = "takes a minute: the module says how to run it"]
fn a_sender_that_is_killed_fifty_times() {
    sender_killed(50, 19);
}

#[test]
fn an_endpoint_is_sent_events_and_what_was_given_up_is_listed_and_sent_again() {
    tokio::Runner::default().start(|context| async move {
        let mut world = World::with_all_events(context.child("world"));
        world.grow(1).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let (receiver, directory) = (Receiver::start(&context).await, directory());
        let hook = || hook(&receiver.url(), address, directory.path());
        let dead = |more: &[&str]| {
            let data = directory.path().join("data");
            Command::new(&["sink", "dead", "--data-dir", data.to_str().unwrap()]).with(more)
        };
        // The blocks are given up, the proposed tier is taken, and the next one finds the endpoint gone.
        receiver.next([500, 200, 410].map(Act::Status));
        let run = hook().with(["--attempts", "1"]).start();
        run.line_with("given up: blocks evt_");
        run.line_with("advanced evt_");
        world.grow(1).await;
        let output = run.end(LIMIT);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.errors.contains("410") && output.errors.contains("--enable"), "{output:?}");
        let output = hook().start().end(LIMIT);
        assert_eq!(output.code, Some(2), "{output:?}");
        let listed = dead(&[]).start().end(LIMIT);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        assert!(listed.text().contains("after 1 attempts: status 500"), "{listed:?}");
        let listed = dead(&["--format", "json"]).start().end(LIMIT);
        let line: serde_json::Value = serde_json::from_str(&listed.lines[0]).unwrap();
        assert_eq!((&line["event"], &line["kind"]), (&"dead".into(), &"blocks".into()));
        assert_eq!(line["body"]["data"]["event"], "blocks");
        let secret = directory.path().join("secret");
        let again = dead(&["--again", &receiver.url(), "--secret-file", secret.to_str().unwrap()]);
        let output = again.start().ends_well(LIMIT);
        assert!(output.text().contains("1 sent again"), "{output:?}");
        assert_eq!(dead(&[]).start().end(LIMIT).lines, [""; 0]);
        // It goes on from what the endpoint refused.
        let run = hook().with(["--enable"]).start();
        let line = run.line_with("to http://127.0.0.1:");
        assert!(!line.contains("hunter2"), "{line}");
        run.line_with("blocks evt_");
        signal(&run, "TERM");
        assert_eq!(run.end(LIMIT).code, Some(0));
    });
}

//! Sinks.

use crate::support::{
    database::Postgres,
    receiver::{Act, Receiver},
    rules::{Look, Recording, Then},
    run::{Command, Run},
    scraped::metrics_address,
    world::World,
};
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use std::{fs, net::SocketAddr};
use tempfile::TempDir;

/// A sink of what is served at `address`.
fn sink(args: &[&str], address: SocketAddr) -> Run {
    let from = format!("http://{address}");
    Command::new(&["sink"]).with(args).with(["--from", &from, "--metrics", "127.0.0.1:0"]).start()
}

/// What the counter `name` has, all labels together.
fn count(text: &str, name: &str) -> f64 {
    let lines = text
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// To `endpoint`, with a secret in `directory`.
fn webhook(endpoint: &Receiver, address: SocketAddr, directory: &TempDir, more: &[&str]) -> Run {
    let path = |name: &str| directory.path().join(name).display().to_string();
    let secret = path("secret");
    fs::write(&secret, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
    let (url, data) = (endpoint.url(), path("data"));
    let args = ["webhook", &url, "--secret-file", &secret, "--data-dir", &data];
    sink(&[&args, more].concat(), address)
}

#[test]
fn an_endpoint_refuses_every_event() {
    tokio::Runner::default().start(|context| async move {
        let mut world = World::with_all_events(context.child("world"));
        world.grow(3).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let endpoint = Receiver::start(&context).await;
        let directory = tempfile::tempdir().unwrap();
        let run = webhook(&endpoint, address, &directory, &[]);
        let scraped = metrics_address(&run);
        let first =
            Look::until(&scraped, |text| text.contains("tidewatch_sink_webhook_dead_total 0\n"));
        let delivered = |text: &str| count(text, "tidewatch_sink_webhook_delivered_total") >= 3.0;
        let second = Look::until(&scraped, delivered);
        Recording::between(&first, &second, Then::GoesOn).fires(&[(119, &[])]);
        endpoint.next(vec![Act::Status(503); 1_000]);
        world.grow(1).await;
        let failed = |least: f64| {
            move |text: &str| count(text, "tidewatch_sink_webhook_failed_total") >= least
        };
        let third = Look::until(&scraped, failed(1.0));
        let fourth = Look::until(&scraped, failed(3.0));
        Recording::between(&third, &fourth, Then::GoesOn)
            .fires(&[(35, &[]), (60, &["TidewatchWebhookFailing"])]);
    });
}

#[test]
fn an_event_is_given_up() {
    tokio::Runner::default().start(|context| async move {
        let mut world = World::with_all_events(context.child("world"));
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let endpoint = Receiver::start(&context).await;
        let directory = tempfile::tempdir().unwrap();
        let run = webhook(&endpoint, address, &directory, &["--attempts", "1"]);
        let scraped = metrics_address(&run);
        let first =
            Look::until(&scraped, |text| text.contains("tidewatch_sink_webhook_dead_total 0\n"));
        endpoint.next([Act::Status(503)]);
        world.grow(3).await;
        let dead = |text: &str| count(text, "tidewatch_sink_webhook_dead_total") >= 1.0;
        let second = Look::until(&scraped, dead);
        Recording::between(&first, &second, Then::Stands)
            .fires(&[(29, &[]), (32, &["TidewatchWebhookGaveUp"])]);
    });
}

#[test]
fn the_database_of_a_sink_goes_away() {
    tokio::Runner::default().start(|context| async move {
        let Some(mut postgres) = Postgres::start().await else { return };
        let mut world = World::with_all_events(context.child("world"));
        world.grow(3).await;
        let (address, _serving) = world.serve("127.0.0.1:0").await;
        let run = sink(&["postgres", &postgres.url()], address);
        let scraped = metrics_address(&run);
        let first =
            Look::until(&scraped, |text| count(text, "tidewatch_sink_postgres_position") >= 3.0);
        let second = first.later(&scraped, 1.0);
        Recording::between(&first, &second, Then::GoesOn).fires(&[(119, &[])]);
        postgres.kill();
        let failed = |text: &str| count(text, "tidewatch_sink_postgres_failures_total") >= 5.0;
        let third = Look::until(&scraped, failed);
        Recording::between(&second, &third, Then::Stands).fires(&[(29, &[])]);
        Recording::between(&second, &third, Then::GoesOn)
            .fires(&[(119, &["TidewatchSinkFailing"])]);
    });
}

//! Publishing to NATS.

use super::process::start;
use crate::support::{
    nats::{NEWEST, Server, installed},
    rules::{Look, Recording, Then},
    scraped::{metrics, metrics_address},
};

#[test]
fn nobody_publishes_to_a_cluster_that_is_away() {
    let run = start(&["follow", "--nats", "nats://127.0.0.1:9"]);
    let address = metrics_address(&run);
    run.line_with("finalized 3");
    let first = Look::at(&address);
    let second = first.moved(&address);
    let all: &[&str] = &["TidewatchNatsNoPublisher"];
    Recording::between(&first, &second, Then::GoesOn).fires(&[(31, all), (119, all)]);
}

#[test]
fn a_server_comes_back_without_what_it_had_acknowledged() {
    let Some(executable) = installed(NEWEST) else { return };
    let mut nats = Server::start(&executable);
    let run = start(&["follow", "--nats", &nats.url()]);
    let address = metrics_address(&run);
    let leads = |text: &str| text.contains("tidewatch_nats_elector_leader 1\n");
    let published = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("tidewatch_nats_publisher_sequence "));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    run.line_with("finalized 3");
    let first = Look::until(&address, |text| leads(text) && published(text) > 3);
    let second = first.moved(&address);
    Recording::between(&first, &second, Then::GoesOn).fires(&[(119, &[])]);
    let copy = nats.copied();
    nats.restart();
    let had = published(&metrics(&address));
    Look::until(&address, |text| leads(text) && published(text) > had + 5);
    nats.roll_back(&copy);
    nats.restart();
    let forgot = |text: &str| !text.contains("tidewatch_nats_publisher_forgotten_total 0\n");
    let third = Look::until(&address, |text| leads(text) && forgot(text));
    Recording::between(&second, &third, Then::Stands)
        .fires(&[(29, &[]), (32, &["TidewatchNatsForgot"])]);
}

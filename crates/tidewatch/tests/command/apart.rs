//! Three hosts, each with a follower and a server of NATS, that are cut off from each other.
//!
//! `cargo test -p tidewatch --test command apart:: -- --ignored --nocapture` cuts a host off twelve times, one after the other.

mod hosts;

use crate::support::{
    indexer::indexer,
    nats::{NEWEST, Server, installed},
    published::Read,
    run::{Command, END, Run, signal},
};
use commonware_formatting::from_hex;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use hosts::Hosts;
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tidewatch_core::{ChainId, Height};
use tidewatch_devnet::{
    CertificateMode,
    readymade::{Chain, ChainConfig},
};
use tidewatch_sources::alto;

const HOSTS: u8 = 3;
const CLIENTS: u16 = 4222;
const ROUTES: u16 = 6222;

/// The server of `host`.
fn nats(hosts: &Hosts, host: u8, executable: &Path) -> Server {
    let (address, directory) = (hosts.address(host), tempfile::tempdir().unwrap());
    let routes: Vec<_> =
        (0..HOSTS).map(|host| format!("nats://{}:{ROUTES}", hosts.address(host))).collect();
    let [ip, rest @ ..] = hosts.at(host);
    let words = format!(
        "-a {address} -p {CLIENTS} -n n{host} -js -sd {} --cluster_name hosts --cluster nats://{address}:{ROUTES} \
         --routes {}",
        directory.path().display(),
        routes.join(","),
    );
    let program = executable.to_str().unwrap().to_owned();
    let words = words.split(' ').map(str::to_owned);
    let arguments = rest.into_iter().chain([program]).chain(words).collect();
    Server::with(Path::new(&ip), arguments, SocketAddr::new(address, CLIENTS), directory)
}

/// The follower of `host`, which asks its own server first.
fn follower(hosts: &Hosts, host: u8, source: &[&str], data: &TempDir) -> Run {
    let mut command = Command::follow().with(source);
    command = command.with(["--data-dir", data.path().to_str().unwrap(), "--nats-replicas", "3"]);
    for other in 0..HOSTS {
        let address = hosts.address((host + other) % HOSTS);
        command = command.with(["--nats", &format!("nats://{address}:{CLIENTS}")]);
    }
    command.under(&hosts.at(host).each_ref().map(String::as_str)).start()
}

/// Waits until a new reader at the server of `host` has everything up to `height`. Gives what it read.
async fn read(
    context: &tokio::Context,
    servers: &[Server],
    host: u8,
    height: u64,
    chain: &ChainId,
) -> Read {
    let url = servers[usize::from(host)].url();
    let mut read = Read::open_copies(&context.child("read"), &url, chain.clone(), Some(3)).await;
    read.until(context, height).await;
    read
}

/// Cuts one host after the other off, so many times.
fn cut_off(cuts: u8) {
    let Some(executable) = installed(NEWEST) else { return };
    let Some(hosts) = Hosts::start(HOSTS) else { return };
    let chain = Chain::sign(300, CertificateMode::Standard, ChainConfig::default()).unwrap();
    let indexer = indexer(&chain, 5);
    let outside = hosts.pass_on(indexer.url().trim_start_matches("http://").parse().unwrap());
    let source = format!("alto+http://{outside}?mode=standard");
    let identity = indexer.identity().to_owned();
    let source = ["--source", &source, "--identity", &identity];
    let id = alto::chain_id(&from_hex(&identity).unwrap(), CertificateMode::Standard);

    let servers: Vec<_> = (0..HOSTS).map(|host| nats(&hosts, host, &executable)).collect();
    let directories = [(); HOSTS as usize].map(|()| tempfile::tempdir().unwrap());
    tokio::Runner::default().start(|context| async move {
        let mut height = 5;
        let mut grow = |blocks: u64| {
            for _ in 0..blocks {
                height += 1;
                indexer.finalize(&chain, Height::new(height)).unwrap();
            }
            height
        };
        let start = |host: u8| follower(&hosts, host, &source, &directories[usize::from(host)]);
        // The first one leads.
        let mut followers = vec![start(0)];
        followers[0].line_with("publishing to nats://");
        read(&context, &servers, 1, 5, &id).await;
        followers.extend((1..HOSTS).map(start));
        let (mut longest, mut ended) = (Duration::ZERO, None);
        for cut in 0..cuts {
            let (host, other) = (cut % HOSTS, (cut + 1) % HOSTS);
            hosts.cut_off(host);
            let (began, height) = (Instant::now(), grow(3));
            read(&context, &servers, other, height, &id).await;
            longest = longest.max(began.elapsed());
            hosts.join(host);
            // Its server has what the others published, and nobody goes on from what it believed meanwhile.
            let height = grow(3);
            ended = Some(read(&context, &servers, host, height, &id).await);
        }
        let ended = ended.unwrap();
        assert!(ended.is_whole(), "{:?}", ended.given);
        let tokens = ended.tokens().await;
        assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
        // The first one led, so another one had to.
        assert!(tokens.len() > 1, "{tokens:?}");
        for follower in followers {
            signal(&follower, "TERM");
            follower.ends_well(END);
        }
        println!(
            "{cuts} times a host was cut off: {} messages, each once and in order, by {} leaders; the others went on \
             after {longest:.1?} at the longest",
            ended.given.len(),
            tokens.len(),
        );
    });
}

#[test]
fn a_leader_that_is_cut_off_with_its_server_is_followed_by_another() {
    cut_off(1);
}

#[test]
#[ignore = "takes minutes: the module says how to run it"]
fn one_host_after_the_other_is_cut_off() {
    cut_off(12);
}

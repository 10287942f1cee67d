//! Workers, each a process of its own, and servers are killed with SIGKILL while a scheduler has blocks proven.
//!
//! `cargo test -p tidewatch-nats --test real jobs::kills::fifty -- --ignored --nocapture`
//!
//! A worker prints each block that it begins to prove. The proven tip never steps back; a block is proven again only where a
//! worker was killed on it, or lost its lease while the servers were away; in the end every proof is there, and the queue is
//! empty.

use super::{
    PROGRAM, SLOTS, Sized, TICK, api,
    chained::{Chained, Process, block, config, parts},
    connected, queue,
};
use crate::{
    rig::{alone, three},
    server::{NEWEST, Server},
};
use bytes::Bytes;
use commonware_runtime::{
    Clock as _, Runner as _, Spawner as _, Supervisor as _,
    tokio::{Context, Runner},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use std::{
    env,
    sync::{Arc, mpsc::channel},
    time::Duration,
};
use tidewatch_core::Running;
use tidewatch_nats::{
    client::Options,
    jobs::{JobNames, Worker, WorkerConfig},
};
use tidewatch_prover::{Pool, Program as _, Scheduler, scheduler::NewBlock};

/// The lease of the queue: what a kill costs at the most.
const LEASE: Duration = Duration::from_secs(2);
/// Blocks that wait to be proven, at the most.
const AHEAD: u64 = 32;

/// Some ten milliseconds of hashing, where nothing is optimized.
const STATEMENT: Chained = Chained { program: PROGRAM, rounds: 20_000 };

/// Not a test: the worker's process.
#[test]
#[ignore = "started by the tests below"]
fn worker_process() {
    let Ok(urls) = env::var("JOBS_SERVERS") else { return };
    let urls: Vec<_> = urls.split(',').map(str::to_owned).collect();
    Runner::default().start(|context| async move {
        let pool = Pool::new(context.child("pool"), "pool", STATEMENT, SLOTS);
        let config = WorkerConfig {
            options: Options::read(&urls, None).unwrap(),
            program: PROGRAM,
            prover: Arc::new(pool),
            slots: SLOTS,
            replicas: None,
            inputs_max: 1_000,
        };
        Running::start(Worker::new(context.child("worker"), config, Arc::new(()))).await.unwrap();
    });
}

/// Kills one of two workers or a server, `kills` times, each after some more blocks were proven.
async fn killed(context: &Context, mut servers: Vec<Server>, copies: u32, kills: usize) {
    Sized { lease: LEASE, ..Sized::default() }.make(context, &servers, copies).await;
    let urls = servers.iter().map(Server::url).collect::<Vec<_>>().join(",");
    let environment = vec![("JOBS_SERVERS", urls)];
    let (sender, lines) = channel();
    let mut workers = [(); 2]
        .map(|()| Process::new("jobs::kills::worker_process", environment.clone(), sender.clone()));
    let parts = parts(STATEMENT, vec![queue(context, &servers)]);
    let config = config(Duration::from_secs(20), Duration::from_secs(4));
    let opened = Scheduler::open(context.child("scheduler"), parts, config).await;
    let (scheduling, mailbox) = opened.unwrap();
    let handle = scheduling.start();
    let (mut rng, mut added, mut tip, mut killed) = (StdRng::seed_from_u64(5), 0, 0, 0);
    let (mut of_workers, mut of_servers, mut next) = (0, 0, 5);
    let mut proven = mailbox.proven();
    let (mut before, mut longest) = (context.current(), Duration::ZERO);
    let blocks = loop {
        while killed < kills && added < tip + AHEAD {
            added += 1;
            let parent = block(added - 1).digest;
            let inputs = Bytes::copy_from_slice(&parent.0);
            mailbox.add(vec![NewBlock { block: block(added), parent, inputs }]).await.unwrap();
        }
        if killed == kills && tip == added {
            break added;
        }
        let now = proven.changed().await.unwrap().tip.height.get();
        assert!(now >= tip, "the tip steps back from {tip} to {now}");
        tip = now;
        let moment = context.current();
        longest = longest.max(moment.duration_since(before).unwrap_or_default());
        before = moment;
        if tip < next || killed == kills {
            continue;
        }
        next = tip + rng.random_range(2..12);
        killed += 1;
        if killed.is_multiple_of(4) {
            let nth = of_servers % servers.len();
            servers[nth].kill();
            context.sleep(TICK * 4).await;
            servers[nth].restart();
            of_servers += 1;
        } else {
            workers[of_workers % 2].kill();
            of_workers += 1;
        }
    };
    for height in 1..=blocks {
        let proof = mailbox.proof(block(height)).await.unwrap().expect("every proof is there");
        STATEMENT.verify(block(height - 1).digest, block(height), &proof).unwrap();
    }
    let begun = lines.try_iter().filter(|line| line.starts_with("start ")).count();
    // Of a worker all that it had; of a server that is killed the leases of all that both have.
    let most = blocks as usize + of_workers * SLOTS.get() + of_servers * 2 * SLOTS.get();
    println!(
        "{of_workers} kills of workers and {of_servers} of servers: {blocks} blocks, {begun} proofs begun, of {most} at \
         the most; {longest:.1?} between two at the most"
    );
    assert!(begun >= blocks as usize && begun <= most, "{begun} proofs were begun");
    // What was proven is released.
    let client = connected(context, &servers).await;
    let names = JobNames::of(PROGRAM);
    for stream in [names.jobs(), format!("KV_{}", names.results())] {
        let empty = async |client| {
            let info = api(client, &format!("STREAM.INFO.{stream}"), &Value::Null).await;
            info.is_ok_and(|info| info["state"]["messages"] == 0)
        };
        while !empty(&client).await {
            context.sleep(TICK).await;
        }
    }
    mailbox.stop();
    handle.await.unwrap().unwrap();
}

/// Runs the kills within the time that they may take.
async fn run(context: Context, servers: Vec<Server>, copies: u32, kills: usize) {
    let killed = context.child("killed").spawn(move |context| async move {
        killed(&context, servers, copies, kills).await;
    });
    killed.await.unwrap();
}

const fn limit(kills: u64) -> Duration {
    Duration::from_secs(40 + 10 * kills)
}

#[test]
fn workers_and_the_server_are_killed_and_no_block_is_lost_or_proven_twice_in_effect() {
    alone(limit(8), NEWEST, |context, servers| run(context, servers, 1, 8));
}

#[test]
#[ignore = "long: 50 kills of workers and of servers, alone and in a cluster; run by name"]
fn fifty_kills_of_workers_and_servers_lose_no_block() {
    alone(limit(50), NEWEST, |context, servers| run(context, servers, 1, 50));
    three(limit(50), |context, servers| run(context, servers, 3, 50));
}

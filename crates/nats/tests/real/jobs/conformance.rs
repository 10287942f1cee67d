//! One suite for every prover: what a scheduler relies on, over a pool in the process, a worker over HTTP, and the queue.

use super::{
    LIMIT, LONG, PROGRAM, SLOTS, Sized, TICK, ended, key, queue, run,
    scripted::{Scripted, proof},
    stopped, submitted, worker,
};
use crate::{
    rig,
    server::{FLOOR, NEWEST, Server},
};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, tokio::Context};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Digest, Stopper};
use tidewatch_prover::{
    Failure, Handle, Key, Pool, Progress, Prover,
    remote::{Jobs, Limits, Remote, Worker as HttpWorker, serve},
};

/// What a scheduler relies on. `start` gives the prover as a scheduler has it that starts; `script` is what is computed
/// behind it.
async fn conforms(context: &Context, start: &dyn Fn() -> Arc<dyn Prover>, script: &Scripted) {
    let prover = start();
    while prover.offer().await.is_err() {
        context.sleep(TICK).await;
    }
    assert!(prover.offer().await.unwrap().slots >= 1);

    // What it does not know.
    for unknown in [Handle::of(&key(1)), Handle::new("no-handle.of_ours").unwrap()] {
        assert_eq!(prover.poll(&unknown, Duration::ZERO).await, Err(Failure::Lost));
        prover.release(&unknown).await;
        prover.release(&unknown).await;
    }

    // Submitting is idempotent, also for a scheduler that starts again.
    let inputs = Bytes::from_static(b"wait one");
    let handle = submitted(context, &prover, 1, inputs.clone()).await;
    assert_eq!(prover.submit(key(1), inputs.clone()).await, Ok(handle.clone()));
    assert_eq!(prover.poll(&handle, Duration::ZERO).await, Ok(Progress::Running));
    let again = start();
    assert_eq!(again.name(), prover.name());
    assert_eq!(again.submit(key(1), inputs.clone()).await, Ok(handle.clone()));
    assert_eq!(again.poll(&handle, Duration::ZERO).await, Ok(Progress::Running));
    script.open(1);
    let proved = Ok(proof(&key(1), &inputs));
    assert_eq!(ended(&again, &handle).await, proved);
    assert_eq!(script.begun(1), 1, "it is one job");

    // The proof is kept until it is released, and a job with a proof is that job.
    assert_eq!(ended(&prover, &handle).await, proved);
    assert_eq!(prover.submit(key(1), inputs.clone()).await, Ok(handle.clone()));
    assert_eq!(ended(&prover, &handle).await, proved);
    prover.release(&handle).await;
    prover.release(&handle).await;
    assert_eq!(again.poll(&handle, Duration::ZERO).await, Err(Failure::Lost));

    // What was released may be submitted again, and is proven again.
    let anew = submitted(context, &prover, 1, inputs.clone()).await;
    assert_eq!(ended(&prover, &anew).await, proved);
    assert_eq!(script.begun(1), 2);
    prover.release(&handle).await;
    prover.release(&anew).await;

    // A range that ends in a block is another job than the block.
    let range = Key { first: tidewatch_core::Height::new(3), ..key(4) };
    let ranged = prover.submit(range, Bytes::from_static(b"range")).await.unwrap();
    assert_eq!(ended(&prover, &ranged).await, Ok(proof(&range, b"range")));
    prover.release(&ranged).await;

    // How it fails is said.
    let handle = submitted(context, &prover, 5, "fail no way").await;
    assert_eq!(ended(&prover, &handle).await, Err(Failure::Unprovable("no way".into())));
    prover.release(&handle).await;
    let handle = submitted(context, &prover, 6, "panic").await;
    let panicked = ended(&prover, &handle).await.unwrap_err();
    assert!(panicked.to_string().contains("as it was asked to"), "{panicked}");
    prover.release(&handle).await;
    let other = Key { program: Digest([1; 32]), ..key(7) };
    if prover.name() != "pool" {
        let refused = prover.submit(other, Bytes::new()).await;
        assert!(matches!(refused, Err(Failure::Unavailable(_))), "{refused:?}");
    }

    // Full, until a job is released. One that is worked on is given up.
    let mut waiting = Vec::new();
    let full = loop {
        let height = 100 + waiting.len() as u64;
        match prover.submit(key(height), Bytes::from_static(b"wait")).await {
            Ok(handle) => waiting.push(handle),
            Err(failure) => break failure,
        }
        assert!(waiting.len() < 64);
    };
    assert_eq!(full, Failure::Full);
    while script.begun(100) == 0 {
        context.sleep(TICK).await;
    }
    for handle in &waiting {
        prover.release(handle).await;
        assert_eq!(released(&prover, handle).await, Failure::Lost);
    }
    while !script.is_released(100) {
        context.sleep(TICK).await;
    }
    let handle = submitted(context, &prover, 8, "after").await;
    assert_eq!(ended(&prover, &handle).await, Ok(proof(&key(8), b"after")));
    prover.release(&handle).await;
}

/// What a job that was released is: unknown, at once or as soon as its computation ended.
async fn released(prover: &Arc<dyn Prover>, handle: &Handle) -> Failure {
    loop {
        match prover.poll(handle, LONG).await {
            Err(Failure::Unprovable(reason)) if reason == "nobody waits for it" => {
                return Failure::Lost;
            }
            Err(failure) => return failure,
            Ok(Progress::Running) => {}
            Ok(Progress::Proved(_)) => panic!("it was released"),
        }
    }
}

#[test]
fn a_pool_conforms() {
    run(|context| async move {
        let script = Scripted::default();
        let pool = Pool::new(context.child("pool"), "pool", script.clone(), SLOTS);
        let pool = Arc::new(pool) as Arc<dyn Prover>;
        conforms(&context, &|| pool.clone(), &script).await;
    });
}

#[test]
fn a_worker_over_http_conforms() {
    run(|context| async move {
        let script = Scripted::default();
        let pool = Pool::new(context.child("pool"), "pool", script.clone(), SLOTS);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (_stopper, stopping) = Stopper::new();
        let jobs = Some(Jobs { prover: Arc::new(pool), program: PROGRAM });
        let worker = HttpWorker { jobs, miden: None, limits: Limits::default(), token: None };
        context.child("server").spawn(move |_| serve(listener, worker, stopping));
        let start = || {
            let remote = Remote::new(&address, PROGRAM, super::BYTES_MAX).unwrap();
            Arc::new(remote) as Arc<dyn Prover>
        };
        conforms(&context, &start, &script).await;
    });
}

async fn a_queue_conforms(context: Context, servers: Vec<Server>, copies: u32) {
    let script = Scripted::default();
    let sized = Sized { jobs_max: 5, lease: Duration::from_secs(3), ..Sized::default() };
    sized.make(&context, &servers, copies).await;
    let worker = worker(&context, &servers, copies, &script);
    conforms(&context, &|| queue(&context, &servers), &script).await;
    stopped(worker).await;
}

#[test]
fn the_queue_at_one_server_conforms() {
    rig::alone(LIMIT, NEWEST, |context, servers| a_queue_conforms(context, servers, 1));
}

#[test]
fn the_queue_at_the_oldest_server_that_is_used_conforms() {
    rig::alone(LIMIT, FLOOR, |context, servers| a_queue_conforms(context, servers, 1));
}

#[test]
fn the_queue_at_a_cluster_of_three_conforms() {
    rig::three(LIMIT, |context, servers| a_queue_conforms(context, servers, 3));
}

//! How many jobs a second pass the queue, with proofs that cost nothing.
//!
//! `cargo test --release -p tidewatch-nats --test real jobs_a_second -- --ignored --nocapture`

use super::{Sized, ended, queue, run, stopped, submitted, worker_with};
use crate::server::{NEWEST, Server, installed};
use bytes::Bytes;
use commonware_runtime::{Clock as _, tokio::Context};
use commonware_utils::NZUsize;
use futures::{StreamExt as _, future::BoxFuture};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_prover::{Failure, Handle, Key, Offer, Progress, Prover};

/// Jobs that are taken at once.
const LANES: NonZeroUsize = NZUsize!(32);
/// Jobs that are handed in at once.
const AT_ONCE: usize = 64;
/// As large as a proof of the statement that is built in.
const PROOF: usize = 87_000;

/// Has a proof of everything, at once.
struct Instantly(Bytes);

impl Prover for Instantly {
    fn name(&self) -> &str {
        "instantly"
    }

    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>> {
        Box::pin(async { Ok(Offer { slots: LANES.get(), deadline: None }) })
    }

    fn submit(&self, key: Key, _: Bytes) -> BoxFuture<'_, Result<Handle, Failure>> {
        Box::pin(async move { Ok(Handle::of(&key)) })
    }

    fn poll<'a>(&'a self, _: &'a Handle, _: Duration) -> BoxFuture<'a, Result<Progress, Failure>> {
        Box::pin(async { Ok(Progress::Proved(self.0.clone())) })
    }

    fn release<'a>(&'a self, _: &'a Handle) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

async fn measured(context: &Context, servers: &[Server], copies: u32, jobs: u64) {
    Sized::default().make(context, servers, copies).await;
    let prover = Arc::new(Instantly(Bytes::from(vec![7; PROOF])));
    let worker = worker_with(context, servers, (copies, LANES), prover);
    let queue = queue(context, servers);
    let whole = async |height| {
        let began = context.current();
        let handle = submitted(context, &queue, height, "inputs").await;
        assert_eq!(ended(&queue, &handle).await.unwrap().len(), PROOF);
        queue.release(&handle).await;
        context.current().duration_since(began).unwrap()
    };
    whole(0).await;
    let began = context.current();
    let mut all = futures::stream::iter(1..=jobs).map(&whole).buffer_unordered(AT_ONCE);
    while all.next().await.is_some() {}
    let took = context.current().duration_since(began).unwrap().as_secs_f64();
    let mut alone = Vec::new();
    for height in 1..=100 {
        alone.push(whole(jobs + height).await);
    }
    alone.sort();
    println!(
        "R{copies}: {:.0} jobs a second, {AT_ONCE} at once, from handing in to released; one alone {:.1} ms (median), \
         {:.1} ms (p99)",
        jobs as f64 / took,
        alone[50].as_secs_f64() * 1_000.0,
        alone[99].as_secs_f64() * 1_000.0,
    );
    stopped(worker).await;
}

#[test]
#[ignore = "measures, and tests nothing"]
fn jobs_a_second() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        measured(&context, &[Server::start(&executable)], 1, 2_000).await;
        measured(&context, &Server::cluster(&executable), 3, 2_000).await;
    });
}

//! Takes encrypted transactions over HTTP.
//!
//! # Interface
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/transactions`, the body is one transaction: sender, nonce and payload | 202: it is durable; its digest |
//! | `GET /v1/transactions/DIGEST` | 200: where it is. 404: it never was here, or its block is old |
//! | `GET /v1/target?sender=HEX[&bytes=N]` | 200: the round to encrypt a transaction of so many bytes to, and the first and the last one that will do; the newest round with its seed; the sender's next nonce |
//!
//! Whatever is refused is refused with a [`Problem`] as JSON, whose `code` says why:
//!
//! | status | `code` | what to do |
//! |---|---|---|
//! | 400 | `parameter` | it is no digest, no sender, or no number |
//! | 404, 405 | `not_known`, `no_route`, `no_method` | |
//! | 408 | `slow` | it did not come in time |
//! | 409 | `used`, `gap` | take the nonce that it names |
//! | 412 | `too_early`, `too_far` | seal it again: to a round from `least` to `greatest`. It has `round` |
//! | 413 | `large` | |
//! | 422 | `no_transaction`, `not_sealed` | it could never say anything |
//! | 503 | `backlog`, `overdue`, `no_round`, `full`, `busy`, `failed`, `stopping` | try again later |
//!
//! # What is accepted is in time
//!
//! A transaction whose round is open before its order is fixed is dropped. Which rounds will do depends on the proposal in
//! hand and on what waits, and is decided by the pool at the moment at which the transaction gets its place: see
//! [`tidewatch_sequencer::timelock::Ahead`]. A sender asks for a target, seals, and posts; meanwhile the next proposal may
//! be made, and then the target will not do any more. That is refused with the rounds that will, and the sender seals
//! again: nothing was written, and its nonce is not used.
//!
//! # Limits
//!
//! Connections, requests at once, headers, bodies and answers are bounded, in number, in size and in time: [`Bounds`].
//!
//! | file | what |
//! |---|---|
//! | `routes` | what each request is answered |
//! | `problem` | why something is refused |
//! | `rounds` | the newest round, asked for at a bounded rate |
//! | `places` | where the transactions of the newest blocks are |
//! | `metrics` | what is counted |

mod metrics;
mod places;
mod problem;
mod rounds;
mod routes;
#[cfg(test)]
mod tests;

pub(super) use places::{Places, Where};
pub(super) use problem::{Code, Problem};
pub(super) use routes::Target;

use axum::Router;
use commonware_runtime::{Supervisor as _, tokio::Context};
use commonware_utils::{NZUsize, sync::Mutex};
use metrics::Metrics;
use rounds::Rounds;
use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tidewatch_devnet::ordering::{Sockets, serve};
use tidewatch_sequencer::{
    disk::{DiskPool, Door},
    remote::Remote,
};
use tokio::{net::TcpListener, sync::Semaphore};

/// What the interface takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once; others wait.
    pub(super) connections: NonZeroUsize,
    /// Requests at once; others are refused.
    pub(super) requests: NonZeroUsize,
    /// How long the headers of a request may take, and then its body and its answer.
    pub(super) request: Duration,
    /// A connection that takes nothing for so long is cut.
    pub(super) stall: Duration,
}

impl Default for Bounds {
    /// 256 connections, 128 requests of a mebibyte each, 10 s.
    fn default() -> Self {
        Self {
            connections: NZUsize!(256),
            requests: NZUsize!(128),
            request: Duration::from_secs(10),
            stall: Duration::from_secs(10),
        }
    }
}

/// What every route reads.
#[derive(Clone)]
pub(super) struct Intake {
    pool: Arc<DiskPool<Context>>,
    door: Door,
    rounds: Arc<Rounds>,
    pub(super) places: Arc<Mutex<Places>>,
    pub(super) stopping: Arc<AtomicBool>,
    requests: Arc<Semaphore>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
}

impl Intake {
    /// Takes transactions into `pool`, for proposals of `proposal_bytes` at the most.
    pub(super) fn new(
        context: &Context,
        pool: Arc<DiskPool<Context>>,
        remote: Remote,
        proposal_bytes: usize,
        bounds: Bounds,
    ) -> Self {
        let (rounds, certified) = Rounds::new(context.child("rounds"), remote);
        Self {
            pool,
            door: Door { certified, proposal_bytes },
            rounds: Arc::new(rounds),
            places: Arc::default(),
            stopping: Arc::default(),
            requests: Arc::new(Semaphore::new(bounds.requests.get())),
            bounds,
            metrics: Arc::new(Metrics::new(context)),
        }
    }

    /// Serves it on `listener` for as long as it is polled.
    pub(super) async fn serve(self, listener: TcpListener) {
        let Bounds { connections: connections_max, request: headers, stall, .. } = self.bounds;
        let sockets = Sockets { connections_max, headers, stall };
        let metrics = self.metrics.clone();
        let app: Router = routes::router(self);
        let trouble = move |trouble: tidewatch_devnet::ordering::Trouble| {
            metrics.connection(trouble.as_str());
        };
        serve(listener, app, sockets, trouble).await;
    }
}
